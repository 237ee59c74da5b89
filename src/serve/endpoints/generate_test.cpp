// Completions and chats over the wire: shapes, streams, and every field's refusal.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "serve/testing/tiny_server.h"

namespace sluice::serve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Response;
using testing::TinyServer;

TinyServer& null_server() {
  static TinyServer server;
  return server;
}
TinyServer& real_server() {
  static TinyServer server({.null = false});
  return server;
}

TEST(Chat, WholeAnswerHasTheShapeThatClientsRead) {
  const Response r = null_server().post(
      "/v1/chat/completions",
      R"({"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":4,"logprobs":true,"top_logprobs":2})");
  ASSERT_EQ(r.status, 200) << r.body;
  const Json j = r.json();
  EXPECT_EQ(j["object"], "chat.completion");
  EXPECT_TRUE(j["id"].get<std::string>().starts_with("chatcmpl-"));
  const Json& choice = j["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_TRUE(choice["message"]["refusal"].is_null());
  std::string joined;
  for (const Json& token : choice["logprobs"]["content"]) {
    joined += token["token"].get<std::string>();
    EXPECT_EQ(token["top_logprobs"].size(), 2u);
    EXPECT_LE(token["logprob"].get<double>(), 0);
    EXPECT_TRUE(token["bytes"].is_array());
  }
  EXPECT_EQ(choice["message"]["content"], joined);
  // "user: hi<|end|>assistant: "
  EXPECT_EQ(
      dump_json(j["usage"]),
      R"({"prompt_tokens":20,"completion_tokens":4,"total_tokens":24,"prompt_tokens_details":{"cached_tokens":0},)"
      R"("completion_tokens_details":{"reasoning_tokens":0}})");
}

TEST(Chat, StreamIsOneChunkForEachTokenBetweenRoleAndEnd) {
  const Response r = null_server().post(
      "/v1/chat/completions",
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"max_completion_tokens":3,"stream":true,
          "stream_options":{"include_usage":true}})");
  ASSERT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(r.headers.at("content-type"), "text/event-stream; charset=utf-8");
  const auto events = r.events();
  ASSERT_EQ(events.size(), 1 + 3 + 1 + 1 + 1u);
  EXPECT_EQ(events.back(), "[DONE]");
  std::vector<Json> chunks;
  for (size_t i = 0; i + 1 < events.size(); ++i) chunks.push_back(*parse_json(events[i], "chunk"));
  EXPECT_EQ(dump_json(chunks[0]["choices"][0]["delta"]), R"({"role":"assistant","content":""})");
  std::string text;
  for (size_t i = 1; i <= 3; ++i) {
    EXPECT_TRUE(chunks[i]["choices"][0]["finish_reason"].is_null());
    text += chunks[i]["choices"][0]["delta"]["content"].get<std::string>();
    EXPECT_TRUE(chunks[i]["usage"].is_null());
    EXPECT_EQ(chunks[i]["id"], chunks[0]["id"]);
  }
  EXPECT_EQ(text.size(), 3u);
  EXPECT_EQ(dump_json(chunks[4]["choices"][0]["delta"]), "{}");
  EXPECT_EQ(chunks[4]["choices"][0]["finish_reason"], "length");
  EXPECT_TRUE(chunks[5]["choices"].empty());
  EXPECT_EQ(chunks[5]["usage"]["completion_tokens"], 3);
}

