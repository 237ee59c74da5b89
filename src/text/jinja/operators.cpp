#include "text/jinja/operators.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/checked.h"
#include "text/jinja/attributes.h"
#include "text/jinja/format.h"
#include "text/jinja/print.h"

namespace sluice::text::jinja {
namespace {

constexpr std::array kArithmeticNames = {"+", "-", "*", "/", "//", "%", "** or pow()"};

[[noreturn]] void fail_operands(const char* op, const Value& a, const Value& b) {
  if (a.is(Kind::undefined)) fail_undefined(a);
  if (b.is(Kind::undefined)) fail_undefined(b);
  fail("unsupported operand type(s) for {}: '{}' and '{}'", op, type_name(a), type_name(b));
}

int64_t checked(std::optional<int64_t> result) {
  if (!result) fail("an integer result does not fit in 64 bits");
  return *result;
}

/// Compares numbers exactly: the 64-bit significand of long double holds every int64 and every double.
int order(const Value& a, const Value& b) {
  const auto wide = [](const Value& v) {
    return v.is(Kind::real) ? static_cast<long double>(v.as_real())
                            : static_cast<long double>(v.as_integer());
  };
  return wide(a) < wide(b) ? -1 : wide(a) > wide(b) ? 1 : 0;
}
static_assert(std::numeric_limits<long double>::digits >= 64);

bool is_nan(const Value& v) { return v.is(Kind::real) && std::isnan(v.as_real()); }

double floor_mod(double a, double b) {
  double r = std::fmod(a, b);
  if (r != 0 && (r < 0) != (b < 0)) r += b;
  return r == 0 ? std::copysign(0.0, b) : r;
}

/// Python's float floor division: exact with respect to its own modulo.
double floor_quotient(double a, double b) {
  const double quotient = (a - floor_mod(a, b)) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

int64_t integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (int64_t square = base; exponent > 0;) {
    if (exponent & 1) result = checked(checked_mul(result, square));
    exponent >>= 1;
    if (exponent > 0) square = checked(checked_mul(square, square));
  }
  return result;
}

Value power(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral() && b.as_integer() >= 0) {
    return Value::integer(integer_power(a.as_integer(), b.as_integer()));
  }
  const double base = a.as_real();
  const double exponent = b.as_real();
  if (base == 0 && exponent < 0) fail("0.0 cannot be raised to a negative power");
  if (base < 0 && std::isfinite(base) && std::isfinite(exponent) && exponent != std::floor(exponent)) {
    fail_unsupported("a negative number to a fractional power is complex, which is not supported");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent))
    fail("the result of ** is too large");
  return Value::real(result);
}

Value integer_arithmetic(Arithmetic op, int64_t a, int64_t b) {
  switch (op) {
    case Arithmetic::add:
      return Value::integer(checked(checked_add(a, b)));
    case Arithmetic::mul:
      return Value::integer(checked(checked_mul(a, b)));
    case Arithmetic::sub: {
      int64_t difference = 0;
      if (__builtin_sub_overflow(a, b, &difference)) checked(std::nullopt);
      return Value::integer(difference);
    }
    default:
      break;
  }
  if (b == 0) fail("division by zero");
  if (op == Arithmetic::div) return Value::real(static_cast<double>(static_cast<long double>(a) / b));
  if (b == -1) return op == Arithmetic::mod ? Value::integer(0) : negate(Value::integer(a));
  const bool adjust = a % b != 0 && (a < 0) != (b < 0);
  if (op == Arithmetic::mod) return Value::integer(adjust ? a % b + b : a % b);
  return Value::integer(adjust ? a / b - 1 : a / b);
}

Value real_arithmetic(Arithmetic op, double a, double b) {
  switch (op) {
    case Arithmetic::add:
      return Value::real(a + b);
    case Arithmetic::sub:
      return Value::real(a - b);
    case Arithmetic::mul:
      return Value::real(a * b);
    default:
      break;
  }
  if (b == 0) fail("float division by zero");
  if (op == Arithmetic::div) return Value::real(a / b);
  return Value::real(op == Arithmetic::mod ? floor_mod(a, b) : floor_quotient(a, b));
}

