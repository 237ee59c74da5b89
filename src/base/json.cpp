#include "base/json.h"

#include <cmath>
#include <limits>
#include <unordered_set>
#include <vector>

#include "base/file.h"

namespace sluice {
namespace {

// Builds a Json while enforcing the limits. Appends straight to the vector under ordered_json's objects,
// since its own insertion looks every earlier key up.
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return add(Json(nullptr)); }
  bool boolean(bool v) override { return add(Json(v)); }
  bool number_integer(number_integer_t v) override { return add(Json(v)); }
  bool number_unsigned(number_unsigned_t v) override { return add(Json(v)); }
  bool number_float(number_float_t v, const string_t& raw) override {
    if (!std::isfinite(v)) return fail("number " + raw + " is out of range");
    return add(Json(v));
  }
  bool string(string_t& v) override { return add(Json(std::move(v))); }
  bool binary(binary_t&) override { return fail("binary value"); }

  bool start_object(std::size_t) override { return open(Json(Json::value_t::object)); }
  bool start_array(std::size_t) override { return open(Json(Json::value_t::array)); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& v) override {
    Level& level = stack_.back();
    auto& object = *level.value->get_ptr<Json::object_t*>();
    bool duplicate = false;
    if (object.size() < 16) {
      for (const auto& member : object) duplicate |= member.first == v;
    } else {
      if (level.keys.empty()) {
        for (const auto& member : object) level.keys.insert(member.first);
      }
      duplicate = !level.keys.insert(v).second;
    }
    if (duplicate) return fail("duplicate key \"" + v + "\"");
    static_cast<std::vector<std::pair<const std::string, Json>>&>(object).emplace_back(std::move(v), Json());
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    // nlohmann writes "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    std::string what = e.what();
    for (const std::string_view front : {"] ", "parse error at "}) {
      if (const size_t at = what.find(front); at != std::string::npos) what.erase(0, at + front.size());
    }
    return fail(fmt::format("byte {}, {}", position, what));
  }

  Json take() { return std::move(root_); }
  const std::string& error() const { return error_; }

 private:
  struct Level {
    Json* value;
    std::unordered_set<std::string> keys;
  };

  // Keys, numbers and what was read last are repeated in messages, and only the input limits their length.
  bool fail(std::string why) {
    constexpr size_t kMaxText = 300;
    if (why.size() > kMaxText) why.replace(kMaxText, std::string::npos, "...");
    error_ = std::move(why);
    return false;
  }

  Json* place(Json&& v) {
    if (stack_.empty()) {
      root_ = std::move(v);
      return &root_;
    }
    Json& top = *stack_.back().value;
    if (top.is_array()) {
      auto& array = *top.get_ptr<Json::array_t*>();
      array.push_back(std::move(v));
      return &array.back();
    }
    Json& slot = top.get_ptr<Json::object_t*>()->back().second;
    slot = std::move(v);
    return &slot;
  }

  bool count() { return ++nodes_ <= limits_.max_nodes || fail("too many values"); }
  bool add(Json&& v) {
    if (!count()) return false;
    place(std::move(v));
    return true;
  }
  bool open(Json&& v) {
    if (!count()) return false;
    if (stack_.size() >= limits_.max_depth) {
      return fail(fmt::format("nested too deep (more than {} levels)", limits_.max_depth));
    }
    stack_.push_back({place(std::move(v)), {}});
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  const JsonLimits& limits_;
  Json root_;
  std::vector<Level> stack_;
  size_t nodes_ = 0;
  std::string error_;
};

// Python's json writes NaN, Infinity and -Infinity. Replaces them outside strings by null, 1e9999 being
// no number of JSON either: callers that allow the literals treat null as "not finite".
std::string without_nan_literals(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      out.push_back(c);
      if (c == '\\' && i + 1 < text.size()) out.push_back(text[++i]);
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    bool replaced = false;
    for (std::string_view literal : {"NaN", "-Infinity", "Infinity"}) {
      if (text.substr(i).starts_with(literal)) {
        out += "null";
        i += literal.size() - 1;
        replaced = true;
        break;
      }
    }
    if (!replaced) out.push_back(c);
  }
  return out;
}

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& origin, const JsonLimits& limits) {
  if (text.starts_with("\xEF\xBB\xBF"))
    return corrupt("{}: starts with a byte-order mark; save it as plain UTF-8", origin);
  // The parser takes a NUL for the end of the text.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    return corrupt("{}: not valid JSON: a NUL byte at offset {}", origin, nul);
  std::string cleaned;
  if (limits.allow_nan_literals) {
    cleaned = without_nan_literals(text);
    text = cleaned;
  }
  Builder builder(limits);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return corrupt("{}: not valid JSON: {}", origin, builder.error());
  }
  return builder.take();
}

Result<Json> read_json_file(const std::string& path, size_t max_bytes, const JsonLimits& limits) {
  SLUICE_ASSIGN(const std::string text, read_text_file(path, max_bytes));
  return parse_json(text, path, limits);
}

std::string dump_json(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace sluice
