#include "load/protocol.h"

#include <gtest/gtest.h>

#include "http/response_head.h"

namespace sluice::load {
namespace {

TEST(RequestBody, IsWhatEachApiTakes) {
  RequestOptions o{.model = "m", .temperature = 0.5, .ignore_eos = true};
  const Job text{"hello", 9};
  const Json completion = *parse_json(request_body(o, text), "body");
  EXPECT_EQ(completion["prompt"], "hello");
  EXPECT_EQ(completion["max_tokens"], 9);
  EXPECT_EQ(completion["stream_options"]["include_usage"], true);
  EXPECT_EQ(completion["ignore_eos"], true);
  o.backend = Backend::openai_chat;
  o.extra = {{"top_p", 0.9}, {"temperature", 0}};
  const Json chat = *parse_json(request_body(o, text), "body");
  EXPECT_EQ(chat["messages"][0]["content"], "hello");
  EXPECT_EQ(chat["max_completion_tokens"], 9);
  EXPECT_EQ(chat["top_p"], 0.9);
  EXPECT_EQ(chat["temperature"], 0) << "extra fields win";
  const Job messages{Json::array({{{"role", "system"}, {"content", "x"}}}), 1};
  EXPECT_EQ((*parse_json(request_body(o, messages), "body"))["messages"][0]["role"], "system");
}

bool has_output(std::string_view data) {
  const auto chunk = read_chunk(data);
  EXPECT_TRUE(chunk) << data;
  return chunk && chunk->has_output;
}

TEST(ReadChunk, TellsOutputFromTheRest) {
  EXPECT_TRUE(has_output(R"({"choices":[{"index":0,"text":"a"}]})"));
  EXPECT_TRUE(has_output(R"({"choices":[{"delta":{"content":"a"},"logprobs":null}]})"));
  EXPECT_TRUE(has_output(R"({"choices":[{"delta":{"reasoning":"a"}}]})"));
  EXPECT_TRUE(has_output(R"({"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{"}}]}}]})"));
  EXPECT_FALSE(has_output(R"({"choices":[{"delta":{"role":"assistant","content":""}}]})"));
  EXPECT_FALSE(has_output(R"({"choices":[{"delta":{},"finish_reason":"stop"}]})"));
  EXPECT_FALSE(has_output(R"({"choices":[],"text":"not a choice's"})"));
}

TEST(ReadChunk, ReadsUsageAndErrors) {
  const auto usage = read_chunk(
      R"({"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}}})");
  ASSERT_TRUE(usage);
  EXPECT_EQ(usage->prompt_tokens, 5);
  EXPECT_EQ(usage->output_tokens, 7);
  EXPECT_EQ(usage->cached_tokens, 4);
  EXPECT_FALSE(usage->error);
  EXPECT_EQ(read_chunk(R"({"error":{"message":"no","code":429}})")->error, "no");
  EXPECT_FALSE(read_chunk(R"({"error":null,"choices":[]})")->error);
  EXPECT_FALSE(read_chunk("{\"choices\":"));
  EXPECT_FALSE(read_chunk("[1]"));
}

TEST(EventSplitter, FindsTheSameEventsHoweverTheBytesAreCut) {
  const std::string stream = ": ping\n\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:two\n\ndata: [DONE]\n\n";
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    EventSplitter splitter;
    std::vector<std::string> events;
    for (const auto& piece : {stream.substr(0, cut), stream.substr(cut)}) {
      splitter.feed(piece);
      while (const auto data = splitter.next()) events.emplace_back(*data);
      splitter.compact();
    }
    EXPECT_EQ(events, (std::vector<std::string>{"{\"a\":1}", "two", "[DONE]"})) << cut;
    EXPECT_EQ(splitter.pending(), 0u);
  }
}

}  // namespace
}  // namespace sluice::load
