// bench, profile and inspect as users run them: the binary, on a small random model.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <thread>

#include "base/file.h"
#include "cpu/features.h"
#include "model/testing/tiny_checkpoint.h"
#include "tools/measure.h"
#include "tools/testing/binary.h"

namespace sluice::tools {
namespace {

using testing::Outcome;
using testing::Process;
using testing::run_binary;

class MeasuringVerbs : public ::testing::Test {
 protected:
  /// A random llama of two layers.
  std::string model() {
    const Status status = model::testing::write_tiny_checkpoint(directory_.path(), {});
    EXPECT_TRUE(status.ok()) << status.message();
    return directory_.path();
  }

  static void expect_refused(const std::vector<std::string>& arguments, const std::string& reason) {
    const Outcome ran = run_binary(arguments);
    EXPECT_EQ(ran.code, 2) << ran.err;
    EXPECT_NE(ran.err.find(reason), std::string::npos) << ran.err;
  }

  Json json_of(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--json", "--log_level", "warn"});
    const Outcome ran = run_binary(arguments);
    EXPECT_EQ(ran.code, 0) << ran.err;
    auto json = parse_json(ran.out, "output");
    EXPECT_TRUE(json.ok()) << json.status().message() << "\n" << ran.out;
    return json.ok() ? *json : Json::object();
  }

