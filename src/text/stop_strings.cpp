#include "text/stop_strings.h"

namespace sluice::text {

Result<StopStrings> StopStrings::create(std::vector<std::string> strings) {
  size_t total = 0;
  auto automaton = std::make_shared<AhoCorasick>();
  for (size_t i = 0; i < strings.size(); ++i) {
    if (strings[i].empty()) return invalid_argument("stop[{}] is empty; leave it out", i);
    total += strings[i].size();
    if (total > kMaxTotalBytes) {
      return invalid_argument("the stop strings have more than {} bytes in all; use shorter ones",
                              kMaxTotalBytes);
    }
    automaton->add(strings[i], static_cast<int32_t>(i));
  }
  automaton->build();
  StopStrings stops;
  if (!strings.empty()) stops.automaton_ = std::move(automaton);
  stops.strings_ = std::move(strings);
  return stops;
}

bool StopMatcher::accept(std::string& out) {
  matched_ = candidate_;
  out.append(held_, 0, candidate_begin_);
  held_.clear();
  return true;
}

bool StopMatcher::push(std::string_view text, std::string& out) {
  if (matched_) return true;
  if (stops_.empty()) {
    out += text;
    return false;
  }
  const AhoCorasick& automaton = *stops_.automaton_;
  for (const char c : text) {
    held_.push_back(c);
    state_ = automaton.step(state_, static_cast<uint8_t>(c));
    const size_t alive =
        held_.size() - automaton.depth(state_);  // where the earliest stop still possible begins
    // The longest pattern that ends here begins first.
    if (const uint32_t match = automaton.longest_match(state_); match != AhoCorasick::kRoot) {
      const size_t begin = held_.size() - automaton.depth(match);
      if (!candidate_ || begin < candidate_begin_) {
        candidate_ = static_cast<size_t>(automaton.value(match));
        candidate_begin_ = begin;
      }
    }
    if (candidate_ && alive >= candidate_begin_) return accept(out);
  }
  if (!candidate_) {
    const size_t certain = held_.size() - automaton.depth(state_);
    out.append(held_, 0, certain);
    held_.erase(0, certain);
  }
  return false;
}

bool StopMatcher::flush(std::string& out) {
  if (matched_) return true;
  if (candidate_) return accept(out);
  out += held_;
  held_.clear();
  state_ = AhoCorasick::kRoot;
  return false;
}

}  // namespace sluice::text
