#include "text/jinja/sequence_filters.h"

#include <algorithm>
#include <unordered_set>

#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace sluice::text::jinja {
namespace {

using Function = std::function<Value(const Value&)>;

Value generator(Arena& arena, const char* name, std::function<Value()> next) {
  return Value(arena.make<Iterator>(name, std::move(next)));
}

/// What `attribute=` arguments mean: "a.b.0" walks items and attributes; a whole number is an index.
std::vector<Value> attribute_path(Arena& arena, const Value& attribute) {
  if (attribute.missing() || attribute.is(Kind::none)) return {};
  if (!attribute.is(Kind::string)) return {attribute};
  std::vector<Value> path;
  TextView rest = attribute.text();
  for (bool more = true; more;) {
    const size_t dot = rest.find(U'.');
    more = dot != TextView::npos;
    const TextView part = rest.substr(0, dot);
    const bool number =
        !part.empty() && part.size() < 18 && std::all_of(part.begin(), part.end(), [](char32_t c) {
          return code_point(c) >= U'0' && code_point(c) <= U'9';
        });
    path.push_back(number ? Value::integer(std::stoll(to_utf8(part))) : arena.string(part));
    if (more) rest.remove_prefix(dot + 1);
  }
  return path;
}

Value ignore_case(Arena& arena, const Value& v) {
  return v.is(Kind::string) ? arena.string(to_lower(v.text())) : v;
}

/// A function that follows `attribute`, with `fallback` for what is undefined on the way, and folds case.
Function attribute_getter(Arena& arena, const Value& attribute, const Value& fallback = {},
                          bool fold = false) {
  return [&arena, path = attribute_path(arena, attribute), fallback, fold](const Value& item) {
    Value v = item;
    for (const Value& part : path) {
      v = get_item(arena, v, part);
      if (v.is(Kind::undefined) && !fallback.missing() && !fallback.is(Kind::none)) v = fallback;
    }
    return fold ? ignore_case(arena, v) : v;
  };
}

/// As above for sort: "a,b" gives a list of several.
Function attributes_getter(Arena& arena, const Value& attribute, bool fold) {
  std::vector<Function> getters;
  if (attribute.is(Kind::string)) {
    TextView rest = attribute.text();
    for (size_t comma = rest.find(U','); comma != TextView::npos; comma = rest.find(U',')) {
      getters.push_back(attribute_getter(arena, arena.string(rest.substr(0, comma)), {}, fold));
      rest.remove_prefix(comma + 1);
    }
    getters.push_back(attribute_getter(arena, arena.string(rest), {}, fold));
  } else {
    getters.push_back(attribute_getter(arena, attribute, {}, fold));
  }
  return [&arena, getters](const Value& item) {
    std::vector<Value> keys;
    for (const Function& get : getters) keys.push_back(get(item));
    return arena.list(std::move(keys));
  };
}

std::vector<Value> sorted(Arena& arena, const std::vector<Value>& items, const Function& key, bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  arena.charge_items(2 * items.size());
  for (const Value& item : items) keyed.emplace_back(key(item), item);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(arena, b.first, a.first) : less(arena, a.first, b.first);
  });
  std::vector<Value> out;
  for (const auto& [_, item] : keyed) out.push_back(item);
  return out;
}

// ---- one by one

Value filter_items(Arena& arena, const Value& v, const Bound&) {
  if (!v.is(Kind::undefined) && !v.is(Kind::dict)) {
    // Python's generator complains when it is first asked for an item.
    return generator(arena, "do_items", []() -> Value { fail("Can only get item pairs from a mapping."); });
  }
  if (v.is(Kind::undefined)) return generator(arena, "do_items", [] { return Value(); });
  return generator(arena, "do_items",
                   iterate(arena, Value(arena.make<DictView>(v.as<Dict>(), DictView::Part::items))));
}

