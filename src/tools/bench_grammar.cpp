#include "tools/bench_grammar.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "engine/codec.h"
#include "sampling/constraint_compiler.h"

namespace sluice::tools {
namespace {

using Clock = std::chrono::steady_clock;
using Kind = StructuredOutput::Kind;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Case {
  const char* name;
  Kind kind;
  const char* constraint;
  const char* text;
};

constexpr const char* kPerson = R"({
  "type": "object",
  "properties": {
    "name": {"type": "string"},
    "age": {"type": "integer", "minimum": 0, "maximum": 130},
    "email": {"type": "string", "format": "email"},
    "score": {"type": "number", "minimum": 0, "maximum": 1},
    "role": {"enum": ["admin", "editor", "viewer"]},
    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 8},
    "address": {
      "type": "object",
      "properties": {"street": {"type": "string"}, "city": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
      "required": ["street", "city"],
      "additionalProperties": false
    }
  },
  "required": ["name", "age", "role"],
  "additionalProperties": false
})";
constexpr const char* kPersonText =
    R"({"name": "Ada Lovelace", "age": 36, "email": "ada.lovelace@analytical-engine.org", "score": 0.973, "role": "editor", )"
    R"("tags": ["mathematics", "first programmer", "Bernoulli numbers"], )"
    R"("address": {"street": "12 St James's Square", "city": "London", "zip": "10115"}})";

constexpr const char* kTree = R"({
  "$ref": "#/$defs/node",
  "$defs": {
    "node": {
      "type": "object",
      "properties": {
        "kind": {"anyOf": [{"const": "leaf"}, {"const": "branch"}]},
        "label": {"type": ["string", "null"]},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}
      },
      "required": ["kind", "children"]
    }
  }
})";
constexpr const char* kTreeText =
    R"({"kind": "branch", "label": "the root of it all", "children": [{"kind": "leaf", "label": null, "children": []}, )"
    R"({"kind": "branch", "children": [{"kind": "leaf", "label": "deep down", "children": []}]}]})";

constexpr const char* kObjectText =
    R"({"id": 48151623, "title": "A longer piece of text, with \"quotes\" and a line\nbreak", "values": [1, 2.5, -3e8, true, null], )"
    R"("nested": {"a": {"b": {"c": [[], [{}], ["x", "y"]]}}}, "unicode": "naïve café — 🦙 ランプ"})";

constexpr Case kCases[] = {
    {"json object", Kind::json_object, "", kObjectText},
    {"schema: person", Kind::json_schema, kPerson, kPersonText},
    {"schema: recursive tree", Kind::json_schema, kTree, kTreeText},
    {"schema: maxLength 500", Kind::json_schema,
     R"({"type": "object", "properties": {"summary": {"type": "string", "minLength": 10, "maxLength": 500}}, "required": ["summary"]})",
     R"({"summary": "The committee met on Tuesday to discuss the proposal in detail, heard three witnesses from the region, and agreed to postpone the final decision until the report of the engineers had been received and read by all members."})"},
    {"regex", Kind::regex, "(\\d{4}-\\d{2}-\\d{2}): [A-Z][a-z]+( [a-z]+){3,12}\\.",
     "2024-05-17: The quick brown fox jumps over the lazy dog."},
    {"gbnf: arithmetic", Kind::grammar,
     "root ::= (expr \"=\" ws term \"\\n\")+\nexpr ::= term ([-+*/] ws term)*\nterm ::= ident | num | \"(\" "
     "ws expr "
     "\")\" ws\nident ::= [a-z] [a-z0-9_]* ws\nnum ::= [0-9]+ ws\nws ::= [ \\t]*\n",
     "(alpha + 2*beta_1) * (gamma - 17) = result\n1 + 2 + 3 = six\n"},
};

/// The masks' times in microseconds along the text, written in the longest tokens that the mask allows.
Result<std::vector<double>> follow(const std::shared_ptr<const sampling::Constraint>& constraint,
                                   std::string_view text) {
  sampling::ConstraintState state(constraint);
  const sampling::Vocabulary& vocabulary = constraint->vocabulary();
  std::vector<double> out;
  while (!text.empty()) {
    const auto start = Clock::now();
    SLUICE_ASSIGN(const sampling::TokenMask* mask, state.mask());
    out.push_back(1e6 * seconds_since(start));
    int32_t best = -1;
    for (int32_t token = 0; token < vocabulary.size(); ++token) {
      const std::string_view bytes = vocabulary.bytes_of(token);
      const bool longer = best < 0 || bytes.size() > vocabulary.bytes_of(best).size();
      if (!bytes.empty() && longer && mask->test(token) && text.substr(0, bytes.size()) == bytes)
        best = token;
    }
    if (best < 0 || !state.accept(best))
      return internal_error("the constraint does not match its text at \"{}\"", text);
    text.remove_prefix(vocabulary.bytes_of(best).size());
  }
  if (!state.can_end()) return internal_error("the constraint does not end with its text");
  return out;
}

double mean_of(const std::vector<double>& v) {
  return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
}

Result<GrammarRow> run(const Case& c, sampling::ConstraintCompiler& compiler) {
  GrammarRow row{.name = c.name};
  const auto start = Clock::now();
  SLUICE_ASSIGN(const auto constraint, compiler.compile({c.kind, c.constraint, {}}));
  row.compile_ms = 1e3 * seconds_since(start);
  row.states = constraint->automaton()->num_states();
  SLUICE_ASSIGN(const std::vector<double> first, follow(constraint, c.text));
  row.tokens = static_cast<int64_t>(first.size());
  row.first_mean_us = mean_of(first);
  row.first_max_us = *std::max_element(first.begin(), first.end());
  std::vector<double> all;
  for (int pass = 0; pass < 20; ++pass) {
    SLUICE_ASSIGN(const std::vector<double> later, follow(constraint, c.text));
    all.insert(all.end(), later.begin(), later.end());
  }
  std::sort(all.begin(), all.end());
  row.mean_us = mean_of(all);
  row.p50_us = all[all.size() / 2];
  row.p99_us = all[all.size() * 99 / 100];
  row.max_us = all.back();
  return row;
}

}  // namespace

Result<GrammarReport> bench_grammar(const std::string& model) {
  SLUICE_ASSIGN(const engine::Codec codec, engine::Codec::open(model));
  if (!codec.has_tokenizer())
    return invalid_argument("{}: --grammar needs a tokenizer, and the model has none", model);
  sampling::ConstraintCompiler compiler(*codec.tokenizer(), codec.tokenizer()->end_ids());
  GrammarReport report;
  const auto start = Clock::now();
  report.vocab = compiler.vocabulary()->size();
  report.vocabulary_ms = 1e3 * seconds_since(start);
  for (const Case& c : kCases) {
    SLUICE_ASSIGN(GrammarRow row, run(c, compiler));
    report.rows.push_back(std::move(row));
  }
  return report;
}

Json report_json(const GrammarReport& report) {
  Json rows = Json::array();
  for (const GrammarRow& r : report.rows) {
    rows.push_back(
        {{"constraint", r.name},
         {"states", r.states},
         {"tokens", r.tokens},
         {"compile_ms", r.compile_ms},
         {"first_mask_us", {{"mean", r.first_mean_us}, {"max", r.first_max_us}}},
         {"mask_us", {{"mean", r.mean_us}, {"p50", r.p50_us}, {"p99", r.p99_us}, {"max", r.max_us}}}});
  }
  return {{"vocab", report.vocab}, {"vocabulary_ms", report.vocabulary_ms}, {"constraints", std::move(rows)}};
}

}  // namespace sluice::tools
