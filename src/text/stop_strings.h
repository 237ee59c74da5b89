// Stop strings over streamed text (Aho-Corasick): nothing that may turn out to be part of a stop is ever
// given out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/aho_corasick.h"

namespace sluice::text {

/// A set of stop strings. Immutable; copies share the automaton.
class StopStrings {
 public:
  static constexpr size_t kMaxTotalBytes = size_t{1} << 20;

  StopStrings() = default;
  /// Refuses empty strings and more than `kMaxTotalBytes` in all.
  static Result<StopStrings> create(std::vector<std::string> strings);

  bool empty() const { return strings_.empty(); }
  const std::vector<std::string>& strings() const { return strings_; }

 private:
  friend class StopMatcher;
  std::vector<std::string> strings_;
  std::shared_ptr<const AhoCorasick> automaton_;  // null when there are no strings
};

/// Follows one stream of text. Its decisions do not depend on how the text is cut into pieces.
class StopMatcher {
 public:
  explicit StopMatcher(StopStrings stops) : stops_(std::move(stops)) {}

  /// Takes the next piece of text and appends to `out` what may be shown now: everything but the longest
  /// suffix that begins a stop string. True once a stop has matched: the text before it has been given out,
  /// the stop itself and what follows never are. The stop that begins first wins (so a match waits while one
  /// that began earlier may yet be completed); of those that begin together the first to be complete, since
  /// the text before it is the same.
  bool push(std::string_view text, std::string& out);

  /// The stream ends (length, end of sequence): gives out what was held back. True if a match was waiting in
  /// it.
  bool flush(std::string& out);

  bool stopped() const { return matched_.has_value(); }
  /// The stop string that matched, as an index into StopStrings::strings().
  std::optional<size_t> matched() const { return matched_; }

 private:
  bool accept(std::string& out);

  StopStrings stops_;
  std::string held_;  // text given in and not yet out
  uint32_t state_ = AhoCorasick::kRoot;
  std::optional<size_t> candidate_;  // a stop found, while an earlier one may still come
  size_t candidate_begin_ = 0;       // its offset in held_
  std::optional<size_t> matched_;
};

}  // namespace sluice::text
