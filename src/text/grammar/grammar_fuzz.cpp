// Any bytes as a GBNF grammar or a regex and, behind a zero byte, a text: automaton and reference acceptor
// agree on every prefix.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/matcher.h"
#include "text/grammar/reference_acceptor.h"
#include "text/grammar/regex_grammar.h"

namespace {

using namespace sluice;
using namespace sluice::text::grammar;

void check(const Result<Grammar>& grammar, std::string_view text) {
  Limits limits;
  limits.max_nfa_states = 50'000;
  limits.max_states = 5'000;
  if (!grammar.ok()) return;
  const auto automaton = compile(*grammar, limits);
  // The reference takes its time on long texts and large counts.
  if (!automaton.ok() || grammar->nodes().size() > 100 || (*automaton)->num_states() > 500) return;
  Matcher matcher(*automaton, 2);
  ReferenceAcceptor reference(*grammar);
  for (size_t n = 1; n <= text.size() && n <= 24; ++n) {
    const std::string_view prefix = text.substr(0, n);
    const bool follows = matcher.accept(prefix.substr(n - 1));
    if (matcher.overflowed()) return;
    SLUICE_CHECK(follows == reference.viable(prefix), "viable {} in {}", follows, prefix);
    if (!follows) return;
    const bool ends = matcher.can_end();
    SLUICE_CHECK(ends == reference.matches(prefix), "ends {} in {}", ends, prefix);
    matcher.rollback(1);
    SLUICE_CHECK(matcher.accept(prefix.substr(n - 1)) && matcher.can_end() == ends, "rollback in {}", prefix);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = input.find('\0');
  const std::string_view source = input.substr(0, cut),
                         text = cut == std::string_view::npos ? std::string_view() : input.substr(cut + 1);
  Limits limits;
  limits.max_repeat = 200;
  check(parse_gbnf(source, limits), text);
  check(regex_grammar(source, limits), text);
  return 0;
}
