#include "text/open_chat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::text {
namespace {

using ::testing::HasSubstr;

constexpr const char* kPlain =
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}";
constexpr const char* kTrimming =
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}<|end|>{% endfor %}";
constexpr const char* kThinking =
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1].lstrip() }}<|end|>{% endfor "
    "%}";

Result<RenderedChat> open(const char* source, const char* messages, bool generation_prompt = false) {
  const auto chat = ChatTemplate::parse(source);
  EXPECT_TRUE(chat.ok()) << chat.status().message();
  auto variables =
      chat_variables({{"messages", *parse_json(messages, "m")}, {"add_generation_prompt", generation_prompt}},
                     {{"bos_token", "<s>"}});
  EXPECT_TRUE(variables.ok()) << variables.status().message();
  return render_open(*chat, *variables);
}

TEST(OpenChat, EndsWithTheLastMessagesText) {
  const char* talk = R"([{"role":"user","content":"hi"},{"role":"assistant","content":"Well, "}])";
  const auto plain = open(kPlain, talk);
  ASSERT_TRUE(plain.ok()) << plain.status().message();
  EXPECT_EQ(plain->text, "<s><|user|>hi<|end|>\n<|assistant|>Well, ");
  EXPECT_EQ(open(kTrimming, talk)->text, "<|user|>\nhi<|end|><|assistant|>\nWell,");
  EXPECT_EQ(open(kThinking, R"([{"role":"assistant","content":"<think>x</think> so "}])")->text,
            "<|assistant|>so ");
  // What the template writes before an empty text stays whole.
  EXPECT_EQ(open(kTrimming, R"([{"role":"assistant","content":""}])")->text, "<|assistant|>\n");
  // A text that has what marks its end.
  EXPECT_EQ(open(kPlain, R"([{"role":"user","content":"[end of the open message] "}])")->text,
            "<s><|user|>[end of the open message] ");
}

TEST(OpenChat, StillKnowsWhoWroteWhat) {
  const auto out =
      open(kPlain, R"([{"role":"user","content":"<|end|>"},{"role":"assistant","content":"<|end|>"}])");
  ASSERT_TRUE(out.ok());
  ASSERT_FALSE(out->from_input.empty());
  EXPECT_EQ(out->from_input.back().end, out->text.size());
  std::string written;
  for (const ByteRange& r : out->from_input) written += out->text.substr(r.begin, r.end - r.begin) + "|";
  EXPECT_THAT(written, HasSubstr("<|end|>"));
  EXPECT_TRUE(written.ends_with("<|end|>|")) << written;
}

TEST(OpenChat, RefusesWhatCannotBeGoneOnWith) {
  const auto why = [](const char* source, const char* messages, bool prompt = false) {
    return open(source, messages, prompt).status().message();
  };
  const char* talk = R"([{"role":"assistant","content":"a"}])";
  EXPECT_THAT(why(kPlain, talk, true), HasSubstr("continue_final_message: it does not go with"));
  EXPECT_THAT(why(kPlain, R"([{"role":"assistant"}])"), HasSubstr("has no text"));
  EXPECT_THAT(why(kPlain, R"([{"role":"assistant","content":"a","tool_calls":[{"id":"1"}]}])"),
              HasSubstr("tool calls"));
  EXPECT_THAT(why("{{ messages[0].content[:2] }}", R"([{"role":"assistant","content":"abc"}])"),
              HasSubstr("does not print"));
}

}  // namespace
}  // namespace sluice::text
