// The public API from many threads: streams, cancellation, stop strings, shutting down.
#include "sluice/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "base/json.h"
#include "cpu/cpu_device.h"
#include "engine/open.h"
#include "engine/service.h"
#include "model/testing/temp_directory.h"
#include "model/testing/tiny_checkpoint.h"

namespace sluice {
namespace {

using model::testing::TempDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A tokenizer of one token for each printable character, and a space; ids above are padding.
void write_tokenizer(const std::string& directory) {
  Json vocab = Json::object();
  for (char c = '!'; c <= '~'; ++c) vocab[std::string(1, c)] = c - '!';
  vocab["\xc4\xa0"] = 94;  // U+0120: a space in byte-level BPE
  const Json tokenizer = {
      {"version", "1.0"},
      {"added_tokens", Json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}};
  std::ofstream(directory + "/tokenizer.json") << dump_json(tokenizer);
}

const std::string& tiny(bool with_tokenizer = false) {
  static std::map<bool, std::unique_ptr<TempDirectory>> made;
  auto& dir = made[with_tokenizer];
  if (dir == nullptr) {
    dir = std::make_unique<TempDirectory>();
    EXPECT_TRUE(model::testing::write_tiny_checkpoint(dir->path(), {}).ok());
    if (with_tokenizer) write_tokenizer(dir->path());
  }
  return dir->path();
}

Options options() {
  return {.threads = 2,
          .max_seq_len = 128,
          .max_num_seqs = 8,
          .max_num_batched_tokens = 64,
          .kv_tokens = 512,
          .batch_invariant = true};
}

SamplingParams greedy(int max_tokens) {
  return {.temperature = 0, .max_tokens = max_tokens, .ignore_eos = true};
}

std::vector<int32_t> prompt(uint32_t seed, int n) {
  std::mt19937 random(seed);
  std::vector<int32_t> out;
  for (int i = 0; i < n; ++i) out.push_back(static_cast<int32_t>(random() % 90));
  return out;
}

struct Answer {
  std::vector<int32_t> ids;
  std::string text;
  std::vector<Event> events;
};

Answer read(Stream& stream) {
  Answer out;
  Event event;
  while (stream.next(event)) {
    if (event.id >= 0) out.ids.push_back(event.id);
    out.text += event.text;
    out.events.push_back(event);
  }
  return out;
}

TEST(Engine, AnswersInOneCall) {
  Engine engine(tiny(), options());
  const std::vector<int32_t> ids = prompt(1, 20);
  const Output out = engine.infer(ids, {.max_length = 30});
  EXPECT_LE(out.ids.size(), 10u);
  EXPECT_GE(out.ids.size(), 1u);
  EXPECT_EQ(engine.infer(ids, {.max_length = 30}).ids, out.ids);
  EXPECT_TRUE(engine.infer(ids, {.max_length = 20}).ids.empty());
  EXPECT_EQ(engine.infer(ids, {.sampling = greedy(7)}).ids.size(), 7u);
}

TEST(Engine, EndsWhereTheGenerationConfigSays) {
  TempDirectory dir;
  ASSERT_TRUE(model::testing::write_tiny_checkpoint(dir.path(), {}).ok());
  const std::vector<int32_t> ids = prompt(1, 20);
  std::vector<int32_t> all = Engine(dir.path(), options()).infer(ids, {.sampling = greedy(8)}).ids;
  const int32_t end = all[3];
  all.erase(std::find(all.begin(), all.end(), end) + 1, all.end());
  dir.write("generation_config.json", fmt::format(R"({{"eos_token_id": [{}, 99]}})", end));
  EXPECT_EQ(Engine(dir.path(), options()).infer(ids, {.sampling = {.temperature = 0, .max_tokens = 8}}).ids,
            all);
  dir.write("generation_config.json", R"({"eos_token_id": 500})");
  EXPECT_THAT(Engine::open(dir.path(), options()).status().message(),
              AllOf(HasSubstr("generation_config.json: eos_token_id"), HasSubstr("500")));
}

TEST(Engine, ReportsWhatItCannotDo) {
  try {
    Engine engine("/nowhere/at/all");
    FAIL() << "opened";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("/nowhere/at/all"));
    EXPECT_FALSE(e.status().ok());
  }
  EXPECT_THAT(Engine::open(tiny(), {.device = "tpu"}).status().message(), HasSubstr("\"tpu\""));
  EXPECT_THAT(Engine::open(tiny(), {.tensor_parallel = 2}).status().message(), HasSubstr("tensor_parallel"));
  EXPECT_THAT(Engine::open(tiny(), {.threads = -1}).status().message(), HasSubstr("threads"));
  EXPECT_THAT(Engine::open(tiny(), {.max_seq_len = 100'000}).status().message(),
              AllOf(HasSubstr("100000"), HasSubstr("256")));

  Engine engine(tiny(), options());
  const std::vector<int32_t> long_one = prompt(1, 200);
  EXPECT_THROW(engine.infer(long_one, {}), Error);
  EXPECT_THAT(engine.submit({.prompt_ids = {500}}).status().message(), HasSubstr("500"));
  EXPECT_THAT(engine.submit({.prompt = "hello"}).status().message(), HasSubstr("tokenizer"));
  EXPECT_THAT(engine.submit({.prompt_ids = {1}, .sampling = {.stop = {"x"}}}).status().message(),
              HasSubstr("stop"));
  EXPECT_THAT(engine.submit({.prompt_ids = {1}, .sampling = {.top_p = 0}}).status().message(),
              HasSubstr("top_p"));
}

TEST(Engine, ServesManyThreadsAtOnce) {
  Engine engine(tiny(), options());
  std::vector<std::vector<int32_t>> want;
  for (uint32_t i = 0; i < 8; ++i) {
    const std::vector<int32_t> ids = prompt(i, 5 + 10 * static_cast<int>(i));
    want.push_back(engine.infer(ids, {.sampling = greedy(20)}).ids);
  }
  std::atomic<int> whole = 0, cut = 0;
  std::vector<std::thread> clients;
  for (uint32_t t = 0; t < 8; ++t) {
    clients.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int round = 0; round < 8; ++round) {
        const size_t which = random() % want.size();
        auto stream = engine.submit(
            {.prompt_ids = prompt(static_cast<uint32_t>(which), 5 + 10 * static_cast<int>(which)),
             .sampling = greedy(20),
             .priority = static_cast<int>(random() % 3)});
        ASSERT_TRUE(stream.ok()) << stream.status().message();
        const int leave = random() % 3 == 0 ? static_cast<int>(random() % 10) : 100;
        std::vector<int32_t> ids;
        Event event;
        int finishes = 0;
        while (stream->next(event)) {
          EXPECT_EQ(finishes, 0) << "an event after the last";
          if (event.id >= 0) ids.push_back(event.id);
          finishes += event.finished;
          if (static_cast<int>(ids.size()) == leave)
            round % 2 == 0 ? stream->cancel() : (void)engine.cancel(stream->id());
        }
        EXPECT_EQ(finishes, 1);
        if (event.reason == FinishReason::length) {
          EXPECT_EQ(ids, want[which]);
          ++whole;
        } else {
          EXPECT_EQ(event.reason, FinishReason::cancelled);
          EXPECT_TRUE(ids.size() <= want[which].size() &&
                      std::equal(ids.begin(), ids.end(), want[which].begin()));
          ++cut;
        }
      }
    });
  }
  for (std::thread& t : clients) t.join();
  EXPECT_EQ(whole + cut, 64);
  EXPECT_GT(whole, 20);
  EXPECT_GT(cut, 0);
}

