// Tool calls over the wire. The model is random: its constraint alone makes it write calls that are valid.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serve/testing/tiny_server.h"

namespace sluice::serve {
namespace {

using ::testing::HasSubstr;
using testing::Response;
using testing::TinyServer;
using text::grammar::ToolDialect;

TinyServer& hermes_server() {
  static TinyServer server({.null = false});
  return server;
}
TinyServer& llama_server() {
  static TinyServer server({.null = false, .serve = {.tool_dialect = ToolDialect::llama3_json}});
  return server;
}

const std::string kTools =
    R"("tools":[{"type":"function","function":{"name":"weather","description":"d","parameters":{"type":"object",
       "properties":{"city":{"enum":["Rome","Bonn"]},"days":{"type":"integer","minimum":1,"maximum":9}},
       "required":["city","days"],"additionalProperties":false}}},{"type":"function","function":{"name":"now"}}])";

std::string chat(const std::string& fields) {
  return R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":400,"seed":3,)" + kTools + "," +
         fields + "}";
}

Json answer(const TinyServer& server, const std::string& fields) {
  const Response r = server.post("/v1/chat/completions", chat(fields));
  EXPECT_EQ(r.status, 200) << r.body;
  return r.json();
}

void expect_valid(const Json& call) {
  EXPECT_EQ(call["type"], "function");
  EXPECT_TRUE(call["id"].get<std::string>().starts_with("call_"));
  const Json arguments = *parse_json(call["function"]["arguments"].get<std::string>(), "arguments");
  if (call["function"]["name"] == "now") {
    EXPECT_EQ(dump_json(arguments), "{}");
    return;
  }
  EXPECT_EQ(call["function"]["name"], "weather");
  EXPECT_TRUE(arguments["city"] == "Rome" || arguments["city"] == "Bonn") << arguments;
  EXPECT_TRUE(arguments["days"] >= 1 && arguments["days"] <= 9) << arguments;
}

// What a client makes of a stream's deltas; checks their order.
std::vector<Json> choices_of_stream(const Response& r, size_t n) {
  EXPECT_EQ(r.status, 200) << r.body;
  std::vector<Json> out(n);
  for (const std::string& event : r.events()) {
    if (event == "[DONE]") break;
    const Json chunk = *parse_json(event, "chunk");
    for (const Json& part : chunk["choices"]) {
      Json& choice = out[part["index"].get<size_t>()];
      EXPECT_FALSE(choice.contains("finish_reason")) << "nothing follows the end";
      const Json& delta = part["delta"];
      if (choice.is_null()) {
        EXPECT_EQ(dump_json(delta), R"({"role":"assistant","content":""})");
        choice = {{"content", ""}, {"tool_calls", Json::array()}, {"tokens", 0}};
      }
      EXPECT_TRUE(!delta.empty() || !part["finish_reason"].is_null()) << "no empty chunk";
      choice["content"] = choice["content"].get<std::string>() + delta.value("content", "");
      for (const Json& call : delta.value("tool_calls", Json::array())) {
        Json& calls = choice["tool_calls"];
        const std::string arguments = call["function"]["arguments"];
        if (call.contains("id")) {
          EXPECT_EQ(call["index"], calls.size());
          EXPECT_EQ(arguments, "");
          calls.push_back(call);
        } else {
          EXPECT_EQ(call["index"], calls.size() - 1);
          EXPECT_EQ(call["function"].size(), 1u);
          Json& whole = calls.back()["function"]["arguments"];
          whole = whole.get<std::string>() + arguments;
        }
      }
      if (!part["logprobs"].is_null())
        choice["tokens"] = choice["tokens"].get<size_t>() + part["logprobs"]["content"].size();
      if (!part["finish_reason"].is_null()) choice["finish_reason"] = part["finish_reason"];
    }
  }
  return out;
}

TEST(Tools, RequiredCallsAreValidInBothDialects) {
  for (const TinyServer* server : {&hermes_server(), &llama_server()}) {
    const Json json = answer(*server, R"("tool_choice":"required","parallel_tool_calls":false)");
    const Json& choice = json["choices"][0];
    EXPECT_EQ(choice["finish_reason"], "tool_calls");
    EXPECT_TRUE(choice["message"]["content"].is_null());
    ASSERT_EQ(choice["message"]["tool_calls"].size(), 1u) << json;
    expect_valid(choice["message"]["tool_calls"][0]);
  }
}

