// The engine's thread. Requests come in from any thread, one thread runs the steps, each request's events go
// to its own stream.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "engine/codec.h"
#include "engine/core.h"
#include "sampling/constraint_compiler.h"
#include "text/detokenizer.h"
#include "text/stop_strings.h"

namespace sluice::engine {

/// What a stream delivers. The last one, and no other, has `finish`.
struct TextEvent {
  int32_t token = -1;  // -1: none, only text that was held back or the end
  std::string text;    // what can be shown now: whole characters, nothing that may begin a stop string
  std::optional<sampling::TokenLogprobs> logprobs;
  std::optional<sched::FinishReason> finish;
  Status error;
};

/// The events of one request, in order; filled by the engine's thread, read by one other.
class EventQueue {
 public:
  /// Waits for the next event. False once the finishing one has been delivered.
  bool next(TextEvent& event);
  void push(TextEvent event);

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<TextEvent> events_;
  bool finished_ = false;  // the finishing event has been delivered
};

class Service {
 public:
  Service(std::unique_ptr<Core> core, Codec codec);
  /// Cancels what still runs.
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  struct Ticket {
    uint64_t id = 0;
    std::shared_ptr<EventQueue> events;
  };
  /// Queues a request. Stop strings and structured output need a tokenizer; the latter is compiled here, on
  /// the caller's thread, unless the request has its constraint already. Then waits only for the step that is
  /// running.
  Result<Ticket> submit(CoreRequest request);
  /// Ends a request; its last event says cancelled. False if it has ended.
  bool cancel(uint64_t id);

  const Codec& codec() const { return codec_; }
  /// Compiles constraints for the model's tokenizer, ahead of submit() and on whatever thread that shall
  /// cost; null without a tokenizer.
  sampling::ConstraintCompiler* constraints() { return constraints_ ? &*constraints_ : nullptr; }
  LoadedModel& model() { return core_->model(); }

 private:
  struct Active {
    std::shared_ptr<EventQueue> events;
    std::optional<text::Detokenizer> detokenizer;
    std::optional<text::StopMatcher> stop;
  };
  void run();
  void deliver(CoreEvent event);
  /// Runs `work` on the engine's thread between two steps and waits for it. False once the engine is
  /// stopping.
  bool call(const std::function<void()>& work);

  Codec codec_;
  std::optional<sampling::ConstraintCompiler> constraints_;
  // Of the engine's thread alone:
  std::unique_ptr<Core> core_;
  std::unordered_map<RequestId, Active> active_;
  // Shared:
  struct Call {
    const std::function<void()>* work;
    bool done = false;
  };
  std::mutex mutex_;
  std::condition_variable wake_;  // the engine's thread waits for calls
  std::condition_variable done_;  // callers wait for their call
  std::deque<Call*> calls_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sluice::engine
