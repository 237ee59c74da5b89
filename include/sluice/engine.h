// The engine: a model that answers requests. One header to use Sluice from C++.
//
//   sluice::Engine engine("model.gguf", {.precision = sluice::Precision::bf16});
//   sluice::Output out = engine.infer(input_ids, {.max_length = 1024});
//
// All calls are safe from any thread. Requests run together, continuously batched; each gets its own stream
// of events.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "sluice/sampling.h"
#include "sluice/status.h"

namespace sluice {

/// Thrown by constructors and by infer(); carries the Status. Everything else returns it.
class Error : public std::runtime_error {
 public:
  explicit Error(Status status) : std::runtime_error(status.message()), status_(std::move(status)) {}
  const Status& status() const { return status_; }

 private:
  Status status_;
};

/// Types in which a checkpoint's weights can be kept. An engine directory has its own.
enum class Precision { automatic, fp32, bf16, fp16, q8_0, q4_0 };

struct Options {
  Precision precision = Precision::automatic;
  std::string device = "cpu";
  int threads = 0;  // 0: one for each physical core that the process may use
  int tensor_parallel = 1;
  int pipeline_parallel = 1;
  int64_t max_seq_len = 0;    // tokens, prompt and output; 0: the model's, at most 4096
  int64_t max_num_seqs = 16;  // sequences running together
  int64_t max_num_batched_tokens = 512;
  int64_t kv_tokens = 0;           // tokens that the KV cache holds; 0: chosen from the two above
  int64_t weight_budget = 0;       // bytes of weights that a GPU holds, the rest is streamed; 0: all
  bool float_activations = false;  // compute with quantised weights in fp32 instead of int8
  bool batch_invariant = false;    // a request's result does not depend on what else runs
};

enum class FinishReason { stop, length, cancelled, error };
const char* finish_reason_name(FinishReason reason);

struct Logprob {
  int32_t id = 0;
  float logprob = 0;  // natural logarithm
  std::vector<std::pair<int32_t, float>> top;
};

/// What a stream delivers. The last event, and no other, has `finished`.
struct Event {
  int32_t id = -1;                // the token; -1: none, only text that was held back or the end
  std::string text;               // what it completes, whole characters only; empty without a tokenizer
  std::vector<Logprob> logprobs;  // of `id`, when asked for
  bool finished = false;
  FinishReason reason = FinishReason::stop;
  Status error;  // with FinishReason::error
};

struct Request {
  std::vector<int32_t> prompt_ids;
  std::string prompt;  // used when prompt_ids is empty; needs a tokenizer
  SamplingParams sampling;
  int priority = 0;  // higher goes first
};

/// The events of one request, in order. Destroying it cancels the request.
class Stream {
 public:
  Stream();
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;
  ~Stream();

  /// Waits for the next event. False once the finishing event has been delivered.
  bool next(Event& event);
  /// Ends the request now: its last event says cancelled. Safe from any thread, any number of times.
  void cancel();
  uint64_t id() const;

 private:
  friend class Engine;
  struct State;
  explicit Stream(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

struct InferOptions {
  int max_length = 0;  // tokens, prompt and output together; 0: sampling.max_tokens decides
  SamplingParams sampling = {.temperature = 0};
};

struct Output {
  std::vector<int32_t> ids;
  std::string text;
  FinishReason reason = FinishReason::stop;
};

class Engine {
 public:
  /// Loads an engine directory, a Hugging Face directory or a GGUF file. Throws Error.
  explicit Engine(const std::string& path, const Options& options = {});
  static Result<std::unique_ptr<Engine>> open(const std::string& path, const Options& options = {});
  ~Engine();

  /// Queues a request. A request that cannot run is refused here, with the reason.
  Result<Stream> submit(Request request);
  /// Ends a request by its stream's id. False if it has ended.
  bool cancel(uint64_t id);

  /// Runs one request to its end. Throws Error.
  Output infer(std::span<const int32_t> input_ids, const InferOptions& options = {});

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
