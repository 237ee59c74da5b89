#include "engine/executor.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace sluice::engine {

Result<Executor> Executor::create(LoadedModel& model) {
  device::Device& device = *model.backend().device;
  Executor executor(model);
  executor.stream_ = device.make_stream();
  SLUICE_ASSIGN(executor.stage_, BatchStage::make(device, model.recipe(), model.program().groups.size()));
  executor.logit_uses_.reserve(static_cast<size_t>(model.recipe().max_batch_tokens));
  executor.last_samples_.resize(static_cast<size_t>(model.recipe().max_sequences));
  if (device.shares_host_memory()) return executor;
  const int64_t vocab = model.spec().vocab;
  SLUICE_ASSIGN(executor.sample_, model.backend().kernels.select<ops::Sample>({vocab}, {}));
  SLUICE_ASSIGN(executor.samples_, SampleStage::make(device, {model.recipe().max_sequences,
                                                              model.program().limits.logits, vocab}));
  executor.inputs_ = device.make_copy_stream();
  for (auto& stream : executor.fetched_) stream = device.make_copy_stream();
  return executor;
}

void Executor::fill(const Step& step) {
  stage_->clear();
  logit_uses_.clear();
  const bool ids_follow = !running_.empty();  // on the device
  for (size_t e = 0; e < step.plan.entries.size(); ++e) {
    const sched::StepEntry& entry = step.plan.entries[e];
    const auto sequence = static_cast<int32_t>(e);
    const int32_t first_row = stage_->rows();
    const int32_t variant = step.context(entry).long_rope ? 1 : 0;
    for (int i = 0; i < entry.count; ++i) {
      int32_t id = step.plan.tokens_of(entry)[static_cast<size_t>(i)];
      if (id == sched::kPreviousSample) id = ids_follow ? 0 : last_samples_[static_cast<size_t>(entry.slot)];
      SLUICE_CHECK(id >= 0 && id < model_->spec().vocab, "token {} at position {}", id, entry.first + i);
      stage_->add_row(id, entry.first + i, variant, sequence);
    }
    stage_->add_sequence({first_row, entry.count, entry.first, sequence});
    for (size_t g = 0; g < model_->program().groups.size(); ++g) {
      const auto pages = step.plan.pages_of(entry, static_cast<int>(g));
      SLUICE_CHECK(static_cast<int64_t>(pages.size()) <= stage_->table_pages(), "{} pages of {}",
                   pages.size(), stage_->table_pages());
      std::copy(pages.begin(), pages.end(), stage_->pages(sequence, g).begin());
    }
    for (int i = entry.count - entry.num_logits; i < entry.count; ++i) {
      stage_->add_logit_row(first_row + i);
      logit_uses_.push_back({e, entry.first + i, entry.sample && i + 1 == entry.count});
    }
    const sampling::Sampler& sampler = *step.context(entry).sampler;
    if (samples_ && entry.joins && sampler.has_past()) samples_->put_past(*stream_, entry.slot, sampler);
    if (auto choice = choice_on_device(entry, step.context(entry))) {
      choice->row = stage_->logit_rows() - 1;
      if (choice->penalises() || choice->biases > 0) choice->slot = entry.slot;
      stage_->choice(sequence) = *choice;
    }
  }
}

namespace {

sched::StepResult failed(const sched::StepPlan& plan, const std::exception& e) {
  sched::StepResult result;
  result.step = plan.step;
  result.status = internal_error("step {} failed: {}", plan.step, e.what());
  return result;
}

}  // namespace

SequenceContext& Executor::Step::context(const sched::StepEntry& entry) const {
  SequenceContext* found = context_of(entry.id);
  SLUICE_CHECK(found != nullptr, "sequence {}", entry.id);
  return *found;
}