TEST(Stream, IsCancelledFromAnotherThreadWhileItIsRead) {
  Engine engine(tiny(), options());
  auto stream = engine.submit({.prompt_ids = {1, 2, 3}, .sampling = greedy(120)});
  ASSERT_TRUE(stream.ok());
  std::thread other([&] {
    for (int i = 0; i < 3; ++i) stream->cancel();
  });
  const Answer answer = read(*stream);
  other.join();
  ASSERT_FALSE(answer.events.empty());
  EXPECT_TRUE(answer.events.back().finished);
  Event after;
  EXPECT_FALSE(stream->next(after));
  EXPECT_FALSE(engine.cancel(stream->id())) << "it has ended";
}

TEST(Stream, ThatNobodyReadsEndsWithItsOwner) {
  Engine engine(tiny(), options());
  for (int i = 0; i < 40; ++i)
    ASSERT_TRUE(engine.submit({.prompt_ids = prompt(7, 60), .sampling = greedy(60)}).ok());
  // Nothing of them is left to wait for.
  const std::vector<int32_t> ids = {1, 2, 3};
  EXPECT_EQ(engine.infer(ids, {.sampling = greedy(5)}).ids.size(), 5u);
  Stream empty;
  Event event;
  EXPECT_FALSE(empty.next(event));
  empty.cancel();
}

