// Tool calls as text: a grammar that lets a model write them in its own dialect, and nothing else by that
// form; and a parser that follows the same automaton and gives calls out piece by piece as they are written.
//
//   hermes       <tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>      (Hermes 2, Qwen 2.5 and 3)
//   llama3_json  {"name": "f", "parameters": {...}}; {...}                         (Llama 3.1 and later)
//
// With tool_choice "auto" text comes first and is free; behind the trigger (<tool_call>; for llama3_json an
// answer that begins with "{") the grammar holds. Text behind a call is not allowed: calls end an answer.
// Where the text has a form of its own an answer is either such a text or calls; one that is both is calls.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/grammar/automaton.h"
#include "text/grammar/matcher.h"
#include "text/stop_strings.h"

namespace sluice::text::grammar {

enum class ToolDialect { hermes, llama3_json };
/// "hermes", "llama3_json".
Result<ToolDialect> tool_dialect_from_name(const std::string& name);
/// The dialect that a chat template writes calls in; none if it knows neither.
std::optional<ToolDialect> tool_dialect_of_template(std::string_view chat_template);

struct Tool {
  std::string name;
  Json parameters;    // a JSON Schema of an object
  std::string field;  // of the request that holds both, for errors
};

struct ToolChoice {
  enum class Mode { none, automatic, required, named };
  Mode mode = Mode::automatic;
  std::string name;  // with `named`
};

struct ToolRequest {
  std::vector<Tool> tools;
  ToolChoice choice;
  bool parallel = true;  // several calls in one answer
};

inline constexpr size_t kMaxTools = 256;

/// Reads the OpenAI fields `tools`, `tool_choice` and `parallel_tool_calls`; null where a request has none.
/// Functions are spelt as chats do, {"type": "function", "function": {"name": ...}}, or flat as responses do.
/// Without tools the choice is none. Errors begin with the field's name.
Result<ToolRequest> parse_tool_request(const Json& tools, const Json& tool_choice, const Json& parallel);

/// What the output must match; unsupported or invalid parameters are refused by tool and keyword. `form`: of
/// an answer that is no call, where there may be one. Not for ToolChoice::Mode::none, which constrains
/// nothing.
Result<Grammar> tool_grammar(const ToolRequest& request, ToolDialect dialect, const Limits& limits = {},
                             const Grammar* form = nullptr);

/// Part of a call, as a stream gives it.
struct ToolCallDelta {
  int index = 0;
  std::string id;    // with the first delta of a call, "call_" and 24 characters
  std::string name;  // with the first delta of a call
  std::string arguments;
};

struct ToolDeltas {
  std::string content;  // what is no call
  std::vector<ToolCallDelta> calls;
};

class ToolCallParser {
 public:
  /// `automaton`: that of tool_grammar(request, dialect). `seed` makes the ids.
  ToolCallParser(std::shared_ptr<const Automaton> automaton, const ToolRequest& request, ToolDialect dialect,
                 uint64_t seed);

  /// The next piece of generated text. How the text is cut changes nothing but where deltas end. Linear.
  ToolDeltas push(std::string_view text);
  /// The end: appends what was held back because it might have become something else.
  void finish(ToolDeltas& out);

  /// Calls of which the arguments have begun.
  int num_calls() const { return index_ + 1; }
  /// The text left the grammar (it was not constrained by it): from there on everything is content.
  bool broken() const { return broken_; }

 private:
  void content(std::string_view text, ToolDeltas& out);
  void begin_call(int32_t tool, ToolDeltas& out);
  void take(char byte, int32_t tag, ToolDeltas& out);
  void settle(bool is_call, ToolDeltas& out);
  void give_up(ToolDeltas& out);

  std::vector<std::string> names_;
  std::vector<std::string> triggers_;
  uint64_t seed_;
  Matcher matcher_;
  StopMatcher held_;                                 // content, as long as it may begin a trigger
  std::string frame_;                                // of a call whose arguments have not begun
  std::vector<std::pair<char, int32_t>> undecided_;  // may be text of a form, or a call by these tags
  int index_ = -1;
  bool in_call_ = false;  // the last byte was one of its arguments
  bool broken_ = false;
};

}  // namespace sluice::text::grammar