TEST(Completions, EveryFormOfPrompt) {
  const auto texts = [&](const std::string& prompt) {
    const Response r =
        null_server().post("/v1/completions", R"({"max_tokens":2,"n":2,"prompt":)" + prompt + "}");
    EXPECT_EQ(r.status, 200) << r.body;
    std::vector<int> indices;
    const Json json = r.json();
    for (const Json& choice : json["choices"]) indices.push_back(choice["index"].get<int>());
    return indices;
  };
  EXPECT_THAT(texts(R"("ab")"), ElementsAre(0, 1));
  EXPECT_THAT(texts(R"(["ab","c"])"), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(texts("[1,2,3]"), ElementsAre(0, 1));
  EXPECT_THAT(texts("[[1,2],[3]]"), ElementsAre(0, 1, 2, 3));
  for (const char* bad : {R"("")", "[]", "[[]]", R"([1,"a"])", R"(["a",1])", "[[[1]]]", "[-1]", "[1.5]",
                          "[true]", "[128]", "5", "{}", "null"}) {
    const Response r = null_server().post("/v1/completions", std::string(R"({"prompt":)") + bad + "}");
    EXPECT_EQ(r.status, 400) << bad;
    EXPECT_EQ(r.json()["error"]["param"], "prompt") << bad;
  }
}

TEST(Completions, EchoGivesThePromptAndItsLogprobs) {
  const Response r = real_server().post(
      "/v1/completions", R"({"prompt":"hello","max_tokens":2,"echo":true,"logprobs":1,"temperature":0})");
  ASSERT_EQ(r.status, 200) << r.body;
  const Json json = r.json();
  const Json& choice = json["choices"][0];
  EXPECT_TRUE(choice["text"].get<std::string>().starts_with("hello"));
  const Json& l = choice["logprobs"];
  ASSERT_EQ(l["tokens"].size(), 7u);
  EXPECT_TRUE(l["token_logprobs"][0].is_null());
  for (size_t i = 1; i < 7; ++i) {
    const double chosen = l["token_logprobs"][i].get<double>();
    EXPECT_LE(chosen, 0);
    // The chosen token is in the dictionary with the very same number.
    EXPECT_EQ(l["top_logprobs"][i][l["tokens"][i].get<std::string>()].get<double>(), chosen);
    EXPECT_EQ(l["text_offset"][i], i);
  }
  // What greedy decoding chose is the most likely token.
  for (size_t i = 5; i < 7; ++i) EXPECT_EQ(l["top_logprobs"][i].size(), 1u);
  // Nothing is generated: the prompt alone.
  const Response none = real_server().post(
      "/v1/completions", R"({"prompt":"hello","max_tokens":0,"echo":true,"logprobs":1,"temperature":0})");
  ASSERT_EQ(none.status, 200) << none.body;
  EXPECT_EQ(none.json()["choices"][0]["text"], "hello");
  for (size_t i = 1; i < 5; ++i) {
    EXPECT_NEAR(none.json()["choices"][0]["logprobs"]["token_logprobs"][i].get<double>(),
                l["token_logprobs"][i].get<double>(), 1e-5);
  }
}

TEST(Completions, StopStringsSeedsAndStreamsAgree) {
  const auto run = [&](const std::string& extra) {
    return real_server().post(
        "/v1/completions", R"({"prompt":"hello","max_tokens":40,"seed":7,"ignore_eos":true)" + extra + "}");
  };
  const Json whole = run("").json();
  const std::string text = whole["choices"][0]["text"];
  ASSERT_EQ(text.size(), 40u);
  EXPECT_EQ(run("").json()["choices"][0]["text"], text) << "the same seed";
  std::string streamed;
  const auto events = run(R"(,"stream":true)").events();
  for (size_t i = 0; i + 1 < events.size(); ++i)
    streamed += (*parse_json(events[i], "chunk"))["choices"][0]["text"].get<std::string>();
  EXPECT_EQ(streamed, text);
  const std::string stop = text.substr(10, 3);
  const Json cut = run(R"(,"stop":[)" + dump_json(Json(stop)) + "]").json();
  EXPECT_EQ(cut["choices"][0]["text"], text.substr(0, text.find(stop)));
  EXPECT_EQ(cut["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(cut["choices"][0]["stop_reason"], stop);
  const Json kept = run(R"(,"include_stop_str_in_output":true,"stop":)" + dump_json(Json(stop))).json();
  EXPECT_EQ(kept["choices"][0]["text"], text.substr(0, text.find(stop)) + stop);
  // Nothing of a stop string is ever streamed, though its tokens come one by one.
  streamed.clear();
  const auto stopped = run(R"(,"stream":true,"stop":)" + dump_json(Json(stop))).events();
  int ends = 0;
  for (size_t i = 0; i + 1 < stopped.size(); ++i) {
    const Json piece = (*parse_json(stopped[i], "chunk"))["choices"][0];
    streamed += piece["text"].get<std::string>();
    ends += piece["finish_reason"].is_null() ? 0 : 1;
  }
  EXPECT_EQ(streamed, text.substr(0, text.find(stop)));
  EXPECT_EQ(ends, 1);
  // One that the last token completes ends the text, and so it is said once.
  const std::string tail = text.substr(37);
  if (text.find(tail) == 37) {
    const Json both = run(R"(,"stop":)" + dump_json(Json(tail))).json();
    EXPECT_EQ(both["choices"][0]["text"], text.substr(0, 37));
    EXPECT_EQ(both["choices"][0]["finish_reason"], "stop");
    EXPECT_EQ(both["usage"]["completion_tokens"], 40);
  }
  // In an echoed prompt it is text like any other.
  const Json echoed = run(R"(,"echo":true,"stop":"ell")").json();
  EXPECT_EQ(echoed["choices"][0]["text"].get<std::string>().substr(0, 5), "hello");
  // A bias that leaves nothing else decides.
  const Json biased = run(R"(,"temperature":0,"logit_bias":{"5":100})").json();
  EXPECT_EQ(biased["choices"][0]["text"], std::string(40, '&'));
}

TEST(Completions, ConstraintsHoldAndBadOnesAreNamed) {
  const auto run = [&](const std::string& extra) {
    return real_server().post("/v1/completions", R"({"prompt":"hello","max_tokens":40,)" + extra + "}");
  };
  const Json choice = run(R"("structured_outputs":{"choice":["yes","no"]})").json();
  const std::string text = choice["choices"][0]["text"];
  EXPECT_TRUE(text == "yes" || text == "no") << text;
  EXPECT_EQ(choice["choices"][0]["finish_reason"], "stop");
  EXPECT_THAT(run(R"("guided_regex":"[0-9]{3}-[a-c]")").json()["choices"][0]["text"].get<std::string>(),
              ::testing::MatchesRegex("[0-9][0-9][0-9]-[abc]"));
  const Response bad =
      run(R"("response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"not":{}}}})");
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.json()["error"]["param"], "response_format");
  EXPECT_THAT(bad.body, HasSubstr("not"));
  EXPECT_EQ(run(R"("guided_regex":"(")").status, 400);
  EXPECT_EQ(run(R"("structured_outputs":{"structural_tag":"x"})").status, 400);
}