TEST(Engine, MayGoBeforeItsStreams) {
  std::vector<Stream> streams;
  {
    Engine engine(tiny(), options());
    for (uint32_t i = 0; i < 4; ++i) {
      auto stream = engine.submit({.prompt_ids = prompt(i, 30), .sampling = greedy(40)});
      ASSERT_TRUE(stream.ok());
      streams.push_back(*std::move(stream));
    }
  }
  for (Stream& stream : streams) {
    const Answer answer = read(stream);
    EXPECT_EQ(answer.ids.size(), 40u);
    EXPECT_EQ(answer.events.back().reason, FinishReason::length);
  }
}

TEST(Service, ShutDownWithRunningStreamsCancelsThem) {
  model::Recipe recipe;
  recipe.max_seq_len = 128;
  auto backend = cpu::make_cpu_backend({.threads = 2});
  auto opened = engine::open(tiny(), recipe, *std::move(backend));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  auto service = std::make_unique<engine::Service>(std::move(opened->core), std::move(opened->codec));
  std::vector<engine::Service::Ticket> tickets;
  for (uint32_t i = 0; i < 40; ++i) {
    engine::CoreRequest request;
    request.prompt = prompt(i, 100);
    request.sampling = greedy(28);
    // The last runs on for 56 ms: a fast machine would be done with all of them.
    if (i == 39) {
      request.on_logits = [](int, std::span<const float>) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      };
    }
    auto ticket = service->submit(std::move(request));
    ASSERT_TRUE(ticket.ok());
    tickets.push_back(*ticket);
  }
  service.reset();
  int cancelled = 0;
  for (const auto& ticket : tickets) {
    engine::TextEvent event;
    bool ended = false;
    while (ticket.events->next(event)) ended = event.finish.has_value();
    EXPECT_TRUE(ended);
    cancelled += event.finish == sched::FinishReason::cancelled;
  }
  EXPECT_GT(cancelled, 0);
}

// --- text
// -----------------------------------------------------------------------------------------------------

TEST(Text, GoesInAndComesOut) {
  Engine engine(tiny(true), options());
  auto stream = engine.submit({.prompt = "Hello, Sluice!", .sampling = greedy(30)});
  ASSERT_TRUE(stream.ok()) << stream.status().message();
  const Answer answer = read(*stream);
  std::string expected;
  for (int32_t id : answer.ids) expected += id == 94 ? ' ' : static_cast<char>('!' + id);
  EXPECT_EQ(answer.text, expected);
  for (int32_t id : answer.ids) EXPECT_LT(id, 95) << "padding of the vocabulary";
}

TEST(Text, EndsBeforeAStopStringAcrossTokens) {
  Engine engine(tiny(true), options());
  const auto answer = [&](std::vector<std::string> stop) {
    SamplingParams sampling = greedy(60);
    sampling.temperature = 1;
    sampling.seed = 5;
    sampling.stop = std::move(stop);
    auto stream = engine.submit({.prompt = "Hello", .sampling = sampling});
    EXPECT_TRUE(stream.ok()) << stream.status().message();
    return read(*stream);
  };
  const Answer whole = answer({});
  ASSERT_EQ(whole.text.size(), 60u);
  ASSERT_EQ(whole.events.back().reason, FinishReason::length);
  for (size_t at : {size_t{0}, size_t{10}, size_t{40}}) {
    for (size_t n : {size_t{1}, size_t{3}, size_t{7}}) {
      const std::string stop = whole.text.substr(at, n);
      const Answer cut = answer({"\x01never", stop});
      EXPECT_EQ(cut.text, whole.text.substr(0, whole.text.find(stop)));
      EXPECT_EQ(cut.events.back().reason, FinishReason::stop);
      EXPECT_TRUE(cut.events.back().finished);
    }
  }
  // What only begins a stop string is held back while it may become one, and shown in the end.
  const Answer held = answer({whole.text.substr(57) + "\x01"});
  EXPECT_EQ(held.text, whole.text);
  EXPECT_TRUE(held.events[58].text.empty()) << "two characters of the stop string: shown when it fails";
}

StructuredOutput regex(const std::string& text) { return {StructuredOutput::Kind::regex, text, {}}; }

