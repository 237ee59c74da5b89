// Any bytes as a JSON Schema: compiled within its budgets or refused. A text found along the automaton must
// be JSON, and what the reference acceptor makes of the grammar.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/matcher.h"
#include "text/grammar/reference_acceptor.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  using namespace sluice::text::grammar;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto schema = parse_json(input, "schema");
  if (!schema.ok()) return 0;
  Limits limits;
  limits.max_nodes = 20'000;
  limits.max_nfa_states = 50'000;
  limits.max_states = 5'000;
  const auto grammar = schema_grammar(*schema, limits);
  if (!grammar.ok()) return 0;
  const auto automaton = compile(*grammar, limits);
  if (!automaton.ok()) return 0;
  // Bytes of the input choose the way.
  Matcher matcher(*automaton);
  std::string text;
  for (size_t i = 0; text.size() < 60 && !matcher.exhausted() && !matcher.overflowed(); ++i) {
    const uint8_t choice = data[i % size];
    if (matcher.can_end() && choice % 3 == 0) break;
    std::string next;
    for (const Thread& t : matcher.threads()) {
      if (t.state == Stacks::kEnded) continue;
      for (const Automaton::Edge& e : (*automaton)->edges((*automaton)->state(t.state)))
        next += static_cast<char>(e.lo + choice % (e.hi - e.lo + 1));
    }
    SLUICE_CHECK(!next.empty(), "a state that is left nowhere, behind {}", text);
    text += next[choice / 3 % next.size()];
    SLUICE_CHECK(matcher.accept(std::string_view(text).substr(text.size() - 1)) || matcher.overflowed(), "{}",
                 text);
  }
  if (matcher.overflowed()) return 0;
  const bool whole = matcher.can_end();
  if (whole) SLUICE_CHECK(nlohmann::json::accept(text), "not JSON: {}", text);
  if (grammar->nodes().size() < 300)
    SLUICE_CHECK(ReferenceAcceptor(*grammar).matches(text) == whole, "acceptor and automaton differ on {}",
                 text);
  return 0;
}
