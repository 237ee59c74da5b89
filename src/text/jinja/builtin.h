// Filters, tests, methods and functions are rows of tables: a name, its parameters, and what to call.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "text/jinja/value.h"

namespace sluice::text::jinja {

/// The arguments of a call matched with the parameters of a builtin.
class Bound {
 public:
  /// `parameters` lists names separated by blanks: "old new count?" ('?': may be left out). A leading "/"
  /// means that none may be given by name. "*" takes everything as it comes.
  Bound(std::string_view callee, std::string_view parameters, const Arguments& arguments);

  const Value& operator[](size_t i) const { return values_[i]; }  // missing when not given
  bool given(size_t i) const { return !values_[i].missing() && !values_[i].is(Kind::none); }
  bool flag(Arena& arena, size_t i, bool absent) const;
  int64_t integer(size_t i, int64_t absent) const;
  /// The text of a string argument; fails for another type.
  TextView text(size_t i) const;
  const Arguments& all() const { return arguments_; }

 private:
  std::string_view callee_;
  const Arguments& arguments_;
  std::array<Value, 6> values_;
};

struct Builtin {
  std::string_view name;
  std::string_view parameters;
  Value (*call)(Arena& arena, const Value& self, const Bound& arguments);

  Value operator()(Arena& arena, const Value& self, const Arguments& arguments) const {
    return call(arena, self, Bound(name, parameters, arguments));
  }
};

const Builtin* find_builtin(std::span<const Builtin> table, std::string_view name);

/// nullptr when there is no such filter or test. Filters include one that jinja2 does not have: from_json.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
/// Whether jinja2 has this filter and this engine does not, on purpose (`random`, `urlize` and the like).
bool is_refused_filter(std::string_view name);

std::span<const Builtin> string_methods();

}  // namespace sluice::text::jinja
