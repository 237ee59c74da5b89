#include "serve/metrics/instruments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serve/metrics/metrics.h"

namespace sluice::serve {
namespace {

using ::testing::HasSubstr;

TEST(Exposition, IsPrometheusText) {
  Exposition out(std::vector<Label>{{"model_name", "a\"b\\c\nd"}});
  const Label labels[] = {{"reason", "x"}};
  out.counter("c_total", "Counted\nthings \\ here.", 3, labels);
  out.counter("c_total", "ignored", 4);
  Histogram h({1, 2.5});
  for (const double v : {0.5, 1.0, 2.0, 9.0}) h.observe(v);
  out.histogram("h", "Spread.", h);
  EXPECT_EQ(out.take(),
            "# HELP c_total Counted\\nthings \\\\ here.\n"
            "# TYPE c_total counter\n"
            "c_total{model_name=\"a\\\"b\\\\c\\nd\",reason=\"x\"} 3\n"
            "c_total{model_name=\"a\\\"b\\\\c\\nd\"} 4\n"
            "# HELP h Spread.\n"
            "# TYPE h histogram\n"
            "h_bucket{model_name=\"a\\\"b\\\\c\\nd\",le=\"1\"} 2\n"
            "h_bucket{model_name=\"a\\\"b\\\\c\\nd\",le=\"2.5\"} 3\n"
            "h_bucket{model_name=\"a\\\"b\\\\c\\nd\",le=\"+Inf\"} 4\n"
            "h_sum{model_name=\"a\\\"b\\\\c\\nd\"} 12.5\n"
            "h_count{model_name=\"a\\\"b\\\\c\\nd\"} 4\n");
}

TEST(Metrics, NamesFollowTheChoice) {
  Metrics metrics;
  metrics.first_token(0.2);
  metrics.rejected("queue_full");
  metrics.http("GET", "/nowhere", 404, 0.1);
  Metrics::Now now;
  now.model = "m";
  const std::string vllm = metrics.text(now, MetricsCompat::vllm),
                    both = metrics.text(now, MetricsCompat::both);
  EXPECT_THAT(vllm, HasSubstr("\nvllm:num_requests_waiting{model_name=\"m\",engine=\"0\"} 0\n"));
  EXPECT_THAT(
      vllm,
      HasSubstr("vllm:time_to_first_token_seconds_bucket{model_name=\"m\",engine=\"0\",le=\"0.25\"} 1"));
  EXPECT_THAT(
      vllm,
      HasSubstr("sluice_requests_rejected_total{model_name=\"m\",engine=\"0\",reason=\"queue_full\"} 1"));
  EXPECT_THAT(vllm, HasSubstr("handler=\"other\",method=\"GET\",status=\"4xx\"} 1"));
  EXPECT_EQ(vllm.find("trtllm_"), std::string::npos);
  EXPECT_THAT(both, HasSubstr("trtllm_num_requests_waiting"));
  EXPECT_EQ(metrics.text(now, MetricsCompat::trtllm).find("vllm:"), std::string::npos);
}

TEST(Metrics, ShowGpusWhereThereAreSome) {
  const Metrics metrics;
  Metrics::Now now;
  EXPECT_EQ(metrics.text(now, MetricsCompat::vllm).find("nv_gpu_"), std::string::npos);
  telemetry::GpuSample known, silent;
  known.uuid = "GPU-a";
  known.utilization = 0.5;
  known.power_w = 300.5;
  known.throttling = {"power_cap"};
  silent.uuid = "GPU-b";
  now.gpus = {known, silent};
  const std::string text = metrics.text(now, MetricsCompat::vllm);
  EXPECT_THAT(text, HasSubstr("# TYPE nv_gpu_utilization gauge\n"));
  EXPECT_THAT(text, HasSubstr("gpu_uuid=\"GPU-a\"} 0.5\n"));
  EXPECT_THAT(text, HasSubstr("gpu_uuid=\"GPU-a\"} 300.5\n"));
  EXPECT_THAT(
      text,
      HasSubstr(
          "nv_gpu_throttled{model_name=\"\",engine=\"0\",gpu_uuid=\"GPU-a\",reason=\"power_cap\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("gpu_uuid=\"GPU-a\",reason=\"hw_thermal\"} 0\n"));
  EXPECT_THAT(text,
              HasSubstr("nv_gpu_xid_errors_total{model_name=\"\",engine=\"0\",gpu_uuid=\"GPU-b\"} 0\n"));
  EXPECT_EQ(text.find("nv_gpu_temperature_celsius"), std::string::npos) << "no GPU tells it";
}

}  // namespace
}  // namespace sluice::serve
