#include "text/jinja/value.h"

#include <array>

#include "base/checked.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace sluice::text::jinja {

Value::Value(String* s) : Value(Kind::string, s) {}
Value::Value(Dict* d) : Value(Kind::dict, d) {}
Value::Value(DictView* v) : Value(Kind::dict_view, v) {}
Value::Value(Range* r) : Value(Kind::range, r) {}
Value::Value(Iterator* i) : Value(Kind::iterator, i) {}
Value::Value(Undefined* u) : Value(Kind::undefined, u) {}
Value::Value(Namespace* n) : Value(Kind::name_space, n) {}
Value::Value(Callable* c) : Value(Kind::callable, c) {}
Value::Value(Loop* l) : Value(Kind::loop, l) {}
Value::Value(Cycler* c) : Value(Kind::cycler, c) {}
Value Value::list(Sequence* s) { return Value(Kind::list, s); }
Value Value::tuple(Sequence* s) { return Value(Kind::tuple, s); }

const Text& Value::text() const { return as<String>().text; }
const std::vector<Value>& Value::items() const { return as<Sequence>().items; }

bool Value::same_as(const Value& other) const {
  if (kind_ != other.kind_) return false;
  switch (kind_) {
    case Kind::missing:
    case Kind::none:
      return true;
    case Kind::boolean:
    case Kind::integer:
      return integer_ == other.integer_;
    case Kind::real:
      return real_ == other.real_;
    default:
      return object_ == other.object_;
  }
}

void Arena::charge(size_t bytes) {
  if (bytes > limits_.max_memory_bytes - bytes_) {
    throw TemplateError(
        StatusCode::resource_exhausted,
        fmt::format("the chat template needs more than {} bytes of memory", limits_.max_memory_bytes));
  }
  bytes_ += bytes;
}

void Arena::work(uint64_t steps) {
  if (steps > limits_.max_steps - steps_) {
    throw TemplateError(StatusCode::resource_exhausted,
                        fmt::format("the chat template takes more than {} steps", limits_.max_steps));
  }
  steps_ += steps;
}

Arena::Level::Level(Arena& arena) : arena_(arena) {
  if (arena.depth_ >= arena.limits_.max_depth) {
    throw TemplateError(
        StatusCode::resource_exhausted,
        fmt::format("the chat template nests deeper than {} levels", arena.limits_.max_depth));
  }
  ++arena.depth_;
}

Value Arena::adopt(Text text, bool markup) { return Value(make<String>(std::move(text), markup)); }

Value Arena::string(Text text, bool markup) {
  charge(text.capacity() * sizeof(char32_t));
  return adopt(std::move(text), markup);
}

Value Arena::string(TextView text, bool markup) {
  charge(text.size() * sizeof(char32_t));
  return adopt(Text(text), markup);
}

Value Arena::list(std::vector<Value> items) {
  charge_items(items.size());
  return Value::list(make<Sequence>(std::move(items)));
}

Value Arena::tuple(std::vector<Value> items) {
  charge_items(items.size());
  return Value::tuple(make<Sequence>(std::move(items)));
}

Value Arena::undefined(std::string message) {
  auto* u = make<Undefined>();
  u->hint = std::move(message);
  return Value(u);
}

Value Arena::no_attribute(const Value& object, const Value& name) {
  auto* u = make<Undefined>();
  u->object_type = object.is(Kind::none) ? "None" : fmt::format("{} object", type_name(object));
  u->name = name;
  return Value(u);
}

TextBuilder& TextBuilder::append(TextView piece) {
  arena_.charge(piece.size() * sizeof(char32_t));
  text_.append(piece);
  return *this;
}

TextBuilder& TextBuilder::append(char32_t c) { return append(1, c); }

TextBuilder& TextBuilder::append(size_t count, char32_t c) {
  arena_.charge(checked_mul<size_t>(count, sizeof(char32_t)).value_or(SIZE_MAX));
  text_.append(count, c);
  return *this;
}

TextBuilder& TextBuilder::append_ascii(std::string_view piece, char32_t mark) {
  arena_.charge(piece.size() * sizeof(char32_t));
  for (char c : piece) text_.push_back(static_cast<unsigned char>(c) | mark);
  return *this;
}

const Value* Dict::find(Arena& arena, const Value& key) const {
  const auto at = position(arena, key, hash(arena, key));
  return at ? &entries_[*at].second : nullptr;
}

void Dict::set(Arena& arena, const Value& key, const Value& value) {
  constexpr size_t kIndexFrom = 8;
  const size_t h = hash(arena, key);
  if (const auto at = position(arena, key, h)) {
    entries_[*at].second = value;
    return;
  }
  arena.charge(sizeof(entries_[0]) + 4 * sizeof(void*));
  entries_.emplace_back(key, value);
  if (entries_.size() == kIndexFrom) {
    for (size_t i = 0; i + 1 < entries_.size(); ++i) index_.emplace(hash(arena, entries_[i].first), i);
  }
  if (entries_.size() >= kIndexFrom) index_.emplace(h, entries_.size() - 1);
}

std::optional<size_t> Dict::position(Arena& arena, const Value& key, size_t h) const {
  if (index_.empty()) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (equal(arena, entries_[i].first, key)) return i;
    }
    return std::nullopt;
  }
  for (auto [it, end] = index_.equal_range(h); it != end; ++it) {
    if (equal(arena, entries_[it->second].first, key)) return it->second;
  }
  return std::nullopt;
}