/// A lazy generator over v: nothing of v is looked at before the first item is asked for.
Value lazily(Arena& arena, const char* name, const Value& v, std::function<Function(Arena&)> prepare,
             bool (*keep)(Arena&, const Value& original, Value& result)) {
  struct State {
    std::function<Value()> next;
    Function apply;
  };
  return generator(arena, name,
                   [&arena, v, prepare = std::move(prepare), keep, state = State{}]() mutable -> Value {
                     if (!state.next) {
                       if (!truthy(arena, v)) return {};
                       state = {iterate(arena, v), prepare(arena)};
                     }
                     for (Value item = state.next(); !item.missing(); item = state.next()) {
                       Value result = state.apply(item);
                       if (keep(arena, item, result)) return result;
                     }
                     return {};
                   });
}

/// The arguments after the first `skip`, for the filter or test that map or select call.
Arguments rest_of(const Arguments& all, size_t skip) {
  Arguments rest;
  rest.positional.assign(all.positional.begin() + static_cast<ptrdiff_t>(skip), all.positional.end());
  rest.named = all.named;
  return rest;
}

std::string callee_name(const Value& name) {
  if (name.is(Kind::undefined))
    fail("{}; did you forget to quote the callable name?", name.as<Undefined>().message());
  if (!name.is(Kind::string)) fail("a filter or test is called by its name, not by a '{}'", type_name(name));
  return to_utf8(name.text());
}

Function map_function(Arena& arena, const Arguments& all) {
  if (all.positional.empty()) {
    Value attribute;
    Value fallback;
    for (const auto& [name, value] : all.named) {
      if (name == "attribute") {
        attribute = value;
      } else if (name == "default") {
        fallback = value;
      } else {
        fail("map() got an unexpected keyword argument '{}'", name);
      }
    }
    if (attribute.missing()) fail("map requires a filter argument");
    return attribute_getter(arena, attribute, fallback);
  }
  const std::string name = callee_name(all.positional[0]);
  const Builtin* filter = find_filter(name);
  if (filter == nullptr) fail("No filter named '{}'.", name);
  return [&arena, filter, rest = rest_of(all, 1)](const Value& item) { return (*filter)(arena, item, rest); };
}

Value filter_map(Arena& arena, const Value& v, const Bound& a) {
  return lazily(
      arena, "sync_do_map", v, [all = a.all()](Arena& inner) { return map_function(inner, all); },
      [](Arena&, const Value&, Value&) { return true; });
}

Function select_function(Arena& arena, const Arguments& all, bool by_attribute) {
  Function get = [](const Value& item) { return item; };
  if (by_attribute) {
    if (all.positional.empty()) fail("Missing parameter for attribute name");
    get = attribute_getter(arena, all.positional[0]);
  }
  const size_t at = by_attribute ? 1 : 0;
  if (all.positional.size() <= at) return get;
  const std::string name = callee_name(all.positional[at]);
  const Builtin* test = find_test(name);
  if (test == nullptr) fail("No test named '{}'.", name);
  return [&arena, get, test, rest = rest_of(all, at + 1)](const Value& item) {
    return (*test)(arena, get(item), rest);
  };
}

template <bool select, bool by_attribute>
Value filter_select(Arena& arena, const Value& v, const Bound& a) {
  return lazily(
      arena, "select_or_reject", v,
      [all = a.all()](Arena& inner) { return select_function(inner, all, by_attribute); },
      [](Arena& inner, const Value& original, Value& result) {
        const bool passed = truthy(inner, result);
        result = original;
        return passed == select;
      });
}

Value filter_unique(Arena& arena, const Value& v, const Bound& a) {
  const Function key = attribute_getter(arena, a[1], {}, !a.flag(arena, 0, false));
  return generator(
      arena, "sync_do_unique",
      [&arena, v, key, seen = arena.make<Dict>(), next = std::function<Value()>()]() mutable -> Value {
        if (!next) next = iterate(arena, v);
        for (Value item = next(); !item.missing(); item = next()) {
          const Value k = key(item);
          if (seen->find(arena, k) != nullptr) continue;
          seen->set(arena, k, Value::none());
          return item;
        }
        return {};
      });
}