Value concatenate(Arena& arena, const Value& a, const Value& b) {
  if (a.is(Kind::string) && b.is(Kind::string)) {
    const bool markup = a.as<String>().markup || b.as<String>().markup;
    const Value left = markup ? escape(arena, a) : a;
    const Value right = markup ? escape(arena, b) : b;
    return TextBuilder(arena).append(left.text()).append(right.text()).finish(markup);
  }
  if (a.kind() != b.kind() || !a.is_sequence()) fail_operands("+", a, b);
  arena.charge_items(a.items().size() + b.items().size());
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  auto* sequence = arena.make<Sequence>(std::move(items));
  return a.is(Kind::list) ? Value::list(sequence) : Value::tuple(sequence);
}

Value repeat(Arena& arena, const Value& v, int64_t times) {
  const auto count = static_cast<uint64_t>(std::max<int64_t>(times, 0));
  if (v.is(Kind::string)) {
    const auto total = checked_mul(count, v.text().size() * sizeof(char32_t)).value_or(UINT64_MAX);
    arena.charge(total);  // all at once: nothing is built that will not fit
    Text text;
    text.reserve(total / sizeof(char32_t));
    for (uint64_t i = 0; i < count && !v.text().empty(); ++i) text += v.text();
    return Value(arena.make<String>(std::move(text), v.as<String>().markup));
  }
  const auto total = checked_mul(count, v.items().size()).value_or(UINT64_MAX);
  arena.charge_items(total);
  std::vector<Value> items;
  items.reserve(total);
  for (uint64_t i = 0; i < count && !v.items().empty(); ++i) {
    items.insert(items.end(), v.items().begin(), v.items().end());
  }
  auto* sequence = arena.make<Sequence>(std::move(items));
  return v.is(Kind::list) ? Value::list(sequence) : Value::tuple(sequence);
}

bool equal_items(Arena& arena, const std::vector<Value>& a, const std::vector<Value>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](const Value& x, const Value& y) {
    return (x.same_as(y) && !is_nan(x)) || equal(arena, x, y);
  });
}

bool equal_dicts(Arena& arena, const Dict& a, const Dict& b) {
  if (a.entries().size() != b.entries().size()) return false;
  return std::all_of(a.entries().begin(), a.entries().end(), [&](const auto& entry) {
    const Value* other = b.find(arena, entry.first);
    return other != nullptr && (entry.second.same_as(*other) || equal(arena, entry.second, *other));
  });
}

bool contains(Arena& arena, const Value& container, const Value& v) {
  switch (container.kind()) {
    case Kind::string:
      if (!v.is(Kind::string)) {
        if (v.is(Kind::undefined)) fail_undefined(v);
        fail("'in <string>' requires string as left operand, not {}", type_name(v));
      }
      arena.scan(container.text().size() + v.text().size());
      return Searcher(v.text()).find(container.text(), 0) != TextView::npos;
    case Kind::dict:
      return container.as<Dict>().find(arena, v) != nullptr;
    case Kind::dict_view:
      if (container.as<DictView>().part == DictView::Part::keys) {
        return container.as<DictView>().dict.find(arena, v) != nullptr;
      }
      break;
    default:
      if (!is_iterable(container)) fail("argument of type '{}' is not iterable", type_name(container));
  }
  const auto next = iterate(arena, container);
  for (Value item = next(); !item.missing(); item = next()) {
    if ((item.same_as(v) && !is_nan(v)) || equal(arena, item, v)) return true;
  }
  return false;
}

/// Position of Python's index i in a sequence of n; nothing when out of range.
std::optional<size_t> wrap_index(int64_t i, int64_t n) {
  if (i < 0) i += n;
  if (i < 0 || i >= n) return std::nullopt;
  return static_cast<size_t>(i);
}

/// v[index] where that exists.
std::optional<Value> subscript(Arena& arena, const Value& v, const Value& index) {
  if (v.is(Kind::dict)) {
    if (index.is(Kind::list) || index.is(Kind::dict)) return std::nullopt;
    const Value* found = v.as<Dict>().find(arena, index);
    return found == nullptr ? std::nullopt : std::optional(*found);
  }
  const bool indexable = v.is(Kind::string) || v.is_sequence() || v.is(Kind::range);
  if (!indexable || !index.is_integral()) return std::nullopt;
  const auto at = wrap_index(index.as_integer(), *length_of(v));
  if (!at) return std::nullopt;
  if (v.is(Kind::string)) return arena.string(TextView(v.text()).substr(*at, 1), v.as<String>().markup);
  if (v.is(Kind::range)) return Value::integer(v.as<Range>().at(static_cast<int64_t>(*at)));
  return v.items()[*at];
}

