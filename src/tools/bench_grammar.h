// sluice bench --grammar: what constraining an output costs, by tokenizer alone.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "tools/measure.h"

namespace sluice::tools {

/// One constraint, followed through a text that it matches, token by token.
struct GrammarRow {
  std::string name;
  size_t states = 0;  // of the automaton
  int64_t tokens = 0;
  double compile_ms = 0;                       // grammar and automaton
  double first_mean_us = 0, first_max_us = 0;  // masks of the first pass, which fills in the profiles
  double mean_us = 0, p50_us = 0, p99_us = 0, max_us = 0;  // masks of a later pass
};

struct GrammarReport {
  int32_t vocab = 0;
  double vocabulary_ms = 0;  // sorting the vocabulary, once for a model
  std::vector<GrammarRow> rows;
};

/// The tokenizer of MODEL over constraints and texts as clients send them.
Result<GrammarReport> bench_grammar(const std::string& model);

Json report_json(const GrammarReport& report);

}  // namespace sluice::tools
