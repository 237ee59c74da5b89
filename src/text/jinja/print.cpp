#include "text/jinja/print.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/operators.h"

namespace sluice::text::jinja {
namespace {

void append_string_repr(TextBuilder& out, TextView text) {
  const bool has_single = text.find(U'\'') != TextView::npos;
  const bool has_double = text.find(U'"') != TextView::npos;
  const char32_t quote = has_single && !has_double ? U'"' : U'\'';
  out.append(quote);
  for (char32_t c : text) {
    const char32_t p = code_point(c);
    if (p == quote || p == U'\\') {
      out.append(U'\\' | mark_of(c)).append(c);
    } else if (p == U'\n') {
      out.append_ascii("\\n", mark_of(c));
    } else if (p == U'\r') {
      out.append_ascii("\\r", mark_of(c));
    } else if (p == U'\t') {
      out.append_ascii("\\t", mark_of(c));
    } else if (is_printable(c)) {
      out.append(c);
    } else if (p < 0x100) {
      out.append_ascii(fmt::format("\\x{:02x}", static_cast<uint32_t>(p)), mark_of(c));
    } else if (p < 0x10000) {
      out.append_ascii(fmt::format("\\u{:04x}", static_cast<uint32_t>(p)), mark_of(c));
    } else {
      out.append_ascii(fmt::format("\\U{:08x}", static_cast<uint32_t>(p)), mark_of(c));
    }
  }
  out.append(quote);
}

void append_items(Arena& arena, TextBuilder& out, const std::vector<Value>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append_ascii(", ");
    append_repr(arena, out, items[i]);
  }
}

void append_dict(Arena& arena, TextBuilder& out, const Dict& dict) {
  out.append(U'{');
  bool first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!first) out.append_ascii(", ");
    first = false;
    append_repr(arena, out, key);
    out.append_ascii(": ");
    append_repr(arena, out, value);
  }
  out.append(U'}');
}

void append_range(TextBuilder& out, const Range& r) {
  out.append_ascii(fmt::format("range({}, {}", r.start, r.stop));
  if (r.step != 1) out.append_ascii(fmt::format(", {}", r.step));
  out.append(U')');
}

// ---- json.dumps

void append_json_string(TextBuilder& out, TextView text, bool ensure_ascii) {
  out.append(U'"');
  for (char32_t c : text) {
    const auto p = static_cast<uint32_t>(code_point(c));
    const auto escaped = [&](uint32_t unit) { out.append_ascii(fmt::format("\\u{:04x}", unit), mark_of(c)); };
    switch (p) {
      case U'"':
        out.append_ascii("\\\"", mark_of(c));
        continue;
      case U'\\':
        out.append_ascii("\\\\", mark_of(c));
        continue;
      case U'\n':
        out.append_ascii("\\n", mark_of(c));
        continue;
      case U'\r':
        out.append_ascii("\\r", mark_of(c));
        continue;
      case U'\t':
        out.append_ascii("\\t", mark_of(c));
        continue;
      case U'\f':
        out.append_ascii("\\f", mark_of(c));
        continue;
      case U'\b':
        out.append_ascii("\\b", mark_of(c));
        continue;
      default:
        break;
    }
    if (p >= 0x20 && (p < 0x7F || !ensure_ascii)) {
      out.append(c);
    } else if (p < 0x10000) {
      escaped(p);
    } else {
      escaped(0xD800 + ((p - 0x10000) >> 10));
      escaped(0xDC00 + ((p - 0x10000) & 0x3FF));
    }
  }
  out.append(U'"');
}

std::string json_float(double d) {
  if (std::isnan(d)) return "NaN";
  if (std::isinf(d)) return d > 0 ? "Infinity" : "-Infinity";
  return float_repr(d);
}

class JsonWriter {
 public:
  JsonWriter(Arena& arena, const JsonStyle& style) : arena_(arena), style_(style), out_(arena) {}

  void write(const Value& v, size_t depth) {
    const Arena::Level level(arena_);
    arena_.work();
    switch (v.kind()) {
      case Kind::none:
        out_.append_ascii("null");
        break;
      case Kind::boolean:
        out_.append_ascii(v.as_integer() != 0 ? "true" : "false");
        break;
      case Kind::integer:
        out_.append_ascii(std::to_string(v.as_integer()));
        break;
      case Kind::real:
        out_.append_ascii(json_float(v.as_real()));
        break;
      case Kind::string:
        append_json_string(out_, v.text(), style_.ensure_ascii);
        break;
      case Kind::list:
      case Kind::tuple:
        write_array(v.items(), depth);
        break;
      case Kind::dict:
        write_object(v.as<Dict>(), depth);
        break;
      default:
        fail("Object of type {} is not JSON serializable", type_name(v));
    }
  }

  Value finish() { return out_.finish(); }

 private:
  void write_array(const std::vector<Value>& items, size_t depth) {
    out_.append(U'[');
    for (size_t i = 0; i < items.size(); ++i) {
      separate(i > 0, depth + 1);
      write(items[i], depth + 1);
    }
    if (!items.empty()) line(depth);
    out_.append(U']');
  }

