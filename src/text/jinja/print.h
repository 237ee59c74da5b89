// Values as text: str(), repr() and json.dumps() as Python writes them.
#pragma once

#include "text/jinja/value.h"

namespace sluice::text::jinja {

/// str(v): the value itself when it is a plain string, "" for undefined.
Value to_string(Arena& arena, const Value& v);
/// Appends str(v).
void append_string(Arena& arena, TextBuilder& out, const Value& v);
/// Appends repr(v).
void append_repr(Arena& arena, TextBuilder& out, const Value& v);

/// The shortest text that reads back as the same double, in Python's layout ("1e+16", "0.1", "inf").
std::string float_repr(double value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<Text> indent;  // one level of indentation; absent: all on one line
  Text item_separator = U", ";
  Text key_separator = U": ";
};
/// json.dumps(v); fails for what JSON cannot say.
Value dump_json(Arena& arena, const Value& v, const JsonStyle& style);

}  // namespace sluice::text::jinja
