// Responses over the wire: shapes, events and their order, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serve/testing/tiny_server.h"

namespace sluice::serve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Response;
using ::testing::StartsWith;
using testing::TinyServer;

TinyServer& server() {
  static TinyServer shared({.null = false});
  return shared;
}

Response respond(const std::string& fields, const std::string& input = R"("hi")", int max_tokens = 300) {
  return server().post("/v1/responses", fmt::format(R"({{"max_output_tokens":{},"seed":5,"input":{},{}}})",
                                                    max_tokens, input, fields));
}

const std::string kTools =
    R"("tools":[{"type":"function","name":"add","parameters":{"type":"object","properties":{"a":{"type":"integer",
       "minimum":0,"maximum":9}},"required":["a"],"additionalProperties":false}},{"type":"function","name":"now"}])";

// The events of a stream: each named as its data says, numbered from 0.
std::vector<Json> events_of(const Response& r) {
  EXPECT_EQ(r.status, 200) << r.body;
  std::vector<Json> out;
  for (const std::string& data : r.events()) {
    out.push_back(*parse_json(data, "event"));
    EXPECT_EQ(out.back()["sequence_number"], out.size() - 1);
    EXPECT_THAT(r.body, HasSubstr("event: " + out.back()["type"].get<std::string>() + "\ndata: " + data));
  }
  return out;
}

std::vector<std::string> types_of(const std::vector<Json>& events) {
  std::vector<std::string> out;
  for (const Json& e : events) {
    if (out.empty() || e["type"] != out.back()) out.push_back(e["type"]);  // deltas once
  }
  return out;
}

TEST(Responses, WholeOneHasTheShapeThatClientsRead) {
  const Response r =
      respond(R"("instructions":"be brief","metadata":{"k":"v"},"temperature":0.5,"text":{"format":
      {"type":"json_schema","name":"n","schema":{"enum":["a","b"]}}},"store":false,
      "include":["message.output_text.logprobs"],"top_logprobs":1)");
  ASSERT_EQ(r.status, 200) << r.body;
  const Json j = r.json();
  EXPECT_THAT(j["id"].get<std::string>(), StartsWith("resp_"));
  EXPECT_EQ(j["object"], "response");
  EXPECT_EQ(j["status"], "completed");
  for (const char* null : {"error", "incomplete_details", "previous_response_id"})
    EXPECT_TRUE(j.contains(null) && j[null].is_null()) << null;
  EXPECT_EQ(j["instructions"], "be brief");
  EXPECT_EQ(j["metadata"]["k"], "v");
  EXPECT_EQ(j["temperature"], 0.5);
  EXPECT_EQ(j["text"]["format"]["type"], "json_schema");
  EXPECT_EQ(j["tool_choice"], "auto");
  EXPECT_EQ(j["store"], false);
  ASSERT_EQ(j["output"].size(), 1u);
  const Json& item = j["output"][0];
  EXPECT_THAT(item["id"].get<std::string>(), StartsWith("msg_"));
  EXPECT_EQ(item["role"], "assistant");
  EXPECT_EQ(item["status"], "completed");
  const Json& part = item["content"][0];
  EXPECT_TRUE(part["text"] == "\"a\"" || part["text"] == "\"b\"") << part;
  std::string joined;
  for (const Json& token : part["logprobs"]) joined += token["token"].get<std::string>();
  EXPECT_EQ(part["text"], joined);
  // "system: be brief<|end|>user: hi<|end|>assistant: "
  EXPECT_EQ(j["usage"]["input_tokens"], 37);
  EXPECT_EQ(j["usage"]["total_tokens"], 37 + j["usage"]["output_tokens"].get<int>());
}

