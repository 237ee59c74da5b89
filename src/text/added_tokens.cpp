#include "text/added_tokens.h"

#include <algorithm>

#include "text/char_class.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

// The character that ends at `at`, which is not 0, in valid UTF-8.
char32_t char_before(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  return decode_utf8(text.substr(begin)).code;
}

bool is_single_word(std::string_view text, TextRange range) {
  const bool left = range.begin == 0 || !is_word(char_before(text, range.begin));
  const bool right = range.end == text.size() || !is_word(decode_utf8(text.substr(range.end)).code);
  return left && right;
}

// Whether [begin, end) touches one of the ranges.
bool touches(std::span<const TextRange> ranges, size_t begin, size_t end) {
  const auto it =
      std::partition_point(ranges.begin(), ranges.end(), [&](TextRange r) { return r.end <= begin; });
  return it != ranges.end() && it->begin < end;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    if (!content.empty() && is_valid_utf8(content)) automaton_.add(content, static_cast<int32_t>(i));
  }
  automaton_.build();
  plain_.resize(automaton_.size(), AhoCorasick::kRoot);
  // Shorter patterns have shallower states, so going by depth finds their answers ready.
  std::vector<uint32_t> by_depth(automaton_.size());
  for (uint32_t state = 0; state < by_depth.size(); ++state) by_depth[state] = state;
  std::stable_sort(by_depth.begin(), by_depth.end(),
                   [&](uint32_t a, uint32_t b) { return automaton_.depth(a) < automaton_.depth(b); });
  for (const uint32_t state : by_depth) {
    const uint32_t match = automaton_.longest_match(state);
    if (match == AhoCorasick::kRoot) continue;
    const bool special = tokens_[static_cast<size_t>(automaton_.value(match))].special;
    plain_[state] = special ? plain_[automaton_.shorter_match(match)] : match;
  }
}

// The longest pattern ending at `end`, in `state`, that the filter lets through; the root if there is none.
uint32_t AddedTokenMatcher::allowed_match(uint32_t state, size_t end, const SpecialFilter& filter) const {
  if (!filter.parse || touches(filter.literal, end - 1, end)) return plain_[state];
  uint32_t match = automaton_.longest_match(state);
  while (match != AhoCorasick::kRoot && tokens_[static_cast<size_t>(automaton_.value(match))].special &&
         touches(filter.literal, end - automaton_.depth(match), end)) {
    match = automaton_.shorter_match(match);
  }
  return match;
}

AddedTokenMatcher::Match AddedTokenMatcher::find(std::string_view text, size_t from,
                                                 const SpecialFilter& filter) const {
  Match best;
  uint32_t state = AhoCorasick::kRoot;
  for (size_t at = from; at < text.size(); ++at) {
    const auto byte = static_cast<uint8_t>(text[at]);
    if (state == AhoCorasick::kRoot && !automaton_.starts(byte)) {
      if (best.token != AhoCorasick::kNone) break;
      continue;
    }
    state = automaton_.step(state, byte);
    const size_t end = at + 1;
    const bool found = best.token != AhoCorasick::kNone;
    if (found && end - automaton_.depth(state) > best.range.begin)
      break;  // nothing earlier can come any more
    const uint32_t match = allowed_match(state, end, filter);
    if (match == AhoCorasick::kRoot) continue;
    const size_t begin = end - automaton_.depth(match);
    if (!found || begin <= best.range.begin) best = {{begin, end}, automaton_.value(match)};
  }
  return best;
}

std::vector<Segment> AddedTokenMatcher::split(std::string_view text, const SpecialFilter& filter) const {
  std::vector<Segment> out;
  size_t done = 0;  // everything before it is in `out`
  for (size_t from = 0; !automaton_.empty() && from < text.size();) {
    const Match match = find(text, from, filter);
    if (match.token == AhoCorasick::kNone) break;
    const AddedToken& token = tokens_[static_cast<size_t>(match.token)];
    TextRange range = match.range;
    from = range.end;
    if (token.single_word && !is_single_word(text, range)) continue;
    if (token.lstrip) {
      while (range.begin > done) {
        const char32_t c = char_before(text, range.begin);
        if (!is_space(c)) break;
        range.begin -= to_utf8(c).size();
      }
    }
    if (token.rstrip) {
      while (range.end < text.size()) {
        const Utf8Char c = decode_utf8(text.substr(range.end));
        if (!is_space(c.code)) break;
        range.end += c.length;
      }
    }
    from = range.end;
    if (done < range.begin) out.push_back({{done, range.begin}, Segment::kText});
    out.push_back({range, token.id});
    done = range.end;
  }
  if (done < text.size()) out.push_back({{done, text.size()}, Segment::kText});
  return out;
}

size_t AddedTokenMatcher::memory_bytes() const {
  size_t bytes = automaton_.memory_bytes() + plain_.capacity() * sizeof(uint32_t);
  for (const AddedToken& token : tokens_) bytes += sizeof(AddedToken) + token.content.capacity();
  return bytes;
}

}  // namespace sluice::text