TEST(Tools, ANamedToolIsTheOneThatIsCalled) {
  for (const char* name : {"weather", "now"}) {
    const Json json =
        answer(hermes_server(),
               fmt::format(R"("tool_choice":{{"type":"function","function":{{"name":"{}"}}}},"n":3)", name));
    for (const Json& choice : json["choices"]) {
      ASSERT_EQ(choice["message"]["tool_calls"].size(), 1u);
      EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["name"], name);
      expect_valid(choice["message"]["tool_calls"][0]);
    }
  }
}

TEST(Tools, StreamsGiveTheSameCallsAsWholeAnswers) {
  for (const TinyServer* server : {&hermes_server(), &llama_server()}) {
    const std::string asked = R"("tool_choice":"required","n":4,"logprobs":true,"top_logprobs":1)";
    const Json whole = answer(*server, asked);
    const std::vector<Json> streamed =
        choices_of_stream(server->post("/v1/chat/completions", chat(asked + R"(,"stream":true)")), 4);
    for (size_t i = 0; i < 4; ++i) {
      const Json& choice = whole["choices"][i];
      EXPECT_EQ(streamed[i]["finish_reason"], choice["finish_reason"]);
      ASSERT_EQ(streamed[i]["tool_calls"].size(), choice["message"]["tool_calls"].size());
      for (size_t k = 0; k < streamed[i]["tool_calls"].size(); ++k)
        EXPECT_EQ(streamed[i]["tool_calls"][k]["function"], choice["message"]["tool_calls"][k]["function"]);
      EXPECT_EQ(streamed[i]["tokens"], choice["logprobs"]["content"].size()) << "each token, once";
    }
  }
}

TEST(Tools, IdsOfCallsAreTheirOwn) {
  const Json json = answer(hermes_server(), R"("tool_choice":"required","n":8)");
  std::vector<std::string> ids;
  for (const Json& choice : json["choices"]) {
    for (const Json& call : choice["message"]["tool_calls"]) ids.push_back(call["id"]);
  }
  ASSERT_GE(ids.size(), 8u);
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end());
}

TEST(Tools, AutoLeavesTextAsItIsAndItsCallsAreCalls) {
  // Nothing makes a random model begin a call: its answer is text.
  const std::string text =
      R"("tool_choice":"auto","max_completion_tokens":20,"logit_bias":{"27":-100})";  // '<'
  const Json json = answer(hermes_server(), text);
  EXPECT_FALSE(json["choices"][0]["message"].contains("tool_calls"));
  EXPECT_EQ(json["usage"]["completion_tokens"], 20);
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
  const Json streamed =
      choices_of_stream(hermes_server().post("/v1/chat/completions", chat(text + R"(,"stream":true)")), 1)[0];
  EXPECT_EQ(streamed["content"], json["choices"][0]["message"]["content"]);
  // One that begins with "{" can only be a call in Llama's dialect.
  const Json call = answer(llama_server(), R"("logit_bias":{"90":100},"parallel_tool_calls":false)");  // '{'
  EXPECT_EQ(call["choices"][0]["finish_reason"], "tool_calls") << call;
  expect_valid(call["choices"][0]["message"]["tool_calls"][0]);
}

// One that begins with "{" has the asked form, one that begins with "<" is a call.
TEST(Tools, AnAnswerWithAFormHasItOrIsACall) {
  const std::string format = R"("response_format":{"type":"json_schema","json_schema":{"schema":
      {"type":"object","properties":{"x":{"enum":[1,22]}},"required":["x"],"additionalProperties":false}}},
      "parallel_tool_calls":false)";
  for (const std::string choice : {R"(,"tool_choice":"auto")", R"(,"tool_choice":"required")"}) {
    for (const std::string bias :
         {R"(,"logit_bias":{"90":100})", R"(,"logit_bias":{"27":100})"}) {  // '{', '<'
      const std::string asked = format + choice + bias;
      const Json whole = answer(hermes_server(), asked)["choices"][0];
      const Json streamed = choices_of_stream(
          hermes_server().post("/v1/chat/completions", chat(asked + R"(,"stream":true)")), 1)[0];
      EXPECT_EQ(streamed["finish_reason"], whole["finish_reason"]);
      if (choice.find("auto") != std::string::npos && bias.find("90") != std::string::npos) {
        const Json x = (*parse_json(whole["message"]["content"].get<std::string>(), "content"))["x"];
        EXPECT_TRUE(x == 1 || x == 22) << whole;
        EXPECT_EQ(whole["finish_reason"], "stop");
        EXPECT_EQ(streamed["content"], whole["message"]["content"]);
        EXPECT_TRUE(streamed["tool_calls"].empty());
      } else {
        EXPECT_EQ(whole["finish_reason"], "tool_calls");
        expect_valid(whole["message"]["tool_calls"][0]);
        EXPECT_EQ(streamed["content"], "");
        EXPECT_EQ(streamed["tool_calls"][0]["function"], whole["message"]["tool_calls"][0]["function"]);
      }
    }
  }
  // In Llama's dialect both begin with "{".
  const Json json = answer(llama_server(), format + R"(,"tool_choice":"auto","n":8)");
  for (const Json& choice : json["choices"]) {
    if (choice["finish_reason"] == "tool_calls") {
      expect_valid(choice["message"]["tool_calls"][0]);
    } else {
      EXPECT_TRUE((*parse_json(choice["message"]["content"].get<std::string>(), "content")).contains("x"));
    }
  }
}