void Executor::launch(sched::StepPlan plan, const ContextOf& context_of, int32_t vocab_limit) {
  SLUICE_CHECK(in_flight() == 0 || runs_on(), "{} steps in flight", in_flight());
  if (!can_run_on(plan, context_of)) {
    if (!running_.empty()) results_.push_back(finish_oldest(context_of));
    results_.push_back(run(plan, context_of, vocab_limit));
    return;
  }
  try {
    sched::StepResult unused;
    run_on({plan, context_of, vocab_limit, unused});
    running_.push_back({std::move(plan), stage_->turn()});
  } catch (const std::exception& e) {
    if (!running_.empty()) results_.push_back(finish_oldest(context_of));
    drain();
    results_.push_back(failed(plan, e));
  }
}

sched::StepResult Executor::collect(const ContextOf& context_of) {
  SLUICE_CHECK(in_flight() > 0, "no step was launched");
  if (results_.empty()) return finish_oldest(context_of);
  sched::StepResult result = std::move(results_.front());
  results_.pop_front();
  return result;
}

sched::StepResult Executor::run(const sched::StepPlan& plan, const ContextOf& context_of,
                                int32_t vocab_limit) {
  sched::StepResult result;
  result.step = plan.step;
  result.entries.resize(plan.entries.size());
  try {
    const Step step{plan, context_of, vocab_limit, result};
    fill(step);
    if (model_->streamer() != nullptr) model_->streamer()->prepare(*stream_);
    const int32_t rows = recorded_rows(plan);
    rows > 0 ? decode_recorded(step, rows) : compute(step);
  } catch (const std::exception& e) {
    drain();
    return failed(plan, e);
  }
  return result;
}

// After a failure: what is still queued reads buffers that the next step fills.
void Executor::drain() {
  for (device::Stream* stream : {inputs_.get(), stream_.get(), fetched_[0].get(), fetched_[1].get()}) {
    try {
      if (stream != nullptr) stream->synchronize();
    } catch (const std::exception&) {  // of the same failure
    }
  }
  if (model_->streamer() != nullptr) model_->streamer()->forget();
}

bool Executor::can_run_on(const sched::StepPlan& plan, const ContextOf& context_of) const {
  if (recorded_rows(plan) == 0) return false;
  const bool by_device =
      std::all_of(plan.entries.begin(), plan.entries.end(), [&](const sched::StepEntry& entry) {
        const SequenceContext* context = context_of(entry.id);
        return context != nullptr && choice_on_device(entry, *context);
      });
  return by_device && (running_.empty() || continues(plan));
}

std::optional<ops::Choice> Executor::choice_on_device(const sched::StepEntry& entry,
                                                      const SequenceContext& context) const {
  if (sample_ == nullptr || !entry.sample || context.on_logits) return std::nullopt;
  return context.sampler->choice_elsewhere(static_cast<int>(running_.size()));
}

// The same slots in the same rows, each with the token that the step before samples.
bool Executor::continues(const sched::StepPlan& plan) const {
  const auto& before = running_.back().plan.entries;
  return std::equal(plan.entries.begin(), plan.entries.end(), before.begin(), before.end(),
                    [&](const sched::StepEntry& entry, const sched::StepEntry& last) {
                      return entry.slot == last.slot && plan.tokens_of(entry)[0] == sched::kPreviousSample;
                    });
}

void Executor::run_on(const Step& step) {
  fill(step);
  if (model_->streamer() != nullptr) model_->streamer()->prepare(*stream_);
  const auto count = static_cast<int64_t>(step.plan.entries.size());
  const int32_t rows = recorded_rows(step.plan);
  const program::Batch batch = padded_batch(rows);
  const size_t turn = stage_->turn();
  if (!running_.empty()) {
    stream_->copy(stage_->device_ids(), samples_->device_ids(1 - turn),
                  static_cast<size_t>(count) * sizeof(int32_t));
  }
  queue_recorded(batch, rows, step.vocab_limit);
  fetched_[turn]->follow(*stream_);
  samples_->fetch_results(*fetched_[turn], count, turn, reports(step.plan));
}