  testing::ScratchDir directory_;
};

std::vector<std::string> keys(const Json& object) {
  std::vector<std::string> out;
  for (const auto& [key, value] : object.items()) out.push_back(key);
  return out;
}

void expect_spread(const Json& spread) {
  ASSERT_EQ(keys(spread), (std::vector<std::string>{"min", "median", "max"}));
  EXPECT_GT(spread["min"].get<double>(), 0);
  EXPECT_LE(spread["min"].get<double>(), spread["median"].get<double>());
  EXPECT_LE(spread["median"].get<double>(), spread["max"].get<double>());
}

TEST(SpreadOf, TakesTheMiddleOfWhatWasMeasured) {
  EXPECT_EQ(spread_of({3}).median, 3);
  EXPECT_EQ(spread_of({4, 1, 2}).median, 2);
  EXPECT_EQ(spread_of({4, 1, 2, 8}).median, 3);
  EXPECT_EQ(spread_of({4, 1, 2, 8}).min, 1);
  EXPECT_EQ(spread_of({4, 1, 2, 8}).max, 8);
}

TEST(TableText, AlignsNamesLeftAndNumbersRight) {
  Table table(1, {"op", "ms"});
  table.add({"attention", "1.5"});
  table.add({"head", "120.0"});
  EXPECT_EQ(table.text(), "op            ms\nattention    1.5\nhead       120.0\n");
}

TEST_F(MeasuringVerbs, BenchMeasuresEachLoad) {
  const Json json =
      json_of({"bench", model(), "-p", "8,2x33", "-n", "4", "-b", "1,3", "--reps", "3", "--threads", "2"});
  EXPECT_EQ(keys(json), (std::vector<std::string>{"prefill", "decode", "load_ms", "load_bytes_per_second",
                                                  "ttft_ms", "tpot_ms", "peak_rss_mb"}));
  ASSERT_EQ(json["prefill"].size(), 2u);
  EXPECT_EQ(json["prefill"][0]["p"], 8);
  EXPECT_EQ(json["prefill"][1]["p"], 33);
  EXPECT_EQ(json["prefill"][1]["b"], 2);
  ASSERT_EQ(json["decode"].size(), 2u);
  EXPECT_EQ(json["decode"][0]["b"], 1);
  EXPECT_EQ(json["decode"][1]["b"], 3);
  for (const Json& row : json["prefill"]) {
    expect_spread(row["tok_s"]);
    EXPECT_GT(row["share_of_flops"].get<double>(), 0);
  }
  for (const Json& row : json["decode"]) {
    EXPECT_EQ(row["n"], 4);
    expect_spread(row["tok_s"]);
    EXPECT_GT(row["share_of_bandwidth"].get<double>(), 0);
    // Without tile registers the kernels are the same with and without.
    if (cpu::detect_features().isa < cpu::Isa::amx) {
      EXPECT_EQ(row["batch_invariant_cost"].get<double>(), 0);
    }
    EXPECT_LT(row["batch_invariant_cost"].get<double>(), 1);
  }
  // Both say how long the first prompt took, by its median.
  EXPECT_NEAR(json["ttft_ms"].get<double>(), 8e3 / json["prefill"][0]["tok_s"]["median"].get<double>(), 1e-6);
  EXPECT_NEAR(json["tpot_ms"].get<double>(), 1e3 / json["decode"][0]["tok_s"]["median"].get<double>(), 1e-6);
  EXPECT_GT(json["load_ms"].get<double>(), 0);
  EXPECT_TRUE(json["load_bytes_per_second"].is_null()) << "nothing is brought anywhere";
  EXPECT_GT(json["peak_rss_mb"].get<double>(), 1);
}

TEST_F(MeasuringVerbs, BenchRunsLongContextsAndChunkedPrompts) {
  const Json json = json_of({"bench", model(), "-p", "40", "-n", "3", "-b", "5", "--context", "50", "--reps",
                             "1", "--max_num_batched_tokens", "16"});
  ASSERT_FALSE(json.empty());
  expect_spread(json["prefill"][0]["tok_s"]);
  expect_spread(json["decode"][0]["tok_s"]);
}

TEST_F(MeasuringVerbs, BenchTimesPromptsTogetherWithOutputs) {
  const Json json = json_of(
      {"bench", model(), "-p", "0", "-n", "6", "-b", "3", "--context", "20", "--reps", "1", "--end_to_end"});
  EXPECT_TRUE(json["prefill"].empty());
  expect_spread(json["decode"][0]["tok_s"]);
}

TEST_F(MeasuringVerbs, BenchRefusesWhatDoesNotFit) {
  expect_refused({"bench"}, "MODEL is required");
  expect_refused({"bench", model(), "-p", "300"}, "301 tokens, the model was made for 256");
  expect_refused({"bench", model(), "-b", "8", "--max_num_seqs", "4"}, "--max_num_seqs 4");
  expect_refused({"bench", model(), "-b", "1,x"}, "-b");
  expect_refused({"bench", model(), "-p", "3x"}, "3x: give a length");
}

TEST_F(MeasuringVerbs, BenchTimesKernelsAndTheMachine) {
  const Json json = json_of({"bench", "--ops", "--op", "add_norm", "--kernel", "scalar", "--threads", "1"});
  ASSERT_FALSE(json.empty());
  EXPECT_GT(json["limit"]["read_bytes_per_second"].get<double>(), 1e8);
  ASSERT_FALSE(json["ops"].empty());
  for (const Json& row : json["ops"]) {
    EXPECT_EQ(row["op"], "add_norm");
    EXPECT_EQ(row["kernel"], "cpu.add_norm.scalar");
    EXPECT_GT(row["min_seconds"].get<double>(), 0);
    EXPECT_LE(row["min_seconds"].get<double>(), row["median_seconds"].get<double>());
  }
}

void expect_phase(const Json& phase) {
  const double seconds = phase["seconds"].get<double>();
  const double in_program = phase["program_seconds"].get<double>();
  EXPECT_GT(in_program, 0);
  EXPECT_LE(in_program, seconds);
  EXPECT_NEAR(phase["outside_seconds"].get<double>(), seconds - in_program, 1e-9);
  for (const char* by : {"ops", "layers"}) {
    ASSERT_FALSE(phase[by].empty());
    double sum = 0, before = seconds;
    for (const Json& row : phase[by]) {
      const double own = row["seconds"].get<double>();
      EXPECT_GT(row["calls"].get<int64_t>(), 0);
      EXPECT_LE(own, before) << "hotspots come first";
      EXPECT_NEAR(row["share"].get<double>(), own / seconds, 1e-9);
      before = own;
      sum += own;
    }
    EXPECT_NEAR(sum, in_program, 1e-9) << by;
  }
}

const Json& op_named(const Json& phase, const std::string& name) {
  const auto it = std::find_if(phase["ops"].begin(), phase["ops"].end(),
                               [&](const Json& row) { return row["name"] == name; });
  EXPECT_NE(it, phase["ops"].end()) << name;
  return *it;
}

TEST_F(MeasuringVerbs, ProfileAccountsForEachPhase) {
  const std::string trace = directory_ / "trace.json";
  const Json json =
      json_of({"profile", model(), "-p", "20", "-n", "4", "-b", "2", "--reps", "2", "--trace", trace});
  ASSERT_FALSE(json.empty());
  expect_phase(json["prefill"]);
  expect_phase(json["decode"]);
  EXPECT_EQ(json["prefill"]["tokens"], 2 * 20);
  EXPECT_EQ(json["decode"]["tokens"], 2 * 4 * 2);
  // Two layers; two prompts, two times four steps. A product of (20, 96) with (64, 96)^T, in the last layer
  // of the row whose logits are wanted alone, and one of two rows.
  const Json& read = op_named(json["prefill"], "mlp.down");
  EXPECT_EQ(read["calls"], 2 * 2);
  EXPECT_EQ(read["flops"].get<double>(), 2.0 * 2 * (20 + 1) * 96 * 64);
  const Json& written = op_named(json["decode"], "mlp.down");
  EXPECT_EQ(written["calls"], 2 * 2 * 4);
  EXPECT_TRUE(json["steady_decode"].is_null()) << "a CPU has no gaps of its own";
  EXPECT_EQ(written["flops"].get<double>(), 2.0 * 2 * 2 * 4 * 2 * 96 * 64);

  const auto events = read_json_file(trace);
  ASSERT_TRUE(events.ok()) << events.status().message();
  int64_t steps = 0, ops = 0;
  double step_end = 0;
  for (const Json& event : (*events)["traceEvents"]) {
    if (event["ph"] != "X") continue;
    EXPECT_GE(event["dur"].get<double>(), 0);
    if (event["tid"] == 1) {
      EXPECT_GE(event["ts"].get<double>(), step_end) << "steps follow one another";
      step_end = event["ts"].get<double>() + event["dur"].get<double>();
      ++steps;
    } else {
      ++ops;
    }
  }
  EXPECT_EQ(steps, 2 * (1 + 4));
  int64_t calls = 0;
  for (const char* phase : {"prefill", "decode"}) {
    for (const Json& row : json[phase]["ops"]) calls += row["calls"].get<int64_t>();
  }
  EXPECT_EQ(ops, calls);
}

uint64_t sum_of(const Json& memory) {
  uint64_t sum = 0;
  for (const char* part : {"weights", "activations", "workspace", "batch", "tokenizer"})
    sum += memory[part].get<uint64_t>();
  for (const Json& group : memory["kv"]) {
    EXPECT_EQ(group["bytes"].get<uint64_t>(),
              group["pages"].get<uint64_t>() * group["page_bytes"].get<uint64_t>());
    sum += group["bytes"].get<uint64_t>();
  }
  return sum;
}

TEST_F(MeasuringVerbs, InspectPrintsTheValues) {
  const Json json = json_of({"inspect", model(), "--spec", "--recipe", "--program", "--memory", "--tensors",
                             "--kv_tokens", "1024"});
  ASSERT_EQ(keys(json), (std::vector<std::string>{"spec", "recipe", "program", "memory", "tensors"}));
  EXPECT_EQ(json["spec"]["layers"].size(), 2u);
  EXPECT_EQ(json["recipe"]["kv_tokens"], 1024);
  EXPECT_EQ(json["memory"]["total"].get<uint64_t>(), sum_of(json["memory"]));
  // Keys and values of two layers with two heads of 16, in fp16, for 1024 tokens.
  EXPECT_EQ(json["memory"]["kv"][0]["bytes"], 1024 * 2 * 2 * 2 * 16 * 2);
  EXPECT_EQ(json["program"]["steps"].back()["label"], "head");
  uint64_t weights = 0;
  std::vector<std::string> used;
  for (const Json& w : json["tensors"]["weights"]) {
    weights += w["bytes"].get<uint64_t>();
    for (const Json& name : w["from"]) used.push_back(name.get<std::string>());
  }
  EXPECT_GT(weights, 0u);
  EXPECT_LE(weights, json["memory"]["weights"].get<uint64_t>());
  for (const Json& t : json["tensors"]["checkpoint"])
    EXPECT_NE(std::find(used.begin(), used.end(), t["name"].get<std::string>()), used.end()) << t["name"];
}

TEST_F(MeasuringVerbs, InspectSumsUpWithoutASection) {
  const Json json = json_of({"inspect", model()});
  ASSERT_FALSE(json.empty());
  EXPECT_EQ(json["summary"]["arch"], "llama");
  EXPECT_GT(json["summary"]["parameters"].get<double>(), 1e4);
  const Outcome text = run_binary({"inspect", directory_.path()});
  EXPECT_EQ(text.code, 0);
  EXPECT_EQ(text.out.rfind("llama: ", 0), 0u) << text.out;
}

TEST_F(MeasuringVerbs, ThePlanIsWhatTheProcessTakes) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer's own memory is larger";
#endif
  constexpr uint64_t kOwn = uint64_t{32} << 20;  // the process beside the plan: program, stacks, small things
  const std::string path = model();
  const std::vector<std::string> sizes{"--kv_tokens", "800000", "--threads", "2"};
  std::vector<std::string> planned{"inspect", path, "--memory"},
      ran{"run", path, "--input_ids", "1,2,3", "--max_tokens", "2"}, served{"serve", path, "--port", "0"};
  planned.insert(planned.end(), sizes.begin(), sizes.end());
  ran.insert(ran.end(), sizes.begin(), sizes.end());
  served.insert(served.end(), sizes.begin(), sizes.end());
  const uint64_t plan = json_of(planned)["memory"]["total"].get<uint64_t>();
  ASSERT_GT(plan, uint64_t{150} << 20) << "must be larger than what the comparison allows";
  const uint64_t allowed = plan / 20 + kOwn;
  // One answer takes what it touches; a server takes all of it before it is ready.
  const Outcome answered = run_binary(ran);
  ASSERT_EQ(answered.code, 0) << answered.err;
  EXPECT_LE(answered.peak_rss, plan + allowed);
  Process server(served);
  for (int i = 0; i < 1000 && server.err().find("ready after") == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ::kill(server.pid(), SIGTERM);
  const Outcome measured = server.wait();
  ASSERT_EQ(measured.code, 0) << measured.err;
  EXPECT_LE(measured.peak_rss, plan + allowed);
  EXPECT_GE(measured.peak_rss + allowed, plan);
}

}  // namespace
}  // namespace sluice::tools
