// The engine on a device with memory and a queue of its own: staging, recorded steps, faults, and nothing
// leaked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "artifact/source.h"
#include "artifact/writer.h"
#include "engine/testing/client.h"
#include "engine/testing/cores.h"
#include "engine/testing/remote_device.h"
#include "model/testing/temp_directory.h"
#include "model/testing/tiny_checkpoint.h"
#include "program/pack.h"

namespace sluice::engine {
namespace {

using sched::FinishReason;
using ::testing::AllOf;
using testing::alone;
using testing::Client;
using testing::Driver;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using testing::Outcome;
using ::testing::Pointwise;
using testing::RemoteControl;
using testing::request;

const std::string& tiny(const model::testing::TinyModel& model = {}) {
  static std::map<std::string, model::testing::TempDirectory> made;
  const auto [it, is_new] = made.try_emplace(fmt::format("{} {}", model.arch, model.layers));
  if (is_new) {
    const Status written = model::testing::write_tiny_checkpoint(it->second.path(), model);
    SLUICE_CHECK(written.ok(), "{}", written.message());
  }
  return it->second.path();
}

model::Recipe recipe() {
  model::Recipe r;
  r.max_seq_len = 128;
  r.max_sequences = 8;
  r.max_batch_tokens = 64;
  r.page_tokens = 16;
  r.kv_tokens = 320;  // less than eight sequences come to need
  r.activations = ops::Activations::f32;
  r.kv = DType::f32;
  r.batch_invariant = true;
  return r;
}

struct Remote {
  std::shared_ptr<RemoteControl> control = std::make_shared<RemoteControl>();
  std::unique_ptr<Core> core;