Value filter_reverse(Arena& arena, const Value& v, const Bound&) {
  if (v.is(Kind::string))
    return arena.string(Text(v.text().rbegin(), v.text().rend()), v.as<String>().markup);
  if (!is_iterable(v)) fail("argument must be iterable");
  auto items = collect(arena, v);
  std::reverse(items.begin(), items.end());
  if (v.is(Kind::iterator)) return arena.list(std::move(items));
  return generator(arena, "reversed", [items = std::move(items), at = size_t{0}]() mutable {
    return at < items.size() ? items[at++] : Value();
  });
}

// ---- in groups

Value filter_batch(Arena& arena, const Value& v, const Bound& a) {
  const int64_t size = a.integer(0, 0);
  const auto items = collect(arena, v);
  std::vector<Value> batches;
  std::vector<Value> batch;
  for (const Value& item : items) {
    if (static_cast<int64_t>(batch.size()) == size) {
      batches.push_back(arena.list(std::move(batch)));
      batch.clear();
    }
    batch.push_back(item);
  }
  if (!batch.empty()) {
    if (a.given(1) && size > static_cast<int64_t>(batch.size())) {
      arena.charge_items(static_cast<size_t>(size));
      batch.resize(static_cast<size_t>(size), a[1]);
    }
    batches.push_back(arena.list(std::move(batch)));
  }
  return generator(arena, "do_batch", iterate(arena, arena.list(std::move(batches))));
}

Value filter_slice(Arena& arena, const Value& v, const Bound& a) {
  const int64_t slices = a.integer(0, 0);
  const auto items = collect(arena, v);
  if (slices == 0) fail("division by zero");
  const auto n = static_cast<int64_t>(items.size());
  std::vector<Value> out;
  arena.charge_items(static_cast<size_t>(std::max<int64_t>(slices, 0)));
  int64_t start = 0;
  for (int64_t i = 0; i < slices; ++i) {
    const bool extra = i < n % slices;
    const int64_t end = start + n / slices + (extra ? 1 : 0);
    std::vector<Value> part(items.begin() + start, items.begin() + end);
    if (a.given(1) && !extra) part.push_back(a[1]);
    out.push_back(arena.list(std::move(part)));
    start = end;
  }
  return generator(arena, "sync_do_slice", iterate(arena, arena.list(std::move(out))));
}

Value filter_groupby(Arena& arena, const Value& v, const Bound& a) {
  const bool fold = !a.flag(arena, 2, false);
  const Function key = attribute_getter(arena, a[0], a[1], fold);
  const Function shown = attribute_getter(arena, a[0], a[1]);
  std::vector<Value> groups;
  std::vector<Value> group;
  const auto finish = [&] {
    if (group.empty()) return;
    const Value grouper = fold ? shown(group.front()) : key(group.front());
    arena.charge_items(group.size());
    groups.push_back(
        Value::tuple(arena.make<Sequence>(std::vector<Value>{grouper, arena.list(std::move(group))}, true)));
    group.clear();
  };
  for (const Value& item : sorted(arena, collect(arena, v), key, false)) {
    if (!group.empty() && !equal(arena, key(group.front()), key(item))) finish();
    group.push_back(item);
  }
  finish();
  return arena.list(std::move(groups));
}

Value filter_sort(Arena& arena, const Value& v, const Bound& a) {
  const Function key = attributes_getter(arena, a[2], !a.flag(arena, 1, false));
  return arena.list(sorted(arena, collect(arena, v), key, a.flag(arena, 0, false)));
}

Value filter_dictsort(Arena& arena, const Value& v, const Bound& a) {
  const std::string by = a[1].missing() ? "key" : to_utf8(a.text(1));
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is(Kind::dict)) fail("dictsort needs a dict, not '{}'", type_name(v));
  const bool fold = !a.flag(arena, 0, false);
  const Function key = [&](const Value& pair) {
    const Value& part = pair.items()[by == "key" ? 0 : 1];
    return fold ? ignore_case(arena, part) : part;
  };
  const auto pairs = collect(arena, Value(arena.make<DictView>(v.as<Dict>(), DictView::Part::items)));
  return arena.list(sorted(arena, pairs, key, a.flag(arena, 2, false)));
}