TEST(Chat, PromptLogprobsAreThoseOfTheTokens) {
  const Json chat =
      real_server()
          .post("/v1/chat/completions",
                R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":1,"prompt_logprobs":2})")
          .json();
  const Json ids =
      real_server()
          .post("/v1/chat/completions/render", R"({"messages":[{"role":"user","content":"hi"}]})")
          .json()["token_ids"];
  const Json text =
      real_server()
          .post("/v1/completions", R"({"max_tokens":1,"prompt_logprobs":2,"prompt":)" + dump_json(ids) + "}")
          .json();
  ASSERT_EQ(chat["prompt_logprobs"].size(), ids.size());
  EXPECT_TRUE(chat["prompt_logprobs"][0].is_null());
  EXPECT_EQ(chat["prompt_logprobs"], text["choices"][0]["prompt_logprobs"]);
  EXPECT_TRUE(chat["prompt_logprobs"][1].contains(std::to_string(ids[1].get<int>())));
}

TEST(Chat, ObfuscatedChunksSayNothingByTheirSize) {
  const std::string asked =
      R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":6,"stream":true,"stream_options":
      {"include_obfuscation":true,"include_usage":true}})";
  size_t remainder = 0;
  for (const std::string& event : null_server().post("/v1/chat/completions", asked).events()) {
    if (event == "[DONE]") continue;
    const Json chunk = *parse_json(event, "chunk");
    EXPECT_EQ(chunk.contains("obfuscation"), !chunk["choices"].empty());
    if (!chunk.contains("obfuscation")) continue;
    EXPECT_FALSE(chunk["obfuscation"].get<std::string>().empty());
    if (remainder == 0) remainder = event.size() % 32;
    EXPECT_EQ(event.size() % 32, remainder);
  }
  const std::string plain = R"({"input":"hi","max_output_tokens":3,"stream":true})";
  EXPECT_THAT(null_server().post("/v1/responses", plain).body, ::testing::Not(HasSubstr("obfuscation")));
}

TEST(Completions, LongPromptsAreCutWhereThatIsAsked) {
  const auto run = [&](const std::string& extra) {
    return null_server().post(
        "/v1/completions",
        R"({"prompt":"abcdef","max_tokens":1,"echo":true,"return_token_ids":true,)" + extra + "}");
  };
  const Json cut = run(R"("truncate_prompt_tokens":2)").json();
  EXPECT_EQ(cut["usage"]["prompt_tokens"], 2);
  EXPECT_EQ(cut["choices"][0]["text"].get<std::string>().substr(0, 2), "ef");
  EXPECT_EQ(cut["choices"][0]["prompt_token_ids"].size(), 2u);
  EXPECT_EQ(run(R"("truncate_prompt_tokens":9)").json()["usage"]["prompt_tokens"], 6);
  const std::string long_prompt((1 << 16) + 5, 'a');
  EXPECT_EQ(null_server()
                .post("/v1/completions",
                      R"({"max_tokens":10,"truncate_prompt_tokens":-1,"prompt":")" + long_prompt + "\"}")
                .json()["usage"]["prompt_tokens"],
            (1 << 16) - 10);
  for (const char* bad : {"0", "-2", "1.5"})
    EXPECT_EQ(run(std::string(R"("truncate_prompt_tokens":)") + bad).json()["error"]["param"],
              "truncate_prompt_tokens");
}

