#include "engine/service.h"

#include <algorithm>

namespace sluice::engine {
namespace {

Status out_of_memory() { return io_error("the host is out of memory"); }

}  // namespace

bool EventQueue::next(TextEvent& event) {
  std::unique_lock lock(mutex_);
  if (finished_) return false;
  ready_.wait(lock, [&] { return !events_.empty(); });
  event = std::move(events_.front());
  events_.pop_front();
  finished_ = event.finish.has_value();
  return true;
}

void EventQueue::push(TextEvent event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  ready_.notify_one();
}

Service::Service(std::unique_ptr<Core> core, Codec codec) : codec_(std::move(codec)), core_(std::move(core)) {
  if (codec_.has_tokenizer()) constraints_.emplace(*codec_.tokenizer(), core_->eos());
  max_total_tokens_ = core_->scheduler().max_total_tokens();
  publish_stats();
  thread_ = std::thread([this] { run(); });
}

Service::~Service() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

// ---- from other threads
// ----------------------------------------------------------------------------------------------------------

bool Service::post_work(Work work) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    work_.push_back(std::move(work));
  }
  wake_.notify_one();
  return true;
}

bool Service::call(const Work& work) {
  bool done = false;
  std::exception_ptr failure;
  const bool posted = post_work([&] {
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    done = true;
    done_.notify_all();
  });
  if (!posted) return false;
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return done; });
  if (failure) std::rethrow_exception(failure);
  return true;
}

Result<Service::Active> Service::prepare(const TextRequest& request, std::shared_ptr<EventSink> sink) const {
  Active active;
  active.sink = std::move(sink);
  active.include_stop = request.include_stop;
  if (!request.include_stop) {
    active.end_tokens = request.core.sampling.stop_token_ids;
    if (!request.core.sampling.ignore_eos)
      active.end_tokens.insert(active.end_tokens.end(), core_->eos().begin(), core_->eos().end());
  }
  const CoreRequest& core = request.core;
  if (codec_.has_tokenizer()) {
    const size_t context = std::min<size_t>(core.prompt.size(), 8);
    active.detokenizer.emplace(*codec_.tokenizer(),
                               text::DetokenizerOptions{.skip_special = request.skip_special_tokens,
                                                        .context = std::span(core.prompt).last(context)});
  }
  if (!core.sampling.stop.empty()) {
    if (!codec_.has_tokenizer())
      return invalid_argument("stop: stop strings need a tokenizer, and the model has none");
    SLUICE_ASSIGN(text::StopStrings stops, text::StopStrings::create(core.sampling.stop));
    active.stop.emplace(std::move(stops));
    active.stop_strings = core.sampling.stop;
  }
  return active;
}

Status Service::compile(CoreRequest& request) {
  const SamplingParams& s = request.sampling;
  if (s.structured_output && !request.constraint) {
    if (!constraints_)
      return invalid_argument("structured_output: it needs a tokenizer, and the model has none");
    SLUICE_ASSIGN(request.constraint, constraints_->compile(*s.structured_output));
  }
  if (!s.bad_words.empty() && !request.bad_words) {
    SLUICE_ASSIGN(request.bad_words, codec_.encode_bad_words(s.bad_words));
  }
  return {};
}

Result<Service::Ticket> Service::submit(CoreRequest core) {
  TextRequest request;
  SLUICE_TRY(compile(core));
  request.core = std::move(core);
  auto events = std::make_shared<EventQueue>();
  SLUICE_ASSIGN(Active active, prepare(request, events));
  const Ticket ticket{++last_id_, events};
  Status status;
  if (!call([&] { status = start(ticket.id, std::move(request), std::move(active)); }))
    return Status(StatusCode::cancelled, "the engine is shutting down");
  SLUICE_TRY(status);
  return ticket;
}

bool Service::cancel(uint64_t id) {
  bool found = false;
  call([&] { found = end(id, {.finish = sched::FinishReason::cancelled}); });
  return found;
}

uint64_t Service::post(TextRequest request, std::shared_ptr<EventSink> sink) {
  const uint64_t id = ++last_id_;
  const auto refuse = [sink](Status why) {
    sink->push({.finish = sched::FinishReason::error, .error = std::move(why), .time = Clock::now()});
  };
  if (Status status = compile(request.core); !status.ok()) {
    refuse(std::move(status));
    return id;
  }
  auto active = prepare(request, sink);
  if (!active.ok()) {
    refuse(active.status());
    return id;
  }
  // A std::function must be copyable.
  auto carried = std::make_shared<std::pair<TextRequest, Active>>(std::move(request), *std::move(active));
  const bool posted = post_work([this, id, carried, refuse] {
    Status status;
    try {
      status = start(id, std::move(carried->first), std::move(carried->second));
    } catch (const std::bad_alloc&) {
      status = out_of_memory();
    }
    if (!status.ok()) refuse(std::move(status));
  });
  if (!posted) sink->push({.finish = sched::FinishReason::cancelled, .time = Clock::now()});
  return id;
}

void Service::abandon(uint64_t id) {
  post_work([this, id] {
    const auto it = active_.find(id);
    if (it == active_.end()) return;
    core_->finish(it->second.core_id, sched::FinishReason::cancelled);
    forget(id);
  });
}

void Service::cancel_all() {
  post_work([this] {
    while (!active_.empty()) end(active_.begin()->first, {.finish = sched::FinishReason::cancelled});
  });
}

Progress Service::progress() const {
  Progress out;
  out.step = step_;
  out.typical_step = typical_step_;
  const int64_t began = step_began_;
  out.busy = began != 0;
  if (out.busy) {
    const auto now = Clock::now().time_since_epoch();
    out.seconds = std::chrono::duration<double>(now - std::chrono::nanoseconds(began)).count();
  }
  return out;
}