TEST(Text, MatchesWhatWasAskedFor) {
  Engine engine(tiny(true), options());
  const auto answer = [&](StructuredOutput structured, int max_tokens, bool ignore_eos = true) {
    SamplingParams sampling = greedy(max_tokens);
    sampling.temperature = 1;
    sampling.seed = 3;
    sampling.ignore_eos = ignore_eos;
    sampling.structured_output = std::move(structured);
    auto stream = engine.submit({.prompt = "Hello", .sampling = sampling});
    EXPECT_TRUE(stream.ok()) << stream.status().message();
    return read(*stream);
  };
  const Answer date = answer(regex("[0-9]{4}-[01][0-9]"), 60);
  ASSERT_EQ(date.text.size(), 7u);
  EXPECT_EQ(date.text[4], '-');
  EXPECT_EQ(date.ids.size(), 7u) << "it ends without a token for the end";
  EXPECT_EQ(date.events.back().reason, FinishReason::stop);
  EXPECT_THAT(answer({StructuredOutput::Kind::choice, "", {"yes", "no"}}, 60, false).text,
              testing::AnyOf("yes", "no"));
  const Answer cut = answer(regex("[ab]{20}"), 5);
  EXPECT_EQ(cut.text.size(), 5u);
  EXPECT_EQ(cut.events.back().reason, FinishReason::length);
  SamplingParams bad = greedy(5);
  bad.structured_output = regex("(?=a)");
  EXPECT_THAT(engine.submit({.prompt = "Hello", .sampling = bad}).status().message(),
              HasSubstr("look-ahead"));
  bad.structured_output = regex("a");
  EXPECT_THAT(Engine(tiny(), options()).submit({.prompt_ids = {1}, .sampling = bad}).status().message(),
              HasSubstr("tokenizer"));
  // The alphabet of this tokenizer has no umlauts: that request fails, and no other.
  SamplingParams lost = greedy(9);
  lost.structured_output = regex("aü");
  auto stream = engine.submit({.prompt = "Hello", .sampling = lost});
  ASSERT_TRUE(stream.ok());
  const Answer failed = read(*stream);
  EXPECT_EQ(failed.events.back().reason, FinishReason::error);
  EXPECT_THAT(failed.events.back().error.message(), HasSubstr("grammar"));
  EXPECT_EQ(answer(regex("a{3}"), 60).text, "aaa");
}

// So little memory that sequences are sent back to the queue and computed again: the place in the grammar
// stays.
TEST(Text, MatchesAlsoWhenInterrupted) {
  Options tight = options();
  tight.kv_tokens = 160;
  tight.max_seq_len = 96;
  Engine engine(tiny(true), tight);
  SamplingParams sampling = greedy(60);
  sampling.structured_output = regex("(([a-c]+[0-9]){4,6}[.]){2}");
  std::vector<std::string> alone;
  const auto request = [&](size_t i) {
    SamplingParams own = sampling;
    own.temperature = 1;
    own.seed = i;
    return Request{.prompt = "prompt number " + std::to_string(i), .sampling = own};
  };
  for (size_t i = 0; i < 6; ++i) {
    auto stream = engine.submit(request(i));
    ASSERT_TRUE(stream.ok()) << stream.status().message();
    alone.push_back(read(*stream).text);
    EXPECT_FALSE(alone.back().empty());
  }
  std::vector<Stream> streams;
  for (size_t i = 0; i < 6; ++i) streams.push_back(*engine.submit(request(i)));
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(read(streams[i]).text, alone[i]);
}

TEST(Text, LogprobsComeWithTheirTokens) {
  Engine engine(tiny(true), options());
  SamplingParams sampling = greedy(10);
  sampling.logprobs = 2;
  auto stream = engine.submit({.prompt = "Hello", .sampling = sampling});
  ASSERT_TRUE(stream.ok());
  for (const Event& e : read(*stream).events) {
    if (e.id < 0) continue;
    ASSERT_EQ(e.logprobs.size(), 1u);
    EXPECT_EQ(e.logprobs[0].id, e.id);
    ASSERT_EQ(e.logprobs[0].top.size(), 2u);
    EXPECT_EQ(e.logprobs[0].top[0].first, e.id) << "greedy takes the most likely";
    EXPECT_EQ(e.logprobs[0].top[0].second, e.logprobs[0].logprob);
  }
}

}  // namespace
}  // namespace sluice
