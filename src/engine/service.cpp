#include "engine/service.h"

namespace sluice::engine {

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

bool Service::call(const std::function<void()>& work) {
  Call call{&work};
  std::unique_lock lock(mutex_);
  if (stopping_) return false;
  calls_.push_back(&call);
  wake_.notify_one();
  done_.wait(lock, [&] { return call.done; });
  return true;
}

Result<Service::Ticket> Service::submit(CoreRequest request) {
  Active active;
  active.events = std::make_shared<EventQueue>();
  if (codec_.has_tokenizer()) {
    const size_t context = std::min<size_t>(request.prompt.size(), 8);
    active.detokenizer.emplace(*codec_.tokenizer(),
                               text::DetokenizerOptions{.context = std::span(request.prompt).last(context)});
  }
  if (!request.sampling.stop.empty()) {
    if (!codec_.has_tokenizer())
      return invalid_argument("stop: stop strings need a tokenizer, and the model has none");
    SLUICE_ASSIGN(text::StopStrings stops, text::StopStrings::create(request.sampling.stop));
    active.stop.emplace(std::move(stops));
  }
  if (request.sampling.structured_output && !request.constraint) {
    if (!constraints_)
      return invalid_argument("structured_output: it needs a tokenizer, and the model has none");
    SLUICE_ASSIGN(request.constraint, constraints_->compile(*request.sampling.structured_output));
  }
  Ticket ticket{0, active.events};
  Status status;
  const bool called = call([&] {
    auto id = core_->add(std::move(request));
    if (!id.ok()) {
      status = id.status();
      return;
    }
    ticket.id = *id;
    active_.emplace(*id, std::move(active));
  });
  if (!called) return Status(StatusCode::cancelled, "the engine is shutting down");
  SLUICE_TRY(status);
  return ticket;
}

bool Service::cancel(uint64_t id) {
  bool found = false;
  call([&] {
    const auto it = active_.find(id);
    if (it == active_.end()) return;
    found = true;
    core_->finish(id, sched::FinishReason::cancelled);
    it->second.events->push({.finish = sched::FinishReason::cancelled});
    active_.erase(it);
  });
  return found;
}

void Service::deliver(CoreEvent event) {
  const auto it = active_.find(event.id);
  if (it == active_.end()) return;
  Active& active = it->second;
  TextEvent out{event.token, "", std::move(event.logprobs), event.finish, std::move(event.error)};
  std::string text;
  // A token that ends the text is not part of it; the detokeniser skips special ones by itself.
  if (active.detokenizer && event.token >= 0) text = active.detokenizer->push(event.token);
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
  }
  active.events->push(std::move(out));
  if (event.finish || stopped) active_.erase(it);
}

void Service::run() {
  std::vector<CoreEvent> events;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !calls_.empty() || core_->busy(); });
    while (!calls_.empty()) {
      Call* call = calls_.front();
      calls_.pop_front();
      lock.unlock();
      (*call->work)();
      lock.lock();
      call->done = true;
      done_.notify_all();
    }
    if (stopping_) break;
    lock.unlock();
    events.clear();
    core_->step(events);
    for (CoreEvent& event : events) deliver(std::move(event));
    lock.lock();
  }
  for (auto& [id, active] : active_) active.events->push({.finish = sched::FinishReason::cancelled});
}

}  // namespace sluice::engine
