#include "load/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "load/report.h"

namespace sluice::load {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Not;

Outcome answered(double sent, double first, std::vector<float> gaps, int tokens) {
  Outcome o{.sent = sent,
            .first = first,
            .latency = first,
            .gaps = gaps,
            .prompt_tokens = 10,
            .output_tokens = tokens};
  for (const float gap : gaps) o.latency += gap;
  return o;
}

Outcome refused(const std::string& kind, const std::string& detail) {
  return {.latency = 0.001, .failure = kind, .detail = detail};
}

TEST(Percentile, LiesBetweenTheTwoNearestValues) {
  const std::vector<float> values = {1, 2, 3, 4, 5};
  EXPECT_EQ(percentile(values, 0), 1);
  EXPECT_EQ(percentile(values, 50), 3);
  EXPECT_NEAR(percentile(values, 90), 4.6, 1e-6);
  EXPECT_EQ(percentile(values, 100), 5);
  EXPECT_EQ(percentile(std::vector<float>{7}, 99), 7);
}

TEST(Summary, AddsUpWhatWasAnswered) {
  const std::vector<Outcome> outcomes = {answered(0, 0.1, {0.02f, 0.04f}, 3), answered(1, 0.3, {}, 1),
                                         refused("HTTP 429", "full"), refused("HTTP 429", "later")};
  const double percentiles[] = {50, 99};
  const Summary s = summarize(outcomes, 2, percentiles, {});
  EXPECT_EQ(s.completed, 2);
  EXPECT_EQ(s.failed, 2);
  EXPECT_EQ(s.input_tokens, 20);
  EXPECT_EQ(s.output_tokens, 4);
  EXPECT_EQ(s.failures.at("HTTP 429").count, 2);
  EXPECT_EQ(s.failures.at("HTTP 429").example, "full");
  EXPECT_FALSE(s.good) << "nothing was asked for";
  EXPECT_NEAR(s.of(Measure::ttft).mean, 200, 1e-3);
  EXPECT_NEAR(s.of(Measure::ttft).stddev, 100, 1e-3);
  EXPECT_NEAR(s.of(Measure::tpot).mean, 30, 1e-3) << "a single token has no time between tokens";
  EXPECT_NEAR(s.of(Measure::itl).median, 30, 1e-3);
  EXPECT_NEAR(s.of(Measure::e2el).percentiles[1].second, 298.6, 0.01);
  EXPECT_EQ(s.max_concurrent, 3) << "those that were refused, and the first";
}

TEST(Summary, CountsAsGoodWhatKeepsEveryObjective) {
  const std::vector<Outcome> outcomes = {answered(0, 0.1, {0.02f}, 2), answered(0, 0.6, {0.02f}, 2),
                                         answered(0, 0.1, {0.08f}, 2), answered(0, 0.4, {}, 1),
                                         refused("timeout", "")};
  EXPECT_EQ(summarize(outcomes, 1, {}, {{Measure::ttft, 500}, {Measure::tpot, 50}}).good, 2);
  EXPECT_EQ(summarize(outcomes, 1, {}, {{Measure::e2el, 1000}}).good, 4);
}

TEST(Summary, OfNothingIsZero) {
  const double percentiles[] = {99};
  const Summary s = summarize({}, 0, percentiles, {});
  EXPECT_EQ(s.completed, 0);
  EXPECT_EQ(s.per_second(5), 0);
  EXPECT_EQ(s.of(Measure::ttft).percentiles[0].second, 0);
  EXPECT_THAT(report_html(s, {}, Json::object()), HasSubstr("</html>"));
}

TEST(Timeline, HoldsEveryToken) {
  const std::vector<Outcome> outcomes = {answered(0, 0.5, {0.5f, 1.0f, 1.0f}, 8),
                                         answered(2, 0.25, {0.5f}, 2)};
  const Summary s = summarize(outcomes, 3, {}, {});
  double tokens = 0;
  for (const double rate : s.timeline.tokens_per_second) tokens += rate * s.timeline.bucket;
  EXPECT_NEAR(tokens, 10, 1e-6);
  EXPECT_EQ(s.timeline.concurrent_requests.front(), 1);
  EXPECT_EQ(*std::max_element(s.timeline.concurrent_requests.begin(), s.timeline.concurrent_requests.end()),
            2);
}

TEST(ReportJson, HasTheKeysThatScriptsRead) {
  const std::vector<Outcome> outcomes = {answered(0, 0.1, {0.02f, 0.02f}, 3), refused("timeout", "late")};
  const double percentiles[] = {90, 99.9};
  const Measure measures[] = {Measure::ttft, Measure::itl};
  const Summary s = summarize(outcomes, 4, percentiles, {{Measure::ttft, 500}});
  const Json json = report_json(s, measures);
  EXPECT_EQ(json["completed"], 1);
  EXPECT_EQ(json["request_throughput"], 0.25);
  EXPECT_EQ(json["request_goodput"], 0.25);
  EXPECT_EQ(json["output_throughput"], 0.75);
  EXPECT_EQ(json["total_token_throughput"], 13 / 4.0);
  EXPECT_NEAR(json["p99.9_ttft_ms"].get<double>(), 100, 1e-3);
  EXPECT_NEAR(json["median_itl_ms"].get<double>(), 20, 1e-3);
  EXPECT_FALSE(json.contains("mean_e2el_ms")) << "not asked for";
  EXPECT_EQ(json["failures"]["timeout"]["example"], "late");
}

TEST(ReportHtml, IsOnePageThatNeedsNothingElse) {
  const std::vector<Outcome> outcomes = {answered(0, 0.1, {0.02f, 0.02f}, 3), refused("HTTP 500", "<b>&\"")};
  const double percentiles[] = {99};
  const std::string page =
      report_html(summarize(outcomes, 1, percentiles, {}), outcomes, {{"url", "http://x?a=<script>"}});
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_THAT(page, HasSubstr("&lt;b&gt;&amp;&quot;"));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("src=")));
  EXPECT_THAT(page, Not(HasSubstr("href=")));
  EXPECT_THAT(page, Not(HasSubstr(">-0<")));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  EXPECT_THAT(page, Not(HasSubstr("inf\"")));
}

}  // namespace
}  // namespace sluice::load