// All that can end a text ends it at once: it ends once.
TEST(Completions, SeveralEndsAtOnceAreOne) {
  for (const char* ends :
       {R"("stop":"&","max_tokens":1)", R"("stop":"&","stop_token_ids":[5],"max_tokens":1)",
        R"("stop":"&","stop_token_ids":[5],"max_tokens":1,"include_stop_str_in_output":true)",
        R"("stop":["&&","&"],"max_tokens":2)", R"("guided_choice":["&"],"stop":"&","max_tokens":1)"}) {
    const Response r = real_server().post(
        "/v1/completions", R"({"prompt":"hello","temperature":0,"logit_bias":{"5":100},"stream":true,)" +
                               std::string(ends) + "}");
    ASSERT_EQ(r.status, 200) << r.body;
    const auto events = r.events();
    int reasons = 0;
    for (size_t i = 0; i + 1 < events.size(); ++i) {
      const Json choice = (*parse_json(events[i], "chunk"))["choices"][0];
      EXPECT_EQ(reasons, 0) << "nothing follows the end: " << ends;
      if (choice["finish_reason"].is_null()) continue;
      ++reasons;
      EXPECT_EQ(choice["finish_reason"], "stop") << ends;
    }
    EXPECT_EQ(reasons, 1) << ends;
    EXPECT_EQ(std::count(events.begin(), events.end(), "[DONE]"), 1) << ends;
    EXPECT_EQ(events.back(), "[DONE]") << ends;
  }
}

