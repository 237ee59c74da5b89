#include "text/chat_template.h"

#include "text/jinja/template.h"

namespace sluice::text {
namespace {

constexpr const char* kContext = "chat template";

}  // namespace

Result<ChatTemplate> ChatTemplate::parse(std::string source, const RenderLimits& limits) {
  try {
    return ChatTemplate(std::make_shared<const jinja::Template>(std::move(source), limits));
  } catch (const jinja::TemplateError& error) {
    return error.status().with_context(kContext);
  }
}

Result<RenderedChat> ChatTemplate::render_marked(const Json& variables, const RenderOptions& options) const {
  if (!variables.is_object()) return invalid_argument("{}: the variables must be a JSON object", kContext);
  try {
    return jinja::encode_marked(impl_->render(variables, options));
  } catch (const jinja::TemplateError& error) {
    return error.status().with_context(kContext);
  }
}

Result<std::string> ChatTemplate::render(const Json& variables, const RenderOptions& options) const {
  SLUICE_ASSIGN(RenderedChat rendered, render_marked(variables, options));
  return std::move(rendered.text);
}

const std::string& ChatTemplate::source() const { return impl_->source(); }

bool ChatTemplate::reads(const std::string& name) const { return impl_->reads().count(name) > 0; }

}  // namespace sluice::text