bool Executor::reports(const sched::StepPlan& plan) {
  for (size_t e = 0; e < plan.entries.size(); ++e) {
    if (stage_->choice(static_cast<int32_t>(e)).logprobs >= 0) return true;
  }
  return false;
}

sched::StepResult Executor::finish_oldest(const ContextOf& context_of) {
  const Running step = std::move(running_.front());
  running_.pop_front();
  try {
    fetched_[step.turn]->synchronize();
  } catch (const std::exception& e) {
    // What was queued behind it has not what it needs.
    for (const Running& next : running_) results_.push_back(failed(next.plan, e));
    running_.clear();
    drain();
    return failed(step.plan, e);
  }
  sched::StepResult result;
  result.step = step.plan.step;
  for (size_t i = 0; i < step.plan.entries.size(); ++i) {
    const sched::StepEntry& entry = step.plan.entries[i];
    sched::EntryResult& out = result.entries.emplace_back();
    SequenceContext* context = context_of(entry.id);
    if (context == nullptr) continue;  // it ended meanwhile: nobody reads its share
    settle(entry, *context,
           context->sampler->take(samples_->ids(step.turn)[i], samples_->logprobs(step.turn)[i]), out);
  }
  return result;
}

void Executor::compute(const Step& step) {
  program::run(
      model_->program(), model_->memory(), batch(), *stream_,
      [&](size_t first, const Matrix& logits) { sample(step, first, logits, false); },
      observer_ ? &observer_ : nullptr);
  stream_->synchronize();
}

int32_t Executor::recorded_rows(const sched::StepPlan& plan) const {
  if (sample_ == nullptr || observer_) return 0;
  for (const sched::StepEntry& entry : plan.entries) {
    if (entry.count != 1 || entry.num_logits != 1) return 0;
  }
  // Sizes at which kernels change their tiles; in between, rows without a sequence fill the batch.
  const auto count = static_cast<int32_t>(plan.entries.size());
  const int32_t step = count <= 4 ? 1 : count <= 64 ? 8 : count <= 256 ? 32 : 64;
  const int32_t rows = (count + step - 1) / step * step;
  const program::Limits& limits = model_->program().limits;
  return rows <= limits.logits && rows <= limits.tokens && rows <= model_->recipe().max_sequences ? rows : 0;
}

program::Batch Executor::padded_batch(int32_t rows) {
  while (stage_->rows() < rows) {
    stage_->add_row(0, 0, 0, -1);
    stage_->add_sequence({stage_->rows() - 1, 1, 0, -1});
    stage_->add_logit_row(0);
  }
  return batch();
}

program::Batch Executor::batch() {
  if (inputs_ == nullptr) return stage_->batch(*stream_);
  program::Batch batch = stage_->batch(*inputs_);
  stream_->follow(*inputs_);
  return batch;
}

void Executor::queue_recorded(const program::Batch& batch, int32_t rows, int32_t vocab_limit) {
  const auto work = [&] {
    program::run(model_->program(), model_->memory(), batch, *stream_, [&](size_t, const Matrix& logits) {
      queue_sample(logits, 0, 0, static_cast<size_t>(rows), vocab_limit);
    });
  };
  Recorded& recorded = recorded_[rows];
  if (++recorded.uses == 1) return work();
  if (recorded.vocab_limit != vocab_limit) recorded.work = {};
  recorded.vocab_limit = vocab_limit;
  auto& recording = recorded.work[stage_->turn()];
  if (!recording) recording = stream_->record(work);
  replay(*recording);
}

void Executor::replay(const device::Recording& work) {
  Noted noted;
  if (notes_steps_) noted.begin = stream_->mark();
  const auto start = std::chrono::steady_clock::now();
  stream_->replay(work);
  if (!noted.begin) return;
  if (noted.begin->reached())
    noted.late = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  noted.end = stream_->mark();
  noted_.push_back(std::move(noted));
}

std::vector<Executor::StepTime> Executor::noted_steps() {
  std::vector<StepTime> times;
  for (const Noted& step : noted_) {
    const device::Mark& first = *noted_.front().begin;
    const double end = step.end->seconds_since(first);
    times.push_back({std::min(end, step.begin->seconds_since(first) + step.late), end});
  }
  noted_.clear();
  return times;
}