// Cached prefixes are shared among equal salts, change nothing, and outlive those that were given up.
TEST(Completions, ACachedPrefixChangesNothingAndKeepsToItsSalt) {
  const std::string prompt(100, 'p');
  const auto body = [&](const std::string& salt, const std::string& extra) {
    return R"({"temperature":0,"prompt":")" + prompt + R"(","cache_salt":")" + salt + "\"," + extra + "}";
  };
  const auto run = [&](const std::string& salt) {
    const Json json = real_server().post("/v1/completions", body(salt, R"("max_tokens":12)")).json();
    return std::pair(json["choices"][0]["text"].get<std::string>(),
                     json["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>());
  };
  const auto [text, none] = run("a");
  EXPECT_EQ(none, 0);
  const auto again = run("a"), other = run("b");
  EXPECT_EQ(again.first, text);
  EXPECT_GE(again.second, 80);
  EXPECT_EQ(other, std::pair(text, 0));
  {
    auto leaves = real_server().client();
    leaves.send(testing::post_bytes("/v1/completions",
                                    body("c", R"("stream":true,"ignore_eos":true,"n":3,"max_tokens":900)")));
    ASSERT_TRUE(leaves.receive_until("data: "));
  }
  ASSERT_TRUE(real_server().becomes_idle());
  const auto after = run("c");
  EXPECT_EQ(after.first, text);
  EXPECT_GE(after.second, 80) << "its pages were whole";
}

TEST(Requests, OfOneIdDoNotMeet) {
  std::vector<testing::Client> clients;
  for (const int tokens : {3, 7, 5}) {
    clients.push_back(null_server().client());
    clients.back().send(testing::post_bytes(
        "/v1/completions", fmt::format(R"({{"prompt":"a","request_id":"same","max_tokens":{}}})", tokens)));
  }
  for (const int tokens : {3, 7, 5}) {
    const Json json = clients[static_cast<size_t>(tokens == 3 ? 0 : tokens == 7 ? 1 : 2)].receive().json();
    EXPECT_EQ(json["id"], "cmpl-same");
    EXPECT_EQ(json["usage"]["completion_tokens"], tokens);
  }
}

TEST(Completions, TheTokenThatStoppedThemIsNamed) {
  const auto run = [&](const std::string& extra) {
    return real_server()
        .post("/v1/completions", R"({"prompt":"hello","max_tokens":9,"temperature":0,)" + extra + "}")
        .json()["choices"][0];
  };
  const Json stopped = run(R"("logit_bias":{"5":100},"stop_token_ids":[4,5])");
  EXPECT_EQ(stopped["finish_reason"], "stop");
  EXPECT_EQ(stopped["stop_reason"], 5);
  EXPECT_EQ(stopped["text"], "");
  EXPECT_TRUE(run(R"("ignore_eos":true)")["stop_reason"].is_null());
}

TEST(Completions, WhatMayNotBeWrittenIsNot) {
  const auto run = [&](const std::string& extra) {
    const Response r = real_server().post(
        "/v1/completions", R"({"prompt":"hello","max_tokens":60,"ignore_eos":true,"seed":4,)" + extra + "}");
    EXPECT_EQ(r.status, 200) << r.body;
    return r.json();
  };
  for (const Json& choice : run(R"("n":2,"allowed_token_ids":[5,6,7])")["choices"])
    EXPECT_EQ(choice["text"].get<std::string>().find_first_not_of("&'("), std::string::npos) << choice;
  // What is allowed goes before what is liked.
  EXPECT_EQ(run(R"("allowed_token_ids":[5],"logit_bias":{"9":100})")["choices"][0]["text"],
            std::string(60, '&'));
  const std::string text = run(R"("temperature":0)")["choices"][0]["text"];
  const std::vector<std::string> words = {text.substr(0, 1), text.substr(20, 2), text.substr(40, 3)};
  for (const char* sampling : {R"("temperature":0)", R"("temperature":2)"}) {
    const std::string without =
        run(std::string(sampling) + R"(,"bad_words":)" + dump_json(Json(words)))["choices"][0]["text"];
    for (const std::string& word : words) EXPECT_EQ(without.find(word), std::string::npos) << word;
  }
  // Nothing is left: the request ends with the reason.
  const Response none = real_server().post(
      "/v1/completions", R"({"prompt":"hello","allowed_token_ids":[5],"guided_choice":["yes"]})");
  EXPECT_EQ(none.status, 400) << none.body;
  EXPECT_THAT(none.body, HasSubstr("allowed_token_ids"));
}

TEST(Chat, LogprobsOfGivenTokensTakeThePlaceOfTheMostLikely) {
  const auto run = [&](const std::string& extra) {
    const Response r = real_server().post(
        "/v1/chat/completions",
        R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":2,"temperature":0,"logprobs":true,)" +
            extra + "}");
    EXPECT_EQ(r.status, 200) << r.body;
    return r.json()["choices"][0]["logprobs"]["content"];
  };
  const Json most = run(R"("top_logprobs":20)"),
             given = run(R"("top_logprobs":2,"logprob_token_ids":[40,5,6])");
  std::map<std::string, double> known;
  for (const Json& entry : most[0]["top_logprobs"]) known[entry["token"]] = entry["logprob"];
  ASSERT_EQ(given.size(), 2u);
  for (const Json& token : given) {
    ASSERT_EQ(token["top_logprobs"].size(), 3u);
    const char* spelt[] = {"I", "&", "'"};
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(token["top_logprobs"][i]["token"], spelt[i]);
  }
  for (const Json& entry : given[0]["top_logprobs"]) {
    if (const auto found = known.find(entry["token"]); found != known.end()) {
      EXPECT_NEAR(entry["logprob"].get<double>(), found->second, 1e-5);
    }
  }
  EXPECT_EQ(given[0]["logprob"], most[0]["logprob"]);
}

TEST(Chat, TheLastMessageCanBeGoneOnWith) {
  const std::string talk =
      R"({"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Well "}],)"
      R"("continue_final_message":true,"max_tokens":4,"temperature":0)";
  const Json rendered = null_server().post("/v1/chat/completions/render", talk + "}").json();
  EXPECT_EQ(rendered["prompt"], "user: hi<|end|>assistant: Well ");
  EXPECT_EQ(null_server().post("/tokenize", talk + "}").json()["tokens"], rendered["token_ids"]);
  const Json plain = real_server()
                         .post("/v1/completions", R"({"max_tokens":4,"temperature":0,"prompt":)" +
                                                      dump_json(rendered["token_ids"]) + "}")
                         .json()["choices"][0];
  const Json chat = real_server().post("/v1/chat/completions", talk + "}").json()["choices"][0];
  EXPECT_EQ(chat["message"]["content"], plain["text"]);
  const std::string echoed = "Well " + plain["text"].get<std::string>();
  EXPECT_EQ(real_server()
                .post("/v1/chat/completions", talk + R"(,"echo":true})")
                .json()["choices"][0]["message"]["content"],
            echoed);
  std::string streamed;
  const auto events =
      real_server().post("/v1/chat/completions", talk + R"(,"echo":true,"stream":true})").events();
  for (size_t i = 0; i + 1 < events.size(); ++i)
    streamed += (*parse_json(events[i], "chunk"))["choices"][0]["delta"].value("content", "");
  EXPECT_EQ(streamed, echoed);
  // Only an assistant's message is echoed.
  const std::string question =
      R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":2,"temperature":0,"seed":1)";
  EXPECT_EQ(real_server()
                .post("/v1/chat/completions", question + R"(,"echo":true})")
                .json()["choices"][0]["message"],
            real_server().post("/v1/chat/completions", question + "}").json()["choices"][0]["message"]);
  const Response none = null_server().post(
      "/v1/chat/completions",
      R"({"messages":[{"role":"assistant","content":null}],"continue_final_message":true})");
  EXPECT_EQ(none.status, 400);
  EXPECT_EQ(none.json()["error"]["param"], "continue_final_message") << none.body;
}

TEST(Completions, TagsHoldWhatTheyAreMeantTo) {
  const std::string tags =
      R"({"type":"structural_tag","triggers":["<"],"structures":[{"begin":"<n>","schema":{"enum":[1,22]},"end":"</n>"}]})";
  const auto run = [&](const std::string& extra) {
    const Response r = real_server().post(
        "/v1/completions",
        R"({"prompt":"hello","max_tokens":120,"seed":4,"logit_bias":{"27":4},)" + extra + "}");
    EXPECT_EQ(r.status, 200) << r.body;
    return r.json()["choices"][0];
  };
  for (const std::string& field :
       {R"("structured_outputs":{"structural_tag":)" + tags + "}", R"("response_format":)" + tags,
        R"("structured_outputs":{"structural_tag":)" + dump_json(Json(tags)) + "}"}) {
    const std::string text = run(field)["text"];
    int begun = 0;
    for (size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at + 1)) {
      const std::string rest = text.substr(at);
      const auto fits = [&](const std::string& whole) {
        return whole.substr(0, rest.size()) == rest.substr(0, whole.size());
      };
      EXPECT_TRUE(fits("<n>1</n>") || fits("<n>22</n>") || fits("</n>")) << text;
      begun += rest.starts_with("<n>");
    }
    EXPECT_GT(begun, 2) << text;
  }
  const Json one = run(
      R"("response_format":{"type":"structural_tag","format":{"type":"triggered_tags","triggers":["<"],"at_least_one":true,
      "stop_after_first":true,"tags":[{"begin":"<n>","content":{"type":"regex","pattern":"[ab]{3}"},"end":"</n>"}]}})");
  EXPECT_THAT(one["text"].get<std::string>(), ::testing::MatchesRegex("<n>[ab][ab][ab]</n>"));
  EXPECT_EQ(one["finish_reason"], "stop");
}

