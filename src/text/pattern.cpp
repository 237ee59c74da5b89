#include "text/pattern.h"

#include <cstring>

namespace sluice::text {

Result<Pattern> Pattern::literal(std::string_view text) {
  if (text.empty()) return invalid_argument("a pattern is empty");
  return Pattern(std::string(text));
}

Result<Pattern> Pattern::regex(std::string_view pattern) {
  SLUICE_ASSIGN(Regex regex, Regex::compile(pattern));
  return Pattern(std::move(regex));
}

Status Pattern::find_all(std::string_view subject, std::vector<TextRange>& out) const {
  if (const auto* regex = std::get_if<Regex>(&what_)) return regex->find_all(subject, out);
  const auto& literal = std::get<std::string>(what_);
  for (size_t from = 0; from < subject.size();) {
    // memmem is linear in both lengths, std::string_view::find is not.
    const void* found = memmem(subject.data() + from, subject.size() - from, literal.data(), literal.size());
    if (found == nullptr) break;
    const auto begin = static_cast<size_t>(static_cast<const char*>(found) - subject.data());
    from = begin + literal.size();
    out.push_back({begin, from});
  }
  return {};
}

Result<std::string> replace_all(std::string_view text, const Pattern& pattern, std::string_view content) {
  std::vector<TextRange> matches;
  SLUICE_TRY(pattern.find_all(text, matches));
  if (matches.empty()) return std::string(text);
  std::string out;
  out.reserve(text.size() + matches.size() * content.size());
  size_t done = 0;
  for (const TextRange match : matches) {
    out.append(text.substr(done, match.begin - done)).append(content);
    done = match.end;
  }
  out += text.substr(done);
  return out;
}

}  // namespace sluice::text