void Executor::decode_recorded(const Step& step, int32_t rows) {
  queue_recorded(padded_batch(rows), rows, step.vocab_limit);
  const auto count = static_cast<int64_t>(logit_uses_.size());
  sample(step, 0, program::matrix(model_->program(), model_->memory(), model_->program().logits, count),
         true);
}

void Executor::queue_sample(const Matrix& logits, size_t first, size_t begin, size_t end,
                            int32_t vocab_limit) {
  sample_->run({logits.cols},
               {.x = logits,
                .first_row = static_cast<int64_t>(first),
                .limit = vocab_limit,
                .choices = stage_->device_choices() + begin,
                .count = static_cast<int64_t>(end - begin),
                .out = samples_->device_ids(stage_->turn()) + begin,
                .seen = samples_->device_seen(),
                .biases = samples_->device_biases(),
                .logprobs = samples_->device_logprobs(stage_->turn()) + begin},
               {*stream_});
}

void Executor::sample(const Step& step, size_t first, const Matrix& logits, bool queued) {
  const auto use_of = [&](int64_t row) -> const LogitRow& {
    return logit_uses_[first + static_cast<size_t>(row)];
  };
  if (sample_ == nullptr) {
    for (int64_t r = 0; r < logits.rows; ++r)
      sample_row(step, use_of(r), {logits.f32(r), static_cast<size_t>(logits.cols)});
    return;
  }
  const size_t end = use_of(logits.rows - 1).entry + 1;
  if (!queued) queue_sample(logits, first, use_of(0).entry, end, step.vocab_limit);
  samples_->fetch_results(*stream_, static_cast<int64_t>(end), stage_->turn(), reports(step.plan));
  const auto wanted = [&](const LogitRow& use) {
    return step.context(step.plan.entries[use.entry]).on_logits ||
           (use.sample && stage_->choice(static_cast<int32_t>(use.entry)).row < 0);
  };
  for (int64_t r = 0; r < logits.rows; ++r) {
    if (wanted(use_of(r))) samples_->fetch_logits(*stream_, logits, r);
  }
  stream_->synchronize();
  for (int64_t r = 0; r < logits.rows; ++r)
    sample_row(step, use_of(r), wanted(use_of(r)) ? samples_->logits(r) : std::span<float>());
}

// Without logits, the device has chosen.
void Executor::sample_row(const Step& step, const LogitRow& use, std::span<float> logits) {
  const sched::StepEntry& entry = step.plan.entries[use.entry];
  SequenceContext& context = step.context(entry);
  sched::EntryResult& out = step.result.entries[use.entry];
  if (context.on_logits) context.on_logits(use.position, logits);
  if (!use.sample || !out.status.ok()) return;
  settle(entry, context,
         logits.empty() ? context.sampler->take(samples_->ids(stage_->turn())[use.entry],
                                                samples_->logprobs(stage_->turn())[use.entry])
                        : context.sampler->choose(logits, step.vocab_limit),
         out);
}

void Executor::settle(const sched::StepEntry& entry, SequenceContext& context,
                      Result<sampling::Sample> sample, sched::EntryResult& out) {
  out.status = sample.status();
  if (!sample.ok()) return;
  out.token = last_samples_[static_cast<size_t>(entry.slot)] = sample->token;
  if (sample->logprobs) context.logprobs.push_back(*std::move(sample->logprobs));
}

std::vector<float> Executor::read(const Matrix& m) {
  std::vector<float> out(static_cast<size_t>(m.rows * m.cols));
  stream_->synchronize();
  for (int64_t r = 0; r < m.rows; ++r)
    stream_->copy(out.data() + r * m.cols, m.f32(r), static_cast<size_t>(m.cols) * sizeof(float));
  stream_->synchronize();
  return out;
}

}  // namespace sluice::engine
