#include "text/jinja/attributes.h"

#include <algorithm>
#include <array>

#include "text/jinja/builtin.h"
#include "text/jinja/operators.h"

namespace sluice::text::jinja {
namespace {

using Names = std::initializer_list<std::string_view>;

bool is_one_of(std::string_view name, Names names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

template <DictView::Part part>
Value dict_view(Arena& arena, const Value& d, const Bound&) {
  return Value(arena.make<DictView>(d.as<Dict>(), part));
}

Value dict_get(Arena& arena, const Value& d, const Bound& a) {
  const Value* found = d.as<Dict>().find(arena, a[0]);
  if (found != nullptr) return *found;
  return a[1].missing() ? Value::none() : a[1];
}

Value dict_copy(Arena& arena, const Value& d, const Bound&) {
  auto* copy = arena.make<Dict>();
  for (const auto& [key, value] : d.as<Dict>().entries()) copy->set(arena, key, value);
  return Value(copy);
}

constexpr Builtin kDictMethods[] = {
    {"copy", "/", dict_copy},
    {"get", "/ key default?", dict_get},
    {"items", "/", dict_view<DictView::Part::items>},
    {"keys", "/", dict_view<DictView::Part::keys>},
    {"values", "/", dict_view<DictView::Part::values>},
};

Value count_items(Arena& arena, const Value& v, const Bound& a) {
  const auto items = collect(arena, v);
  return Value::integer(
      std::count_if(items.begin(), items.end(), [&](const Value& item) { return equal(arena, item, a[0]); }));
}

Value index_of_item(Arena& arena, const Value& v, const Bound& a) {
  const auto items = collect(arena, v);
  const auto n = static_cast<int64_t>(items.size());
  const auto bound = [n](int64_t i) { return std::clamp(i < 0 ? std::max(i, -n) + n : i, int64_t{0}, n); };
  for (int64_t i = bound(a.integer(1, 0)); i < bound(a.integer(2, n)); ++i) {
    if (equal(arena, items[static_cast<size_t>(i)], a[0])) return Value::integer(i);
  }
  fail("the value is not in the {}", type_name(v));
}

constexpr Builtin kSequenceMethods[] = {
    {"count", "/ value", count_items},
    {"index", "/ value start? stop?", index_of_item},
    {"copy", "/", [](Arena& arena, const Value& v, const Bound&) { return arena.list(v.items()); }},
};

Value loop_cycle(Arena&, const Value& v, const Bound& a) {
  const auto& items = a.all().positional;
  if (items.empty()) fail("no items for cycling given");
  return items[static_cast<size_t>(v.as<Loop>().index0) % items.size()];
}

Value loop_changed(Arena& arena, const Value& v, const Bound& a) {
  auto& last = v.as<Loop>().last_changed;
  const auto& now = a.all().positional;
  const bool same =
      last && std::equal(last->begin(), last->end(), now.begin(), now.end(),
                         [&](const Value& x, const Value& y) { return x.same_as(y) || equal(arena, x, y); });
  last = now;
  return Value::boolean(!same);
}

constexpr Builtin kLoopMethods[] = {{"cycle", "*", loop_cycle}, {"changed", "*", loop_changed}};

Value cycler_next(Arena&, const Value& v, const Bound&) {
  auto& cycler = v.as<Cycler>();
  const Value current = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return current;
}

Value cycler_reset(Arena&, const Value& v, const Bound&) {
  v.as<Cycler>().position = 0;
  return Value::none();
}

constexpr Builtin kCyclerMethods[] = {{"next", "/", cycler_next}, {"reset", "/", cycler_reset}};

std::optional<Value> method_of(Arena& arena, std::span<const Builtin> table, const Value& self,
                               std::string_view name) {
  const Builtin* method = find_builtin(table, name);
  if (method == nullptr) return std::nullopt;
  return Value(arena.make<Callable>(std::string(name), [self, method](Arena& a, const Arguments& arguments) {
    return (*method)(a, self, arguments);
  }));
}

std::optional<Value> loop_attribute(Arena& arena, const Value& v, std::string_view name) {
  auto& loop = v.as<Loop>();
  const auto item = [&](const Value& found, const char* absent) {
    return found.missing() ? arena.undefined(absent) : found;
  };
  if (name == "index0") return Value::integer(loop.index0);
  if (name == "index") return Value::integer(loop.index0 + 1);
  if (name == "length") return Value::integer(loop.total(arena));
  if (name == "revindex0") return Value::integer(loop.total(arena) - loop.index0 - 1);
  if (name == "revindex") return Value::integer(loop.total(arena) - loop.index0);
  if (name == "first") return Value::boolean(loop.index0 == 0);
  if (name == "last") return Value::boolean(loop.peek().missing());
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem") return item(loop.before, "there is no previous item");
  if (name == "nextitem") return item(loop.peek(), "there is no next item");
  return method_of(arena, kLoopMethods, v, name);
}

std::optional<Value> range_attribute(Arena& arena, const Value& v, std::string_view name) {
  if (name == "start") return Value::integer(v.as<Range>().start);
  if (name == "stop") return Value::integer(v.as<Range>().stop);
  if (name == "step") return Value::integer(v.as<Range>().step);
  return method_of(arena, std::span(kSequenceMethods).first(2), v, name);
}

/// Attributes that Python's types have and that no template needs: refused by name, not read as undefined.
bool is_known_but_absent(Kind kind, std::string_view name) {
  switch (kind) {
    case Kind::string:
      return is_one_of(name, {"encode", "translate", "maketrans", "unescape", "striptags"});
    case Kind::dict:
      return name == "fromkeys";
    case Kind::boolean:
    case Kind::integer:
    case Kind::real:
      return is_one_of(
          name, {"as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes",
                 "fromhex", "hex", "imag", "is_integer", "numerator", "real", "to_bytes"});
    case Kind::dict_view:
      return is_one_of(name, {"isdisjoint", "mapping"});
    case Kind::iterator:
      return is_one_of(name, {"close", "send", "throw", "gi_running", "gi_suspended", "gi_yieldfrom"});
    case Kind::callable:
      return is_one_of(name, {"name", "arguments", "catch_kwargs", "catch_varargs", "caller", "fromkeys"});
    default:
      return false;
  }
}

bool is_mutator(Kind kind, std::string_view name) {
  if (kind == Kind::dict) return is_one_of(name, {"clear", "pop", "popitem", "setdefault", "update"});
  return kind == Kind::list &&
         is_one_of(name, {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"});
}

}  // namespace

std::optional<Value> find_attribute(Arena& arena, const Value& v, std::string_view name) {
  const bool dunder = name.starts_with("__") && name.ends_with("__");
  if (dunder || is_mutator(v.kind(), name)) {
    return arena.undefined(
        fmt::format("access to attribute '{}' of '{}' object is unsafe: a chat template may neither "
                    "look behind its values nor change them",
                    name, type_name(v)));
  }
  switch (v.kind()) {
    case Kind::name_space: {
      const Value* found = v.as<Namespace>().attributes.find(arena, arena.string(name));
      return found == nullptr ? std::nullopt : std::optional(*found);
    }
    case Kind::loop:
      return loop_attribute(arena, v, name);
    case Kind::range:
      return range_attribute(arena, v, name);
    case Kind::cycler:
      if (name == "current") return v.as<Cycler>().items[v.as<Cycler>().position];
      return method_of(arena, kCyclerMethods, v, name);
    case Kind::tuple:
      if (v.as<Sequence>().group && name == "grouper") return v.items()[0];
      if (v.as<Sequence>().group && name == "list") return v.items()[1];
      if (auto found = method_of(arena, std::span(kSequenceMethods).first(2), v, name)) return found;
      break;
    case Kind::list:
      if (auto found = method_of(arena, kSequenceMethods, v, name)) return found;
      break;
    case Kind::dict:
      if (auto found = method_of(arena, kDictMethods, v, name)) return found;
      break;
    case Kind::string:
      if (auto found = method_of(arena, string_methods(), v, name)) return found;
      break;
    default:
      break;
  }
  if (is_known_but_absent(v.kind(), name)) {
    fail_unsupported("the attribute '{}' of a '{}' object is not supported in chat templates", name,
                     type_name(v));
  }
  return std::nullopt;
}

Value get_attribute(Arena& arena, const Value& v, const Value& name) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (const auto found = find_attribute(arena, v, to_utf8(name.text()))) return *found;
  if (v.is(Kind::dict)) {
    if (const Value* found = v.as<Dict>().find(arena, name)) return *found;
  }
  return arena.no_attribute(v, name);
}

}  // namespace sluice::text::jinja
