// GET /openapi.json: the description of the routes, which travels in the binary.
#include <span>

#include "base/json.h"
#include "serve/endpoints/endpoints.h"

namespace sluice::serve {

/// src/serve/openapi.json alone; cmake/EmbedFiles.cmake writes it.
std::span<const std::pair<std::string_view, std::string_view>> embedded_openapi_files();

Reply openapi(App& app, HttpRequest&) {
  static const Json* document = new Json(*parse_json(embedded_openapi_files()[0].second, "openapi.json"));
  Json own = *document;
  own["info"]["version"] = app.options().version;
  HttpResponse out;
  out.body = dump_json(own);
  return out;
}

}  // namespace sluice::serve
