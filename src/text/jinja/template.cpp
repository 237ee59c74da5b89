#include "text/jinja/template.h"

#include "text/jinja/from_json.h"
#include "text/jinja/globals.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/jinja/scopes.h"
#include "text/utf8.h"

namespace sluice::text::jinja {
namespace {

/// What parsing may take: constants are a few times the size of their source, whatever a render may use.
RenderLimits parse_limits(size_t source_bytes) {
  RenderLimits limits;
  limits.max_memory_bytes = (size_t{1} << 20) + 512 * source_bytes;
  return limits;
}

Text decode_source(const std::string& source, const RenderLimits& limits) {
  if (source.size() > limits.max_template_bytes) {
    throw TemplateError(
        StatusCode::resource_exhausted,
        fmt::format("it has {} bytes, and {} are allowed", source.size(), limits.max_template_bytes));
  }
  if (!is_valid_utf8(source)) throw TemplateError(StatusCode::invalid_argument, "it is not valid UTF-8");
  return to_text(source);
}

}  // namespace

bool is_special_token(const std::string& variable) { return variable.ends_with("_token"); }

Template::Template(std::string source, const RenderLimits& limits)
    : source_(std::move(source)), limits_(limits), constants_(parse_limits(source_.size())) {
  root_.body = parse_template(constants_, decode_source(source_, limits));
  resolve_scopes(root_, reads_);
}

Text Template::render(const Json& variables, const RenderOptions& options) const {
  Arena arena(limits_);
  std::unordered_map<std::string, Value> context;
  for (const std::string& name : reads_) {
    const auto it = variables.find(name);
    const Value value = it == variables.end()
                            ? make_global(arena, name, options.now)
                            : from_json(arena, *it, is_special_token(name) ? 0 : kInputMark);
    if (!value.missing()) context.emplace(name, value);
  }
  Interpreter interpreter(arena, context);
  try {
    return interpreter.run(root_);
  } catch (const TemplateError& error) {
    throw TemplateError(error.status().code(), fmt::format("line {}: {}", interpreter.line(), error.what()));
  }
}

}  // namespace sluice::text::jinja
