// The tests of jinja2: what may follow `is`.
#include <algorithm>

#include "text/jinja/builtin.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace sluice::text::jinja {
namespace {

template <Kind kind>
Value is_kind(Arena&, const Value& v, const Bound&) {
  return Value::boolean(v.is(kind));
}

template <Comparison op>
Value compared(Arena& arena, const Value& v, const Bound& a) {
  return Value::boolean(compare(arena, op, v, a[0]));
}

/// v % divisor == remainder
Value has_remainder(Arena& arena, const Value& v, const Value& divisor, int64_t remainder) {
  return Value::boolean(
      equal(arena, arithmetic(arena, Arithmetic::mod, v, divisor), Value::integer(remainder)));
}

Value by_method(Arena& arena, const Value& v, std::string_view method) {
  return (*find_builtin(string_methods(), method))(arena, to_string(arena, v), {});
}

Value is_sequence(Arena&, const Value& v, const Bound&) {
  return Value::boolean(length_of(v).has_value() && !v.is(Kind::dict_view));
}

constexpr Builtin kTests[] = {
    {"!=", "/ other", compared<Comparison::ne>},
    {"<", "/ other", compared<Comparison::lt>},
    {"<=", "/ other", compared<Comparison::le>},
    {"==", "/ other", compared<Comparison::eq>},
    {">", "/ other", compared<Comparison::gt>},
    {">=", "/ other", compared<Comparison::ge>},
    {"boolean", "", is_kind<Kind::boolean>},
    {"callable", "/",
     [](Arena&, const Value& v, const Bound&) {
       // An Undefined can be called as far as Python can tell.
       return Value::boolean(v.is(Kind::callable) || v.is(Kind::undefined) || v.is(Kind::loop));
     }},
    {"defined", "",
     [](Arena&, const Value& v, const Bound&) { return Value::boolean(!v.is(Kind::undefined)); }},
    {"divisibleby", "num",
     [](Arena& arena, const Value& v, const Bound& a) { return has_remainder(arena, v, a[0], 0); }},
    {"eq", "/ other", compared<Comparison::eq>},
    {"equalto", "/ other", compared<Comparison::eq>},
    {"escaped", "",
     [](Arena&, const Value& v, const Bound&) {
       return Value::boolean(v.is(Kind::string) && v.as<String>().markup);
     }},
    {"even", "",
     [](Arena& arena, const Value& v, const Bound&) {
       return has_remainder(arena, v, Value::integer(2), 0);
     }},
    {"false", "",
     [](Arena&, const Value& v, const Bound&) {
       return Value::boolean(v.is(Kind::boolean) && v.as_integer() == 0);
     }},
    {"filter", "",
     [](Arena& arena, const Value& v, const Bound&) {
       hash(arena, v);
       return Value::boolean(v.is(Kind::string) && find_filter(to_utf8(v.text())) != nullptr);
     }},
    {"float", "", is_kind<Kind::real>},
    {"ge", "/ other", compared<Comparison::ge>},
    {"greaterthan", "/ other", compared<Comparison::gt>},
    {"gt", "/ other", compared<Comparison::gt>},
    {"in", "seq", compared<Comparison::in>},
    {"integer", "", is_kind<Kind::integer>},
    {"iterable", "", [](Arena&, const Value& v, const Bound&) { return Value::boolean(is_iterable(v)); }},
    {"le", "/ other", compared<Comparison::le>},
    {"lessthan", "/ other", compared<Comparison::lt>},
    {"lower", "", [](Arena& arena, const Value& v, const Bound&) { return by_method(arena, v, "islower"); }},
    {"lt", "/ other", compared<Comparison::lt>},
    {"mapping", "", is_kind<Kind::dict>},
    {"ne", "/ other", compared<Comparison::ne>},
    {"none", "", is_kind<Kind::none>},
    {"number", "", [](Arena&, const Value& v, const Bound&) { return Value::boolean(v.is_number()); }},
    {"odd", "",
     [](Arena& arena, const Value& v, const Bound&) {
       return has_remainder(arena, v, Value::integer(2), 1);
     }},
    {"sameas", "other",
     [](Arena&, const Value& v, const Bound& a) { return Value::boolean(v.same_as(a[0])); }},
    {"sequence", "", is_sequence},
    {"string", "", is_kind<Kind::string>},
    {"test", "",
     [](Arena& arena, const Value& v, const Bound&) {
       hash(arena, v);
       return Value::boolean(v.is(Kind::string) && find_test(to_utf8(v.text())) != nullptr);
     }},
    {"true", "",
     [](Arena&, const Value& v, const Bound&) {
       return Value::boolean(v.is(Kind::boolean) && v.as_integer() != 0);
     }},
    {"undefined", "", is_kind<Kind::undefined>},
    {"upper", "", [](Arena& arena, const Value& v, const Bound&) { return by_method(arena, v, "isupper"); }},
};

}  // namespace

const Builtin* find_test(std::string_view name) { return find_builtin(kTests, name); }

}  // namespace sluice::text::jinja
