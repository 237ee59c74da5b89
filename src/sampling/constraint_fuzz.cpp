// Any bytes as a GBNF grammar and, behind a zero byte, the choice of tokens: the mask allows a token if and
// only if the reference acceptor can go on by its bytes.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "sampling/constraint.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/reference_acceptor.h"

namespace {

std::shared_ptr<const sluice::sampling::Vocabulary> make_vocabulary() {
  std::vector<std::string> texts;
  for (const char* t :
       {"a",      "b",   "c",   "(",     ")",    ",",    "\"",       " ",        "\n",       "1",
        "2",      "ab",  "abc", "aa",    "aaa",  "a,",   ",b",       "(a",       "a)",       "))",
        "((",     "\"a", "a\"", "\",\"", "\xC3", "\xA9", "\xC3\xA9", "\xF0\x9F", "\xA6\x99", "b\xC3",
        "\xA9\"", "12",  "1,2", "  ",    "c c",  "a\nb", "\xFF"})
    texts.emplace_back(t);
  return std::make_shared<const sluice::sampling::Vocabulary>(std::move(texts), std::vector<int32_t>{},
                                                              std::vector<int32_t>{});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  using namespace sluice::text::grammar;
  static const auto kVocabulary = make_vocabulary();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = input.find('\0');
  if (cut == std::string_view::npos) return 0;
  Limits limits;
  limits.max_repeat = 50;
  limits.max_nfa_states = 50'000;
  limits.max_states = 5'000;
  const auto grammar = parse_gbnf(input.substr(0, cut), limits);
  if (!grammar.ok() || grammar->nodes().size() > 60) return 0;
  const auto automaton = compile(*grammar, limits);
  if (!automaton.ok() || (*automaton)->num_states() > 500) return 0;
  sampling::ProfileCache cache(size_t{1} << 20);
  const auto constraint = sampling::Constraint::create(*automaton, kVocabulary, cache, nullptr);
  if (!constraint.ok()) return 0;
  ReferenceAcceptor reference(*grammar);
  sampling::ConstraintState state(*constraint);
  std::string text;
  for (const char choice : input.substr(cut + 1, 8)) {
    const auto mask = state.mask();
    if (!mask.ok()) return 0;  // too ambiguous
    std::vector<int32_t> allowed;
    for (int32_t t = 0; t < kVocabulary->size(); ++t) {
      const bool fits = reference.viable(text + std::string(kVocabulary->bytes_of(t)));
      SLUICE_CHECK((*mask)->test(t) == fits, "token {} fits {} behind {}", kVocabulary->bytes_of(t), fits,
                   text);
      if (fits) allowed.push_back(t);
    }
    if (allowed.empty()) break;
    const int32_t token = allowed[static_cast<uint8_t>(choice) % allowed.size()];
    SLUICE_CHECK(state.accept(token), "an allowed token is refused behind {}", text);
    text += kVocabulary->bytes_of(token);
    SLUICE_CHECK(state.can_end() == reference.matches(text), "end behind {}", text);
  }
  return 0;
}
