#include "text/jinja/builtin.h"

#include <algorithm>

#include "text/jinja/operators.h"

namespace sluice::text::jinja {
namespace {

/// Takes the next blank-separated word off the front of `words`.
std::string_view next_word(std::string_view& words) {
  const size_t end = std::min(words.find(' '), words.size());
  const std::string_view word = words.substr(0, end);
  words.remove_prefix(std::min(end + 1, words.size()));
  return word;
}

}  // namespace

Bound::Bound(std::string_view callee, std::string_view parameters, const Arguments& arguments)
    : callee_(callee), arguments_(arguments) {
  if (parameters == "*") return;
  const bool positional_only = parameters.starts_with("/");
  if (positional_only) next_word(parameters);
  if (positional_only && !arguments.named.empty()) fail("{}() takes no keyword arguments", callee);

  size_t count = 0;
  size_t named_used = 0;
  while (!parameters.empty()) {
    std::string_view name = next_word(parameters);
    const bool optional = name.ends_with('?');
    if (optional) name.remove_suffix(1);
    const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& argument) { return argument.first == name; });
    Value& slot = values_[count];
    if (count < arguments.positional.size()) slot = arguments.positional[count];
    if (named != arguments.named.end()) {
      if (!slot.missing()) fail("{}() got multiple values for argument '{}'", callee, name);
      slot = named->second;
      ++named_used;
    }
    if (slot.missing() && !optional) fail("{}() misses its argument '{}'", callee, name);
    ++count;
  }
  if (arguments.positional.size() > count) fail("{}() takes at most {} argument(s)", callee, count);
  if (named_used < arguments.named.size()) fail("{}() got an unexpected keyword argument", callee);
}

bool Bound::flag(Arena& arena, size_t i, bool absent) const {
  return values_[i].missing() ? absent : truthy(arena, values_[i]);
}

int64_t Bound::integer(size_t i, int64_t absent) const {
  if (values_[i].missing()) return absent;
  if (values_[i].is(Kind::undefined)) fail_undefined(values_[i]);
  if (!values_[i].is_integral()) fail("{}() needs an integer, not '{}'", callee_, type_name(values_[i]));
  return values_[i].as_integer();
}

TextView Bound::text(size_t i) const {
  if (values_[i].is(Kind::undefined)) fail_undefined(values_[i]);
  if (!values_[i].is(Kind::string)) fail("{}() needs a string, not '{}'", callee_, type_name(values_[i]));
  return values_[i].text();
}

const Builtin* find_builtin(std::span<const Builtin> table, std::string_view name) {
  const auto it = std::find_if(table.begin(), table.end(), [&](const Builtin& b) { return b.name == name; });
  return it == table.end() ? nullptr : &*it;
}

}  // namespace sluice::text::jinja
