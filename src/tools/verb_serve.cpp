// sluice serve: the OpenAI API over HTTP.
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <future>

#include "base/file.h"
#include "base/log.h"
#include "engine/open.h"
#include "serve/app.h"
#include "tools/options.h"
#include "tools/settings.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

using serve::App;
using serve::MetricsCompat;

struct ServeVerb {
  OutputOptions output;
  BackendOptions backend;
  RecipeOptions recipe;
  GenerationConfigOption generation_config;
  std::string model, config, api_key_file, metrics_compat = "vllm", tool_dialect, reasoning;
  serve::ServeOptions serve;
  engine::CoreOptions core{.max_waiting = 1024};
  double max_tpot_ms = 0, null_step_ms = 0;
  double shutdown_timeout = 30;
};

// Signals come to whoever waits for them, not to whatever thread is running.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  /// The signal that came within `milliseconds`, or 0.
  int wait(long milliseconds) const {
    const timespec limit{milliseconds / 1000, milliseconds % 1000 * 1'000'000};
    const int signal = ::sigtimedwait(&set_, nullptr, &limit);
    return signal > 0 ? signal : 0;
  }

 private:
  sigset_t set_;
};

[[noreturn]] void stop_at_once(int signal) {
  log_warn("stopping at once");
  ::_exit(128 + signal);
}

Status read_keys(ServeVerb& o) {
  if (o.api_key_file.empty()) return {};
  SLUICE_ASSIGN(const std::string text, read_text_file(o.api_key_file, 1 << 20));
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty()) o.serve.api_keys.push_back(std::move(line));
  }
  if (o.serve.api_keys.empty()) return invalid_argument("--api_key_file {}: holds no key", o.api_key_file);
  return {};
}

Result<engine::Opened> load(const ServeVerb& o) {
  SLUICE_ASSIGN(model::Recipe recipe, o.recipe.recipe());
  engine::CoreOptions core = o.core;
  core.max_tpot = o.max_tpot_ms / 1e3;
  BackendOptions backend = o.backend;
  const bool null = backend.device == "null";
  if (!null && o.null_step_ms > 0) return invalid_argument("--null_step_ms: only --device null takes it");
  core.null_step = o.null_step_ms / 1e3;
  if (null) backend.device = "cpu";
  SLUICE_ASSIGN(ops::Backend made, backend.make());
  const auto open = null ? engine::open_null : engine::open;
  auto opened = open(o.model, std::move(recipe), std::move(made),
                     {.generation_config = o.generation_config.read()}, std::move(core));
  if (opened.ok()) SLUICE_TRY(opened->codec.check_chat_templates());  // better now than at the first chat
  return opened;
}

// Streams end, or are ended; 0 whatever became of them.
int drain(App& app, const ServeVerb& o, const Signals& signals) {
  log_info("draining: {} requests are under way; at most {:.0f} s", app.counts().requests,
           o.shutdown_timeout);
  app.drain();
  const auto started = std::chrono::steady_clock::now();
  const auto over = [&](double limit) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count() > limit;
  };
  while (!app.idle() && !over(o.shutdown_timeout)) {
    if (const int again = signals.wait(20)) stop_at_once(again);
  }
  if (!app.idle()) {
    log_warn("ending {} requests that did not end in time", app.counts().requests);
    if (app.engine() != nullptr) app.engine()->cancel_all();
    while (!app.idle() && !over(o.shutdown_timeout + 1)) {
      if (const int again = signals.wait(20)) stop_at_once(again);
    }
  }
  return kDone;
}

Result<int> run(ServeVerb& o) {
  SLUICE_TRY(read_keys(o));
  if (o.serve.model_name.empty()) o.serve.model_name = std::filesystem::path(o.model).filename().string();
  if (o.serve.model_name.empty()) o.serve.model_name = o.model;
  o.serve.metrics_compat = o.metrics_compat == "both"     ? MetricsCompat::both
                           : o.metrics_compat == "trtllm" ? MetricsCompat::trtllm
                                                          : MetricsCompat::vllm;
  if (!o.tool_dialect.empty()) {
    SLUICE_ASSIGN(o.serve.tool_dialect, text::grammar::tool_dialect_from_name(o.tool_dialect));
  }
  if (!o.reasoning.empty()) o.serve.reasoning = o.reasoning == "think";
  const Signals signals;
  const auto began = std::chrono::steady_clock::now();
  // The port first: one that is taken is known before weights are read, and probes get an answer meanwhile.
  SLUICE_ASSIGN(std::unique_ptr<App> app, App::start(o.serve));
  auto loading = std::async(std::launch::async, [&] { return load(o); });
  while (loading.wait_for(std::chrono::milliseconds(0)) != std::future_status::ready) {
    if (const int signal = signals.wait(10)) stop_at_once(signal);
  }
  SLUICE_ASSIGN(engine::Opened opened, loading.get());
  for (const std::string& note : opened.core->model().notes()) log_info("{}", note);
  app->ready(std::make_unique<engine::Service>(std::move(opened.core), std::move(opened.codec)));
  log_info("ready after {:.1f} s: http://{}:{}/v1 serves \"{}\"",
           std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count(), o.serve.http.host,
           app->port(), o.serve.model_name);
  bool was_stuck = false;
  while (true) {
    if (signals.wait(500)) return drain(*app, o, signals);
    const auto stuck = app->stuck();
    if (stuck && !was_stuck) log_error("{}", *stuck);
    was_stuck = stuck.has_value();
  }
}

