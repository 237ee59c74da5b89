// What the endpoints share: the options, the engine, the metrics, and the state of the whole.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engine/service.h"
#include "serve/access_log.h"
#include "serve/api_error.h"
#include "serve/http/server.h"
#include "serve/metrics/metrics.h"
#include "telemetry/gpu_sampler.h"
#include "text/grammar/tool_calls.h"

namespace sluice::serve {

struct ServeOptions {
  ServerOptions http;
  std::vector<std::string> api_keys;  // none: open to everybody
  std::string model_name;             // as clients name it
  bool any_model = false;             // accept whatever name a request gives
  bool strict = false;                // refuse fields that nobody knows
  bool tokenizer_info = false;
  std::optional<text::grammar::ToolDialect> tool_dialect;  // none: as the chat template shows
  std::optional<bool> reasoning;      // tell thoughts from answers; none: as the chat template shows
  bool prometheus_needs_key = false;  // /metrics asks for a key too
  size_t max_json_depth = 64;
  size_t max_json_values = 4'000'000;
  size_t stream_buffer_bytes = size_t{1} << 20;
  int max_requests_per_call = 1024;  // prompts times n
  double watchdog_seconds = 30;      // a step that takes longer, and 20 times the typical one, is stuck
  MetricsCompat metrics_compat = MetricsCompat::vllm;
  std::string access_log;  // a file, "stderr", or empty: none
  std::string version;
};

class App {
 public:
  /// Listens at once: while the model loads, requests are answered with 503.
  static Result<std::unique_ptr<App>> start(ServeOptions options);
  /// Closes every connection, then ends the engine.
  ~App();

  /// Takes the engine; from now on requests are served.
  void ready(std::unique_ptr<engine::Service> service);
  /// Refuses new requests; those under way go on.
  void drain();
  bool idle() const { return server_->counts().requests == 0; }
  int port() const { return server_->port(); }
  ServerCounts counts() const { return server_->counts(); }

  // For endpoints, from any thread:
  const ServeOptions& options() const { return options_; }
  Metrics& metrics() { return *metrics_; }
  /// nullptr while the model loads.
  engine::Service* engine() const { return engine_.load(); }
  bool draining() const { return draining_; }
  /// Why the engine makes no progress; nothing while it does.
  std::optional<std::string> stuck() const;
  std::string metrics_text() const;
  int64_t started_at() const { return started_at_; }  // Unix seconds
  const std::string& fingerprint() const { return fingerprint_; }
  std::string new_id(std::string_view prefix);

  /// The whole of a request's life but the wire: what the server calls.
  std::optional<HttpResponse> admit(const HttpRequest& request);
  Reply handle(HttpRequest& request);

 private:
  explicit App(ServeOptions options);
  bool has_key(const HttpRequest& request) const;
  void done(const Exchange& exchange);

  ServeOptions options_;
  std::unique_ptr<Metrics> metrics_;
  telemetry::GpuSampler gpus_{[] { return telemetry::GpuMonitor::open(); }};
  std::unique_ptr<AccessLog> log_;
  int64_t started_at_ = 0;
  std::string fingerprint_;
  std::atomic<uint64_t> next_id_{0};
  uint64_t id_salt_ = 0;
  std::atomic<bool> draining_{false};
  std::unique_ptr<engine::Service> service_;
  std::atomic<engine::Service*> engine_{nullptr};
  std::unique_ptr<Server> server_;  // goes first: its connections use all of the above
};

}  // namespace sluice::serve
