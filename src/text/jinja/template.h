// A template that has passed the parser and knows its variables.
#pragma once

#include <set>
#include <string>

#include "text/chat_template.h"
#include "text/jinja/ast.h"

namespace sluice::text::jinja {

/// Special tokens are the model's own words: text from variables of such names is the template's, not the
/// user's.
bool is_special_token(const std::string& variable);

class Template {
 public:
  /// Throws TemplateError.
  Template(std::string source, const RenderLimits& limits);

  /// Renders with the variables of `variables`, an object. Throws TemplateError, with the line.
  Text render(const Json& variables, const RenderOptions& options) const;

  const std::string& source() const { return source_; }
  const std::set<std::string>& reads() const { return reads_; }

 private:
  std::string source_;
  RenderLimits limits_;
  Arena constants_;
  Function root_;
  std::set<std::string> reads_;  // variables taken from the caller
};

}  // namespace sluice::text::jinja
