// The pieces of JSON text that schemas are made of: white space, strings, keys, numbers.
//
// White space between tokens is at most one space, or one or two line breaks and up to 20 spaces or tabs:
// room for every usual layout, none for a model that would indent for ever.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "text/grammar/grammar.h"
#include "text/grammar/regex_grammar.h"

namespace sluice::text::grammar {

/// Characters inside a JSON string in one spelling each: themselves, or the shortest escape where JSON needs
/// one. RegexParser speaks of the string's value through this.
NodeId spell_in_json(Grammar& grammar, const CharSet& set);

/// One end of a range of numbers.
struct Bound {
  Json value;  // a number
  bool exclusive = false;
};

struct NumberShape {
  bool integer = false;
  std::optional<Bound> least, most;
  std::optional<Json> multiple_of;

  bool plain() const { return !least && !most && !multiple_of; }
};

struct StringShape {
  std::optional<int32_t> min_length, max_length;  // in code points
  std::optional<std::string> pattern;             // ECMA-262, not anchored
  std::optional<std::string> format;

  bool plain() const { return !min_length && !max_length && !pattern && !format; }
};

/// Adds rules for JSON's tokens to one grammar, each the first time that it is asked for.
class JsonText {
 public:
  JsonText(Grammar& grammar, const Limits& limits) : g_(grammar), limits_(limits) {}

  NodeId space();
  /// Any string, with its quotes.
  NodeId string();
  Result<NodeId> string(const StringShape& shape);
  /// Any string but those of `names`. Spelt so that no escape makes it one of them.
  NodeId string_except(const std::vector<std::string>& names);
  /// Integers of up to 18 digits; other numbers of up to 18 digits, 15 decimals and a three-digit exponent.
  /// With a range or multipleOf: without exponent.
  Result<NodeId> number(const NumberShape& shape);
  /// A value and nothing else; white space between tokens is free.
  NodeId literal(const Json& value);
  /// Any value; any object.
  NodeId value();
  NodeId object();

  /// "{" members "}", "[" items "]" and what lies between.
  NodeId member(NodeId key, NodeId value);
  NodeId separator();
  NodeId enclosed(const char* open, NodeId inside, const char* close);

 private:
  template <typename Make>
  NodeId rule(const std::string& name, Make make);
  NodeId any_char();
  Result<NodeId> number_in_range(const NumberShape& shape, int decimals);

  Grammar& g_;
  const Limits& limits_;
  std::map<std::string, RuleId> rules_;
  NodeId any_char_ = -1;
};

/// A regular expression for a `format` of strings; unsupported names it.
Result<std::string> regex_of_format(const std::string& format);

/// Decimal numbers without exponent in [least, most] as a graph over digits; integers with decimals = 0.
Result<NodeId> decimal_range(Grammar& grammar, const std::optional<Bound>& least,
                             const std::optional<Bound>& most, int decimals);

/// Integers that `divisor` divides, as a graph of remainders.
NodeId multiples_of(Grammar& grammar, int32_t divisor);

}  // namespace sluice::text::grammar
