// The values of a template: small handles on objects that live in the arena of one render.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/jinja/text.h"

namespace sluice::text::jinja {

/// How a template fails. Thrown inside this folder only: ChatTemplate turns it into a Status and names the
/// line.
class TemplateError : public std::exception {
 public:
  TemplateError(StatusCode code, std::string message) : status_(code, std::move(message)) {}
  const char* what() const noexcept override { return status_.message().c_str(); }
  const Status& status() const { return status_; }

 private:
  Status status_;
};

template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> f, Args&&... args) {
  throw TemplateError(StatusCode::invalid_argument, fmt::format(f, std::forward<Args>(args)...));
}
template <typename... Args>
[[noreturn]] void fail_unsupported(fmt::format_string<Args...> f, Args&&... args) {
  throw TemplateError(StatusCode::unsupported, fmt::format(f, std::forward<Args>(args)...));
}

/// Everything of variable size that a template can hold. Owned by an Arena.
struct Object {
  virtual ~Object() = default;
};

enum class Kind : uint8_t {
  missing,  // a variable nobody has set, an argument not given, the end of an iteration; never seen by a
            // template
  undefined,
  none,
  boolean,
  integer,
  real,
  string,
  list,
  tuple,
  dict,
  dict_view,
  range,
  iterator,
  name_space,
  callable,
  loop,
  cycler,
};

struct String;
struct Sequence;
struct Dict;
struct DictView;
struct Range;
struct Iterator;
struct Undefined;
struct Namespace;
struct Callable;
struct Loop;
struct Cycler;

class Value {
 public:
  Value() = default;  // missing
  static Value none() { return Value(Kind::none, nullptr); }
  static Value boolean(bool b) { return Value(Kind::boolean, int64_t{b}); }
  static Value integer(int64_t i) { return Value(Kind::integer, i); }
  static Value real(double d) { return Value(d); }
  static Value list(Sequence* s);
  static Value tuple(Sequence* s);
  explicit Value(String* s);
  explicit Value(Dict* d);
  explicit Value(DictView* v);
  explicit Value(Range* r);
  explicit Value(Iterator* i);
  explicit Value(Undefined* u);
  explicit Value(Namespace* n);
  explicit Value(Callable* c);
  explicit Value(Loop* l);
  explicit Value(Cycler* c);

  Kind kind() const { return kind_; }
  bool is(Kind k) const { return kind_ == k; }
  bool missing() const { return kind_ == Kind::missing; }
  bool is_number() const { return kind_ >= Kind::boolean && kind_ <= Kind::real; }
  bool is_integral() const { return kind_ == Kind::boolean || kind_ == Kind::integer; }
  bool is_sequence() const { return kind_ == Kind::list || kind_ == Kind::tuple; }

  /// The integer of a boolean or integer; the double of any number.
  int64_t as_integer() const { return integer_; }
  double as_real() const { return kind_ == Kind::real ? real_ : static_cast<double>(integer_); }
  const Text& text() const;                 // of a string
  const std::vector<Value>& items() const;  // of a list or tuple
  /// The object behind the handle; the caller has looked at kind().
  template <typename T>
  T& as() const {
    return *static_cast<T*>(object_);
  }
  /// Python's `is`: the same object, or the same scalar.
  bool same_as(const Value& other) const;

 private:
  Value(Kind kind, Object* object) : kind_(kind), object_(object) {}
  Value(Kind kind, int64_t integer) : kind_(kind), integer_(integer) {}
  explicit Value(double real) : kind_(Kind::real), real_(real) {}

  Kind kind_ = Kind::missing;
  union {
    Object* object_ = nullptr;
    int64_t integer_;
    double real_;
  };
};

/// The arguments of a call, before they are matched with parameters.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Owns the objects of one parse or one render and counts what they cost: memory, work and nesting. Objects
/// are freed together at the end, so neither a namespace that holds itself nor a list nested a million deep
/// is a problem.
class Arena {
 public:
  explicit Arena(const RenderLimits& limits) : limits_(limits) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  template <typename T, typename... Args>
  T* make(Args&&... args) {
    charge(sizeof(T) + 2 * sizeof(void*));
    auto object = std::make_unique<T>(std::forward<Args>(args)...);
    T* raw = object.get();
    objects_.push_back(std::move(object));
    return raw;
  }

  /// Takes memory from the budget before it is allocated.
  void charge(size_t bytes);
  void charge_items(size_t count) {
    charge(count < SIZE_MAX / sizeof(Value) ? count * sizeof(Value) : SIZE_MAX);
  }
  /// Takes work from the budget: one step is a node evaluated or an item visited.
  void work(uint64_t steps = 1);
  /// Work of looking at `characters` characters.
  void scan(size_t characters) { work(characters / 64); }

  /// One more level of nesting for as long as it lives.
  class Level {
   public:
    explicit Level(Arena& arena);
    ~Level() { --arena_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Arena& arena_;
  };

