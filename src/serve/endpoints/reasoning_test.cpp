// Thoughts told apart from answers, over the wire.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serve/testing/tiny_server.h"

namespace sluice::serve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Response;
using testing::TinyServer;
using testing::TinyServerOptions;

// Begins its answers' thoughts itself.
constexpr const char* kThinks =
    "{% for m in messages %}{{ m.role }}: {{ m.content.split('</think>')[-1] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: <think>{% endif %}";
// Leaves that to the model.
constexpr const char* kMayThink =
    "{% for m in messages %}{{ m.role }}: {{ m.content.split('</think>')[-1] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}";

TinyServerOptions options(const char* chat_template, std::optional<bool> reasoning = std::nullopt) {
  TinyServerOptions o;
  o.chat_template = chat_template;
  o.serve.reasoning = reasoning;
  for (const char c : std::string("hm?</think>Yes."))
    o.core.null_tokens.push_back(c - '!');  // again and again
  return o;
}

TinyServer& thinker() {
  static TinyServer server(options(kThinks));
  return server;
}

const std::string kChat = R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":28)";

TEST(Reasoning, IsNoPartOfTheAnswer) {
  const TinyServer plain(options(kThinks, false));
  const Json raw = plain.post("/v1/chat/completions", kChat + "}").json()["choices"][0]["message"];
  const std::string text = raw["content"];
  const size_t mark = text.find("</think>");
  ASSERT_NE(mark, std::string::npos) << text;
  EXPECT_FALSE(raw.contains("reasoning_content"));

  const Json whole = thinker().post("/v1/chat/completions", kChat + "}").json();
  const Json& message = whole["choices"][0]["message"];
  EXPECT_EQ(message["reasoning_content"].get<std::string>(), text.substr(0, mark));
  EXPECT_EQ(message["content"], text.substr(mark + 8));
  EXPECT_EQ(whole["usage"]["completion_tokens"], 28);
  EXPECT_EQ(whole["usage"]["completion_tokens_details"]["reasoning_tokens"], mark + 8);

  std::string reasoning, content;
  const auto events = thinker().post("/v1/chat/completions", kChat + R"(,"stream":true})").events();
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const Json delta = (*parse_json(events[i], "chunk"))["choices"][0]["delta"];
    if (delta.contains("reasoning_content")) {
      EXPECT_EQ(content, "") << "thoughts come first";
      reasoning += delta["reasoning_content"].get<std::string>();
    }
    content += delta.value("content", "");
  }
  EXPECT_EQ(message["reasoning_content"], reasoning);
  EXPECT_EQ(message["content"], content);
}

TEST(Reasoning, CutOffThoughtsLeaveTheAnswerEmpty) {
  const Json whole =
      thinker()
          .post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":1})")
          .json()["choices"][0];
  EXPECT_EQ(whole["message"]["content"], "");
  EXPECT_EQ(whole["message"]["reasoning_content"].get<std::string>().size(), 1u);
  EXPECT_EQ(whole["finish_reason"], "length");
}

TEST(Reasoning, IsAnItemOfAResponse) {
  const std::string asked =
      R"({"input":"hi","max_output_tokens":28,"temperature":0,"include":["message.output_text.logprobs"])";
  const Json whole = thinker().post("/v1/responses", asked + "}").json();
  ASSERT_EQ(whole["output"].size(), 2u) << whole;
  EXPECT_EQ(whole["output"][0]["type"], "reasoning");
  EXPECT_EQ(whole["output"][0]["content"][0]["type"], "reasoning_text");
  const std::string thoughts = whole["output"][0]["content"][0]["text"];
  EXPECT_NE(thoughts, "");
  EXPECT_EQ(whole["output"][1]["type"], "message");
  std::string joined;
  for (const Json& token : whole["output"][1]["content"][0]["logprobs"])
    joined += token["token"].get<std::string>();
  EXPECT_EQ(whole["output"][1]["content"][0]["text"], joined);
  EXPECT_EQ(whole["usage"]["output_tokens_details"]["reasoning_tokens"], thoughts.size() + 8);

  std::string streamed;
  std::vector<std::string> types;
  Json last;
  for (const std::string& data : thinker().post("/v1/responses", asked + R"(,"stream":true})").events()) {
    last = *parse_json(data, "event");
    const std::string type = last["type"];
    if (types.empty() || types.back() != type) types.push_back(type);
    if (type == "response.reasoning_text.delta") streamed += last["delta"].get<std::string>();
    if (type.starts_with("response.reasoning_text")) {
      EXPECT_EQ(last["output_index"], 0);
    }
    if (type.starts_with("response.output_text")) {
      EXPECT_EQ(last["output_index"], 1);
    }
  }
  EXPECT_THAT(types, ElementsAre("response.created", "response.in_progress", "response.output_item.added",
                                 "response.reasoning_text.delta", "response.reasoning_text.done",
                                 "response.output_item.done", "response.output_item.added",
                                 "response.content_part.added", "response.output_text.delta",
                                 "response.output_text.done", "response.content_part.done",
                                 "response.output_item.done", "response.incomplete"));
  EXPECT_EQ(streamed, thoughts);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_EQ(last["response"]["output"][i]["content"], whole["output"][i]["content"]) << i;
}

// Thoughts need no form; what follows them has it.
TEST(Reasoning, ComesBeforeAnAnswerWithAForm) {
  TinyServerOptions o = options(kMayThink);
  o.null = false;
  o.core.null_tokens.clear();
  const TinyServer server(o);
  const auto run = [&](const std::string& extra) {
    const Response r =
        server.post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":40,)"
                                            R"("guided_regex":"[0-9]{3}",)" +
                                                extra + "}");
    EXPECT_EQ(r.status, 200) << r.body;
    return r.json()["choices"][0];
  };
  const Json direct = run(R"("bad_words":["<"])");
  EXPECT_THAT(direct["message"]["content"].get<std::string>(), ::testing::MatchesRegex("[0-9][0-9][0-9]"));
  EXPECT_FALSE(direct["message"].contains("reasoning_content"));
  const Json thinks = run(R"("logit_bias":{"27":100})");  // "<"
  EXPECT_EQ(thinks["message"]["content"], "");
  EXPECT_EQ(thinks["message"]["reasoning_content"], std::string(40 - 7, '<'));
  EXPECT_EQ(thinks["finish_reason"], "length");
}

}  // namespace
}  // namespace sluice::serve