TEST(Completions, AnIdOfTheClientsOwnIsKept) {
  EXPECT_EQ(null_server().post("/v1/completions", R"({"prompt":"a","request_id":"mine-1"})").json()["id"],
            "cmpl-mine-1");
}

TEST(Requests, EveryBadFieldIsNamed) {
  const std::string chat = R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":1,)";
  const struct {
    const char* field;
    const char* param;
  } kCases[] = {
      {R"("temperature":-0.1)", "temperature"},
      {R"("temperature":101)", "temperature"},
      {R"("temperature":"0.7")", "temperature"},
      {R"("top_p":1.0001)", "top_p"},
      {R"("top_p":-1)", "top_p"},
      {R"("top_k":-2)", "top_k"},
      {R"("min_p":2)", "min_p"},
      {R"("n":0)", "n"},
      {R"("n":129)", "n"},
      {R"("n":1.5)", "n"},
      {R"("max_completion_tokens":-1)", "max_completion_tokens"},
      {R"("max_completion_tokens":1000000000000000000)", "max_completion_tokens"},
      {R"("min_tokens":5)", "min_tokens"},
      {R"("top_logprobs":2)", "top_logprobs"},
      {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
      {R"("logprobs":true,"top_logprobs":-1)", "top_logprobs"},
      {R"("logit_bias":{"foo":0})", "logit_bias"},
      {R"("logit_bias":{"500":0})", "logit_bias"},
      {R"("logit_bias":{"5":101})", "logit_bias"},
      {R"("logit_bias":[])", "logit_bias"},
      {R"("stop":"")", "stop"},
      {R"("stop":[""])", "stop"},
      {R"("stop":5)", "stop"},
      {R"("seed":9223372036854775808)", "seed"},
      {R"("presence_penalty":2.1)", "presence_penalty"},
      {R"("frequency_penalty":-3)", "frequency_penalty"},
      {R"("repetition_penalty":0)", "repetition_penalty"},
      {R"("stream":"yes")", "stream"},
      {R"("stream_options":{"include_usage":true})", "stream_options"},
      {R"("response_format":{"type":"xml"})", "response_format.type"},
      {R"("response_format":{"type":"json_schema","json_schema":{"name":"x"}})",
       "response_format.json_schema.schema"},
      {R"("structured_outputs":{"regex":1})", "structured_outputs.regex"},
      {R"("structured_outputs":{"regex":"a","choice":["b"]})", "structured_outputs"},
      {R"("guided_choice":"a")", "guided_choice"},
      {R"("guided_regex":"a","response_format":{"type":"json_object"})", "guided_regex"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("tools":[{"type":"function","function":{"name":"a b"}}])", "tools[0].function.name"},
      {R"("tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"a"}}])",
       "tools[1].function.name"},
      {R"("tools":[{"type":"function","function":{"name":"a"}}],"tool_choice":{"type":"function","function":{"name":"b"}}})",
       "tool_choice"},
      {R"("modalities":["audio"])", "modalities"},
      {R"("continue_final_message":true,"add_generation_prompt":true)", "continue_final_message"},
      {R"("continue_final_message":"yes")", "continue_final_message"},
      {R"("chat_template_kwargs":{"continue_final_message":true})", "chat_template_kwargs"},
      {R"("bad_words":"a")", "bad_words"},
      {R"("bad_words":[""])", "bad_words"},
      {R"("bad_words":[5])", "bad_words"},
      {R"("allowed_token_ids":[])", "allowed_token_ids"},
      {R"("allowed_token_ids":[1,128])", "allowed_token_ids"},
      {R"("allowed_token_ids":[-1])", "allowed_token_ids"},
      {R"("allowed_token_ids":5)", "allowed_token_ids"},
      {R"("logprob_token_ids":[5])", "logprob_token_ids"},
      {R"("logprobs":true,"logprob_token_ids":[128])", "logprob_token_ids"},
      {R"("structured_outputs":{"structural_tag":"x"})", "structured_outputs"},
      {R"("structured_outputs":{"structural_tag":{"format":{"type":"token"}}}})", "structured_outputs"},
      {R"("response_format":{"type":"structural_tag","triggers":["a"]})", "response_format"},
      {R"("request_id":"two words")", "request_id"},
      {R"("priority":"high")", "priority"},
      {R"("chat_template_kwargs":5)", "chat_template_kwargs"},
      {R"("chat_template_kwargs":{"bos_token":"<|end|>"})", "chat_template_kwargs"},
      {R"("chat_template_kwargs":{"messages":[]})", "chat_template_kwargs"},
  };
  for (const auto& c : kCases) {
    std::string body = chat + c.field;
    if (!body.ends_with("}}}")) body += "}";
    const Response r = null_server().post("/v1/chat/completions", body);
    EXPECT_EQ(r.status, 400) << c.field << r.body;
    EXPECT_EQ(r.json()["error"]["param"], c.param) << c.field << r.body;
  }
  EXPECT_EQ(
      null_server()
          .post("/v1/chat/completions", chat + R"("user":"u","metadata":{},"store":false,"new_field":1})")
          .status,
      200);
}

