#include "engine/core.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::engine {

Result<std::unique_ptr<Core>> Core::create(std::unique_ptr<LoadedModel> model, int32_t vocab_limit,
                                           std::vector<int32_t> eos, CoreOptions options) {
  const model::Recipe& r = model->recipe();
  const auto vocab = static_cast<int32_t>(model->spec().vocab);
  sched::SchedulerConfig config;
  config.max_num_seqs = static_cast<int>(r.max_sequences);
  config.max_batched_tokens = static_cast<int>(r.max_batch_tokens);
  config.mixed_prefill_tokens = config.max_batched_tokens;
  config.max_model_len = static_cast<int>(r.max_seq_len);
  config.max_waiting = options.max_waiting;
  const bool runs_ahead = options.null_tokens.empty() && !model->backend().device->shares_host_memory();
  config.max_in_flight_steps = runs_ahead ? 2 : 1;
  config.eos_tokens = eos.empty() ? model->spec().eos : std::move(eos);
  SLUICE_ASSIGN(sched::Scheduler scheduler, sched::Scheduler::create(config, model->kv_layout()));
  std::unique_ptr<Core> core(new Core(std::move(model), std::move(scheduler),
                                      vocab_limit > 0 ? std::min(vocab_limit, vocab) : vocab, options));
  if (options.null_tokens.empty()) {
    SLUICE_ASSIGN(core->executor_, Executor::create(*core->model_));
  } else {
    core->null_.emplace(std::move(options.null_tokens), vocab, options.null_step);
  }
  return core;
}

Core::Core(std::unique_ptr<LoadedModel> model, sched::Scheduler scheduler, int32_t vocab_limit,
           const CoreOptions& options)
    : model_(std::move(model)),
      scheduler_(std::move(scheduler)),
      pacer_(options.max_tpot),
      vocab_limit_(vocab_limit) {
  for (const model::Rope& rope : model_->spec().ropes) {
    if (!rope.long_frequencies.empty()) rope_switch_ = std::max(rope_switch_, rope.switch_length);
  }
}

Executor& Core::executor() {
  SLUICE_CHECK(executor_.has_value(), "a core that computes nothing has no executor");
  return *executor_;
}

const Admission& Core::admission(RequestId id) const {
  const auto it = admissions_.find(id);
  SLUICE_CHECK(it != admissions_.end(), "request {}", id);
  return it->second;
}

Result<RequestId> Core::add(CoreRequest request) {
  SLUICE_TRY(validate(request.sampling));
  if (request.prompt.empty()) return invalid_argument("the prompt is empty; it needs at least one token");
  const int64_t vocab = model_->spec().vocab;
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    if (request.prompt[i] < 0 || request.prompt[i] >= vocab) {
      return invalid_argument("prompt token {} at position {} is not in the vocabulary of {}",
                              request.prompt[i], i, vocab);
    }
  }
  SLUICE_TRY(sampling::validate_token_ids(request.sampling, vocab));
  if (request.sampling.structured_output && !request.constraint)
    return invalid_argument("structured_output: it has not been compiled for the model's tokenizer");
  if (!request.sampling.bad_words.empty() && !request.bad_words)
    return invalid_argument("bad_words: they have not been encoded by the model's tokenizer");
  const int64_t limit = model_->recipe().max_seq_len;
  const int64_t length = static_cast<int64_t>(request.prompt.size());
  if (length > limit || (length == limit && request.sampling.max_tokens > 0)) {
    return invalid_argument("the prompt has {} tokens; with --max_seq_len {} it may have {}", length, limit,
                            limit - 1);
  }
  request.sampling.max_tokens =
      static_cast<int32_t>(std::min<int64_t>(request.sampling.max_tokens, limit - length));
  request.sampling.min_tokens = std::min(request.sampling.min_tokens, request.sampling.max_tokens);

  Running running;
  running.id = ++last_id_;
  running.num_prompt = request.prompt.size();
  running.tokens = request.prompt;
  running.context.on_logits = request.on_logits;
  running.request = std::move(request);
  std::vector<int32_t> ends = running.request.sampling.stop_token_ids;
  if (!running.request.sampling.ignore_eos) ends.insert(ends.end(), eos().begin(), eos().end());
  running.sampler = std::make_unique<sampling::Sampler>(
      running.request.sampling, running.tokens, std::span<const int32_t>(), std::move(ends),
      running.request.constraint, running.request.bad_words);
  const RequestId id = running.id;
  SLUICE_TRY(schedule(running));
  admissions_[id].added = Clock::now();
  return id;
}

// Hands a request, new or interrupted, to the scheduler with all tokens it has so far.
Status Core::schedule(Running& running) {
  const SamplingParams& s = running.request.sampling;
  const int outputs = static_cast<int>(running.tokens.size() - running.num_prompt);
  sched::Request request;
  request.prompt = running.tokens;
  request.max_tokens = s.max_tokens - outputs;
  request.min_tokens = std::max(0, s.min_tokens - outputs);
  request.stop_tokens = s.stop_token_ids;
  request.ignore_eos = s.ignore_eos;
  request.prompt_logits = running.request.prompt_logits && outputs == 0;
  request.priority = running.request.priority;
  running.context.long_rope = rope_switch_ > 0 && static_cast<int64_t>(running.tokens.size()) > rope_switch_;
  request.salt = running.request.salt + (running.context.long_rope ? "|long_rope" : "");
  SLUICE_ASSIGN(const sched::SequenceId sequence, scheduler_.add(std::move(request)));
  running.context.sampler = running.sampler.get();
  sequence_of_[running.id] = sequence;
  requests_.emplace(sequence, std::move(running));
  return {};
}