  const RenderLimits& limits() const { return limits_; }

  // The objects templates make most.
  Value string(Text text, bool markup = false);  // charges for the text
  Value string(TextView text, bool markup = false);
  Value string(std::string_view utf8) { return string(to_text(utf8)); }
  Value list(std::vector<Value> items);
  Value tuple(std::vector<Value> items);
  Value undefined(std::string message);
  /// What reading `name` of `object` gives when there is no such attribute or element.
  Value no_attribute(const Value& object, const Value& name);

 private:
  friend class TextBuilder;
  Value adopt(Text text, bool markup);  // text already charged for

  RenderLimits limits_;
  std::vector<std::unique_ptr<Object>> objects_;
  size_t bytes_ = 0;
  uint64_t steps_ = 0;
  size_t depth_ = 0;
};

/// Builds a text piece by piece, charging the arena before it grows.
class TextBuilder {
 public:
  explicit TextBuilder(Arena& arena) : arena_(arena) {}
  TextBuilder& append(TextView piece);
  TextBuilder& append(char32_t c);
  TextBuilder& append(size_t count, char32_t c);
  TextBuilder& append_ascii(std::string_view piece, char32_t mark = 0);
  const Text& text() const { return text_; }
  Value finish(bool markup = false) { return arena_.adopt(std::move(text_), markup); }

 private:
  Arena& arena_;
  Text text_;
};

struct String : Object {
  String(Text t, bool m) : text(std::move(t)), markup(m) {}
  Text text;
  bool markup;  // markupsafe.Markup: what `safe` and `escape` return; operators escape their other operand
};

struct Sequence : Object {
  explicit Sequence(std::vector<Value> i, bool g = false) : items(std::move(i)), group(g) {}
  std::vector<Value> items;
  bool group;  // a tuple of `groupby`, which has .grouper and .list
};

/// A dict in insertion order. Keys compare as Python's do (1, 1.0 and True are one key).
struct Dict : Object {
  const Value* find(Arena& arena, const Value& key) const;
  void set(Arena& arena, const Value& key, const Value& value);
  const std::vector<std::pair<Value, Value>>& entries() const { return entries_; }

 private:
  std::optional<size_t> position(Arena& arena, const Value& key, size_t hash) const;
  std::vector<std::pair<Value, Value>> entries_;
  std::unordered_multimap<size_t, size_t> index_;  // hash to position, once there are more than a few entries
};

struct DictView : Object {
  enum class Part { keys, values, items };
  DictView(Dict& d, Part p) : dict(d), part(p) {}
  Dict& dict;
  Part part;
};

struct Range : Object {
  Range(int64_t first, int64_t last, int64_t by) : start(first), stop(last), step(by) {}
  int64_t size() const;
  /// Item i; one past either end may wrap around, and is never looked at.
  int64_t at(int64_t i) const {
    return static_cast<int64_t>(static_cast<uint64_t>(start) +
                                static_cast<uint64_t>(i) * static_cast<uint64_t>(step));
  }
  int64_t start, stop, step;
};

/// A Python iterator or generator: gives each item once.
struct Iterator : Object {
  Iterator(std::string n, std::function<Value()> f) : name(std::move(n)), next(std::move(f)) {}
  std::string name;
  std::function<Value()> next;  // missing at the end
};

struct Undefined : Object {
  std::string message() const;
  std::string hint;         // the whole message, when set
  std::string object_type;  // whose attribute was not there
  Value name;
};

struct Namespace : Object {
  Dict attributes;
};

struct Callable : Object {
  Callable(std::string n, std::function<Value(Arena&, const Arguments&)> f)
      : name(std::move(n)), call(std::move(f)) {}
  std::string name;
  std::function<Value(Arena&, const Arguments&)> call;
  bool macro = false;
};

/// The `loop` variable. Looks one item ahead only when asked to, as jinja2's does.
struct Loop : Object {
  Value source;                 // what is iterated over, when it has a length
  std::function<Value()> pull;  // next item; missing at the end
  Value before, current, after;
  bool peeked = false;
  int64_t index0 = -1;
  std::optional<int64_t> length;
  std::optional<std::vector<Value>> last_changed;

  bool advance();
  const Value& peek();
  int64_t total(Arena& arena);
};

struct Cycler : Object {
  std::vector<Value> items;
  size_t position = 0;
};

/// Name of a value's type as Python prints it ("str", "dict", "NoneType").
const char* type_name(const Value& v);

/// Fails with the message of an undefined value.
[[noreturn]] void fail_undefined(const Value& v);

/// len(v) in Python; nothing when v has no length.
std::optional<int64_t> length_of(const Value& v);

/// A function that gives the items of v one by one, then missing. Fails when v cannot be iterated over.
std::function<Value()> iterate(Arena& arena, const Value& v);
bool is_iterable(const Value& v);
std::vector<Value> collect(Arena& arena, const Value& v);

}  // namespace sluice::text::jinja