// Values at the ends of their ranges: with logits that count, and without company.
TEST(Requests, ExtremeValuesAreServed) {
  std::string all_banned;
  for (int id = 0; id < 128; ++id) all_banned += fmt::format(R"({}"{}":-100)", id > 0 ? "," : "", id);
  const std::string long_stop(10'000, 'x');
  for (const std::string& field : std::vector<std::string>{
           R"("temperature":0)",
           R"("temperature":1e-9)",
           R"("temperature":1e-38)",
           R"("temperature":null)",
           R"("temperature":2)",
           R"("temperature":-0)",
           R"("top_p":0)",
           R"("top_p":1)",
           R"("top_p":1e-30)",
           R"("top_k":-1)",
           R"("top_k":0)",
           R"("top_k":1)",
           R"("top_k":1000000000)",
           R"("min_p":0)",
           R"("min_p":1)",
           R"("n":2)",
           R"("n":128,"max_completion_tokens":1)",
           R"("max_completion_tokens":null)",
           R"("max_completion_tokens":5)",
           R"("logprobs":true)",
           R"("logprobs":true,"top_logprobs":0)",
           R"("logprobs":true,"top_logprobs":20,"n":2)",
           R"("logprobs":false,"top_logprobs":null)",
           R"("logit_bias":{})",
           R"("logit_bias":{"5":-100,"6":100})",
           R"("logit_bias":{)" + all_banned + "}",
           R"("stop":null)",
           R"("stop":[])",
           R"("stop":["a","b","c","d"])",
           R"("stop":")" + long_stop + "\"",
           R"("stop":"<|end|>")",
           R"("seed":-9223372036854775808)",
           R"("seed":9223372036854775807)",
           R"("presence_penalty":2)",
           R"("frequency_penalty":-2)",
           R"("repetition_penalty":1.0)",
           R"("repetition_penalty":0.01)",
           R"("min_tokens":2)",
           R"("ignore_eos":true)",
           R"("presence_penalty":2,"frequency_penalty":2,"repetition_penalty":2,"guided_regex":"[ab]{3}")",
       }) {
    const Response r =
        real_server().post("/v1/chat/completions",
                           R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":4,)" + field + "}");
    EXPECT_EQ(r.status, 200) << field.substr(0, 100) << r.body;
  }
}

TEST(Requests, BadMessagesAreNamed) {
  const struct {
    const char* messages;
    const char* param;
  } kCases[] = {
      {"null", "messages"},
      {"[]", "messages"},
      {"[123]", "messages[0]"},
      {"[{}]", "messages[0].role"},
      {R"([{"role":123,"content":"x"}])", "messages[0].role"},
      {R"([{"role":"emperor","content":"x"}])", "messages[0].role"},
      {R"([{"role":"user"}])", "messages[0].content"},
      {R"([{"role":"user","content":"a"},{"role":"user","content":5}])", "messages[1].content"},
      {R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}])",
       "messages[0].content[0].type"},
      {R"([{"role":"user","content":[{"type":"text","text":"a"},{"type":"input_audio","input_audio":{}}]}])",
       "messages[0].content[1].type"},
      {R"([{"role":"user","content":[{"type":"file","file":{"file_data":"data:text/plain;base64,aGk="}}]}])",
       "messages[0].content[0].type"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0].text"},
      {R"([{"role":"tool","content":"x"}])", "messages[0].tool_call_id"},
      {R"([{"role":"assistant","tool_calls":[{"function":{}}]}])", "messages[0].tool_calls[0].function.name"},
  };
  for (const auto& c : kCases) {
    const Response r = null_server().post("/v1/chat/completions",
                                          std::string(R"({"max_tokens":1,"messages":)") + c.messages + "}");
    EXPECT_EQ(r.status, 400) << c.messages;
    EXPECT_EQ(r.json()["error"]["param"], c.param) << r.body;
  }
}

