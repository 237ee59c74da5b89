// What a Split or a Replace looks for: a literal or a regular expression.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/regex.h"

namespace sluice::text {

class Pattern {
 public:
  /// Refuses the empty literal. (An empty regular expression matches between all characters.)
  static Result<Pattern> literal(std::string_view text);
  static Result<Pattern> regex(std::string_view pattern);

  /// Appends every match in `subject`, left to right.
  Status find_all(std::string_view subject, std::vector<TextRange>& out) const;

  /// The literal, or null for a regular expression.
  const std::string* as_literal() const { return std::get_if<std::string>(&what_); }

 private:
  explicit Pattern(std::variant<std::string, Regex> what) : what_(std::move(what)) {}
  std::variant<std::string, Regex> what_;
};

/// `text` with every match replaced by `content`.
Result<std::string> replace_all(std::string_view text, const Pattern& pattern, std::string_view content);

}  // namespace sluice::text
