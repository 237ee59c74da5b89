#include "text/grammar/tool_calls.h"

#include <gmock/gmock.h>

#include "base/file.h"
#include "text/chat_template.h"
#include "text/grammar/grammar_testing.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/regex_grammar.h"

namespace sluice::text::grammar {
namespace {

using ::testing::HasSubstr;

constexpr const char* kTools = R"([
  {"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": {"type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}},
  {"type": "function", "function": {"name": "now"}},
  {"type": "function", "function": {"name": "note", "parameters": {"$ref": "#/$defs/n",
    "$defs": {"n": {"type": "object", "properties": {"text": {"type": "string"}, "next": {"$ref": "#/$defs/n"}}}}}}}
])";

ToolRequest request(const Json& choice = nullptr, const Json& parallel = nullptr) {
  auto out = parse_tool_request(*parse_json(kTools, "tools"), choice, parallel);
  EXPECT_TRUE(out.ok()) << out.status().message();
  return *out;
}

struct Call {
  std::string name, arguments;
  bool operator==(const Call&) const = default;
};
struct Parsed {
  std::string content;
  std::vector<Call> calls;
  bool broken = false;
  bool operator==(const Parsed&) const = default;
};
void PrintTo(const Parsed& p, std::ostream* out) {
  *out << "content \"" << p.content << "\" broken " << p.broken;
  for (const Call& c : p.calls) *out << " call " << c.name << " " << c.arguments;
}

Parsed parse(const std::shared_ptr<const Automaton>& automaton, const ToolRequest& asked, ToolDialect dialect,
             std::string_view text, std::mt19937* cuts = nullptr) {
  ToolCallParser parser(automaton, asked, dialect, 1);
  Parsed out;
  std::vector<std::string> ids;
  const auto take = [&](const ToolDeltas& deltas) {
    out.content += deltas.content;
    for (const ToolCallDelta& d : deltas.calls) {
      if (!d.name.empty()) {
        EXPECT_EQ(d.index, static_cast<int>(out.calls.size())) << "calls begin in order";
        EXPECT_EQ(d.id.size(), 29u);
        EXPECT_TRUE(std::find(ids.begin(), ids.end(), d.id) == ids.end());
        ids.push_back(d.id);
        out.calls.push_back({d.name, ""});
      }
      ASSERT_EQ(d.index, static_cast<int>(out.calls.size()) - 1);
      out.calls.back().arguments += d.arguments;
    }
  };
  for (size_t at = 0; at < text.size();) {
    const size_t n = cuts != nullptr ? 1 + (*cuts)() % 7 : text.size();
    take(parser.push(text.substr(at, n)));
    at += n;
  }
  ToolDeltas rest;
  parser.finish(rest);
  take(rest);
  out.broken = parser.broken();
  EXPECT_EQ(parser.num_calls(), static_cast<int>(out.calls.size()));
  return out;
}

struct Dialogue {
  const char* choice;
  const char* text;
  Parsed expected;
};

void check(ToolDialect dialect, const std::vector<Dialogue>& cases) {
  std::mt19937 random(5);
  for (const Dialogue& c : cases) {
    const ToolRequest asked = request(*parse_json(c.choice, "choice"));
    const Tested tested(tool_grammar(asked, dialect));
    ASSERT_TRUE(tested.status().ok()) << tested.status().message();
    EXPECT_EQ(tested.matches(c.text), !c.expected.broken) << c.text;
    EXPECT_EQ(parse(tested.automaton(), asked, dialect, c.text), c.expected) << c.text;
    for (int i = 0; i < 5; ++i)
      EXPECT_EQ(parse(tested.automaton(), asked, dialect, c.text, &random), c.expected) << c.text;
  }
}

TEST(ToolCalls, HermesIsParsedByTheGrammarThatConstrainsIt) {
  check(
      ToolDialect::hermes,
      {
          {"\"auto\"",
           "Just text, with <tool_ca and { in it.",
           {"Just text, with <tool_ca and { in it.", {}, false}},
          {"\"auto\"", "", {"", {}, false}},
          {"\"auto\"",
           "I look. <tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Köln "
           "<x>\"}}\n</tool_call>",
           {"I look. ", {{"get_weather", R"({"city": "Köln <x>"})"}}, false}},
          {"\"required\"",
           "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>{\"name\":\"now\","
           "\"arguments\":{}}</tool_call>",
           {"", {{"now", "{}"}, {"now", "{}"}}, false}},
          {R"({"type":"function","function":{"name":"note"}})",
           R"(<tool_call>{"name": "note", "arguments": {"text": "a</tool_call>", "next": {"text": ""}}}</tool_call>)",
           {"", {{"note", R"({"text": "a</tool_call>", "next": {"text": ""}})"}}, false}},
          // Not constrained, and wrong: what is no call is text.
          {"\"required\"", "Hello", {"Hello", {}, true}},
          {"\"auto\"", "a<tool_call>\n{\"name\": \"other\"}", {"a\n{\"name\": \"other\"}", {}, true}},
          {"\"auto\"",
           "<tool_call>{\"name\": \"now\", \"arguments\": {\"x\": 1}}</tool_call>",
           {"\"x\": 1}}</tool_call>", {{"now", "{"}}, true}},
      });
}

TEST(ToolCalls, Llama3IsParsedByTheGrammarThatConstrainsIt) {
  check(ToolDialect::llama3_json,
        {
            {"\"auto\"", "Sunny {today}.", {"Sunny {today}.", {}, false}},
            {"\"auto\"", "", {"", {}, false}},
            {"\"auto\"",
             R"({"name": "get_weather", "parameters": {"city": "Bonn", "days": 3}})",
             {"", {{"get_weather", R"({"city": "Bonn", "days": 3})"}}, false}},
            {"\"required\"",
             R"({"name": "now", "parameters": {}}; {"name": "get_weather", "parameters": {"city": ""}})",
             {"", {{"now", "{}"}, {"get_weather", R"({"city": ""})"}}, false}},
            {"\"required\"", "Sunny", {"Sunny", {}, true}},
            {"\"auto\"", "{\"a\": 1}", {"{\"a\": 1}", {}, true}},
        });
}

// With a form an answer is a text of that form or calls. What may yet be either is held back.
TEST(ToolCalls, AFormLeavesItsTextsAndCalls) {
  const std::string call = R"({"name": "now", "parameters": {}})";
  const struct {
    ToolDialect dialect;
    Result<Grammar> form;
    std::vector<std::pair<std::string, Parsed>> texts;
    std::vector<std::string> no;
  } kCases[] = {
      {ToolDialect::hermes,
       schema_grammar(*parse_json(R"({"properties":{"a":{"type":"string"}},"required":["a"]})", "schema")),
       {{R"({"a": "<tool_call>"})", {R"({"a": "<tool_call>"})", {}, false}},
        {R"(<tool_call>{"name": "now", "arguments": {}}</tool_call>)", {"", {{"now", "{}"}}, false}}},
       {"", "text", R"({"a": 1})", R"({"a": ""}<tool_call>{"name": "now", "arguments": {}}</tool_call>)"}},
      {ToolDialect::hermes,
       regex_grammar("<tool_(box|call>x)"),
       {{"<tool_box", {"<tool_box", {}, false}}, {"<tool_call>x", {"<tool_call>x", {}, false}}},
       {"<tool_call>"}},
      {ToolDialect::llama3_json,
       json_object_grammar(),
       {{R"({"name": "no", "parameters": {}})", {R"({"name": "no", "parameters": {}})", {}, false}},
        {R"({"name": "now", "parameters": {}, "x": 1})",
         {R"({"name": "now", "parameters": {}, "x": 1})", {}, false}},
        {R"({"name": "get_weather", "parameters": {"city": 5}})",
         {R"({"name": "get_weather", "parameters": {"city": 5}})", {}, false}},
        {call, {"", {{"now", "{}"}}, false}},
        {call + "; " + call, {"", {{"now", "{}"}, {"now", "{}"}}, false}},
        {"{}", {"{}", {}, false}}},
       {"", "5", "{} " + call, call + "; {}"}},
  };
  std::mt19937 random(5);
  for (const auto& c : kCases) {
    const ToolRequest asked = request("auto");
    const Tested tested(tool_grammar(asked, c.dialect, {}, &*c.form));
    ASSERT_TRUE(tested.status().ok()) << tested.status().message();
    for (const auto& [text, expected] : c.texts) {
      EXPECT_TRUE(tested.matches(text)) << text;
      for (int i = 0; i < 5; ++i)
        EXPECT_EQ(parse(tested.automaton(), asked, c.dialect, text, &random), expected) << text;
    }
    for (const std::string& text : c.no) EXPECT_FALSE(tested.matches(text)) << text;
  }
  // Cut off: text, unless arguments have begun.
  const Grammar object = json_object_grammar();
  const ToolRequest asked = request("auto");
  const auto automaton = *compile(*tool_grammar(asked, ToolDialect::llama3_json, {}, &object));
  const auto cut = [&](const char* text) { return parse(automaton, asked, ToolDialect::llama3_json, text); };
  EXPECT_EQ(cut(R"({"name": "now", )"), (Parsed{R"({"name": "now", )", {}, false}));
  EXPECT_EQ(cut(R"({"name": "now", "parameters": {)"), (Parsed{"", {{"now", "{"}}, false}));
  // A call that has to be made knows no form.
  const Tested required(tool_grammar(request("required"), ToolDialect::llama3_json, {}, &object));
  EXPECT_TRUE(required.matches(call));
  EXPECT_FALSE(required.matches("{}"));
}

TEST(ToolCalls, OnlyWhatWasAskedForMatches) {
  const auto grammar = [](const Json& choice, const Json& parallel = nullptr) {
    return Tested(tool_grammar(request(choice, parallel), ToolDialect::hermes));
  };
  const std::string now = R"(<tool_call>{"name": "now", "arguments": {}}</tool_call>)";
  const std::string weather = R"(<tool_call>{"name": "get_weather", "arguments": {"city": "x"}}</tool_call>)";
  const Tested named = grammar({{"type", "function"}, {"function", {{"name", "now"}}}});
  EXPECT_TRUE(named.matches(now));
  EXPECT_FALSE(named.matches(weather));
  EXPECT_FALSE(named.matches(now + now)) << "one call of the named tool";
  const Tested one = grammar("required", false);
  EXPECT_TRUE(one.matches(weather));
  EXPECT_FALSE(one.matches(weather + now));
  EXPECT_FALSE(one.matches(""));
  const Tested any = grammar("auto");
  EXPECT_TRUE(any.matches("text " + weather + "\n" + now));
  EXPECT_FALSE(any.matches(now + " text"));
  EXPECT_FALSE(any.matches(R"(<tool_call>{"name": "get_weather", "arguments": {"city": 1}}</tool_call>)"));
  EXPECT_FALSE(any.viable("<tool_call>text"));
}

TEST(ToolCalls, ManyCallsAndLongTextsTakeLinearTime) {
  const ToolRequest asked = request("auto");
  const Tested tested(tool_grammar(asked, ToolDialect::hermes));
  const std::string text(200'000, '<');
  EXPECT_EQ(parse(tested.automaton(), asked, ToolDialect::hermes, text).content, text);
  std::string calls;
  for (int i = 0; i < 2000; ++i) calls += "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>";
  EXPECT_EQ(parse(tested.automaton(), asked, ToolDialect::hermes, calls).calls.size(), 2000u);
}

TEST(ToolRequests, AreReadAsOpenAiWritesThem) {
  EXPECT_EQ(request().choice.mode, ToolChoice::Mode::automatic);
  EXPECT_TRUE(request().parallel);
  EXPECT_FALSE(request(nullptr, false).parallel);
  EXPECT_EQ(request("none").choice.mode, ToolChoice::Mode::none);
  EXPECT_EQ(parse_tool_request(nullptr, nullptr, nullptr)->choice.mode, ToolChoice::Mode::none);
  EXPECT_EQ(parse_tool_request(Json::array(), "auto", nullptr)->choice.mode, ToolChoice::Mode::none);
  const auto error = [](const char* tools, const Json& choice = nullptr) {
    return parse_tool_request(*parse_json(tools, "tools"), choice, nullptr).status().message();
  };
  EXPECT_THAT(error("{}"), HasSubstr("tools: expected a list"));
  EXPECT_THAT(error("[1]"), HasSubstr("tools[0]"));
  EXPECT_THAT(error(R"([{"type":"function"}])"), HasSubstr("tools[0].function.name"));
  for (const char* name : {"", "a b", "🦙"})
    EXPECT_THAT(error((R"([{"type":"function","function":{"name":")" + std::string(name) + "\"}}]").c_str()),
                HasSubstr("tools[0].function.name"));
  EXPECT_THAT(error((R"([{"type":"function","function":{"name":")" + std::string(65, 'a') + "\"}}]").c_str()),
              HasSubstr("1 to 64"));
  EXPECT_THAT(
      error(R"([{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"a"}}])"),
      HasSubstr("tools[1].function.name"));
  EXPECT_THAT(error(R"([{"type":"function","function":{"name":"a","parameters":3}}])"),
              HasSubstr("parameters"));
  EXPECT_THAT(error(R"([{"type":"function","function":{"name":"a","parameters":{"type":"array"}}}])"),
              HasSubstr("object"));
  EXPECT_THAT(error("[]", "required"), HasSubstr("needs tools"));
  EXPECT_THAT(error(kTools, {{"type", "function"}, {"function", {{"name", "absent"}}}}),
              HasSubstr("\"absent\""));
  EXPECT_THAT(error(kTools, "sometimes"), HasSubstr("tool_choice"));
  // Flat, as /v1/responses spells them.
  const Json flat = *parse_json(R"([{"type":"function","name":"a","parameters":{"type":"object"}}])", "flat");
  const auto named = parse_tool_request(flat, {{"type", "function"}, {"name", "a"}}, nullptr);
  ASSERT_TRUE(named.ok()) << named.status().message();
  EXPECT_EQ(named->choice.name, "a");
  EXPECT_THAT(error(R"([{"type":"function","name":"a","parameters":3}])"), HasSubstr("tools[0].parameters"));
  std::string many = R"([{"type":"function","function":{"name":"t0"}})";
  for (int i = 1; i < 1000; ++i)
    many += fmt::format(R"(,{{"type":"function","function":{{"name":"t{}"}}}})", i);
  EXPECT_THAT(error((many + "]").c_str()), HasSubstr("1000 tools"));
  auto refused = parse_tool_request(
      *parse_json(
          R"([{"type":"function","function":{"name":"a","parameters":{"properties":{"b":{"not":{}}}}}}])",
          "t"),
      nullptr, nullptr);
  EXPECT_THAT(tool_grammar(*refused, ToolDialect::hermes).status().message(),
              testing::AllOf(HasSubstr("tools[0].function.parameters/properties/b"), HasSubstr("\"not\"")));
}

TEST(ToolDialects, AreFoundByNameAndInTemplates) {
  EXPECT_EQ(*tool_dialect_from_name("hermes"), ToolDialect::hermes);
  EXPECT_EQ(*tool_dialect_from_name("llama3_json"), ToolDialect::llama3_json);
  EXPECT_FALSE(tool_dialect_from_name("mistral").ok());
  EXPECT_EQ(
      tool_dialect_of_template("...<tool_call>\n{\"name\": {{ name }}, \"arguments\": {{ arguments }}}"),
      ToolDialect::hermes);
  EXPECT_EQ(tool_dialect_of_template("<tool_call>\n<function={{ name }}>"), std::nullopt);
  EXPECT_EQ(tool_dialect_of_template("<|start_header_id|> {\"name\": \"f\", \"parameters\": ..."),
            ToolDialect::llama3_json);
  EXPECT_EQ(tool_dialect_of_template("<|im_start|>{{ message }}"), std::nullopt);
}

// A call that a real template writes is one that its dialect's grammar lets the model write.
TEST(ToolDialects, AreThoseThatRealTemplatesWrite) {
  const std::string folder = std::string(SLUICE_SOURCE_DIR) + "/../shared/testdata/chat_templates/";
  if (!is_directory(folder)) GTEST_SKIP() << "needs the chat templates of " << folder;
  const Json call = {{"name", "get_weather"}, {"arguments", {{"city", "Bonn"}, {"days", 3}}}};
  const Json chat = {
      {"tools", {(*parse_json(kTools, "tools"))[0]}},
      {"messages",
       {{{"role", "user"}, {"content", "q"}},
        {{"role", "assistant"}, {"tool_calls", {{{"type", "function"}, {"function", call}}}}}}}};
  const struct {
    const char* file;
    std::optional<ToolDialect> dialect;
  } kCases[] = {{"Qwen-Qwen2.5-7B-Instruct", ToolDialect::hermes},
                {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", ToolDialect::hermes},
                {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", ToolDialect::hermes},
                {"meta-llama-Llama-3.1-8B-Instruct", ToolDialect::llama3_json},
                {"meta-llama-Llama-3.2-3B-Instruct", ToolDialect::llama3_json},
                {"meta-llama-Llama-3.3-70B-Instruct", ToolDialect::llama3_json},
                {"fireworks-ai-llama-3-firefunction-v2", std::nullopt},
                {"meetkai-functionary-medium-v3.1", std::nullopt},
                {"mistralai-Mistral-Nemo-Instruct-2407", std::nullopt}};
  for (const auto& c : kCases) {
    const std::string source = *read_text_file(folder + c.file + ".jinja");
    EXPECT_EQ(tool_dialect_of_template(source), c.dialect) << c.file;
    if (!c.dialect) continue;
    const auto prompt = ChatTemplate::parse(source)->render(*chat_variables(chat));
    ASSERT_TRUE(prompt.ok()) << c.file << prompt.status().message();
    const bool hermes = c.dialect == ToolDialect::hermes;
    const size_t begin = prompt->rfind(hermes ? "<tool_call>" : "{\"name\"");
    const std::string text =
        prompt->substr(begin, prompt->find(hermes ? "<|im_end|>" : "<|eot_id|>", begin) - begin);
    const std::string trimmed = text.substr(0, text.find_last_not_of('\n') + 1);
    const ToolRequest asked = request("required");
    const Tested tested(tool_grammar(asked, *c.dialect));
    const Parsed parsed = parse(tested.automaton(), asked, *c.dialect, trimmed);
    EXPECT_FALSE(parsed.broken) << c.file << trimmed;
    ASSERT_EQ(parsed.calls.size(), 1u) << c.file << trimmed;
    EXPECT_EQ(*parse_json(parsed.calls[0].arguments, "arguments"), call["arguments"]) << c.file;
  }
}

}  // namespace
}  // namespace sluice::text::grammar
