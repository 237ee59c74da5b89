// Any bytes as generated text for fixed tools: however it is cut the parser gives the same, loses nothing of
// what is no call, and arguments of a call that is whole are JSON.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/tool_calls.h"

namespace {

using namespace sluice;
using namespace sluice::text::grammar;

struct Setup {
  ToolDialect dialect;
  ToolRequest request;
  std::shared_ptr<const Automaton> automaton;
};

std::vector<Setup> make_setups() {
  const Json tools = *parse_json(
      R"([{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"string"}}}}},)"
      R"({"type":"function","function":{"name":"g","parameters":{"type":"object"}}}])",
      "tools");
  std::vector<Setup> out;
  for (const ToolDialect dialect : {ToolDialect::hermes, ToolDialect::llama3_json}) {
    const auto add = [&](const char* choice, const Grammar* form = nullptr) {
      Setup setup{dialect, *parse_tool_request(tools, choice, nullptr), nullptr};
      setup.automaton = *compile(*tool_grammar(setup.request, dialect, {}, form));
      out.push_back(std::move(setup));
    };
    add("auto");
    add("required");
    const Grammar object = json_object_grammar();
    add("auto", &object);
  }
  return out;
}

struct Outcome {
  std::string content;
  std::vector<std::string> calls;
  bool operator==(const Outcome&) const = default;
};

Outcome parse(const Setup& setup, std::string_view text, size_t cut, bool& broken) {
  ToolCallParser parser(setup.automaton, setup.request, setup.dialect, 1);
  Outcome out;
  const auto take = [&](const ToolDeltas& deltas) {
    out.content += deltas.content;
    for (const ToolCallDelta& d : deltas.calls) {
      if (!d.name.empty()) out.calls.emplace_back();
      SLUICE_CHECK(d.index + 1 == static_cast<int>(out.calls.size()), "index {}", d.index);
      out.calls.back() += d.arguments;
    }
  };
  for (size_t at = 0; at < text.size(); at += cut) take(parser.push(text.substr(at, cut)));
  ToolDeltas rest;
  parser.finish(rest);
  take(rest);
  broken = parser.broken();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<Setup> kSetups = make_setups();
  if (size == 0) return 0;
  const Setup& setup = kSetups[data[0] % kSetups.size()];
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  bool broken = false;
  const Outcome whole = parse(setup, text, text.size() + 1, broken);
  for (const size_t cut : {size_t{1}, size_t{3}, size_t{7}})
    SLUICE_CHECK(parse(setup, text, cut, broken) == whole, "cut at {}", cut);
  Matcher matcher(setup.automaton);
  if (!broken && matcher.accept(text) && matcher.can_end()) {
    for (const std::string& arguments : whole.calls)
      SLUICE_CHECK(nlohmann::json::accept(arguments), "not JSON: {}", arguments);
  }
  return 0;
}