bool Core::finish(RequestId id, sched::FinishReason reason) {
  const auto it = sequence_of_.find(id);
  if (it == sequence_of_.end()) return false;
  scheduler_.finish(it->second, reason);
  requests_.erase(it->second);
  sequence_of_.erase(it);
  admissions_.erase(id);
  return true;
}

bool Core::outgrew_rope(const Running& running) const {
  return rope_switch_ > 0 && !running.context.long_rope &&
         static_cast<int64_t>(running.tokens.size()) > rope_switch_;
}

// Keys in the cache were rotated by the short frequencies: the sequence starts again under the long ones, as
// the reference implementation recomputes it.
Status Core::restart_on_long_rope(sched::SequenceId sequence) {
  scheduler_.finish(sequence, sched::FinishReason::cancelled);
  auto node = requests_.extract(sequence);
  return schedule(node.mapped());
}

SequenceContext* Core::context_of(sched::SequenceId id) {
  const auto it = requests_.find(id);
  return it == requests_.end() ? nullptr : &it->second.context;
}

size_t Core::in_flight() const { return executor_ ? executor_->in_flight() : null_->in_flight(); }

bool Core::launch_next() {
  const auto start = Clock::now();
  sched::StepPlan plan = scheduler_.plan(pacer_.limit());
  if (plan.empty()) return false;
  for (const sched::StepEntry& entry : plan.entries) {
    if (!entry.joins) continue;
    Admission& admission = admissions_.at(requests_.at(entry.id).id);
    if (admission.scheduled != Clock::time_point()) continue;  // it joins again after a preemption
    admission.scheduled = start;
    admission.cached_tokens = entry.first;
  }
  launched_.push_back({{plan.step, plan.num_decodes, static_cast<int>(plan.entries.size()) - plan.num_decodes,
                        plan.num_tokens() - plan.num_decodes, 0},
                       start});
  const auto context = [this](sched::SequenceId id) { return context_of(id); };
  executor_ ? executor_->launch(std::move(plan), context, vocab_limit_)
            : null_->launch(std::move(plan), context, vocab_limit_);
  return true;
}

void Core::collect(std::vector<CoreEvent>& events) {
  const sched::StepResult result =
      executor_ ? executor_->collect([this](sched::SequenceId id) { return context_of(id); })
                : null_->collect();
  const Launched launched = launched_.front();
  launched_.pop_front();
  report_ = launched.report;
  // A step that was queued behind another began when that one was done.
  const auto now = Clock::now();
  report_.seconds = std::chrono::duration<double>(now - std::max(launched.start, collected_)).count();
  collected_ = now;
  pacer_.observe(report_.decodes, report_.prefill_tokens, report_.seconds);
  commit(result, events);
}

bool Core::step(std::vector<CoreEvent>& events) {
  for (const RequestId id : ended_) admissions_.erase(id);
  ended_.clear();
  if (in_flight() == 0 && !launch_next()) return false;
  // While the device computes, the host plans the next step and queues it. Not where a sequence may have to
  // begin again with other frequencies.
  if (executor_ && executor_->runs_on() && rope_switch_ == 0) launch_next();
  collect(events);
  while (requests_.empty() && in_flight() > 0) collect(events);
  return true;
}

void Core::commit(const sched::StepResult& result, std::vector<CoreEvent>& events) {
  for (sched::Update& update : scheduler_.commit(result)) {
    const auto it = requests_.find(update.id);
    if (it == requests_.end()) continue;
    Running& running = it->second;
    CoreEvent event{running.id, update.token, std::nullopt, update.finish, std::move(update.error)};
    if (update.token >= 0) {
      running.tokens.push_back(update.token);
      if (auto& logprobs = running.context.logprobs; !logprobs.empty()) {
        event.logprobs = std::move(logprobs.front());
        logprobs.pop_front();
      }
    }
    // The output is whole: an end-of-sequence token would cost a step and say nothing.
    if (update.token >= 0 && !update.finish && running.sampler->exhausted()) {
      scheduler_.finish(update.id, sched::FinishReason::stop);
      event.finish = update.finish = sched::FinishReason::stop;
    }
    if (update.finish) {
      ended_.push_back(running.id);
      sequence_of_.erase(running.id);
      requests_.erase(it);
    } else if (outgrew_rope(running)) {
      if (Status status = restart_on_long_rope(update.id); !status.ok()) {
        ended_.push_back(event.id);
        sequence_of_.erase(event.id);
        event.finish = sched::FinishReason::error;
        event.error = std::move(status);
      }
    }
    events.push_back(std::move(event));
  }
}

}  // namespace sluice::engine