TEST(Requests, LengthsThatCanNeverFitAreRefusedWithTheNumbers) {
  const Response r = null_server().post(
      "/v1/completions", R"({"max_tokens":10,"prompt":")" + std::string((1 << 16), 'a') + R"("})");
  EXPECT_EQ(r.status, 400);
  EXPECT_EQ(r.json()["error"]["code"], "context_length_exceeded");
  EXPECT_THAT(r.body, HasSubstr("65536"));
  EXPECT_THAT(r.body, HasSubstr("65546"));
  EXPECT_EQ(null_server().post("/v1/completions", R"({"prompt":"a","max_tokens":65536})").status, 400);
  EXPECT_EQ(null_server().post("/v1/completions", R"({"prompt":["a","b"],"n":128,"max_tokens":1})").status,
            200);
}

TEST(Requests, HugeListsAreRefusedOrServed) {
  const auto times = [](size_t n, const std::string& item) {
    std::string out = "[" + item;
    for (size_t i = 1; i < n; ++i) out += "," + item;
    return out + "]";
  };
  EXPECT_EQ(null_server()
                .post("/v1/completions", R"({"max_tokens":1,"prompt":)" + times(1'000'000, "[1]") + "}")
                .status,
            400);
  EXPECT_EQ(null_server()
                .post("/v1/completions", R"({"max_tokens":1,"prompt":)" + times(1'000'000, "1") + "}")
                .json()["error"]["code"],
            "context_length_exceeded");
  EXPECT_EQ(null_server()
                .post("/v1/chat/completions", R"({"max_tokens":1,"messages":)" +
                                                  times(100'000, R"({"role":"user","content":"a"})") + "}")
                .json()["error"]["code"],
            "context_length_exceeded");
  std::string keys = "{";
  for (int i = 0; i < 200'000; ++i) keys += fmt::format(R"("k{}":{},)", i, i);
  EXPECT_EQ(null_server().post("/v1/completions", keys + R"("prompt":"a","max_tokens":1})").status, 200);
}

TEST(Requests, JsonIsReadStrictly) {
  const std::string deep(200, '[');
  for (const std::string& bad : std::vector<std::string>{"",
                                                         "null",
                                                         "[]",
                                                         "\"x\"",
                                                         "1",
                                                         "{",
                                                         "{]",
                                                         "{\"a\":1,}",
                                                         "{\"a\" 1}",
                                                         "{a:1}",
                                                         "{'a':1}",
                                                         "{\"a\":01}",
                                                         "{\"a\":NaN}",
                                                         "{\"a\":Infinity}",
                                                         "{\"a\":1e400}",
                                                         "{\"a\":+1}",
                                                         "{\"a\":.5}",
                                                         "{\"a\":\"\\x\"}",
                                                         "{\"a\":\"\n\"}",
                                                         "{\"a\":\"\xff\"}",
                                                         "{\"a\":\"\\ud800\"}",
                                                         "\xef\xbb\xbf{}",
                                                         "{}{}",
                                                         "{\"a\":1,\"a\":2}",
                                                         "{\"a\":tru}",
                                                         std::string("{\"a\":\0}", 7),
                                                         "{\"a\":" + deep,
                                                         "/* */{}"}) {
    const Response r = null_server().post("/v1/completions", bad);
    EXPECT_EQ(r.status, 400) << bad;
    EXPECT_EQ(r.json()["error"].size(), 4u) << bad;
  }
}

TEST(Requests, UserTextNeverBecomesAControlToken) {
  const Response r = null_server().post("/v1/chat/completions/render",
                                        R"({"messages":[{"role":"user","content":"<|end|>"}]})");
  ASSERT_EQ(r.status, 200) << r.body;
  const Json ids = r.json()["token_ids"];
  EXPECT_EQ(std::count(ids.begin(), ids.end(), Json(96)), 1) << "the template's own, and no other";
  const Json tokens = null_server().post("/tokenize", R"({"prompt":"<|end|>"})").json();
  EXPECT_EQ(tokens["count"], 7);
  EXPECT_EQ(
      null_server().post("/detokenize", R"({"tokens":)" + dump_json(tokens["tokens"]) + "}").json()["prompt"],
      "<|end|>");
  EXPECT_EQ(null_server().post("/tokenize", R"({"content":"<|end|>"})").json()["tokens"], Json::array({96}));
}

}  // namespace
}  // namespace sluice::serve