// ---- down to one value

Value filter_first(Arena& arena, const Value& v, const Bound&) {
  const Value item = iterate(arena, v)();
  return item.missing() ? arena.undefined("No first item, sequence was empty.") : item;
}

Value filter_last(Arena& arena, const Value& v, const Bound&) {
  const auto length = length_of(v);
  if (!length) fail("'{}' object is not reversible", type_name(v));
  if (*length == 0) return arena.undefined("No last item, sequence was empty.");
  if (v.is(Kind::dict) || v.is(Kind::dict_view)) return collect(arena, v).back();
  return get_item(arena, v, Value::integer(-1));
}

Value filter_length(Arena&, const Value& v, const Bound&) {
  const auto length = length_of(v);
  if (!length) fail("object of type '{}' has no len()", type_name(v));
  return Value::integer(*length);
}

Value filter_join(Arena& arena, const Value& v, const Bound& a) {
  TextBuilder out(arena);
  const Value separator = a[0].missing() ? arena.string(TextView()) : to_string(arena, a[0]);
  const Function get = attribute_getter(arena, a[1]);
  const auto next = iterate(arena, v);
  bool first = true;
  for (Value item = next(); !item.missing(); item = next(), first = false) {
    if (!first) out.append(separator.text());
    append_string(arena, out, get(item));
  }
  return out.finish();
}

template <bool largest>
Value filter_extreme(Arena& arena, const Value& v, const Bound& a) {
  const Function key = attribute_getter(arena, a[1], {}, !a.flag(arena, 0, false));
  const auto next = iterate(arena, v);
  Value best = next();
  if (best.missing()) return arena.undefined("No aggregated item, sequence was empty.");
  Value best_key = key(best);
  for (Value item = next(); !item.missing(); item = next()) {
    const Value item_key = key(item);
    if (largest ? less(arena, best_key, item_key) : less(arena, item_key, best_key)) {
      best = item;
      best_key = item_key;
    }
  }
  return best;
}

Value filter_sum(Arena& arena, const Value& v, const Bound& a) {
  Value total = a[1].missing() ? Value::integer(0) : a[1];
  if (total.is(Kind::string)) fail("sum() can't sum strings [use ''.join(seq) instead]");
  const Function get = attribute_getter(arena, a[0]);
  const auto next = iterate(arena, v);
  for (Value item = next(); !item.missing(); item = next()) {
    total = arithmetic(arena, Arithmetic::add, total, get(item));
  }
  return total;
}

constexpr Builtin kSequenceFilters[] = {
    {"batch", "linecount fill_with?", filter_batch},
    {"count", "/", filter_length},
    {"dictsort", "case_sensitive? by? reverse?", filter_dictsort},
    {"first", "", filter_first},
    {"groupby", "attribute default? case_sensitive?", filter_groupby},
    {"items", "", filter_items},
    {"join", "d? attribute?", filter_join},
    {"last", "", filter_last},
    {"length", "/", filter_length},
    {"list", "", [](Arena& arena, const Value& v, const Bound&) { return arena.list(collect(arena, v)); }},
    {"map", "*", filter_map},
    {"max", "case_sensitive? attribute?", filter_extreme<true>},
    {"min", "case_sensitive? attribute?", filter_extreme<false>},
    {"reject", "*", filter_select<false, false>},
    {"rejectattr", "*", filter_select<false, true>},
    {"reverse", "", filter_reverse},
    {"select", "*", filter_select<true, false>},
    {"selectattr", "*", filter_select<true, true>},
    {"slice", "slices fill_with?", filter_slice},
    {"sort", "reverse? case_sensitive? attribute?", filter_sort},
    {"sum", "attribute? start?", filter_sum},
    {"unique", "case_sensitive? attribute?", filter_unique},
};

}  // namespace

std::span<const Builtin> sequence_filters() { return kSequenceFilters; }

}  // namespace sluice::text::jinja
