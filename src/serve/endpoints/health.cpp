// Probes, version and metrics: cheap, answered on the I/O thread whatever the engine does.
#include "base/json.h"
#include "serve/endpoints/endpoints.h"
#include "serve/generation.h"

namespace sluice::serve {
namespace {

HttpResponse state_response(const App& app, bool live_only) {
  Json body = Json::object();
  const std::optional<std::string> stuck = app.stuck();
  const char* state = "ready";
  if (app.engine() == nullptr) state = "loading";
  if (app.draining()) state = "draining";
  if (stuck) state = "stuck";
  body["state"] = state;
  if (stuck) body["reason"] = *stuck;
  if (engine::Service* engine = app.engine()) {
    const engine::ServiceStats stats = engine->stats();
    const engine::Progress progress = engine->progress();
    body["running"] = stats.counts.running;
    body["waiting"] = stats.counts.waiting;
    body["step"] = progress.step;
    body["step_ms"] = 1e3 * progress.seconds;
  }
  HttpResponse out;
  const bool up = live_only ? !stuck : !stuck && app.engine() != nullptr && !app.draining();
  if (!up) {
    out.status = 503;
    out.headers.emplace_back("Retry-After", "1");
  }
  out.body = dump_json(body);
  return out;
}

// The state, once a token has come.
class ProbeFormatter : public Formatter {
 public:
  void chunk(const Generation&, Choice&, const engine::TextEvent&, const Parts&, std::string&) override {}
  void end(const Generation&, std::string&) override {}
  std::string whole(const Generation& g) override { return state_response(g.app(), false).body; }
};

}  // namespace

Reply health_generate(App& app, HttpRequest& request) {
  Call call;
  call.id = app.new_id("probe-");
  call.prompts.push_back({{0}, ""});
  call.sampling.max_tokens = 1;
  call.priority = kHighestPriority;
  call.timeout = app.options().watchdog_seconds;
  call.arrival = request.arrival;
  return generate(app, std::move(call), std::make_unique<ProbeFormatter>());
}

Reply health(App& app, HttpRequest&) { return state_response(app, false); }
Reply readyz(App& app, HttpRequest&) { return state_response(app, false); }
Reply livez(App& app, HttpRequest&) { return state_response(app, true); }

Reply version(App& app, HttpRequest&) {
  HttpResponse out;
  out.body = dump_json({{"version", app.options().version}});
  return out;
}

Reply metrics(App& app, HttpRequest&) {
  HttpResponse out;
  out.content_type = "text/plain; version=0.0.4; charset=utf-8";
  out.body = app.metrics_text();
  return out;
}

}  // namespace sluice::serve
