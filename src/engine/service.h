// The engine's thread. Requests come in from any thread, one thread runs the steps, each request's events go
// to its own sink.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
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

using Clock = Core::Clock;

/// What a request gets. The last event, and no other, has `finish`.
struct TextEvent {
  int32_t token = -1;  // -1: none, only text that was held back or the end
  std::string text;    // what can be shown now: whole characters, nothing that may begin a stop string
  std::optional<sampling::TokenLogprobs> logprobs;
  std::optional<sched::FinishReason> finish;
  Status error;
  Clock::time_point time;                  // of the step that gave it
  std::optional<std::string> stop_string;  // with `finish`: the one that ended it
  Admission admission;                     // with the first token, and with `finish`
};

/// Where the events of one request go, in order. Called on the engine's thread: it must not wait.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void push(TextEvent event) = 0;
};

/// The events of one request for a thread that waits for them.
class EventQueue : public EventSink {
 public:
  /// Waits for the next event. False once the finishing one has been delivered.
  bool next(TextEvent& event);
  void push(TextEvent event) override;

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<TextEvent> events_;
  bool finished_ = false;  // the finishing event has been delivered
};

/// A request with what concerns its text.
struct TextRequest {
  CoreRequest core;
  bool skip_special_tokens = true;
  bool include_stop = false;                  // the stop string or token stays in the text
  std::optional<Clock::time_point> deadline;  // it ends then, as cancelled
};

/// What the engine's thread is doing; to tell a stuck step from an idle engine.
struct Progress {
  uint64_t step = 0;        // the one under way, or the last one
  bool busy = false;        // a step is under way,
  double seconds = 0;       // for so long
  double typical_step = 0;  // seconds, averaged over the last steps
};

/// Totals and the state after the last step.
struct ServiceStats {
  sched::Counts counts;
  uint64_t prompt_tokens = 0, generation_tokens = 0;  // computed or found in the cache; written
  double kv_usage = 0;                                // share of KV pages in use, of the fullest group
  int64_t kv_pages = 0;                               // of the largest group
  int64_t page_tokens = 0;
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

  /// Queues a request without waiting. One that is refused gets one event, with the reason as its error.
  uint64_t post(TextRequest request, std::shared_ptr<EventSink> sink);
  /// Ends a request before the next step, without waiting and without a further event.
  void abandon(uint64_t id);
  /// Ends every request, as cancelled, without waiting.
  void cancel_all();

  /// Called on the engine's thread after each step; set before the first request.
  void observe_steps(std::function<void(const StepReport&)> observer) { on_step_ = std::move(observer); }

  const Codec& codec() const { return codec_; }
  /// Compiles constraints for the model's tokenizer, ahead of submit() and on whatever thread that shall
  /// cost; null without a tokenizer.
  sampling::ConstraintCompiler* constraints() { return constraints_ ? &*constraints_ : nullptr; }
  LoadedModel& model() { return core_->model(); }
  /// Tokens of a prompt and its outputs at most.
  int max_total_tokens() const { return max_total_tokens_; }
  Progress progress() const;
  ServiceStats stats() const;

 private:
  struct Active {
    std::shared_ptr<EventSink> sink;
    uint64_t core_id = 0;
    bool include_stop = false;
    bool started = false;  // its first token is out
    std::optional<text::Detokenizer> detokenizer;
    std::optional<text::StopMatcher> stop;
    std::vector<std::string> stop_strings;
    std::vector<int32_t> end_tokens;  // that end the text without being part of it
    std::multimap<Clock::time_point, uint64_t>::iterator deadline;  // end: none
  };
  using Work = std::function<void()>;

  void run();
  void step(std::vector<CoreEvent>& events);
  Status compile(CoreRequest& request);
  Result<Active> prepare(const TextRequest& request, std::shared_ptr<EventSink> sink) const;
  Status start(uint64_t id, TextRequest request, Active active);
  void deliver(CoreEvent event);
  void forget(uint64_t id);
  bool end(uint64_t id, TextEvent last);
  void end_overdue();
  void fail_all(const Status& error);
  void publish_stats();
  /// Runs `work` on the engine's thread between two steps. False once the engine is stopping.
  bool post_work(Work work);
  /// As post_work, and waits for it; throws what `work` throws.
  bool call(const Work& work);

  Codec codec_;
  std::optional<sampling::ConstraintCompiler> constraints_;
  // Of the engine's thread alone:
  std::unique_ptr<Core> core_;
  std::unordered_map<uint64_t, Active> active_;
  std::unordered_map<RequestId, uint64_t> id_of_;  // by the core's id
  std::multimap<Clock::time_point, uint64_t> deadlines_;
  std::function<void(const StepReport&)> on_step_;
  uint64_t prompt_tokens_ = 0, generation_tokens_ = 0;
  int max_total_tokens_ = 0;
  // Shared:
  std::atomic<uint64_t> last_id_{0};
  std::atomic<uint64_t> step_{0};
  std::atomic<int64_t> step_began_{0};  // ns of the clock; 0: none is under way
  std::atomic<double> typical_step_{0};
  mutable std::mutex stats_mutex_;
  ServiceStats stats_;
  std::mutex mutex_;
  std::condition_variable wake_;  // the engine's thread waits for work
  std::condition_variable done_;  // callers wait for their call
  std::deque<Work> work_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sluice::engine
