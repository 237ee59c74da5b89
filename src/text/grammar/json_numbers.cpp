// Ranges of decimal numbers as digit automata: digit by digit, whether the number still equals the lower and
// the upper bound so far.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>

#include "text/grammar/json_text.h"

namespace sluice::text::grammar {
namespace {

constexpr int kMaxDigits = 18;

/// A magnitude in decimal: no leading zeros but a single one, no trailing zeros behind the point.
struct Decimal {
  bool negative = false;
  std::string whole = "0";
  std::string fraction;

  bool zero() const { return whole == "0" && fraction.empty(); }
  int digit(size_t i) const { return i < fraction.size() ? fraction[i] - '0' : 0; }
  bool zeros_from(size_t i) const { return i >= fraction.size(); }
};

Result<Decimal> decimal_of(const Json& value) {
  std::string text;
  if (value.is_number_integer()) {
    text = dump_json(value);
  } else {
    const double v = value.get<double>();
    if (!(std::abs(v) < 1e18)) return unsupported("a bound of {} is not supported; at most 1e18", v);
    // The shortest digits that read back as the same number, without exponent.
    for (int places = 0; places <= 30; ++places) {
      text = fmt::format("{:.{}f}", v, places);
      if (std::stod(text) == v) break;
    }
  }
  Decimal out;
  out.negative = text[0] == '-';
  if (out.negative) text.erase(0, 1);
  const size_t point = text.find('.');
  out.whole = text.substr(0, point);
  if (point != std::string::npos) out.fraction = text.substr(point + 1);
  while (!out.fraction.empty() && out.fraction.back() == '0') out.fraction.pop_back();
  if (out.whole.size() > kMaxDigits + 2)
    return unsupported("a bound of {} digits is not supported", out.whole.size());
  if (out.zero()) out.negative = false;
  return out;
}

struct Edge {
  Decimal at;
  bool exclusive = false;
};

class RangeGraph {
 public:
  RangeGraph(Grammar& g, const std::optional<Edge>& least, const std::optional<Edge>& most, int decimals)
      : g_(g), least_(least), most_(most), decimals_(decimals) {}

  NodeId build() {
    const int from = least_ ? static_cast<int>(least_->at.whole.size()) : 1;
    const int to = most_ ? static_cast<int>(most_->at.whole.size()) : std::max(from, kMaxDigits);
    for (int length = from; length <= to; ++length) {
      const bool low = least_ && length == from, high = most_ && length == to;
      digits(0, length > 1 ? 1 : 0, low ? least_->at.whole[0] - '0' : 0, high ? most_->at.whole[0] - '0' : 9,
             low, high, [&](bool l, bool h) { return vertex(kWhole, length - 1, l, h); });
    }
    // Vertices are numbered as they are found; each is expanded once.
    for (size_t i = 1; i < found_.size(); ++i) expand(found_[i], static_cast<int32_t>(i));
    const auto end = static_cast<int32_t>(found_.size());
    for (int32_t v : accepting_) edges_.push_back({v, end, GraphEdge::kEpsilon});
    return g_.graph(end + 1, std::move(edges_));
  }

 private:
  enum Stage { kStart, kWhole, kPoint, kFraction };
  // Stage, digits left (kWhole) or written (kFraction), still equal to the lower and to the upper bound.
  using Key = std::tuple<int, int, bool, bool>;

  int32_t vertex(int stage, int count, bool low, bool high) {
    const auto [it, added] = ids_.emplace(Key{stage, count, low, high}, static_cast<int32_t>(found_.size()));
    if (added) found_.push_back(it->first);
    return it->second;
  }

  // Edges for the digits of at least `floor`, between the bounds' digits where the number equals them so far.
  template <typename Target>
  void digits(int32_t from, int floor, int low_digit, int high_digit, bool low, bool high, Target target) {
    for (int d = std::max(floor, low ? low_digit : 0); d <= (high ? high_digit : 9); ++d) {
      const bool l = low && d == low_digit, h = high && d == high_digit;
      int last = d;
      if (!l && !h) {
        while (last < 9 && !(high && last + 1 >= high_digit)) ++last;
      }
      edges_.push_back({from, target(l, h),
                        g_.chars({{static_cast<char32_t>('0' + d), static_cast<char32_t>('0' + last)}})});
      d = last;
    }
  }

