#include "load/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>

#include "load/plot.h"
#include "load/target.h"

namespace sluice::load {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

size_t words_of(const Job& job) {
  const std::string text = job.prompt.get<std::string>();
  return static_cast<size_t>(std::count(text.begin(), text.end(), ' ')) + 1;
}

TEST(RandomWorkload, GivesTheSameJobForTheSameSeedInAnyOrder) {
  const auto a = random_workload({.input_len = 20, .output_len = 5, .seed = 1}),
             b = random_workload({.input_len = 20, .output_len = 5, .seed = 1}),
             other = random_workload({.input_len = 20, .output_len = 5, .seed = 2});
  const Job late = a->job(7);
  a->job(3);
  EXPECT_EQ(late.prompt, b->job(7).prompt);
  EXPECT_NE(late.prompt, b->job(8).prompt);
  EXPECT_NE(late.prompt, other->job(7).prompt);
  EXPECT_EQ(words_of(late), 20u);
  EXPECT_EQ(late.output_tokens, 5);
}

TEST(RandomWorkload, VariesLengthsAndSharesThePrefix) {
  const auto workload =
      random_workload({.input_len = 100, .output_len = 10, .range_ratio = 0.5, .prefix_len = 30, .seed = 3});
  const std::string first = workload->job(0).prompt.get<std::string>();
  size_t prefix = 0;
  for (int word = 0; word < 30; ++word) prefix = first.find(' ', prefix) + 1;
  std::set<size_t> lengths;
  for (size_t i = 0; i < 200; ++i) {
    const Job job = workload->job(i);
    EXPECT_EQ(job.prompt.get<std::string>().substr(0, prefix), first.substr(0, prefix));
    const size_t words = words_of(job) - 30;
    EXPECT_GE(words, 50u);
    EXPECT_LE(words, 150u);
    EXPECT_GE(job.output_tokens, 5);
    EXPECT_LE(job.output_tokens, 15);
    lengths.insert(words);
  }
  EXPECT_GT(lengths.size(), 50u);
}

class Dataset : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Workload>> load(const std::string& text, bool takes_messages = true) {
    const std::string path = ::testing::TempDir() + "load_dataset_test.jsonl";
    std::ofstream(path) << text;
    auto out = dataset_workload(path, 64, takes_messages);
    std::remove(path.c_str());
    return out;
  }
  std::string refusal(const std::string& text, bool takes_messages = true) {
    const auto out = load(text, takes_messages);
    return out.ok() ? "" : std::string(out.status().message());
  }
};

TEST_F(Dataset, IsReadInOrderAndOverAgain) {
  const auto workload = load(
      "{\"prompt\": \"a\"}\n\n{\"messages\": [{\"role\": \"user\", \"content\": \"b\"}], \"output_tokens\": "
      "7}\r\n");
  ASSERT_TRUE(workload.ok()) << workload.status().message();
  EXPECT_EQ((*workload)->job(0).prompt, "a");
  EXPECT_EQ((*workload)->job(0).output_tokens, 64);
  EXPECT_EQ((*workload)->job(1).prompt[0]["content"], "b");
  EXPECT_EQ((*workload)->job(1).output_tokens, 7);
  EXPECT_EQ((*workload)->job(2).prompt, "a");
}

TEST_F(Dataset, RefusesByLine) {
  EXPECT_THAT(refusal("{\"prompt\": \"a\"}\n{\"prompt\": 1}"),
              HasSubstr(".jsonl:2.prompt: expected a string"));
  EXPECT_THAT(refusal("{}"), HasSubstr("either \"prompt\" or \"messages\""));
  EXPECT_THAT(refusal("{\"prompt\": \"a\", \"output_tokens\": 0}"), HasSubstr("at least 1"));
  EXPECT_THAT(refusal("{\"prompt\": \"a\", \"tokens\": 1}"), HasSubstr("unknown field \"tokens\""));
  EXPECT_THAT(refusal("{\"messages\": []}", false), HasSubstr("--backend openai-chat"));
  EXPECT_THAT(refusal("\n"), HasSubstr("holds no request"));
}

TEST(Arrivals, KeepTheirRateWhateverTheBurstiness) {
  for (const double burstiness : {0.25, 1.0, 4.0}) {
    constexpr int kCount = 20000;
    Arrivals arrivals(50, burstiness, 1);
    double last = 0, squares = 0;
    for (int i = 0; i < kCount; ++i) {
      const double time = arrivals.next(), gap = time - last;
      ASSERT_GE(gap, 0);
      squares += gap * gap;
      last = time;
    }
    const double mean = last / kCount, variance = squares / kCount - mean * mean;
    EXPECT_NEAR(mean, 0.02, 0.001);
    // A gamma distribution's squared coefficient of variation is one over its shape.
    EXPECT_NEAR(variance / (mean * mean) * burstiness, 1, 0.1);
  }
  Arrivals at_once(INFINITY, 1, 1);
  EXPECT_EQ(at_once.next(), 0);
  EXPECT_EQ(at_once.next(), 0);
}

TEST(Target, IsReadFromUrls) {
  const auto plain = parse_target("http://localhost:8000/base/");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->host, "localhost");
  EXPECT_EQ(plain->port, "8000");
  EXPECT_EQ(plain->prefix, "/base");
  EXPECT_EQ(parse_target("example.org")->authority(), "example.org:80");
  EXPECT_EQ(parse_target("http://[::1]:81")->authority(), "[::1]:81");
  for (const char* bad :
       {"https://x", "http://", "http://x:0", "http://x:99999", "http://x:1a", "http://[::1", "a b"})
    EXPECT_FALSE(parse_target(bad).ok()) << bad;
}

TEST(Ticks, AreRoundAndWithinTheirRange) {
  EXPECT_THAT(ticks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(ticks(0, 0.04, 4), ElementsAre(0, 0.01, 0.02, 0.03, 0.04));
  EXPECT_TRUE(ticks(3, 3, 5).empty());
}

}  // namespace
}  // namespace sluice::load
