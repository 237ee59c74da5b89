// GET / and /page/*: the built-in web page, whose files travel in the binary.
#include <algorithm>
#include <span>

#include "serve/endpoints/endpoints.h"

namespace sluice::serve {

/// Names and contents of src/serve/page; cmake/EmbedFiles.cmake writes it.
std::span<const std::pair<std::string_view, std::string_view>> embedded_page_files();

namespace {

const char* type_of(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  return "text/javascript; charset=utf-8";
}

}  // namespace

Reply page(App&, HttpRequest& request) {
  constexpr std::string_view kFolder = "/page/";
  const std::string_view name =
      request.path == "/" ? "index.html" : std::string_view(request.path).substr(kFolder.size());
  const auto files = embedded_page_files();
  const auto file = std::find_if(files.begin(), files.end(), [&](const auto& f) { return f.first == name; });
  if (file == files.end())
    return error_response({.status = 404, .message = fmt::format("there is no {}", request.path)});
  HttpResponse out;
  out.content_type = type_of(name);
  out.body = file->second;
  // Everything comes from here; the icon alone is written into the page.
  out.headers = {{"Content-Security-Policy",
                  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                  "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
                 {"X-Content-Type-Options", "nosniff"},
                 {"Referrer-Policy", "no-referrer"},
                 {"Cache-Control", "no-cache"}};
  return out;
}

}  // namespace sluice::serve