TEST(Tools, ACutOffCallSaysSo) {
  const Json length = answer(hermes_server(), R"("tool_choice":"required","max_completion_tokens":50)");
  EXPECT_EQ(length["choices"][0]["finish_reason"], "length");
  const Json stopped = answer(
      hermes_server(), R"("tool_choice":{"type":"function","function":{"name":"weather"}},"stop":["days"])");
  EXPECT_EQ(stopped["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(stopped["choices"][0]["stop_reason"], "days");
  EXPECT_THAT(stopped["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].get<std::string>(),
              ::testing::EndsWith("\""));
}

TEST(Tools, NoneShowsTheToolsAndCallsNothing) {
  const Json json = answer(hermes_server(), R"("tool_choice":"none","max_completion_tokens":5)");
  EXPECT_FALSE(json["choices"][0]["message"].contains("tool_calls"));
  const Response rendered =
      hermes_server().post("/v1/chat/completions/render", chat(R"("tool_choice":"none")"));
  const std::string prompt = rendered.json()["prompt"];
  EXPECT_THAT(prompt, HasSubstr(R"("name": "weather")"));
  EXPECT_THAT(prompt, HasSubstr(R"({"name": "now", "parameters": {"type": "object", "properties": {}}})"));
}

TEST(Tools, EarlierCallsReachTheTemplateAsObjects) {
  const auto render = [](const std::string& arguments) {
    return hermes_server().post(
        "/v1/chat/completions/render",
        R"({"messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[{"id":"call_1",
            "type":"function","function":{"name":"now","arguments":)" +
            arguments + R"(}}]},{"role":"tool","tool_call_id":"call_1","content":"noon"}]})");
  };
  EXPECT_EQ(
      render(R"("{\"a\": [1]}")").json()["prompt"],
      "user: hi<|end|>assistant: <tool_call>{\"name\": \"now\", \"arguments\": {\"a\": [1]}}</tool_call>"
      "<|end|>tool: noon<|end|>assistant: ");
  EXPECT_EQ(render(R"("")").json(), render("{}").json());
  for (const char* bad : {R"("{")", R"("[]")", "5"})
    EXPECT_EQ(render(bad).json()["error"]["param"], "messages[1].tool_calls[0].function.arguments") << bad;
}

TEST(Tools, WhatCannotBeDoneIsRefusedByName) {
  const auto param = [](const TinyServer& server, const std::string& body) {
    const Response r = server.post("/v1/chat/completions", body);
    EXPECT_EQ(r.status, 400) << r.body;
    return r.json()["error"]["param"].get<std::string>();
  };
  const std::string format =
      R"("response_format":{"type":"json_schema","json_schema":{"schema":{"not":{}}}})";
  for (const char* choice : {"auto", "required", "none"})
    EXPECT_EQ(param(hermes_server(), chat(fmt::format(R"({},"tool_choice":"{}")", format, choice))),
              "response_format");
  EXPECT_EQ(param(hermes_server(), chat(R"("parallel_tool_calls":1)")), "parallel_tool_calls");
  EXPECT_EQ(param(hermes_server(), chat(R"("tool_choice":"sometimes")")), "tool_choice");
  const std::string schema =
      R"({"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f",
          "parameters":{"properties":{"a":{"not":{}}}}}}]})";
  EXPECT_EQ(param(hermes_server(), schema), "tools[0].function.parameters/properties/a");
  TinyServer plain({.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"});
  EXPECT_EQ(param(plain, chat(R"("n":1)")), "tools");
  EXPECT_EQ(plain.post("/v1/chat/completions", chat(R"("tool_choice":"none","n":1)")).status, 200);
}

}  // namespace
}  // namespace sluice::serve
