#include "serve/metrics/metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "serve/metrics/gpu_metrics.h"

namespace sluice::serve {
namespace {

// The bucket bounds that dashboards assume; other bounds would shift their quantiles.
std::vector<double> ttft_bounds() {
  return {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
          1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
}
std::vector<double> token_time_bounds() {
  return {.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80};
}
std::vector<double> request_time_bounds() {
  return {.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
}
std::vector<double> token_count_bounds(int max) {
  std::vector<double> out;
  for (double decade = 1; decade <= max; decade *= 10) {
    for (const double step : {1.0, 2.0, 5.0}) {
      if (step * decade <= max) out.push_back(step * decade);
    }
  }
  return out;
}
std::vector<double> iteration_bounds() {
  return {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
}

uint64_t resident_bytes() {
  long pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return static_cast<uint64_t>(pages) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

double process_seconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double start_time() {
  static const auto start = static_cast<double>(std::time(nullptr));
  return start;
}

const char* kEnds[] = {"stop", "length", "abort", "error"};

}  // namespace

Metrics::Metrics(int max_model_len)
    : ttft_(ttft_bounds()),
      itl_(token_time_bounds()),
      request_tpot_(token_time_bounds()),
      e2e_(request_time_bounds()),
      queue_(request_time_bounds()),
      prefill_(request_time_bounds()),
      decode_(request_time_bounds()),
      inference_(request_time_bounds()),
      prompt_tokens_(token_count_bounds(max_model_len)),
      generation_tokens_(token_count_bounds(max_model_len)),
      max_tokens_(token_count_bounds(max_model_len)),
      n_({1, 2, 5, 10, 20}),
      iteration_tokens_(iteration_bounds()),
      iteration_seconds_(ttft_bounds()),
      http_seconds_(request_time_bounds()),
      grammar_seconds_(ttft_bounds()) {
  start_time();
}

void Metrics::finished(const FinishedRequest& r) {
  ends_[static_cast<size_t>(r.end)].add();
  e2e_.observe(r.e2e);
  queue_.observe(r.queue);
  prefill_.observe(r.prefill);
  decode_.observe(r.decode);
  inference_.observe(r.prefill + r.decode);
  if (r.generation_tokens > 1) request_tpot_.observe(r.decode / (r.generation_tokens - 1));
  prompt_tokens_.observe(r.prompt_tokens);
  generation_tokens_.observe(r.generation_tokens);
  max_tokens_.observe(r.max_tokens);
  n_.observe(r.n);
  cached_tokens_.add(static_cast<uint64_t>(r.cached_tokens));
}

void Metrics::step(const engine::StepReport& report) {
  iteration_tokens_.observe(report.decodes + report.prefill_tokens);
  iteration_seconds_.observe(report.seconds);
}

void Metrics::http(std::string_view method, std::string_view route, int status, double seconds) {
  // The last of a set is for what is not in it.
  const auto place = [](const auto& set, std::string_view name) {
    return static_cast<size_t>(std::find(set.begin(), set.end() - 1, name) - set.begin());
  };
  http_[place(kRoutes, route)][place(kMethods, method)][static_cast<size_t>(std::clamp(status / 100, 0, 5))]
      .add();
  http_seconds_.observe(seconds);
}

void Metrics::rejected(const char* reason) {
  const auto at = std::find_if(kReasons.begin(), kReasons.end(),
                               [&](const char* known) { return std::string_view(known) == reason; });
  if (at != kReasons.end()) rejected_[static_cast<size_t>(at - kReasons.begin())].add();
}

// What both call alike: `count` of the ways to end, and a request's times.
void Metrics::ended(Exposition& out, const std::string& name, size_t count) const {
  for (size_t i = 0; i < count; ++i) {
    const Label reason[] = {{"finished_reason", kEnds[i]}};
    out.counter(name, "Requests that ended.", static_cast<double>(ends_[i].value()), reason);
  }
}

void Metrics::latencies(Exposition& out, const std::string& prefix) const {
  out.histogram(prefix + "time_to_first_token_seconds", "Arrival to first token.", ttft_);
  out.histogram(prefix + "e2e_request_latency_seconds", "Arrival to last token.", e2e_);
  out.histogram(prefix + "request_queue_time_seconds", "Queued to first scheduled.", queue_);
  out.histogram(prefix + "request_prefill_time_seconds", "First scheduled to first token.", prefill_);
  out.histogram(prefix + "request_decode_time_seconds", "First token to last token.", decode_);
  out.histogram(prefix + "request_inference_time_seconds", "First scheduled to last token.", inference_);
}

void Metrics::vllm(Exposition& out, const Now& now) const {
  const auto& counts = now.engine.counts;
  out.gauge("vllm:num_requests_running", "Requests in the running batch.", counts.running);
  out.gauge("vllm:num_requests_waiting", "Requests waiting to be run.", counts.waiting);
  out.gauge("vllm:kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1.", now.engine.kv_usage);
  out.gauge("vllm:gpu_cache_usage_perc", "Older name of vllm:kv_cache_usage_perc.", now.engine.kv_usage);
  const std::string block = std::to_string(now.engine.page_tokens),
                    blocks = std::to_string(now.engine.kv_pages);
  const Label config[] = {{"block_size", block}, {"num_gpu_blocks", blocks}};
  out.gauge("vllm:cache_config_info", "Size of the KV cache.", 1, config);
  const Label adapters[] = {{"max_lora", "0"}, {"running_lora_adapters", ""}, {"waiting_lora_adapters", ""}};
  out.gauge("vllm:lora_requests_info", "Adapters: there are none.", start_time(), adapters);
  out.counter("vllm:prompt_tokens_total", "Prompt tokens processed.",
              static_cast<double>(now.engine.prompt_tokens));
  out.counter("vllm:generation_tokens_total", "Tokens generated.",
              static_cast<double>(now.engine.generation_tokens));
  out.counter("vllm:num_preemptions_total", "Preemptions.", static_cast<double>(counts.preemptions));
  const auto hits = static_cast<double>(counts.prefix_hit_tokens);
  const auto queries = hits + static_cast<double>(counts.prefix_miss_tokens);
  out.counter("vllm:prefix_cache_queries_total", "Tokens looked up in the prefix cache.", queries);
  out.counter("vllm:prefix_cache_hits_total", "Tokens found in the prefix cache.", hits);
  out.counter("vllm:gpu_prefix_cache_queries_total", "Older name of vllm:prefix_cache_queries_total.",
              queries);
  out.counter("vllm:gpu_prefix_cache_hits_total", "Older name of vllm:prefix_cache_hits_total.", hits);
  ended(out, "vllm:request_success_total", ends_.size());
  out.histogram("vllm:inter_token_latency_seconds", "Between two tokens.", itl_);
  out.histogram("vllm:time_per_output_token_seconds", "Older name of vllm:inter_token_latency_seconds.",
                itl_);
  out.histogram("vllm:request_time_per_output_token_seconds", "Mean time between tokens of a request.",
                request_tpot_);
  latencies(out, "vllm:");
  out.histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", prompt_tokens_);
  out.histogram("vllm:request_generation_tokens", "Tokens generated for a request.", generation_tokens_);
  out.histogram("vllm:request_max_num_generation_tokens", "Most tokens that a request could get.",
                max_tokens_);
  out.histogram("vllm:request_params_max_tokens", "Parameter max_tokens.", max_tokens_);
  out.histogram("vllm:request_params_n", "Parameter n.", n_);
  out.histogram("vllm:iteration_tokens_total", "Tokens of a step.", iteration_tokens_);
}

void Metrics::trtllm(Exposition& out, const Now& now) const {
  const auto& counts = now.engine.counts;
  const auto pages = static_cast<double>(now.engine.kv_pages);
  out.gauge("trtllm_num_requests_running", "Requests in the running batch.", counts.running);
  out.gauge("trtllm_num_requests_waiting", "Requests waiting to be run.", counts.waiting);
  out.gauge("trtllm_kv_cache_utilization", "Share of the KV cache in use, 0 to 1.", now.engine.kv_usage);
  out.gauge("trtllm_kv_cache_max_blocks", "Blocks of the KV cache.", pages);
  out.gauge("trtllm_kv_cache_used_blocks", "Blocks in use.", now.engine.kv_usage * pages);
  out.gauge("trtllm_kv_cache_free_blocks", "Blocks that are free.", (1 - now.engine.kv_usage) * pages);
  out.gauge("trtllm_kv_cache_tokens_per_block", "Tokens of a block.",
            static_cast<double>(now.engine.page_tokens));
  const auto hits = static_cast<double>(counts.prefix_hit_tokens);
  const double queries = hits + static_cast<double>(counts.prefix_miss_tokens);
  out.gauge("trtllm_kv_cache_hit_rate", "Share of prompt tokens found in the cache.",
            queries > 0 ? hits / queries : 0);
  out.counter("trtllm_prompt_tokens_total", "Prompt tokens processed.",
              static_cast<double>(now.engine.prompt_tokens));
  out.counter("trtllm_prompt_cached_tokens_total", "Prompt tokens found in the cache.",
              static_cast<double>(cached_tokens_.value()));
  out.counter("trtllm_generation_tokens_total", "Tokens generated.",
              static_cast<double>(now.engine.generation_tokens));
  ended(out, "trtllm_request_success_total", ends_.size() - 1);
  out.counter("trtllm_request_error_total", "Requests that failed.", static_cast<double>(ends_[3].value()));
  out.histogram("trtllm_time_per_output_token_seconds", "Mean time between tokens of a request.",
                request_tpot_);
  latencies(out, "trtllm_");
  out.histogram("trtllm_iteration_latency_seconds", "Time of a step.", iteration_seconds_);
}

void Metrics::ours(Exposition& out, const Now& now) const {
  const Label build[] = {{"version", now.version}};
  out.gauge("sluice_build_info", "The release.", 1, build);
  out.gauge("sluice_engine_state", "0 loading, 1 ready, 2 draining.", now.draining ? 2 : now.ready ? 1 : 0);
  out.counter("sluice_engine_steps_total", "Steps run.", static_cast<double>(now.progress.step));
  out.gauge("sluice_engine_step_age_seconds", "How long the step under way has been running; 0 when idle.",
            now.progress.seconds);
  out.gauge("sluice_connections", "Open connections.", now.connections);
  for (size_t i = 0; i < kReasons.size(); ++i) {
    const Label reason[] = {{"reason", kReasons[i]}};
    out.counter("sluice_requests_rejected_total", "Requests refused.",
                static_cast<double>(rejected_[i].value()), reason);
  }
  out.counter("sluice_stream_stall_aborts_total", "Streams ended because their reader was too slow.",
              static_cast<double>(stalls_.value()));
  out.histogram("sluice_grammar_compile_seconds", "Time to compile what an output must match.",
                grammar_seconds_);
  out.counter("sluice_log_lines_dropped_total",
              "Access log lines dropped because the log could not take them.",
              static_cast<double>(now.log_lines_dropped));
  static constexpr const char* kClasses[] = {"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};
  for (size_t r = 0; r < kRoutes.size(); ++r) {
    for (size_t m = 0; m < kMethods.size(); ++m) {
      for (size_t c = 2; c < 6; ++c) {
        const uint64_t count = http_[r][m][c].value();
        if (count == 0) continue;
        const Label labels[] = {{"handler", kRoutes[r]}, {"method", kMethods[m]}, {"status", kClasses[c]}};
        out.counter("http_requests_total", "HTTP requests.", static_cast<double>(count), labels);
      }
    }
  }
  out.histogram("http_request_duration_seconds", "Time from a request's head to the end of its reply.",
                http_seconds_);
  out.gauge("process_resident_memory_bytes", "Resident memory.", static_cast<double>(resident_bytes()));
  out.counter("process_cpu_seconds_total", "CPU time.", process_seconds());
  out.gauge("process_start_time_seconds", "Start of the process, Unix time.", start_time());
}

std::string Metrics::text(const Now& now, MetricsCompat compat) const {
  Exposition out({{"model_name", now.model}, {"engine", "0"}});
  if (compat != MetricsCompat::trtllm) vllm(out, now);
  if (compat != MetricsCompat::vllm) trtllm(out, now);
  ours(out, now);
  write_gpu_metrics(out, now.gpus);
  return out.take();
}

}  // namespace sluice::serve
