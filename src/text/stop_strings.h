// Stop strings over streamed text (Aho-Corasick): nothing that may turn out to be part of a stop is ever
// given out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace sluice::text {

/// A set of stop strings, shared by reference by the matchers of a request's sequences. Immutable.
class StopStrings {
 public:
  /// Refuses empty strings and more than `kMaxTotalBytes` in all.
  static Result<StopStrings> create(std::vector<std::string> strings);
  static constexpr size_t kMaxTotalBytes = size_t{1} << 20;

  bool empty() const { return strings_.empty(); }
  const std::vector<std::string>& strings() const { return strings_; }

 private:
  friend class StopMatcher;
  struct Node {
    std::vector<std::pair<uint8_t, uint32_t>> next;  // sorted by byte
    uint32_t fail = 0;
    uint32_t depth = 0;    // bytes from the root
    int32_t longest = -1;  // index of the longest stop that ends here
  };
  uint32_t step(uint32_t state, uint8_t byte) const;

  std::vector<std::string> strings_;
  std::vector<Node> nodes_;
};

/// Follows one stream of text.
class StopMatcher {
 public:
  explicit StopMatcher(const StopStrings& stops) : stops_(&stops) {}

  /// Takes the next piece of text and appends to `out` what may be shown now: everything but the longest
  /// suffix that begins a stop string. True once a stop has matched: the text before it has been given out,
  /// the stop itself and what follows never are. The stop that begins first wins, among those the longest of
  /// what has arrived.
  bool push(std::string_view text, std::string& out);

  /// The stream ends (length, end-of-sequence): gives out what was held back.
  void flush(std::string& out);

  bool stopped() const { return matched_.has_value(); }
  /// The stop string that matched, as an index into StopStrings::strings().
  std::optional<size_t> matched() const { return matched_; }

 private:
  const StopStrings* stops_;
  std::string held_;  // text given in and not yet out
  uint32_t state_ = 0;
  std::optional<size_t> matched_;
};

}  // namespace sluice::text
