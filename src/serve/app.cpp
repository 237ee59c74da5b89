#include "serve/app.h"

#include <algorithm>
#include <ctime>
#include <random>

#include "base/json.h"
#include "base/log.h"
#include "base/memory_reserve.h"
#include "serve/json_text.h"
#include "serve/router.h"

namespace sluice::serve {
namespace {

// As long as the longer of the two, whatever they hold.
bool equal_in_constant_time(std::string_view given, std::string_view key) {
  unsigned difference = given.size() != key.size();
  for (size_t i = 0; i < std::max(given.size(), key.size()); ++i) {
    const unsigned a = i < given.size() ? static_cast<unsigned char>(given[i]) : 0;
    const unsigned b = i < key.size() ? static_cast<unsigned char>(key[i]) : 0;
    difference |= a ^ b;
  }
  return difference == 0;
}

}  // namespace

App::App(ServeOptions options) : options_(std::move(options)), metrics_(std::make_unique<Metrics>()) {
  started_at_ = static_cast<int64_t>(std::time(nullptr));
  std::random_device random;
  id_salt_ = (uint64_t{random()} << 32) | random();
  fingerprint_ =
      fmt::format("fp_{:x}", std::hash<std::string>()(options_.version + "|" + options_.model_name));
}

Result<std::unique_ptr<App>> App::start(ServeOptions options) {
  std::unique_ptr<App> app(new App(std::move(options)));
  if (!app->options_.access_log.empty()) {
    SLUICE_ASSIGN(app->log_, AccessLog::open(app->options_.access_log));
  }
  Handlers handlers;
  App* self = app.get();
  handlers.admit = [self](const HttpRequest& request) { return self->admit(request); };
  handlers.handle = [self](HttpRequest& request) { return self->handle(request); };
  handlers.is_quick = [](const HttpRequest& request) {
    std::string allow;
    const Route* route = find_route(request.method, request.path, allow);
    return route == nullptr || route->quick;
  };
  handlers.refuse = [](const EdgeError& error) {
    return error_response(
        {.status = error.status, .message = error.message, .retry_after = error.status == 503 ? 1 : 0});
  };
  handlers.new_id = [self] { return self->new_id("req-"); };
  handlers.done = [self](const Exchange& exchange) { self->done(exchange); };
  SLUICE_ASSIGN(app->server_, Server::start(app->options_.http, std::move(handlers)));
  return app;
}

App::~App() {
  server_.reset();
  engine_ = nullptr;
  service_.reset();
}

void App::ready(std::unique_ptr<engine::Service> service) {
  service_ = std::move(service);
  service_->observe_steps([this](const engine::StepReport& report) { metrics_->step(report); });
  engine_ = service_.get();
}

void App::drain() {
  draining_ = true;
  server_->drain();
}

std::optional<std::string> App::stuck() const {
  if (engine() == nullptr) return std::nullopt;
  const engine::Progress p = engine()->progress();
  const double limit = std::max(options_.watchdog_seconds, 20 * p.typical_step);
  if (!p.busy || p.seconds < limit) return std::nullopt;
  return fmt::format("step {} has been running for {:.1f} s; {:.1f} s are allowed", p.step, p.seconds, limit);
}

std::string App::metrics_text() const {
  Metrics::Now now;
  now.model = options_.model_name;
  now.version = options_.version;
  now.draining = draining_;
  if (engine() != nullptr) {
    now.ready = true;
    now.engine = engine()->stats();
    now.progress = engine()->progress();
  }
  now.connections = server_ ? server_->counts().connections : 0;
  now.log_lines_dropped = log_ ? log_->dropped() : 0;
  now.gpus = gpus_.latest();
  return metrics_->text(now, options_.metrics_compat);
}

std::string App::new_id(std::string_view prefix) {
  // Distinct by the counter, and not to be guessed from another.
  uint64_t z = id_salt_ + ++next_id_ * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return fmt::format("{}{:016x}{:08x}", prefix, z ^ (z >> 31), static_cast<uint32_t>(id_salt_));
}

bool App::has_key(const HttpRequest& request) const {
  if (options_.api_keys.empty()) return true;
  bool found = false;
  for (const std::string& given : request.api_keys) {
    for (const std::string& key : options_.api_keys) found |= equal_in_constant_time(given, key);
  }
  // Two different keys leave it open whose request it is.
  return found && request.api_keys.size() == 1;
}

std::optional<HttpResponse> App::admit(const HttpRequest& request) {
  if (request.method == "OPTIONS") {
    HttpResponse out;
    out.status = 204;
    std::string allow;
    find_route(request.method, request.path, allow);
    out.headers.emplace_back("Allow", allow.empty() ? "GET, HEAD, POST, OPTIONS" : allow + ", OPTIONS");
    return out;
  }
  std::string allow;
  const Route* route = find_route(request.method, request.path, allow);
  const bool open =
      route != nullptr && route->open && !(options_.prometheus_needs_key && request.path == "/metrics");
  if (!open && !has_key(request)) {
    metrics_->rejected("unauthorized");
    return error_response({.status = 401, .message = "a valid API key is needed: Authorization: Bearer KEY"});
  }
  if (route == nullptr) {
    ApiError error{.status = 404, .message = fmt::format("there is no {}", request.path.substr(0, 200))};
    if (!allow.empty()) error = {.status = 405, .message = request.method + " is not allowed here"};
    HttpResponse out = error_response(error);
    if (!allow.empty()) out.headers.emplace_back("Allow", allow);
    return out;
  }
  if (!route->needs_engine) return std::nullopt;
  if (draining_ || engine() == nullptr) {
    metrics_->rejected(draining_ ? "draining" : "loading");
    const char* why = draining_ ? "the server is shutting down" : "the model is loading";
    return error_response({.status = 503, .message = why, .retry_after = 1});
  }
  if (!has_memory_reserve()) {
    metrics_->rejected("no_memory");
    return error_response(out_of_memory());
  }
  return std::nullopt;
}

Reply App::handle(HttpRequest& request) {
  std::string allow;
  const Route* route = find_route(request.method, request.path, allow);
  try {
    if (route != nullptr) return route->handler(*this, request);
  } catch (const std::bad_alloc&) {
    return error_response(out_of_memory());
  } catch (const std::exception& e) {
    log_error("{} {}: {}", request.method, request.path, e.what());
  }
  return error_response({.status = 500, .message = "internal error", .retry = false});
}

void App::done(const Exchange& e) {
  const HttpRequest& request = *e.request;
  std::string allow;
  const Route* route = find_route(request.method, request.path, allow);
  metrics_->http(request.method, route != nullptr ? route->metric : "other", e.status, e.seconds);
  if (!log_) return;
  std::string line =
      fmt::format("{{\"time\":{},\"client\":\"{}\",\"id\":", std::time(nullptr), request.client);
  append_json_string(line, request.id);
  line += ",\"method\":";
  append_json_string(line, request.method.substr(0, 16));
  line += ",\"path\":";
  line += dump_json(Json(request.path.substr(0, 200)));  // whatever bytes it has
  line += fmt::format(",\"status\":{},\"bytes\":{},\"ms\":{:.2f}", e.status, e.bytes, 1e3 * e.seconds);
  if (!e.summary.empty()) line += "," + e.summary;
  log_->write(line + "}");
}

}  // namespace sluice::serve
