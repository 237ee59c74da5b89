// GET /v1/models and /v1/models/{id}
#include "base/json.h"
#include "serve/endpoints/endpoints.h"

namespace sluice::serve {
namespace {

Json model_json(const App& app) {
  return {{"id", app.options().model_name},
          {"object", "model"},
          {"created", app.started_at()},
          {"owned_by", "sluice"},
          {"root", app.options().model_name},
          {"parent", nullptr},
          {"max_model_len", app.engine()->max_total_tokens()},
          {"permission", Json::array()}};
}

}  // namespace

Reply list_models(App& app, HttpRequest&) {
  HttpResponse out;
  out.body = dump_json({{"object", "list"}, {"data", Json::array({model_json(app)})}});
  return out;
}

Reply show_model(App& app, HttpRequest& request) {
  const std::string id = request.path.substr(request.path.find("/models/") + 8);
  if (id != app.options().model_name) {
    return error_response({.status = 404,
                           .message = fmt::format("the model \"{}\" does not exist", id.substr(0, 128)),
                           .param = "model",
                           .code = "model_not_found"});
  }
  HttpResponse out;
  out.body = dump_json(model_json(app));
  return out;
}

}  // namespace sluice::serve