  explicit Remote(const model::Recipe& r = recipe(), const std::string& path = tiny(),
                  bool eager_copies = false) {
    control->eager_copies = eager_copies;
    auto model = LoadedModel::load(path, r, testing::make_remote_backend(control), {});
    SLUICE_CHECK(model.ok(), "{}", model.status().message());
    auto made = Core::create(*std::move(model));
    SLUICE_CHECK(made.ok(), "{}", made.status().message());
    core = *std::move(made);
  }
};

/// Ones whose tokens the device chooses, and others, whose logits come back.
std::vector<CoreRequest> mixed_requests(int count) {
  std::mt19937 random(7);
  std::vector<CoreRequest> out;
  for (int i = 0; i < count; ++i) {
    out.push_back(request(random, 1 + static_cast<int>(random() % 70), 1 + static_cast<int>(random() % 40)));
    SamplingParams& s = out.back().sampling;
    if (i % 3 == 1) s.temperature = 0.8f, s.seed = static_cast<uint64_t>(i) + 1, s.top_p = i % 2 ? 1 : 0.9f;
    if (i % 4 == 2) s.logprobs = 2;
    if (i % 5 == 3) s.repetition_penalty = 1.2f;
    for (int32_t id = 0; i % 7 == 5 && id <= ops::kMostBiases; ++id)
      s.logit_bias.emplace_back(id, static_cast<float>(id % 3) / 2);  // more than the device keeps
    if (i % 11 == 4) s.allowed_token_ids = {{3, 50, 51, 90, 119}};
    if (i % 11 == 7)
      out.back().bad_words = std::make_shared<const sampling::BadWords>(
          sampling::BadWords::Tokens{{static_cast<int32_t>(i % 120)}, {7, 9}});
    if (i % 11 == 9) s.logprobs = 0, s.logprob_token_ids = {5, 3};
  }
  return out;
}

std::vector<Outcome> outcomes_of(Core& core, const std::vector<CoreRequest>& all) {
  Client client(core);
  for (const CoreRequest& r : all) client.add(r);
  client.drain();
  std::vector<Outcome> out;
  for (const auto& [id, outcome] : client.outcomes()) out.push_back(outcome);
  return out;
}

TEST(Remote, GivesWhatTheCpuGives) {
  const std::vector<CoreRequest> all = mixed_requests(40);
  model::Recipe r = recipe();
  r.kv_tokens = 160;  // less than any two of the longer ones come to need
  const auto cpu = testing::make_core(tiny(), r, "scalar");
  const std::vector<Outcome> want = outcomes_of(*cpu, all);
  const Remote remote(r);
  const std::vector<Outcome> got = outcomes_of(*remote.core, all);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(got[i].tokens, want[i].tokens) << i;
    EXPECT_THAT(got[i].logprobs, Pointwise(FloatNear(1e-4f), want[i].logprobs)) << i;
  }
  EXPECT_GT(remote.control->replays, 20) << "decode steps are recorded once and replayed";
  EXPECT_GT(remote.core->scheduler().counts().preemptions, 0u) << "the pool is meant to be too small";
}

TEST(Remote, AFaultAnywhereEndsTheRequestsOfItsStepAndNoOther) {
  std::mt19937 random(3);
  const std::vector<CoreRequest> all = {request(random, 40, 12), request(random, 9, 12),
                                        request(random, 70, 12)};
  const Remote remote;
  const std::vector<Outcome> want = outcomes_of(*remote.core, all);  // and everything is recorded
  const int64_t before = remote.control->works;
  static_cast<void>(outcomes_of(*remote.core, all));
  const int64_t works = remote.control->works - before;
  ASSERT_GT(works, 100);
  for (int64_t at = 0; at < works; at += 1 + works / 40) {
    SCOPED_TRACE(fmt::format("work {} of {}", at, works));
    remote.control->fail_at = remote.control->works + at;
    Client client(*remote.core);
    for (const CoreRequest& r : all) client.add(r);
    client.drain();
    int failed = 0;
    size_t i = 0;
    for (const auto& [id, outcome] : client.outcomes()) {
      ASSERT_TRUE(outcome.finish);
      if (*outcome.finish == FinishReason::error) {
        ++failed;
        EXPECT_THAT(outcome.error.message(), HasSubstr("injected fault"));
        EXPECT_TRUE(std::equal(outcome.tokens.begin(), outcome.tokens.end(), want[i].tokens.begin()));
      } else {
        EXPECT_EQ(outcome.tokens, want[i].tokens);
      }
      ++i;
    }
    EXPECT_GT(failed, 0);
    const auto problems = remote.core->scheduler().validate();
    EXPECT_TRUE(problems.empty()) << problems.front();
    const std::vector<Outcome> after = outcomes_of(*remote.core, all);
    for (size_t r = 0; r < all.size(); ++r)
      EXPECT_EQ(after[r].tokens, want[r].tokens) << "after the fault: " << after[r].error.message();
  }
}

TEST(Remote, TenThousandRequestsCancelledAndPreemptedLeakNothing) {
  model::Recipe r = recipe();
  r.kv_tokens = 160;
  const Remote remote(r);
  const uint64_t device_bytes = remote.control->device_bytes, host_bytes = remote.control->host_bytes;
  ASSERT_NO_FATAL_FAILURE(testing::soak(*remote.core, 10'000));
  EXPECT_EQ(remote.control->device_bytes, device_bytes);
  EXPECT_EQ(remote.control->host_bytes, host_bytes);
}

TEST(Remote, TakesThePlannedBytesAndNoOther) {
  for (const int64_t sequences : {1, 8, 13}) {
    model::Recipe r = recipe();
    r.max_sequences = sequences;
    const Remote remote(r);
    const MemoryPlan& plan = remote.core->model().plan();
    EXPECT_EQ(remote.control->device_bytes, plan.on_device());
    EXPECT_EQ(remote.control->host_bytes, plan.pinned);
    EXPECT_EQ(plan.total(), plan.on_device() + plan.pinned);
  }
}

TEST(Remote, RefusesAModelThatDoesNotFitWithThePlan) {
  const auto load = [](const std::shared_ptr<RemoteControl>& control) {
    auto model = LoadedModel::load(tiny(), recipe(), testing::make_remote_backend(control), {});
    return model.ok() ? Status() : model.status();
  };
  const Remote fits;
  const MemoryPlan& plan = fits.core->model().plan();
  const uint64_t needed = plan.on_device(), by_model = needed - plan.batch - plan.sampling - plan.stream;
  for (const bool known : {true, false}) {  // that memory is short, or found out while it is taken
    auto control = std::make_shared<RemoteControl>();
    if (known) control->capacity = needed - 1;
    control->taken_by_others = known ? 0 : control->capacity - by_model + 1;
    const Status refused = load(control);
    EXPECT_EQ(refused.code(), StatusCode::resource_exhausted);
    EXPECT_THAT(refused.message(),
                AllOf(HasSubstr("weights 1 MiB"), HasSubstr("KV cache 1"), HasSubstr("--kv_tokens")));
    EXPECT_EQ(control->device_bytes, 0u) << "nothing of it is kept";
  }
  auto enough = std::make_shared<RemoteControl>();
  enough->capacity = needed;
  EXPECT_TRUE(load(enough).ok());
}

// --- steps that run on while the host plans the next

/// A third of them greedy; half of the others draw from what some cut leaves. Three of four have a past that
/// matters, and half of those begin as others do. A fifth want log-probabilities.
std::vector<CoreRequest> plain_requests(int count) {
  std::mt19937 random(23);
  std::vector<CoreRequest> out;
  const CoreRequest prefix = request(random, 40, 1);
  for (int i = 0; i < count; ++i) {
    out.push_back(request(random, 1 + static_cast<int>(random() % 70), 1 + static_cast<int>(random() % 40)));
    if (i % 8 >= 4)
      std::copy_n(prefix.prompt.begin(), std::min(out.back().prompt.size(), prefix.prompt.size()),
                  out.back().prompt.begin());
    SamplingParams& s = out.back().sampling;
    if (i % 4 == 1) s.repetition_penalty = 1.3f;
    if (i % 4 == 2) s.presence_penalty = 0.5f, s.frequency_penalty = 0.2f;
    if (i % 4 == 3) s.logit_bias = {{3, 1.5f}, {7, -100}}, s.frequency_penalty = 0.1f;
    if (i % 5 == 2) s.logprobs = i % 3;
    if (i % 3 > 0) s.temperature = 0.9f, s.seed = static_cast<uint64_t>(i) << 32;
    if (i % 6 == 1) s.top_k = 5, s.min_p = 0.1f;
    if (i % 6 == 2) s.top_p = 0.7f;
  }
  return out;
}

TEST(RunAhead, AStepIsQueuedBehindTheOneThatRuns) {
  const Remote remote;
  std::mt19937 random(1);
  Client client(*remote.core);
  for (int i = 0; i < 3; ++i) {
    CoreRequest r = request(random, 5, 40);
    if (i > 0) r.sampling.temperature = 0.8f;
    if (i > 1) r.sampling.top_p = 0.95f;
    if (i == 0) r.sampling.repetition_penalty = 1.1f, r.sampling.logprobs = 20;
    client.add(r);
  }
  int ahead = 0;
  while (remote.core->busy()) {
    client.step();
    if (remote.core->executor().in_flight() > 0) ++ahead;
  }
  EXPECT_GT(ahead, 30) << "of about forty steps";
  EXPECT_EQ(remote.core->executor().in_flight(), 0u) << "none is left when nothing is to be done";
}

TEST(RunAhead, StepsCanBeNoted) {
  const Remote remote;
  std::mt19937 random(1);
  Executor& executor = remote.core->executor();
  Client client(*remote.core);
  for (int i = 0; i < 3; ++i) client.add(request(random, 5, 40));
  executor.note_steps(true);
  client.drain();
  executor.note_steps(false);
  static_cast<void>(outcomes_of(*remote.core, {request(random, 5, 10)}));  // is not noted
  const std::vector<Executor::StepTime> times = executor.noted_steps();
  EXPECT_GT(times.size(), 35u) << "of about forty steps";
  EXPECT_LE(times.size(), 40u);
  for (size_t i = 0; i < times.size(); ++i) {
    EXPECT_LT(times[i].begin, times[i].end) << i;
    if (i > 0) {
      EXPECT_GE(times[i].begin, times[i - 1].end) << i;
    }
  }
  EXPECT_EQ(times.front().begin, 0);
  EXPECT_TRUE(executor.noted_steps().empty());
}

TEST(RunAhead, GivesWhatTheCpuGives) {
  std::vector<CoreRequest> all = plain_requests(40);
  model::Recipe r = recipe();
  r.kv_tokens = 160;  // sequences are sent back while they run
  const auto cpu = testing::make_core(tiny(), r, "scalar");
  for (size_t i = 0; i < all.size(); ++i) {  // half of them meet an end that the host learns of one step late
    if (i % 2 == 0) continue;
    const Outcome whole = alone(*cpu, all[i]);
    all[i].sampling.stop_token_ids = {whole.tokens[whole.tokens.size() / 2]};
    if (i % 4 == 1) all[i].sampling.min_tokens = std::min(3, all[i].sampling.max_tokens);
  }
  const std::vector<Outcome> want = outcomes_of(*cpu, all);
  for (const bool eager : {false, true}) {
    const Remote remote(r, tiny(), eager);
    const std::vector<Outcome> got = outcomes_of(*remote.core, all);
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(got[i].tokens, want[i].tokens) << i;
      EXPECT_EQ(got[i].finish, want[i].finish) << i;
      EXPECT_THAT(got[i].logprobs, Pointwise(FloatNear(1e-4f), want[i].logprobs)) << i;
    }
    EXPECT_GT(remote.core->scheduler().counts().preemptions, 0u) << "the past was put back";
    EXPECT_GT(remote.core->scheduler().counts().prefix_hit_tokens, 0u);
    EXPECT_TRUE(remote.core->scheduler().validate().empty());
  }
}

TEST(RunAhead, RequestsMayBeCancelledWhileTheyRun) {
  const std::vector<CoreRequest> all = plain_requests(60);
  const auto cpu = testing::make_core(tiny(), recipe(), "scalar");
  const std::vector<Outcome> want = outcomes_of(*cpu, all);
  const Remote remote;
  Client client(*remote.core);
  std::mt19937 random(2);
  std::vector<RequestId> ids;
  while (ids.size() < all.size() || remote.core->busy()) {
    if (ids.size() < all.size()) ids.push_back(client.add(all[ids.size()]));
    client.step();
    if (random() % 4 == 0) client.cancel(ids[random() % ids.size()]);
  }
  int cancelled = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const Outcome& got = client.outcomes().at(ids[i]);
    if (got.finish == FinishReason::cancelled) {
      ++cancelled;
      ASSERT_LE(got.tokens.size(), want[i].tokens.size());
      EXPECT_TRUE(std::equal(got.tokens.begin(), got.tokens.end(), want[i].tokens.begin()));
    } else {
      EXPECT_EQ(got.tokens, want[i].tokens) << i;
    }
  }
  EXPECT_GT(cancelled, 5);
}

TEST(RunAhead, ANanEndsItsRequestAndNoOther) {
  std::mt19937 random(6);
  const std::vector<CoreRequest> all = {request(random, 9, 12), request(random, 12, 12),
                                        request(random, 5, 12)};
  const Remote remote;
  const std::vector<Outcome> want = outcomes_of(*remote.core, all);
  Client client(*remote.core);
  std::vector<RequestId> ids;
  for (const CoreRequest& r : all) ids.push_back(client.add(r));
  for (int i = 0; i < 5; ++i) client.step();
  remote.control->nan_rows = 1;  // of the next choice: of the first request
  client.drain();
  EXPECT_EQ(client.outcomes().at(ids[0]).finish, FinishReason::error);
  EXPECT_THAT(client.outcomes().at(ids[0]).error.message(), HasSubstr("NaN"));
  for (size_t i : {1, 2}) EXPECT_EQ(client.outcomes().at(ids[i]).tokens, want[i].tokens);
  EXPECT_EQ(outcomes_of(*remote.core, all)[0].tokens, want[0].tokens) << "afterwards";
}

// --- weights that are streamed

/// Budgets from all layers streamed to none.
std::vector<int64_t> budgets(const std::string& path, int64_t* all) {
  model::Recipe r = recipe();
  r.weight_budget = 1;
  const auto refused =
      LoadedModel::plan_only(path, r, testing::make_remote_backend(std::make_shared<RemoteControl>()), {});
  EXPECT_EQ(refused.status().code(), StatusCode::resource_exhausted);
  const std::string text = refused.status().message();
  const int64_t least = std::stoll(text.substr(text.find("at least ") + 9));
  *all = static_cast<int64_t>(Remote(recipe(), path).core->model().plan().weights);
  return {least, (2 * least + *all) / 3, (least + 2 * *all) / 3};
}

/// The engine that `optimize` makes of a model for a remote device, in blocks of 64 KiB.
void write_engine(const std::string& output, const std::string& model_path) {
  model::Recipe r = recipe();
  const auto model = model::load_model(model_path);
  const ops::Backend backend = testing::make_remote_backend(std::make_shared<RemoteControl>());
  ASSERT_TRUE(model.ok() && model::complete(r, model->spec, backend.page_tokens).ok());
  std::vector<std::string> notes;
  const auto types = model::resolve_types(*model, r, notes);
  ASSERT_TRUE(types.ok());
  const auto program = program::lower(model->spec, r, *types, backend, r.max_sequences);
  ASSERT_TRUE(program.ok()) << program.status().message();
  auto writer = artifact::EngineWriter::create(output, program->weight_bytes, 64 << 10);
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  artifact::Manifest manifest{.writer = "a test",
                              .source = artifact::SourceSnapshot::take(model->checkpoint)->source(),
                              .hardware = {.device = "remote", .name = "a device for tests"},
                              .spec = model->spec,
                              .recipe = r,
                              .types = *types};
  for (const program::WeightInfo& w : program->weights) {
    if (w.constant) continue;
    manifest.tensors.push_back(
        {w.name, w.dtype, std::string(w.layout->name), w.n, w.k, w.copies, w.offset, w.bytes});
    ASSERT_TRUE(writer->pad_to(w.offset).ok());
    std::vector<std::byte> packed(w.bytes / static_cast<uint64_t>(w.copies));
    for (int64_t copy = 0; copy < w.copies; ++copy) {
      ASSERT_TRUE(program::pack_weight(*model, w, copy, packed, 1).ok());
      ASSERT_TRUE(writer->append(packed).ok());
    }
  }
  ASSERT_TRUE(writer->pad_to(program->weight_bytes).ok());
  ASSERT_EQ(writer->publish(manifest).message(), "");
}

TEST(Remote, AnEngineGivesWhatItsModelGives) {
  const std::string& path = tiny({.layers = 7});
  const model::testing::TempDirectory directory;
  const std::string engine = directory / "engine";
  ASSERT_NO_FATAL_FAILURE(write_engine(engine, path));
  const std::vector<CoreRequest> all = mixed_requests(12);
  const Remote from_model(recipe(), path);
  const std::vector<Outcome> want = outcomes_of(*from_model.core, all);
  int64_t whole = 0;
  for (const int64_t budget : {int64_t{0}, budgets(path, &whole)[1]}) {
    model::Recipe r = recipe();
    r.weight_budget = budget;
    const Remote remote(r, engine);
    const MemoryPlan& plan = remote.core->model().plan();
    EXPECT_EQ(plan.streamed > 0, budget > 0);
    EXPECT_EQ(remote.control->device_bytes, plan.on_device());
    EXPECT_EQ(remote.control->host_bytes, plan.pinned + plan.streamed) << "what loading took is given back";
    const std::vector<Outcome> got = outcomes_of(*remote.core, all);
    for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(got[i].tokens, want[i].tokens) << i;
  }
}

TEST(WeightBudget, ResultsAreThoseOfResidentWeights) {
  const std::vector<CoreRequest> all = mixed_requests(24);
  const std::vector<model::testing::TinyModel> models = {{.layers = 7}, {.arch = "mixtral", .layers = 4}};
  for (const model::testing::TinyModel& model : models) {
    const std::string& path = tiny(model);
    const Remote resident(recipe(), path);
    const std::vector<Outcome> want = outcomes_of(*resident.core, all);
    int64_t whole = 0;
    for (const int64_t budget : budgets(path, &whole)) {
      for (const bool eager : {false, true}) {
        SCOPED_TRACE(fmt::format("{}: {} of {} bytes, eager {}", model.arch, budget, whole, eager));
        model::Recipe r = recipe();
        r.weight_budget = budget;
        const Remote remote(r, path, eager);
        const MemoryPlan& plan = remote.core->model().plan();
        EXPECT_LE(plan.weights, static_cast<uint64_t>(budget));
        EXPECT_GT(plan.streamed, 0u);
        EXPECT_EQ(remote.control->device_bytes, plan.on_device());
        EXPECT_EQ(remote.control->host_bytes, plan.pinned + plan.streamed);
        const std::vector<Outcome> got = outcomes_of(*remote.core, all);
        EXPECT_GT(remote.control->replays, 20);
        for (size_t i = 0; i < all.size(); ++i) {
          EXPECT_EQ(got[i].tokens, want[i].tokens) << i;
          EXPECT_EQ(got[i].logprobs, want[i].logprobs) << i;
        }
      }
    }
  }
}

TEST(WeightBudget, IsNotTouchedByFaults) {
  const std::string& path = tiny({.layers = 7});
  int64_t whole = 0;
  model::Recipe r = recipe();
  r.weight_budget = budgets(path, &whole).front();
  std::mt19937 random(3);
  const std::vector<CoreRequest> all = {request(random, 40, 6), request(random, 9, 6)};
  for (const bool eager : {false, true}) {
    const Remote remote(r, path, eager);
    const std::vector<Outcome> want = outcomes_of(*remote.core, all);
    int64_t works = remote.control->works;
    static_cast<void>(outcomes_of(*remote.core, all));
    works = remote.control->works - works;
    for (int64_t at = 0; at < works; at += 1 + works / 60) {
      remote.control->fail_at = remote.control->works + at;
      static_cast<void>(outcomes_of(*remote.core, all));
      const std::vector<Outcome> after = outcomes_of(*remote.core, all);
      for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(after[i].tokens, want[i].tokens) << "fault at " << at;
    }
  }
}

TEST(WeightBudget, ThatHoldsAllStreamsNothing) {
  model::Recipe r = recipe();
  r.weight_budget = int64_t{1} << 30;
  const Remote remote(r);
  EXPECT_EQ(remote.core->model().streamer(), nullptr);
  EXPECT_EQ(remote.core->model().plan().streamed, 0u);
}

TEST(WeightBudget, IsRefusedWhereTheHostsMemoryIsTheDevices) {
  model::Recipe r = recipe();
  r.weight_budget = int64_t{1} << 30;
  const auto core = testing::open_core(tiny(), r);
  EXPECT_THAT(core.status().message(), HasSubstr("--weight_budget"));
}

}  // namespace
}  // namespace sluice::engine
