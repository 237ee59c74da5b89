#include "text/jinja/globals.h"

#include "text/jinja/builtin.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace sluice::text::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // the limit of jinja2's sandbox

Value range(Arena& arena, const Value&, const Bound& a) {
  const auto& all = a.all().positional;
  if (all.empty() || all.size() > 3 || !a.all().named.empty())
    fail("range expected 1 to 3 positional arguments");
  const int64_t first = to_index(all[0], "range() argument");
  const int64_t start = all.size() == 1 ? 0 : first;
  const int64_t stop = all.size() == 1 ? first : to_index(all[1], "range() argument");
  const int64_t step = all.size() < 3 ? 1 : to_index(all[2], "range() argument");
  if (step == 0) fail("range() arg 3 must not be zero");
  const Range made(start, stop, step);
  if (made.size() < 0 || made.size() > kMaxRange) {
    fail("Range too big. The sandbox blocks ranges larger than {}.", kMaxRange);
  }
  return Value(arena.make<Range>(made));
}

/// dict(mapping or pairs, name=value, ...)
void fill_dict(Arena& arena, Dict& dict, const Arguments& arguments) {
  if (arguments.positional.size() > 1)
    fail("dict expected at most 1 argument, got {}", arguments.positional.size());
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is(Kind::undefined)) fail_undefined(source);
    if (source.is(Kind::dict)) {
      for (const auto& [key, value] : source.as<Dict>().entries()) dict.set(arena, key, value);
    } else {
      for (const Value& item : collect(arena, source)) {
        const auto pair = collect(arena, item);
        if (pair.size() != 2)
          fail("dictionary update sequence element has length {}; 2 is required", pair.size());
        dict.set(arena, pair[0], pair[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(arena, arena.string(name), value);
}

Value dict(Arena& arena, const Value&, const Bound& a) {
  auto* made = arena.make<Dict>();
  fill_dict(arena, *made, a.all());
  return Value(made);
}

Value name_space(Arena& arena, const Value&, const Bound& a) {
  auto* made = arena.make<Namespace>();
  fill_dict(arena, made->attributes, a.all());
  for (const auto& [key, _] : made->attributes.entries()) {
    if (key.is(Kind::string) && key.text().starts_with(U'_')) {
      fail("a namespace cannot have the attribute '{}': its name begins with an underscore",
           to_utf8(key.text()));
    }
  }
  return Value(made);
}

Value cycler(Arena& arena, const Value&, const Bound& a) {
  if (a.all().positional.empty()) fail("at least one item has to be provided");
  auto* made = arena.make<Cycler>();
  made->items = a.all().positional;
  return Value(made);
}

Value joiner(Arena& arena, const Value&, const Bound& a) {
  const Value separator = a[0].missing() ? arena.string(", ") : a[0];
  return Value(
      arena.make<Callable>("joiner", [separator, used = false](Arena& inner, const Arguments&) mutable {
        return std::exchange(used, true) ? separator : inner.string(TextView());
      }));
}

Value raise_exception(Arena& arena, const Value&, const Bound& a) {
  fail("{}", to_utf8(to_string(arena, a[0]).text()));
}

constexpr Builtin kGlobals[] = {
    {"cycler", "*", cycler},        {"dict", "*", dict},   {"joiner", "sep?", joiner},
    {"namespace", "*", name_space}, {"range", "*", range}, {"raise_exception", "message", raise_exception},
};

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm out{};
  localtime_r(&now, &out);
  return out;
}

/// Python's datetime.strftime for a time without zone: %z and %Z are empty, the time has no microseconds.
std::string format_time(const std::string& format, const std::tm& time) {
  std::string adjusted;
  for (size_t i = 0; i < format.size(); ++i) {
    const char directive = format[i] == '%' && i + 1 < format.size() ? format[i + 1] : '\0';
    if (directive == 'z' || directive == 'Z') {
      ++i;
    } else if (directive == 'f') {
      adjusted += "000000";
      ++i;
    } else {
      adjusted += format[i];
      if (directive != '\0') adjusted += format[++i];
    }
  }
  if (adjusted.empty()) return adjusted;
  adjusted += ' ';  // so that a result of no characters can be told from a buffer too small
  std::string out(adjusted.size() * 32 + 64, '\0');
  out.resize(std::strftime(out.data(), out.size(), adjusted.c_str(), &time));
  if (out.empty()) fail("strftime_now: the format gives too long a text");
  out.pop_back();
  return out;
}

Value strftime_now(Arena& arena, const std::optional<std::tm>& now, const Arguments& arguments) {
  const Bound a("strftime_now", "format", arguments);
  const std::string format = to_utf8(a.text(0));
  if (format.find('\0') != std::string::npos) fail("strftime_now: embedded null character");
  arena.charge(format.size() * 32);
  return arena.string(format_time(format, now ? *now : local_time()));
}

}  // namespace

Value make_global(Arena& arena, const std::string& name, const std::optional<std::tm>& now) {
  if (name == "strftime_now") {
    return Value(arena.make<Callable>(name, [now](Arena& inner, const Arguments& arguments) {
      return strftime_now(inner, now, arguments);
    }));
  }
  if (name == "lipsum") fail_unsupported("lipsum() gives random text and is not supported in chat templates");
  const Builtin* global = find_builtin(kGlobals, name);
  if (global == nullptr) return {};
  return Value(arena.make<Callable>(name, [global](Arena& inner, const Arguments& arguments) {
    return (*global)(inner, Value(), arguments);
  }));
}

}  // namespace sluice::text::jinja