int64_t Range::size() const {
  // Differences of 64-bit integers fit in 64 unsigned bits; the range function has bounded the quotient.
  const auto span = [](int64_t low, int64_t high) {
    return static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  };
  if (step > 0 && start < stop)
    return static_cast<int64_t>((span(start, stop) - 1) / static_cast<uint64_t>(step) + 1);
  if (step < 0 && start > stop)
    return static_cast<int64_t>((span(stop, start) - 1) / (0 - static_cast<uint64_t>(step)) + 1);
  return 0;
}

std::string Undefined::message() const {
  if (!hint.empty()) return hint;
  const std::string quoted = name.is(Kind::string) ? fmt::format("'{}'", to_utf8(name.text())) : "this";
  if (object_type.empty()) return fmt::format("{} is undefined", quoted);
  if (!name.is(Kind::string)) return fmt::format("{} has no such element", object_type);
  return fmt::format("'{}' has no attribute {}", object_type, quoted);
}

bool Loop::advance() {
  Value next = peeked ? after : pull();
  peeked = false;
  if (next.missing()) return false;
  ++index0;
  before = current;
  current = next;
  return true;
}

const Value& Loop::peek() {
  if (!peeked) after = pull();
  peeked = true;
  return after;
}

int64_t Loop::total(Arena& arena) {
  if (length) return *length;
  length = source.missing() ? std::nullopt : length_of(source);
  if (length) return *length;
  // A generator: draw the rest now and go on from there.
  std::vector<Value> rest;
  for (Value v = pull(); !v.missing(); v = pull()) {
    arena.charge_items(1);
    rest.push_back(v);
  }
  length = static_cast<int64_t>(rest.size()) + index0 + 1 + (peeked && !after.missing() ? 1 : 0);
  pull = [rest = std::move(rest), at = size_t{0}]() mutable {
    return at < rest.size() ? rest[at++] : Value();
  };
  return *length;
}

const char* type_name(const Value& v) {
  switch (v.kind()) {
    case Kind::missing:
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return v.as<String>().markup ? "markupsafe.Markup" : "str";
    case Kind::list:
      return "list";
    case Kind::tuple:
      return "tuple";
    case Kind::dict:
      return "dict";
    case Kind::dict_view: {
      static constexpr std::array kNames = {"dict_keys", "dict_values", "dict_items"};
      return kNames[static_cast<size_t>(v.as<DictView>().part)];
    }
    case Kind::range:
      return "range";
    case Kind::iterator:
      return "generator";
    case Kind::name_space:
      return "jinja2.utils.Namespace";
    case Kind::callable:
      return v.as<Callable>().macro ? "jinja2.runtime.Macro" : "function";
    case Kind::loop:
      return "jinja2.runtime.LoopContext";
    case Kind::cycler:
      return "jinja2.utils.Cycler";
  }
  return "object";
}

void fail_undefined(const Value& v) { fail("{}", v.as<Undefined>().message()); }

std::optional<int64_t> length_of(const Value& v) {
  switch (v.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::string:
      return static_cast<int64_t>(v.text().size());
    case Kind::list:
    case Kind::tuple:
      return static_cast<int64_t>(v.items().size());
    case Kind::dict:
      return static_cast<int64_t>(v.as<Dict>().entries().size());
    case Kind::dict_view:
      return static_cast<int64_t>(v.as<DictView>().dict.entries().size());
    case Kind::range:
      return v.as<Range>().size();
    default:
      return std::nullopt;
  }
}

bool is_iterable(const Value& v) {
  return length_of(v).has_value() || v.is(Kind::iterator) || v.is(Kind::loop);
}

std::function<Value()> iterate(Arena& arena, const Value& v) {
  if (v.is(Kind::iterator)) {
    return [&arena, &next = v.as<Iterator>().next] {
      const Arena::Level level(arena);  // generators over generators nest
      arena.work();
      return next();
    };
  }
  if (v.is(Kind::loop)) fail_unsupported("iterating over the loop variable is not supported");
  const auto length = length_of(v);
  if (!length) fail("'{}' object is not iterable", type_name(v));
  return [&arena, v, n = *length, i = int64_t{0}]() mutable -> Value {
    if (i == n) return {};
    arena.work();
    const auto at = static_cast<size_t>(i++);
    switch (v.kind()) {
      case Kind::string:
        return arena.string(TextView(v.text()).substr(at, 1));
      case Kind::list:
      case Kind::tuple:
        return v.items()[at];
      case Kind::dict:
        return v.as<Dict>().entries()[at].first;
      case Kind::range:
        return Value::integer(v.as<Range>().at(static_cast<int64_t>(at)));
      default:
        break;
    }
    const auto& [key, value] = v.as<DictView>().dict.entries()[at];
    switch (v.as<DictView>().part) {
      case DictView::Part::keys:
        return key;
      case DictView::Part::values:
        return value;
      default:
        return arena.tuple({key, value});
    }
  };
}

std::vector<Value> collect(Arena& arena, const Value& v) {
  std::vector<Value> out;
  const auto next = iterate(arena, v);
  for (Value item = next(); !item.missing(); item = next()) {
    arena.charge_items(1);
    out.push_back(item);
  }
  return out;
}

}  // namespace sluice::text::jinja
