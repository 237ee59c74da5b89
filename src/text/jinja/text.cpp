#include "text/jinja/text.h"

#include <algorithm>

#include "text/utf8.h"

namespace sluice::text::jinja {
namespace {

constexpr size_t kShortNeedle = 8;  // below this the quadratic search is linear with a small constant

}  // namespace

Text to_text(std::string_view utf8, char32_t mark) {
  Text out;
  out.reserve(utf8.size());
  for_each_char(utf8, [&](char32_t c, std::string_view) { out.push_back(c | mark); });
  return out;
}

std::string to_utf8(TextView text) {
  std::string out;
  out.reserve(text.size());
  for (char32_t c : text) append_utf8(out, code_point(c));
  return out;
}

RenderedChat encode_marked(TextView text) {
  RenderedChat out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool marked = mark_of(text[i]) != 0;
    const bool previous_marked = i > 0 && mark_of(text[i - 1]) != 0;
    if (marked && !previous_marked) out.from_input.push_back({out.text.size(), 0});
    append_utf8(out.text, code_point(text[i]));
    if (marked) out.from_input.back().end = out.text.size();
  }
  return out;
}

size_t hash_text(TextView text) {
  uint64_t h = 0xcbf29ce484222325;  // FNV-1a over code points
  for (char32_t c : text) h = (h ^ code_point(c)) * 0x100000001b3;
  return h;
}

Searcher::Searcher(TextView needle) : needle_(needle) {
  if (needle.size() <= kShortNeedle) return;
  border_.resize(needle.size());
  for (size_t i = 1, k = 0; i < needle.size(); ++i) {
    while (k > 0 && !TextTraits::eq(needle[i], needle[k])) k = border_[k - 1];
    if (TextTraits::eq(needle[i], needle[k])) ++k;
    border_[i] = static_cast<uint32_t>(k);
  }
}

size_t Searcher::find(TextView text, size_t from) const {
  if (border_.empty() || from > text.size()) return text.find(needle_, from);
  for (size_t i = from, k = 0; i < text.size(); ++i) {
    while (k > 0 && !TextTraits::eq(text[i], needle_[k])) k = border_[k - 1];
    if (TextTraits::eq(text[i], needle_[k])) ++k;
    if (k == needle_.size()) return i + 1 - k;
  }
  return TextView::npos;
}

size_t find_last(TextView text, TextView needle) {
  const Text backwards(text.rbegin(), text.rend());
  const Text needle_backwards(needle.rbegin(), needle.rend());
  const size_t at = Searcher(needle_backwards).find(backwards, 0);
  return at == TextView::npos ? at : text.size() - at - needle.size();
}

TextView strip(TextView text, Side side, const std::optional<TextView>& chars) {
  const auto drop = [&](char32_t c) { return chars ? chars->find(c) != TextView::npos : is_space(c); };
  if (side != Side::right) {
    while (!text.empty() && drop(text.front())) text.remove_prefix(1);
  }
  if (side != Side::left) {
    while (!text.empty() && drop(text.back())) text.remove_suffix(1);
  }
  return text;
}

std::vector<TextView> split_lines(TextView text, bool keep_ends) {
  std::vector<TextView> lines;
  for (size_t start = 0, i = 0; i < text.size();) {
    while (i < text.size() && !is_line_break(text[i])) ++i;
    size_t next = std::min(i + 1, text.size());
    if (next < text.size() && code_point(text[i]) == U'\r' && code_point(text[next]) == U'\n') ++next;
    lines.push_back(text.substr(start, (keep_ends ? next : i) - start));
    start = i = next;
  }
  return lines;
}

}  // namespace sluice::text::jinja