ServiceStats Service::stats() const {
  const std::lock_guard lock(stats_mutex_);
  return stats_;
}

// ---- on the engine's thread
// ------------------------------------------------------------------------------------------------------

Status Service::start(uint64_t id, TextRequest request, Active active) {
  const uint64_t prompt = request.core.prompt.size();
  SLUICE_ASSIGN(active.core_id, core_->add(std::move(request.core)));
  prompt_tokens_ += prompt;
  id_of_[active.core_id] = id;
  active.deadline = request.deadline ? deadlines_.emplace(*request.deadline, id) : deadlines_.end();
  active_.emplace(id, std::move(active));
  return {};
}

void Service::forget(uint64_t id) {
  const auto it = active_.find(id);
  if (it->second.deadline != deadlines_.end()) deadlines_.erase(it->second.deadline);
  id_of_.erase(it->second.core_id);
  active_.erase(it);
}

bool Service::end(uint64_t id, TextEvent last) {
  const auto it = active_.find(id);
  if (it == active_.end()) return false;
  last.time = Clock::now();
  last.admission = core_->admission(it->second.core_id);
  core_->finish(it->second.core_id, *last.finish);
  it->second.sink->push(std::move(last));
  forget(id);
  return true;
}

void Service::end_overdue() {
  const auto now = Clock::now();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    end(deadlines_.begin()->second,
        {.finish = sched::FinishReason::cancelled,
         .error = Status(StatusCode::cancelled, "timeout: the request's time is over")});
  }
}

void Service::fail_all(const Status& error) {
  while (!active_.empty())
    end(active_.begin()->first, {.finish = sched::FinishReason::error, .error = error});
}

void Service::deliver(CoreEvent event) {
  const auto known = id_of_.find(event.id);
  if (known == id_of_.end()) return;
  const uint64_t id = known->second;
  Active& active = active_.at(id);
  generation_tokens_ += event.token >= 0 ? 1 : 0;
  TextEvent out{event.token, "", std::move(event.logprobs), event.finish, std::move(event.error)};
  out.time = Clock::now();
  if (!active.started || event.finish) out.admission = core_->admission(event.id);
  active.started = true;
  // A token that ends the text is not part of it; the last one that a constraint allows is.
  const bool ends_text =
      event.finish == sched::FinishReason::stop &&
      std::find(active.end_tokens.begin(), active.end_tokens.end(), event.token) != active.end_tokens.end();
  std::string text;
  if (active.detokenizer && event.token >= 0 && !ends_text) text = active.detokenizer->push(event.token);
  if (active.detokenizer && event.finish) text += active.detokenizer->flush();
  bool stopped = false;
  if (active.stop) {
    stopped = active.stop->push(text, out.text);
    if (!stopped && event.finish) stopped = active.stop->flush(out.text);
  } else {
    out.text = std::move(text);
  }
  if (stopped && out.finish != sched::FinishReason::error) {
    if (!event.finish) core_->finish(event.id, sched::FinishReason::stop);
    out.finish = sched::FinishReason::stop;
    out.stop_string = active.stop_strings[active.stop->matched().value()];
    if (active.include_stop) out.text += *out.stop_string;
  }
  active.sink->push(std::move(out));
  if (event.finish || stopped) forget(id);
}

void Service::publish_stats() {
  const sched::Scheduler& scheduler = core_->scheduler();
  ServiceStats stats;
  stats.counts = scheduler.counts();
  stats.prompt_tokens = prompt_tokens_;
  stats.generation_tokens = generation_tokens_;
  const kv::Layout& layout = scheduler.books().layout();
  stats.page_tokens = layout.page_tokens;
  for (int g = 0; g < layout.num_groups(); ++g) {
    const int64_t pages = scheduler.books().pool(g).num_pages();
    const int64_t free = scheduler.books().available(g);
    stats.kv_pages = std::max(stats.kv_pages, pages);
    if (pages > 0)
      stats.kv_usage =
          std::max(stats.kv_usage, static_cast<double>(pages - free) / static_cast<double>(pages));
  }
  const std::lock_guard lock(stats_mutex_);
  stats_ = stats;
}

void Service::step(std::vector<CoreEvent>& events) {
  end_overdue();
  events.clear();
  const auto began = Clock::now().time_since_epoch();
  ++step_;
  step_began_ = std::chrono::nanoseconds(began).count();
  bool moved = false;
  try {
    moved = core_->step(events);
    for (CoreEvent& event : events) deliver(std::move(event));
  } catch (const std::bad_alloc&) {
    fail_all(out_of_memory());
  } catch (const std::exception& e) {
    fail_all(internal_error("step {} failed: {}", step_.load(), e.what()));
  }
  step_began_ = 0;
  if (!moved) return;
  const double seconds = core_->last_step().seconds;
  typical_step_ = typical_step_ <= 0 ? seconds : 0.95 * typical_step_ + 0.05 * seconds;
  if (on_step_) on_step_(core_->last_step());
}

void Service::run() {
  std::vector<CoreEvent> events;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !work_.empty() || core_->busy(); });
    while (!work_.empty()) {
      const Work work = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      work();
      lock.lock();
    }
    if (stopping_) break;
    lock.unlock();
    if (core_->busy()) step(events);
    publish_stats();
    lock.lock();
  }
  for (auto& [id, active] : active_)
    active.sink->push({.finish = sched::FinishReason::cancelled, .time = Clock::now()});
}

}  // namespace sluice::engine