  void write_object(const Dict& dict, size_t depth) {
    auto entries = dict.entries();
    arena_.charge_items(2 * entries.size());
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto& a, const auto& b) { return less(arena_, a.first, b.first); });
    }
    out_.append(U'{');
    for (size_t i = 0; i < entries.size(); ++i) {
      separate(i > 0, depth + 1);
      write_key(entries[i].first);
      out_.append(style_.key_separator);
      write(entries[i].second, depth + 1);
    }
    if (!entries.empty()) line(depth);
    out_.append(U'}');
  }

  void write_key(const Value& key) {
    switch (key.kind()) {
      case Kind::string:
        append_json_string(out_, key.text(), style_.ensure_ascii);
        break;
      case Kind::none:
        out_.append_ascii("\"null\"");
        break;
      case Kind::boolean:
        out_.append_ascii(key.as_integer() != 0 ? "\"true\"" : "\"false\"");
        break;
      case Kind::integer:
        out_.append_ascii(fmt::format("\"{}\"", key.as_integer()));
        break;
      case Kind::real:
        out_.append_ascii(fmt::format("\"{}\"", json_float(key.as_real())));
        break;
      default:
        fail("keys must be str, int, float, bool or None, not {}", type_name(key));
    }
  }

  void separate(bool comma, size_t depth) {
    if (comma) out_.append(style_.item_separator);
    line(depth);
  }

  void line(size_t depth) {
    if (!style_.indent) return;
    out_.append(U'\n');
    for (size_t i = 0; i < depth; ++i) out_.append(*style_.indent);
  }

  Arena& arena_;
  const JsonStyle& style_;
  TextBuilder out_;
};

}  // namespace

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<size_t>(end - buffer));  // d.ddde+XX
  const size_t e = shortest.find('e');
  const int exponent = std::atoi(std::string(shortest.substr(e + 1)).c_str());
  if (exponent < -4 || exponent >= 16) return std::string(shortest);

  std::string sign = shortest.front() == '-' ? "-" : "";
  std::string digits;
  for (char c : shortest.substr(sign.size(), e - sign.size())) {
    if (c != '.') digits += c;
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

Value to_string(Arena& arena, const Value& v) {
  if (v.is(Kind::string) && !v.as<String>().markup) return v;
  TextBuilder out(arena);
  append_string(arena, out, v);
  return out.finish();
}

void append_string(Arena& arena, TextBuilder& out, const Value& v) {
  if (v.is(Kind::string)) {
    out.append(v.text());
  } else if (!v.is(Kind::undefined)) {
    append_repr(arena, out, v);
  }
}

void append_repr(Arena& arena, TextBuilder& out, const Value& v) {
  const Arena::Level level(arena);
  arena.work();
  switch (v.kind()) {
    case Kind::missing:
    case Kind::undefined:
      out.append_ascii("Undefined");
      break;
    case Kind::none:
      out.append_ascii("None");
      break;
    case Kind::boolean:
      out.append_ascii(v.as_integer() != 0 ? "True" : "False");
      break;
    case Kind::integer:
      out.append_ascii(std::to_string(v.as_integer()));
      break;
    case Kind::real:
      out.append_ascii(float_repr(v.as_real()));
      break;
    case Kind::string:
      if (v.as<String>().markup) out.append_ascii("Markup(");
      append_string_repr(out, v.text());
      if (v.as<String>().markup) out.append(U')');
      break;
    case Kind::list:
      out.append(U'[');
      append_items(arena, out, v.items());
      out.append(U']');
      break;
    case Kind::tuple:
      out.append(U'(');
      append_items(arena, out, v.items());
      out.append_ascii(v.items().size() == 1 ? ",)" : ")");
      break;
    case Kind::dict:
      append_dict(arena, out, v.as<Dict>());
      break;
    case Kind::dict_view:
      out.append_ascii(type_name(v)).append_ascii("([");
      append_items(arena, out, collect(arena, v));
      out.append_ascii("])");
      break;
    case Kind::range:
      append_range(out, v.as<Range>());
      break;
    case Kind::name_space:
      out.append_ascii("<Namespace ");
      append_dict(arena, out, v.as<Namespace>().attributes);
      out.append(U'>');
      break;
    case Kind::loop:
      out.append_ascii(
          fmt::format("<LoopContext {}/{}>", v.as<Loop>().index0 + 1, v.as<Loop>().total(arena)));
      break;
    case Kind::callable:
      out.append_ascii(v.as<Callable>().macro ? "<Macro '" : "<function ")
          .append(to_text(v.as<Callable>().name));
      out.append_ascii(v.as<Callable>().macro ? "'>" : ">");
      break;
    // Python prints an address here, which no template can depend on.
    case Kind::iterator:
      out.append_ascii(fmt::format("<generator object {}>", v.as<Iterator>().name));
      break;
    case Kind::cycler:
      out.append_ascii("<jinja2.utils.Cycler object>");
      break;
  }
}

Value dump_json(Arena& arena, const Value& v, const JsonStyle& style) {
  JsonWriter writer(arena, style);
  writer.write(v, 0);
  return writer.finish();
}

}  // namespace sluice::text::jinja