TEST(Responses, TextComesAsEventsThatMakeUpTheResponse) {
  const auto events =
      events_of(respond(R"("stream":true,"ignore_eos":true)",
                        R"([{"role":"user","content":[{"type":"input_text","text":"hi"}]}])", 9));
  EXPECT_THAT(
      types_of(events),
      ElementsAre("response.created", "response.in_progress", "response.output_item.added",
                  "response.content_part.added", "response.output_text.delta", "response.output_text.done",
                  "response.content_part.done", "response.output_item.done", "response.incomplete"));
  std::string text;
  for (const Json& e : events) {
    if (e["type"] == "response.output_text.delta") text += e["delta"].get<std::string>();
    if (e["type"] == "response.output_text.done") {
      EXPECT_EQ(e["text"], text);
    }
  }
  EXPECT_EQ(text.size(), 9u);
  EXPECT_EQ(events[0]["response"]["status"], "in_progress");
  EXPECT_TRUE(events[0]["response"]["output"].empty());
  const Json& last = events.back()["response"];
  EXPECT_EQ(last["status"], "incomplete");
  EXPECT_EQ(last["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(last["output"][0]["content"][0]["text"], text);
  EXPECT_EQ(last["output"][0]["id"], events[2]["item"]["id"]);
  EXPECT_EQ(last["usage"]["output_tokens"], 9);
}

TEST(Responses, CallsAreItemsOfTheirOwn) {
  const std::string asked = kTools + R"(,"tool_choice":"required","ignore_eos":false)";
  const Json whole = respond(asked).json();
  ASSERT_GE(whole["output"].size(), 1u) << whole;
  const auto events = events_of(respond(asked + R"(,"stream":true)"));
  std::vector<std::string> arguments;
  for (const Json& e : events) {
    if (e["type"] == "response.output_item.added") {
      EXPECT_EQ(e["output_index"], arguments.size());
      EXPECT_EQ(e["item"]["arguments"], "");
      arguments.emplace_back();
    } else if (e["type"] == "response.function_call_arguments.delta") {
      EXPECT_EQ(e["output_index"], arguments.size() - 1);
      arguments.back() += e["delta"].get<std::string>();
    } else if (e["type"] == "response.function_call_arguments.done") {
      EXPECT_EQ(e["arguments"], arguments.back());
    }
  }
  const Json& streamed = events.back()["response"];
  ASSERT_EQ(streamed["output"].size(), whole["output"].size());
  ASSERT_EQ(arguments.size(), whole["output"].size());
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Json& call = whole["output"][i];
    EXPECT_EQ(call["type"], "function_call");
    EXPECT_THAT(call["id"].get<std::string>(), StartsWith("fc_"));
    EXPECT_THAT(call["call_id"].get<std::string>(), StartsWith("call_"));
    EXPECT_EQ(call["arguments"], arguments[i]);
    EXPECT_EQ(call["arguments"], streamed["output"][i]["arguments"]);
    EXPECT_EQ(call["name"], streamed["output"][i]["name"]);
  }
  EXPECT_EQ(whole["status"], whole["incomplete_details"].is_null() ? "completed" : "incomplete");
  EXPECT_EQ(whole["output"].back()["status"], whole["status"]);
  const Json named = respond(kTools + R"(,"tool_choice":{"type":"function","name":"add"})").json();
  ASSERT_EQ(named["output"].size(), 1u);
  EXPECT_EQ(named["output"][0]["name"], "add");
  EXPECT_EQ(named["status"], "completed");
}

TEST(Responses, EarlierItemsBecomeTheConversation) {
  // As long as the same conversation of a chat.
  const Json rendered =
      server()
          .post(
              "/v1/chat/completions/render",
              R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"},{"role":"assistant",
                    "content":"hm","tool_calls":[{"id":"c","type":"function","function":{"name":"now",
                    "arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"noon"}]})")
          .json();
  const Response r = respond(
      R"("instructions":"s")",
      R"([{"role":"user","content":"hi"},{"type":"reasoning","id":"rs_1","summary":[]},{"type":"message","role":
          "assistant","content":[{"type":"output_text","text":"hm","annotations":[]}]},{"type":"function_call",
          "call_id":"c","name":"now","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"noon"}])");
  ASSERT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(r.json()["usage"]["input_tokens"], rendered["count"]);
}

TEST(Responses, AStreamThatFailsSaysSo) {
  TinyServer null({.core = {.null_step = 0.01}});
  const Response r =
      null.post("/v1/responses", R"({"input":"hi","max_output_tokens":60000,"stream":true,"timeout":0.1})");
  const Json last = *parse_json(r.events().back(), "event");
  EXPECT_EQ(last["type"], "response.failed");
  EXPECT_EQ(last["response"]["status"], "failed");
  EXPECT_THAT(last["response"]["error"]["message"].get<std::string>(), HasSubstr("timeout"));
}

TEST(Responses, WhatIsNotThereIsRefusedByName) {
  const struct {
    const char* field;
    const char* param;
  } kCases[] = {
      {R"("store":true)", "store"},
      {R"("previous_response_id":"resp_1")", "previous_response_id"},
      {R"("conversation":"conv_1")", "conversation"},
      {R"("background":true)", "background"},
      {R"("truncation":"auto")", "truncation"},
      {R"("n":2)", "n"},
      {R"("top_logprobs":21)", "top_logprobs"},
      {R"("instructions":5)", "instructions"},
      {R"("reasoning":{"effort":5})", "reasoning.effort"},
      {R"("text":{"format":{"type":"json_schema","name":"n"}})", "text.format.schema"},
      {R"("text":{"format":{"type":"xml"}})", "text.format.type"},
      {R"("text":{"format":{"type":"json_schema","name":"n","schema":{"not":{}}}})", "text.format"},
      {R"("tools":[{"type":"web_search"}])", "tools[0]"},
      {R"("tools":[{"type":"function","name":"f","parameters":{"properties":{"a":{"not":{}}}}}])",
       "tools[0].parameters/properties/a"},
      {R"("tool_choice":{"type":"function","name":"f"})", "tool_choice"},
      {R"("max_output_tokens":-1,"max_tokens":5)", "max_output_tokens"},
  };
  for (const auto& c : kCases) {
    const Response r = server().post("/v1/responses", std::string(R"({"input":"hi",)") + c.field + "}");
    EXPECT_EQ(r.status, 400) << c.field;
    EXPECT_EQ(r.json()["error"]["param"], c.param) << c.field << r.body;
  }
  const struct {
    const char* input;
    const char* param;
  } kInputs[] = {
      {"null", "input"},
      {"[]", "input"},
      {"5", "input"},
      {"[5]", "input[0]"},
      {R"([{"role":"tool","content":"x"}])", "input[0].role"},
      {R"([{"role":"user"}])", "input[0].content"},
      {R"([{"role":"user","content":[{"type":"input_image"}]}])", "input[0].content[0].type"},
      {R"([{"type":"item_reference","id":"x"}])", "input[0].type"},
      {R"([{"type":"function_call","name":"f"}])", "input[0].call_id"},
      {R"([{"type":"function_call","call_id":"c","name":"f","arguments":"{"}])", "input[0].arguments"},
      {R"([{"type":"function_call_output","call_id":"c"}])", "input[0].output"},
  };
  for (const auto& c : kInputs) {
    const Response r = server().post("/v1/responses", std::string(R"({"input":)") + c.input + "}");
    EXPECT_EQ(r.status, 400) << c.input;
    EXPECT_EQ(r.json()["error"]["param"], c.param) << c.input << r.body;
  }
}

}  // namespace
}  // namespace sluice::serve