std::optional<int64_t> slice_bound(const Value& v) {
  if (v.missing() || v.is(Kind::none)) return std::nullopt;
  if (!v.is_integral()) fail("slice indices must be integers or None");
  return v.as_integer();
}

}  // namespace

bool truthy(Arena& arena, const Value& v) {
  switch (v.kind()) {
    case Kind::missing:
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return v.as_integer() != 0;
    case Kind::real:
      return v.as_real() != 0;
    case Kind::loop:
      return v.as<Loop>().total(arena) != 0;
    default: {
      const auto length = length_of(v);
      return !length || *length != 0;
    }
  }
}

bool equal(Arena& arena, const Value& a, const Value& b) {
  const Arena::Level level(arena);
  arena.work();
  if (a.is_number() && b.is_number()) return !is_nan(a) && !is_nan(b) && order(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::undefined:
      return true;
    case Kind::string:
      arena.scan(std::min(a.text().size(), b.text().size()));
      return a.text() == b.text();
    case Kind::list:
    case Kind::tuple:
      return equal_items(arena, a.items(), b.items());
    case Kind::dict:
      return equal_dicts(arena, a.as<Dict>(), b.as<Dict>());
    case Kind::range:
      return equal_items(arena, collect(arena, a), collect(arena, b));
    default:
      return a.same_as(b);
  }
}

bool less(Arena& arena, const Value& a, const Value& b) {
  const Arena::Level level(arena);
  arena.work();
  if (a.is_number() && b.is_number()) return !is_nan(a) && !is_nan(b) && order(a, b) < 0;
  if (a.is(Kind::string) && b.is(Kind::string)) {
    arena.scan(std::min(a.text().size(), b.text().size()));
    return a.text() < b.text();
  }
  if (a.kind() == b.kind() && a.is_sequence()) {
    const auto& x = a.items();
    const auto& y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!x[i].same_as(y[i]) && !equal(arena, x[i], y[i])) return less(arena, x[i], y[i]);
    }
    return x.size() < y.size();
  }
  if (a.is(Kind::undefined)) fail_undefined(a);
  if (b.is(Kind::undefined)) fail_undefined(b);
  fail("'<' not supported between instances of '{}' and '{}'", type_name(a), type_name(b));
}

size_t hash(Arena& arena, const Value& v) {
  const Arena::Level level(arena);
  switch (v.kind()) {
    case Kind::boolean:
    case Kind::integer:
      return std::hash<double>()(static_cast<double>(v.as_integer()));
    case Kind::real:
      return std::hash<double>()(v.as_real());
    case Kind::string:
      arena.scan(v.text().size());
      return hash_text(v.text());
    case Kind::tuple: {
      size_t h = 0x9e3779b97f4a7c15;
      for (const Value& item : v.items()) {
        arena.work();
        h = (h ^ hash(arena, item)) * 0x100000001b3;
      }
      return h;
    }
    case Kind::list:
    case Kind::dict:
      fail("unhashable type: '{}'", type_name(v));
    case Kind::missing:
    case Kind::undefined:
    case Kind::none:
      return static_cast<size_t>(v.kind());
    default:
      return std::hash<const void*>()(&v.as<Object>());
  }
}

bool compare(Arena& arena, Comparison op, const Value& a, const Value& b) {
  switch (op) {
    case Comparison::eq:
      return equal(arena, a, b);
    case Comparison::ne:
      return !equal(arena, a, b);
    case Comparison::lt:
      return less(arena, a, b);
    case Comparison::gt:
      return less(arena, b, a);
    case Comparison::le:
    case Comparison::ge: {
      const Value& low = op == Comparison::le ? a : b;
      const Value& high = op == Comparison::le ? b : a;
      if (is_nan(low) || is_nan(high)) return false;
      return !less(arena, high, low);
    }
    case Comparison::in:
      return contains(arena, b, a);
    case Comparison::not_in:
      return !contains(arena, b, a);
  }
  return false;
}

