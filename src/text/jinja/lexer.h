// Template source to tokens, with jinja2's rules for white space around tags (trim_blocks, lstrip_blocks).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace sluice::text::jinja {

enum class TokenKind : uint8_t {
  data,
  print_begin,
  print_end,
  block_begin,
  block_end,
  name,
  string,
  integer,
  real,
  op,
  end
};

struct Token {
  TokenKind kind = TokenKind::end;
  uint32_t line = 1;
  std::string spelling;  // of a name or an operator
  Text text;             // of data or a string
  int64_t integer = 0;
  double real = 0;

  bool is_op(std::string_view op) const { return kind == TokenKind::op && spelling == op; }
  bool is_name(std::string_view name) const { return kind == TokenKind::name && spelling == name; }
};

/// A TemplateError that names the line.
[[noreturn]] void fail_at(uint32_t line, const std::string& message);

/// Splits a template (valid UTF-8, decoded) into tokens; the last one is `end`. Linear in the source.
std::vector<Token> tokenize(TextView source);

}  // namespace sluice::text::jinja