  void expand(const Key& key, int32_t id) {
    const auto [stage, count, low, high] = key;
    // clang-14 captures no structured bindings.
    const bool low_now = low, high_now = high;
    const int written = count;
    if (stage == kWhole && count > 0) {
      const auto digit_of = [&](const std::optional<Edge>& e) {
        return e->at.whole[e->at.whole.size() - static_cast<size_t>(written)] - '0';
      };
      digits(id, 0, low ? digit_of(least_) : 0, high ? digit_of(most_) : 9, low, high,
             [&](bool l, bool h) { return vertex(kWhole, written - 1, l, h); });
      return;
    }
    const int done = stage == kFraction ? count : 0;
    if (stage != kPoint && may_end(static_cast<size_t>(done), low_now, high_now)) accepting_.push_back(id);
    if (stage == kWhole) {
      if (decimals_ > 0) edges_.push_back({id, vertex(kPoint, 0, low, high), g_.bytes(".")});
      return;
    }
    if (done == decimals_) return;
    digits(id, 0, low ? least_->at.digit(static_cast<size_t>(done)) : 0,
           high ? most_->at.digit(static_cast<size_t>(done)) : 9, low, high,
           [&](bool l, bool h) { return vertex(kFraction, done + 1, l, h); });
  }

  // Whether the number is in the range if only zeros follow its first `done` decimals.
  bool may_end(size_t done, bool low, bool high) const {
    if (low && (!least_->at.zeros_from(done) || least_->exclusive)) return false;
    return !(high && most_->at.zeros_from(done) && most_->exclusive);
  }

  Grammar& g_;
  const std::optional<Edge>& least_;
  const std::optional<Edge>& most_;
  int decimals_;
  std::map<Key, int32_t> ids_{{Key{kStart, 0, false, false}, 0}};
  std::vector<Key> found_{Key{kStart, 0, false, false}};
  std::vector<GraphEdge> edges_;
  std::vector<int32_t> accepting_;
};

}  // namespace

Result<NodeId> decimal_range(Grammar& g, const std::optional<Bound>& least, const std::optional<Bound>& most,
                             int decimals) {
  std::optional<Edge> lo, hi;
  if (least) {
    SLUICE_ASSIGN(Decimal d, decimal_of(least->value));
    lo = Edge{std::move(d), least->exclusive};
  }
  if (most) {
    SLUICE_ASSIGN(Decimal d, decimal_of(most->value));
    hi = Edge{std::move(d), most->exclusive};
  }
  const Edge zero{{}, false}, below_zero{{}, true};
  std::vector<NodeId> out;
  if (!hi || !hi->at.negative) {
    const std::optional<Edge> from = lo && !lo->at.negative ? lo : std::optional<Edge>(zero);
    out.push_back(RangeGraph(g, from, hi, decimals).build());
  }
  // Zero has no sign; below it the bounds change places.
  if (!lo || lo->at.negative) {
    const std::optional<Edge> from = hi && hi->at.negative ? hi : std::optional<Edge>(below_zero);
    out.push_back(g.sequence({g.bytes("-"), RangeGraph(g, from, lo, decimals).build()}));
  }
  return g.choice(std::move(out));
}

NodeId multiples_of(Grammar& g, int32_t divisor) {
  // Vertex 0: nothing yet; r + 1: digits so far leave remainder r; then the end.
  std::vector<GraphEdge> edges;
  std::array<NodeId, 10> digit{};
  for (int d = 0; d < 10; ++d)
    digit[static_cast<size_t>(d)] = g.bytes(std::string(1, static_cast<char>('0' + d)));
  for (int d = 1; d < 10; ++d) edges.push_back({0, d % divisor + 1, digit[static_cast<size_t>(d)]});
  for (int32_t r = 0; r < divisor; ++r) {
    for (int d = 0; d < 10; ++d)
      edges.push_back({r + 1, (r * 10 + d) % divisor + 1, digit[static_cast<size_t>(d)]});
  }
  edges.push_back({1, divisor + 1, GraphEdge::kEpsilon});
  const NodeId magnitude = g.graph(divisor + 2, std::move(edges));
  return g.choice({g.bytes("0"), g.sequence({g.optional(g.bytes("-")), magnitude})});
}

}  // namespace sluice::text::grammar
