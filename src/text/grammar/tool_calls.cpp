#include "text/grammar/tool_calls.h"

#include <algorithm>
#include <set>

#include "text/grammar/json_schema.h"
#include "text/grammar/json_text.h"

namespace sluice::text::grammar {
namespace {

constexpr std::string_view kHermesBegin = "<tool_call>", kHermesEnd = "</tool_call>";
constexpr std::string_view kLlamaTag = "<|python_tag|>";  // of calls of Llama's built-in tools

bool is_tool_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

// What name and parameters lie in: `function`, or, as responses have it, the whole.
Json function_of(const Json& json, std::string& where) {
  if (json.is_object() && json.contains("name")) return json;
  where += ".function";
  return json.is_object() ? json.value("function", Json()) : Json();
}

Result<Tool> parse_tool(const Json& json, std::string where) {
  if (!json.is_object() || json.value("type", Json()) != Json("function"))
    return invalid_argument("{}: expected {{\"type\": \"function\", \"function\": {{...}}}}", where);
  const Json function = function_of(json, where);
  const Json name = function.is_object() ? function.value("name", Json()) : Json();
  if (!name.is_string() || !is_tool_name(name.get<std::string>())) {
    return invalid_argument("{}.name: expected 1 to 64 of the characters a-z, A-Z, 0-9, _, - and .", where);
  }
  Json parameters = function.value("parameters", Json());
  if (parameters.is_null()) parameters = {{"type", "object"}, {"additionalProperties", false}};
  if (!parameters.is_object()) return invalid_argument("{}.parameters: expected a JSON Schema", where);
  static constexpr const char* kSaysWhat[] = {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"};
  const bool says = std::any_of(std::begin(kSaysWhat), std::end(kSaysWhat),
                                [&](const char* k) { return parameters.contains(k); });
  if (!says) parameters["type"] = "object";
  if (parameters.contains("type") && parameters["type"] != Json("object"))
    return invalid_argument("{}.parameters: its type must be \"object\"", where);
  return Tool{name.get<std::string>(), std::move(parameters), std::move(where)};
}

Result<ToolChoice> parse_choice(const Json& json, const std::vector<Tool>& tools) {
  using Mode = ToolChoice::Mode;
  if (json.is_null()) return ToolChoice{tools.empty() ? Mode::none : Mode::automatic, ""};
  if (json == Json("none")) return ToolChoice{Mode::none, ""};
  ToolChoice out;
  if (json == Json("auto")) {
    if (tools.empty()) return ToolChoice{Mode::none, ""};
  } else if (json == Json("required")) {
    out.mode = Mode::required;
  } else {
    std::string where;
    const Json function = function_of(json, where);
    const Json name = function.is_object() ? function.value("name", Json()) : Json();
    if (!name.is_string()) {
      return invalid_argument(
          "tool_choice: expected \"none\", \"auto\", \"required\" or {{\"type\": \"function\", "
          "\"function\": {{\"name\": ...}}}}");
    }
    out = {Mode::named, name.get<std::string>()};
    const bool known =
        std::any_of(tools.begin(), tools.end(), [&](const Tool& t) { return t.name == out.name; });
    if (!known) return invalid_argument("tool_choice: there is no tool \"{}\"", out.name.substr(0, 64));
  }
  if (tools.empty()) return invalid_argument("tool_choice: it needs tools, and the request has none");
  return out;
}

/// Rules of the grammar: text and arguments carry tags, so that the parser sees what a byte belongs to.
enum Tag : int32_t { kText = 0, kForm = 1, kFirstTool = 2 };

class ToolGrammar {
 public:
  ToolGrammar(const ToolRequest& request, ToolDialect dialect, const Limits& limits, const Grammar* form)
      : request_(request),
        dialect_(dialect),
        limits_(limits),
        form_(request.choice.mode == Mode::automatic ? form : nullptr),
        json_(g_, limits_) {}

  Result<Grammar> build() {
    const RuleId root = g_.add_rule("root");
    SLUICE_ASSIGN(const NodeId call, any_call());
    NodeId answer = dialect_ == ToolDialect::hermes ? hermes(call) : llama3(call);
    if (form_ != nullptr) answer = g_.choice({answer, tagged("form", kForm, g_.ref(g_.include(*form_)))});
    g_.define(root, answer);
    g_.set_root(root);
    return std::move(g_);
  }

 private:
  using Mode = ToolChoice::Mode;

  bool several() const { return request_.parallel && request_.choice.mode != Mode::named; }
  bool free_text() const { return request_.choice.mode == Mode::automatic && form_ == nullptr; }

  NodeId tagged(const char* name, int32_t tag, NodeId body) {
    const RuleId rule = g_.add_rule(name, tag);
    g_.define(rule, body);
    return g_.ref(rule);
  }

  // {"name": "f", "arguments": {...}} of any of the tools that may be called.
  Result<NodeId> any_call() {
    const char* arguments = dialect_ == ToolDialect::hermes ? "\"arguments\"" : "\"parameters\"";
    std::vector<NodeId> calls;
    for (size_t i = 0; i < request_.tools.size(); ++i) {
      const Tool& tool = request_.tools[i];
      if (request_.choice.mode == Mode::named && tool.name != request_.choice.name) continue;
      SLUICE_ASSIGN(const NodeId body,
                    add_schema(g_, json_, tool.parameters, tool.field + ".parameters", limits_));
      const NodeId value = tagged("arguments", kFirstTool + static_cast<int32_t>(i), body);
      const NodeId name = json_.member(g_.bytes("\"name\""), g_.bytes(dump_json(Json(tool.name))));
      calls.push_back(json_.enclosed(
          "{", g_.sequence({name, json_.separator(), json_.member(g_.bytes(arguments), value)}), "}"));
    }
    const RuleId rule = g_.add_rule("call");
    g_.define(rule, g_.choice(std::move(calls)));
    return g_.ref(rule);
  }

  NodeId hermes(NodeId call) {
    const std::string begin(kHermesBegin);
    const NodeId rest = g_.sequence({json_.space(), call, json_.space(), g_.bytes(kHermesEnd)});
    const NodeId next = g_.sequence({json_.space(), g_.bytes(begin), rest});
    const NodeId more = several() ? g_.repeat(next, 0) : g_.empty();
    if (!free_text()) return g_.sequence({g_.bytes(begin), rest, more});
    const NodeId text = tagged("text", kText, g_.free_end({begin}));
    const NodeId up_to_call = tagged("text and trigger", kText, g_.free_text({begin}));
    return g_.choice({text, g_.sequence({up_to_call, rest, more})});
  }

  NodeId llama3(NodeId call) {
    const NodeId next = g_.sequence({g_.bytes(";"), json_.space(), call});
    const NodeId calls = g_.sequence({call, several() ? g_.repeat(next, 0) : g_.empty()});
    if (!free_text()) return calls;
    const NodeId free = g_.free_end({std::string(kLlamaTag)});
    const NodeId text = tagged("text", kText, g_.sequence({g_.chars(complement({{'{', '{'}})), free}));
    return g_.choice({calls, g_.optional(text)});
  }

  const ToolRequest& request_;
  ToolDialect dialect_;
  const Limits& limits_;
  const Grammar* form_;
  Grammar g_;
  JsonText json_;
};

// SplitMix64, as 24 characters.
std::string call_id(uint64_t seed, int index) {
  static constexpr char kLetters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string out = "call_";
  uint64_t state = seed + static_cast<uint64_t>(index) * 0xd1342543de82ef95u;
  for (int i = 0; i < 24; ++i) {
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    out += kLetters[(z ^ (z >> 31)) % 62];
  }
  return out;
}

StopMatcher matcher_of(const std::vector<std::string>& triggers) {
  auto stops = StopStrings::create(triggers);
  return StopMatcher(stops.ok() ? *std::move(stops) : StopStrings());
}

}  // namespace

Result<ToolDialect> tool_dialect_from_name(const std::string& name) {
  if (name == "hermes") return ToolDialect::hermes;
  if (name == "llama3_json") return ToolDialect::llama3_json;
  return invalid_argument("\"{}\" is no dialect of tool calls; choose hermes or llama3_json",
                          name.substr(0, 64));
}

std::optional<ToolDialect> tool_dialect_of_template(std::string_view chat_template) {
  const auto has = [&](std::string_view text) { return chat_template.find(text) != std::string_view::npos; };
  // Others write XML between the same marks.
  if (has(kHermesBegin) && has("\"arguments")) return ToolDialect::hermes;
  if (has("<|start_header_id|>") && has("\"parameters\"")) return ToolDialect::llama3_json;
  return std::nullopt;
}

Result<ToolRequest> parse_tool_request(const Json& tools, const Json& tool_choice, const Json& parallel) {
  ToolRequest out;
  if (!tools.is_null() && !tools.is_array()) return invalid_argument("tools: expected a list");
  if (tools.size() > kMaxTools)
    return invalid_argument("tools: {} tools are more than the limit of {}", tools.size(), kMaxTools);
  std::set<std::string> names;
  for (size_t i = 0; i < tools.size(); ++i) {
    SLUICE_ASSIGN(Tool tool, parse_tool(tools[i], fmt::format("tools[{}]", i)));
    if (!names.insert(tool.name).second)
      return invalid_argument("{}.name: \"{}\" is the name of another tool too", tool.field, tool.name);
    out.tools.push_back(std::move(tool));
  }
  SLUICE_ASSIGN(out.choice, parse_choice(tool_choice, out.tools));
  if (!parallel.is_null() && !parallel.is_boolean())
    return invalid_argument("parallel_tool_calls: expected true or false");
  out.parallel = parallel.is_null() || parallel.get<bool>();
  return out;
}

Result<Grammar> tool_grammar(const ToolRequest& request, ToolDialect dialect, const Limits& limits,
                             const Grammar* form) {
  if (request.choice.mode == ToolChoice::Mode::none)
    return invalid_argument("tool_choice: \"none\" has no grammar");
  return ToolGrammar(request, dialect, limits, form).build();
}

ToolCallParser::ToolCallParser(std::shared_ptr<const Automaton> automaton, const ToolRequest& request,
                               ToolDialect dialect, uint64_t seed)
    : seed_(seed),
      matcher_(std::move(automaton)),
      held_(matcher_of(dialect == ToolDialect::hermes ? std::vector{std::string(kHermesBegin)}
                                                      : std::vector<std::string>())) {
  for (const Tool& tool : request.tools) names_.push_back(tool.name);
}

void ToolCallParser::content(std::string_view text, ToolDeltas& out) {
  if (!broken_ && !held_.stopped()) {
    held_.push(text, out.content);  // a trigger is text to the grammar, and given to nobody
  } else {
    out.content += text;
  }
}

void ToolCallParser::begin_call(int32_t tool, ToolDeltas& out) {
  ++index_;
  in_call_ = true;
  frame_.clear();
  out.calls.push_back({index_, call_id(seed_, index_), names_[static_cast<size_t>(tool)], ""});
}

void ToolCallParser::take(char byte, int32_t tag, ToolDeltas& out) {
  if (tag == kText) {
    content({&byte, 1}, out);
  } else if (tag == kForm) {
    out.content += byte;
  } else if (tag >= kFirstTool) {
    if (!in_call_) begin_call(tag - kFirstTool, out);
    // The call may have begun in an earlier piece.
    if (out.calls.empty() || out.calls.back().index != index_) out.calls.push_back({index_, "", "", ""});
    out.calls.back().arguments += byte;
  } else {
    in_call_ = false;
    frame_ += byte;
  }
}

// What was held because it could be either is one of them.
void ToolCallParser::settle(bool is_call, ToolDeltas& out) {
  for (const auto& [byte, tag] : undecided_) take(byte, is_call ? tag : kForm, out);
  undecided_.clear();
}

// What was taken for the begin of a call turns out to be none.
void ToolCallParser::give_up(ToolDeltas& out) {
  settle(false, out);
  if (!held_.stopped()) held_.flush(out.content);
  broken_ = true;
  if (!in_call_) out.content += frame_;
  frame_.clear();
}

ToolDeltas ToolCallParser::push(std::string_view text) {
  ToolDeltas out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (broken_) {
      content(text.substr(i), out);
      break;
    }
    const auto [least, greatest] = matcher_.tags_of_next(static_cast<uint8_t>(text[i]));
    if (!matcher_.accept(text.substr(i, 1))) {
      give_up(out);
      content(text.substr(i), out);
      break;
    }
    const int32_t tag = greatest == kForm ? least : greatest;  // a call's, where it may be one
    if (least != greatest && (least == kForm || greatest == kForm)) {
      undecided_.emplace_back(text[i], tag);
      continue;
    }
    settle(tag != kForm, out);
    take(text[i], tag, out);
  }
  return out;
}

void ToolCallParser::finish(ToolDeltas& out) {
  const bool is_call = std::any_of(undecided_.begin(), undecided_.end(),
                                   [](const auto& byte) { return byte.second >= kFirstTool; });
  settle(is_call, out);
  if (!broken_ && !held_.stopped()) held_.flush(out.content);
}

}  // namespace sluice::text::grammar
