// What the server counts, under the names that dashboards, routers and autoscalers query.
#pragma once

#include <array>
#include <string>

#include "engine/service.h"
#include "serve/metrics/instruments.h"
#include "telemetry/gpu_monitor.h"

namespace sluice::serve {

enum class MetricsCompat { vllm, trtllm, both };

/// One finished request (one choice of it), in seconds and tokens.
struct FinishedRequest {
  double e2e = 0, queue = 0, prefill = 0, decode = 0;
  int prompt_tokens = 0, generation_tokens = 0, cached_tokens = 0, max_tokens = 0, n = 1;
  enum class End { stop, length, abort, error } end = End::stop;
};

class Metrics {
 public:
  explicit Metrics(int max_model_len = 1 << 17);

  void first_token(double seconds) { ttft_.observe(seconds); }
  void next_token(double seconds) { itl_.observe(seconds); }
  void finished(const FinishedRequest& request);
  void step(const engine::StepReport& report);
  void http(std::string_view method, std::string_view route, int status, double seconds);
  void rejected(const char* reason);
  void grammar_compiled(double seconds) { grammar_seconds_.observe(seconds); }
  void stream_stalled() { stalls_.add(); }

  /// The state of the moment, for the gauges.
  struct Now {
    std::string model, version;
    bool ready = false, draining = false;
    engine::ServiceStats engine;
    engine::Progress progress;
    int connections = 0;
    int max_num_seqs = 0, max_model_len = 0;
    uint64_t log_lines_dropped = 0;
    std::vector<telemetry::GpuSample> gpus;
  };
  std::string text(const Now& now, MetricsCompat compat) const;

 private:
  void ended(Exposition& out, const std::string& name, size_t count) const;
  void latencies(Exposition& out, const std::string& prefix) const;
  void vllm(Exposition& out, const Now& now) const;
  void trtllm(Exposition& out, const Now& now) const;
  void ours(Exposition& out, const Now& now) const;

  Histogram ttft_, itl_, request_tpot_, e2e_, queue_, prefill_, decode_, inference_;
  Histogram prompt_tokens_, generation_tokens_, max_tokens_, n_, iteration_tokens_, iteration_seconds_;
  std::array<Counter, 4> ends_;  // by FinishedRequest::End
  Counter cached_tokens_, stalls_;
  static constexpr std::array<const char*, 6> kReasons = {"queue_full", "invalid", "unauthorized",
                                                          "draining",   "loading", "no_memory"};
  std::array<Counter, kReasons.size()> rejected_;
  // By route and method (closed sets) and status class.
  static constexpr std::array<const char*, 12> kRoutes = {"/v1/chat/completions",
                                                          "/v1/completions",
                                                          "/v1/responses",
                                                          "/v1/models",
                                                          "/tokenize",
                                                          "/detokenize",
                                                          "/health",
                                                          "/livez",
                                                          "/readyz",
                                                          "/metrics",
                                                          "/version",
                                                          "other"};
  static constexpr std::array<const char*, 4> kMethods = {"GET", "POST", "HEAD", "other"};
  std::array<std::array<std::array<Counter, 6>, kMethods.size()>, kRoutes.size()> http_;
  Histogram http_seconds_, grammar_seconds_;
};

}  // namespace sluice::serve