Value arithmetic(Arena& arena, Arithmetic op, const Value& a, const Value& b) {
  if (op == Arithmetic::mod && a.is(Kind::string)) return percent_format(arena, a, b);
  if (a.is_number() && b.is_number()) {
    if (op == Arithmetic::pow) return power(a, b);
    if (a.is_integral() && b.is_integral()) return integer_arithmetic(op, a.as_integer(), b.as_integer());
    return real_arithmetic(op, a.as_real(), b.as_real());
  }
  const char* name = kArithmeticNames[static_cast<size_t>(op)];
  if (a.is(Kind::undefined) || b.is(Kind::undefined)) fail_operands(name, a, b);
  if (op == Arithmetic::add) return concatenate(arena, a, b);
  if (op == Arithmetic::mul) {
    const auto repeatable = [](const Value& v) { return v.is(Kind::string) || v.is_sequence(); };
    if (repeatable(a) && b.is_integral()) return repeat(arena, a, b.as_integer());
    if (repeatable(b) && a.is_integral()) return repeat(arena, b, a.as_integer());
  }
  fail_operands(name, a, b);
}

Value negate(const Value& v) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (v.is(Kind::real)) return Value::real(-v.as_real());
  if (!v.is_integral()) fail("bad operand type for unary -: '{}'", type_name(v));
  return integer_arithmetic(Arithmetic::sub, 0, v.as_integer());
}

Value positive(const Value& v) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is_number()) fail("bad operand type for unary +: '{}'", type_name(v));
  return v.is(Kind::real) ? v : Value::integer(v.as_integer());
}

Value get_item(Arena& arena, const Value& v, const Value& index) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (const auto found = subscript(arena, v, index)) return *found;
  if (index.is(Kind::string)) {
    if (const auto found = find_attribute(arena, v, to_utf8(index.text()))) return *found;
  }
  return arena.no_attribute(v, index);
}

Value slice(Arena& arena, const Value& v, const Value& start, const Value& stop, const Value& step) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is(Kind::string) && !v.is_sequence() && !v.is(Kind::range)) {
    fail("'{}' object cannot be sliced", type_name(v));
  }
  const int64_t n = *length_of(v);
  const int64_t by = slice_bound(step).value_or(1);
  if (by == 0) fail("slice step cannot be zero");
  // Bounds are clamped to the sequence, to [-1, n - 1] when walking backwards.
  const int64_t low = by > 0 ? 0 : -1;
  const int64_t high = by > 0 ? n : n - 1;
  const auto bound = [&](const Value& b, int64_t absent) {
    const auto given = slice_bound(b);
    if (!given) return absent;
    return std::clamp(*given < 0 ? std::max(*given, -n - 1) + n : *given, low, high);
  };
  const Range indices(bound(start, by > 0 ? low : high), bound(stop, by > 0 ? high : low), by);
  const auto count = static_cast<size_t>(indices.size());
  if (v.is(Kind::range)) {
    const auto& r = v.as<Range>();
    return Value(
        arena.make<Range>(r.at(indices.start), r.at(indices.stop), checked(checked_mul(r.step, by))));
  }
  arena.scan(count);
  if (v.is(Kind::string)) {
    if (by == 1) {
      return arena.string(TextView(v.text()).substr(static_cast<size_t>(indices.start), count),
                          v.as<String>().markup);
    }
    TextBuilder out(arena);
    for (size_t i = 0; i < count; ++i)
      out.append(v.text()[static_cast<size_t>(indices.at(static_cast<int64_t>(i)))]);
    return out.finish(v.as<String>().markup);
  }
  arena.charge_items(count);
  std::vector<Value> items;
  items.reserve(count);
  for (size_t i = 0; i < count; ++i)
    items.push_back(v.items()[static_cast<size_t>(indices.at(static_cast<int64_t>(i)))]);
  auto* sequence = arena.make<Sequence>(std::move(items));
  return v.is(Kind::list) ? Value::list(sequence) : Value::tuple(sequence);
}

Value escape(Arena& arena, const Value& v) {
  if (v.is(Kind::string) && v.as<String>().markup) return v;
  const Value plain = to_string(arena, v);
  TextBuilder out(arena);
  for (char32_t c : plain.text()) {
    const char* replacement = nullptr;
    switch (code_point(c)) {
      case U'&':
        replacement = "&amp;";
        break;
      case U'<':
        replacement = "&lt;";
        break;
      case U'>':
        replacement = "&gt;";
        break;
      case U'\'':
        replacement = "&#39;";
        break;
      case U'"':
        replacement = "&#34;";
        break;
      default:
        out.append(c);
        continue;
    }
    out.append_ascii(replacement, mark_of(c));
  }
  return out.finish(true);
}

int64_t to_index(const Value& v, const char* what) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is_integral()) fail("{} must be an integer, not {}", what, type_name(v));
  return v.as_integer();
}

}  // namespace sluice::text::jinja