void declare_limits(CLI::App& app, ServeVerb& o) {
  serve::HttpLimits& l = o.serve.http.limits;
  const auto add = [&](const char* name, auto& value, const char* help, auto low, auto high) {
    app.add_option(name, value, help)->check(CLI::Range(low, high))->type_name("N")->capture_default_str();
  };
  add("--max_body_bytes", l.max_body_bytes, "Bytes of a request's body", 1, 1 << 30);
  add("--max_header_bytes", l.max_header_bytes, "Bytes of a request's head", 256, 1 << 20);
  add("--max_headers", l.max_headers, "Header fields of a request", 1, 10'000);
  add("--max_connections", l.max_connections, "Open connections", 1, 1'000'000);
  add("--max_json_depth", o.serve.max_json_depth, "Nesting of a request's JSON", 2, 1000);
  add("--max_json_values", o.serve.max_json_values, "Values in a request's JSON", 1, 100'000'000);
  add("--max_requests_per_call", o.serve.max_requests_per_call, "Prompts times n of one call", 1, 100'000);
  add("--stream_buffer_bytes", o.serve.stream_buffer_bytes,
      "What may wait for a reader of a stream; more ends the stream", 1 << 10, 1 << 30);
  add("--header_timeout", l.header_timeout, "Seconds for a request's head", 0.1, 1e6);
  add("--body_timeout", l.body_timeout, "Seconds for a request's body", 0.1, 1e6);
  add("--idle_timeout", l.idle_timeout, "Seconds that a connection is kept without a request", 0.1, 1e6);
  add("--write_timeout", l.write_timeout, "Seconds that a write may make no progress", 0.1, 1e6);
}

}  // namespace

Run declare_serve(CLI::App& app) {
  auto o = std::make_shared<ServeVerb>();
  serve::ServeOptions& s = o->serve;
  s.version = version_line().substr(version_line().find(' ') + 1);
  app.add_option("MODEL", o->model, "An engine directory, a Hugging Face directory or a GGUF file")
      ->required();
  declare_config(app, o->config);
  app.add_option("--host", s.http.host, "Address to listen on")->type_name("ADDRESS")->capture_default_str();
  app.add_option("--port", s.http.port, "Port to listen on; 0: any free one")
      ->check(CLI::Range(0, 65535))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--api_key", s.api_keys, "A key that clients must show; may be given several times")
      ->type_name("KEY")
      ->allow_extra_args(false);
  app.add_option("--api_key_file", o->api_key_file, "A file with keys, one a line")->type_name("FILE");
  app.add_flag("--metrics_need_key", s.prometheus_needs_key, "/metrics asks for a key as well");
  app.add_option("--served_model_name", s.model_name, "How clients name the model [MODEL's last part]")
      ->type_name("NAME");
  app.add_flag("--any_model", s.any_model, "Answer whatever model a request names");
  app.add_flag("--strict", s.strict, "Refuse request fields that are unknown");
  app.add_flag("--enable_tokenizer_info_endpoint", s.tokenizer_info,
               "Serve /tokenizer_info (it shows the chat template)");
  app.add_option("--tool_call_parser", o->tool_dialect,
                 "How the model writes tool calls: hermes or llama3_json [as the chat template shows]")
      ->check(CLI::IsMember({"hermes", "llama3_json"}))
      ->type_name("NAME");
  app.add_option(
         "--reasoning_parser", o->reasoning,
         "think: what stands in <think> becomes reasoning_content; or none [as the chat template shows]")
      ->check(CLI::IsMember({"think", "none"}))
      ->type_name("NAME");
  app.add_option("--max_waiting", o->core.max_waiting, "Requests in the queue; more get 429")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--max_tpot_ms", o->max_tpot_ms,
                 "Time between tokens that running streams keep while prompts are read [no promise]")
      ->check(CLI::Range(0.0, 1e6))
      ->type_name("MS");
  app.add_option("--null_step_ms", o->null_step_ms, "With --device null: how long a step takes [no time]")
      ->check(CLI::Range(0.0, 1e6))
      ->type_name("MS");
  app.add_option("--watchdog", s.watchdog_seconds,
                 "Seconds after which a step counts as stuck (and 20 times the usual): /livez fails")
      ->check(CLI::Range(0.1, 1e6))
      ->type_name("S")
      ->capture_default_str();
  app.add_option("--shutdown_timeout", o->shutdown_timeout, "Seconds that streams may go on after SIGTERM")
      ->check(CLI::Range(0.0, 1e6))
      ->type_name("S")
      ->capture_default_str();
  app.add_option("--access_log", s.access_log, "Where a JSON line for each request goes: a file, or stderr")
      ->type_name("FILE");
  app.add_option("--metrics_compat", o->metrics_compat, "Names of the metrics: vllm, trtllm or both")
      ->check(CLI::IsMember({"vllm", "trtllm", "both"}))
      ->capture_default_str()
      ->type_name("NAMES");
  app.add_option("--io_threads", s.http.io_threads, "Threads for connections")
      ->check(CLI::Range(1, 256))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--handler_threads", s.http.handler_threads, "Threads that parse and tokenise")
      ->check(CLI::Range(1, 256))
      ->type_name("N")
      ->capture_default_str();
  declare_limits(app, *o);
  o->output.declare(app);
  o->backend.declare(app);
  o->recipe.declare(app);
  o->generation_config.declare(app);
  return [o] { return run(*o); };
}

}  // namespace sluice::tools
