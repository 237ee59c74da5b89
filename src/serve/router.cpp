#include "serve/router.h"

#include <string_view>

namespace sluice::serve {
namespace {

constexpr Route kRoutes[] = {
    {"POST", "/v1/chat/completions", chat_completions, "/v1/chat/completions"},
    {"POST", "/v1/chat/completions/render", render_chat, "other"},
    {"POST", "/apply-template", render_chat, "other"},
    {"POST", "/v1/responses", responses, "/v1/responses"},
    {"POST", "/v1/completions", completions, "/v1/completions"},
    {"POST", "/v1/embeddings", embeddings, "other"},
    {"GET", "/v1/models", list_models, "/v1/models"},
    {"GET", "/models", list_models, "/v1/models"},
    {"GET", "/v1/models/*", show_model, "/v1/models"},
    {"GET", "/models/*", show_model, "/v1/models"},
    {"POST", "/tokenize", tokenize, "/tokenize"},
    {"POST", "/detokenize", detokenize, "/detokenize"},
    {"GET", "/tokenizer_info", tokenizer_info, "other"},
    {"GET", "/health", health, "/health", true, true, false},
    {"GET", "/healthz", health, "/health", true, true, false},
    {"GET", "/v1/health", health, "/health", true, true, false},
    {"GET", "/ping", health, "/health", true, true, false},
    {"GET", "/health_generate", health_generate, "/health"},
    {"GET", "/readyz", readyz, "/readyz", true, true, false},
    {"GET", "/livez", livez, "/livez", true, true, false},
    {"GET", "/version", version, "/version", true, true, false},
    {"GET", "/metrics", metrics, "/metrics", true, true, false},
    {"GET", "/openapi.json", openapi, "other", true, false, false},
    {"GET", "/", page, "other", true, true, false},
    {"GET", "/page/*", page, "other", true, true, false},
};

bool matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with('*')) return pattern == path;
  pattern.remove_suffix(1);
  return path.starts_with(pattern) && path.size() > pattern.size();
}

}  // namespace

std::span<const Route> routes() { return kRoutes; }

const Route* find_route(const std::string& method, const std::string& path, std::string& allow) {
  allow.clear();
  for (const Route& route : kRoutes) {
    if (!matches(route.path, path)) continue;
    if (method == route.method || (method == "HEAD" && std::string_view(route.method) == "GET"))
      return &route;
    allow += (allow.empty() ? "" : ", ") + std::string(route.method);
    if (std::string_view(route.method) == "GET") allow += ", HEAD";
  }
  return nullptr;
}

}  // namespace sluice::serve
