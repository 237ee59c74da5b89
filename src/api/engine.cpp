// The public API: a backend, a model and a service put together.
#include "sluice/engine.h"

#include <atomic>

#include "cpu/cpu_device.h"
#include "cuda/backend.h"
#include "engine/open.h"
#include "engine/service.h"

namespace sluice {
namespace {

FinishReason to_public(sched::FinishReason reason) {
  switch (reason) {
    case sched::FinishReason::stop:
      return FinishReason::stop;
    case sched::FinishReason::length:
      return FinishReason::length;
    case sched::FinishReason::cancelled:
      return FinishReason::cancelled;
    case sched::FinishReason::error:
      return FinishReason::error;
  }
  return FinishReason::error;
}

Result<model::Recipe> recipe_from(const Options& o) {
  model::Recipe r;
  static constexpr const char* kNames[] = {"auto", "fp32", "bf16", "fp16", "q8_0", "q4_0"};
  SLUICE_ASSIGN(r.precision, model::precision_from_name(kNames[static_cast<size_t>(o.precision)]));
  if (o.float_activations) r.activations = ops::Activations::f32;
  r.max_seq_len = o.max_seq_len;
  r.max_sequences = o.max_num_seqs;
  r.max_batch_tokens = o.max_num_batched_tokens;
  r.kv_tokens = o.kv_tokens;
  r.weight_budget = o.weight_budget;
  r.batch_invariant = o.batch_invariant;
  r.tensor_parallel = o.tensor_parallel;
  r.pipeline_parallel = o.pipeline_parallel;
  return r;
}

Result<ops::Backend> make_backend(const Options& options) {
  if (options.device == "cuda") return cuda::make_cuda_backend();
  if (options.device != "cpu")
    return invalid_argument("device \"{}\": choose \"cpu\" or \"cuda\"", options.device);
  return cpu::make_cpu_backend({.threads = options.threads, .isa = ""});
}

}  // namespace

const char* finish_reason_name(FinishReason reason) {
  static constexpr const char* kNames[] = {"stop", "length", "cancelled", "error"};
  return kNames[static_cast<size_t>(reason)];
}

struct Stream::State {
  std::shared_ptr<engine::Service> service;  // kept alive by its streams
  engine::Service::Ticket ticket;
  std::atomic<bool> finished{false};  // its last event has been read: nothing is left to cancel
};

Stream::Stream() = default;
Stream::Stream(std::shared_ptr<State> state) : state_(std::move(state)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
Stream::~Stream() { cancel(); }

bool Stream::next(Event& event) {
  engine::TextEvent e;
  if (!state_ || !state_->ticket.events->next(e)) return false;
  event = Event{.id = e.token, .text = std::move(e.text), .error = std::move(e.error)};
  if (e.logprobs) event.logprobs.push_back({e.token, e.logprobs->logprob, std::move(e.logprobs->top)});
  if (e.finish) {
    event.finished = state_->finished = true;
    event.reason = to_public(*e.finish);
  }
  return true;
}

void Stream::cancel() {
  if (state_ && !state_->finished) state_->service->cancel(state_->ticket.id);
}

uint64_t Stream::id() const { return state_ ? state_->ticket.id : 0; }

class Engine::Impl {
 public:
  static Result<std::unique_ptr<Impl>> open(const std::string& path, const Options& options) {
    SLUICE_ASSIGN(model::Recipe recipe, recipe_from(options));
    SLUICE_ASSIGN(ops::Backend backend, make_backend(options));
    SLUICE_ASSIGN(engine::Opened opened, engine::open(path, std::move(recipe), std::move(backend)));
    return std::make_unique<Impl>(
        std::make_shared<engine::Service>(std::move(opened.core), std::move(opened.codec)));
  }

  explicit Impl(std::shared_ptr<engine::Service> service) : service_(std::move(service)) {}
  const std::shared_ptr<engine::Service>& service() const { return service_; }

 private:
  std::shared_ptr<engine::Service> service_;
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Engine::Engine(const std::string& path, const Options& options) {
  auto impl = Impl::open(path, options);
  if (!impl.ok()) throw Error(impl.status());
  impl_ = *std::move(impl);
}

Result<std::unique_ptr<Engine>> Engine::open(const std::string& path, const Options& options) {
  SLUICE_ASSIGN(auto impl, Impl::open(path, options));
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Result<Stream> Engine::submit(Request request) {
  engine::CoreRequest core;
  core.prompt = std::move(request.prompt_ids);
  if (core.prompt.empty()) {
    SLUICE_ASSIGN(core.prompt, impl_->service()->codec().encode_prompt(request.prompt));
  }
  core.sampling = std::move(request.sampling);
  core.priority = request.priority;
  auto state = std::make_shared<Stream::State>();
  state->service = impl_->service();
  SLUICE_ASSIGN(state->ticket, impl_->service()->submit(std::move(core)));
  return Stream(std::move(state));
}

bool Engine::cancel(uint64_t id) { return impl_->service()->cancel(id); }

Output Engine::infer(std::span<const int32_t> input_ids, const InferOptions& options) {
  Request request;
  request.prompt_ids.assign(input_ids.begin(), input_ids.end());
  request.sampling = options.sampling;
  if (options.max_length > 0) {
    request.sampling.max_tokens = std::max(0, options.max_length - static_cast<int>(input_ids.size()));
  }
  auto stream = submit(std::move(request));
  if (!stream.ok()) throw Error(stream.status());
  Output out;
  Event event;
  while (stream->next(event)) {
    if (event.id >= 0) out.ids.push_back(event.id);
    out.text += event.text;
    if (event.finished) out.reason = event.reason;
    if (!event.error.ok()) throw Error(event.error);
  }
  return out;
}

}  // namespace sluice
