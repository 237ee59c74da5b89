#include "tools/workload.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked.h"
#include "tools/signals.h"

namespace sluice::tools {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Steps in which some prompts are still read while the sequences before them decode already: each step reads
// at least what the decodes leave of its budget.
int64_t starting_steps(const DecodeLoad& load, int64_t batch_tokens) {
  return ceil_div(load.sequences * load.context, batch_tokens - load.sequences + 1);
}

int64_t longest_sequence(const DecodeLoad& load, int64_t batch_tokens) {
  return load.context + starting_steps(load, batch_tokens) + load.steps + 1;
}

/// Sets a size that is open; refuses one that the loads do not fit in.
Status fit(int64_t& size, const char* option, int64_t needed, int64_t chosen) {
  if (size == 0) size = chosen;
  if (size >= needed) return {};
  return invalid_argument("{} {}: what is to be measured needs at least {}", option, size, needed);
}

}  // namespace

Status fit_recipe(model::Recipe& recipe, const engine::LoadedModel& plan,
                  std::span<const PrefillLoad> prefills, std::span<const DecodeLoad> decodes) {
  const int64_t max_positions = plan.spec().max_positions;
  recipe.page_tokens = plan.recipe().page_tokens;
  int64_t sequences = 1;
  for (const PrefillLoad& p : prefills) sequences = std::max(sequences, p.sequences);
  for (const DecodeLoad& d : decodes) sequences = std::max(sequences, d.sequences);
  SLUICE_TRY(fit(recipe.max_sequences, "--max_num_seqs", sequences, sequences));
  SLUICE_TRY(fit(recipe.max_batch_tokens, "--max_num_batched_tokens", sequences,
                 std::max<int64_t>(512, 2 * sequences)));
  int64_t length = 1, kv_tokens = 1;
  const auto hold = [&](int64_t count, int64_t longest) {
    length = std::max(length, longest);
    // A sequence is let in only while those that run have a page to go on with.
    const int64_t held = round_up(longest, recipe.page_tokens) + recipe.page_tokens;
    if (count > 1) kv_tokens = std::max(kv_tokens, count * held);
  };
  for (const PrefillLoad& p : prefills) hold(p.sequences, p.tokens + 1);
  for (const DecodeLoad& d : decodes) hold(d.sequences, longest_sequence(d, recipe.max_batch_tokens));
  if (max_positions > 0 && length > max_positions) {
    return invalid_argument(
        "-p, -n, -b and --context make sequences of {} tokens, the model was made for {}; choose smaller "
        "ones",
        length, max_positions);
  }
  kv_tokens = std::max(kv_tokens, length);
  SLUICE_TRY(fit(recipe.max_seq_len, "--max_seq_len", length, length));
  return fit(recipe.kv_tokens, "--kv_tokens", kv_tokens, std::max(kv_tokens, recipe.max_seq_len));
}

Result<engine::RequestId> Workload::add(int64_t prompt, int64_t outputs, StepWatcher* watcher) {
  engine::CoreRequest request;
  std::uniform_int_distribution<int32_t> any(0, static_cast<int32_t>(core_.model().spec().vocab) - 1);
  request.prompt.resize(static_cast<size_t>(prompt));
  for (int32_t& id : request.prompt) id = any(random_);
  request.sampling.temperature = 0;
  request.sampling.ignore_eos = true;
  request.sampling.max_tokens = static_cast<int32_t>(outputs);
  if (watcher != nullptr)
    request.on_logits = [watcher](int, std::span<const float>) { watcher->logits_ready(); };
  return core_.add(std::move(request));
}

Result<int64_t> Workload::step() {
  SLUICE_TRY(check_interrupted());
  events_.clear();
  if (!core_.step(events_)) return internal_error("the scheduler has nothing to run before the load's end");
  int64_t tokens = 0;
  for (const engine::CoreEvent& event : events_) {
    SLUICE_TRY(event.error);
    if (event.token >= 0) ++tokens;
  }
  return tokens;
}

Result<int64_t> Workload::timed_step(PhaseKind kind, StepWatcher* watcher) {
  if (watcher == nullptr) return step();
  watcher->step_begins(kind);
  auto tokens = step();
  watcher->step_ends();
  return tokens;
}

Result<Phase> Workload::run(const PrefillLoad& load, StepWatcher* watcher) {
  const auto start = Clock::now();
  for (int64_t s = 0; s < load.sequences; ++s) SLUICE_TRY(add(load.tokens, 1, watcher).status());
  while (core_.busy()) SLUICE_TRY(timed_step(PhaseKind::prefill, watcher).status());
  Phase phase{seconds_since(start), load.sequences * load.tokens, {}};
  const int64_t chunk = core_.model().recipe().max_batch_tokens;
  for (int64_t begin = 0; begin < load.tokens; begin += chunk) {
    const int64_t end = std::min(load.tokens, begin + chunk);
    phase.passes.push_back({.sequences = load.sequences,
                            .rows = end - begin,
                            .logits = end == load.tokens ? load.sequences : 0,
                            .context = end});
  }
  return phase;
}

Result<Phase> Workload::run_end_to_end(const DecodeLoad& load) {
  const auto start = Clock::now();
  for (int64_t s = 0; s < load.sequences; ++s) SLUICE_TRY(add(load.context, load.steps, nullptr).status());
  Phase phase;
  while (core_.busy()) {
    SLUICE_ASSIGN(const int64_t written, step());
    phase.tokens += written;
  }
  phase.seconds = seconds_since(start);
  phase.passes.push_back(
      {.sequences = load.sequences, .context = load.context + load.steps / 2, .count = load.steps});
  return phase;
}

Result<Phase> Workload::run(const DecodeLoad& load, StepWatcher* watcher) {
  if (load.end_to_end) return run_end_to_end(load);
  const int64_t outputs = longest_sequence(load, core_.model().recipe().max_batch_tokens) - load.context;
  std::vector<engine::RequestId> ids;
  for (int64_t s = 0; s < load.sequences; ++s) {
    SLUICE_ASSIGN(const engine::RequestId id, add(load.context, outputs, watcher));
    ids.push_back(id);
  }
  // Once a step gives an output of each sequence, every prompt has been read.
  int64_t tokens = 0, written = 0;
  while (written < load.sequences) {
    SLUICE_ASSIGN(written, step());
    tokens += written;
  }
  const int64_t before = tokens;
  const auto start = Clock::now();
  for (int64_t i = 0; i < load.steps; ++i) {
    SLUICE_ASSIGN(written, timed_step(PhaseKind::decode, watcher));
    SLUICE_CHECK(written == load.sequences, "{} of {} sequences", written, load.sequences);
    tokens += written;
  }
  Phase phase{seconds_since(start), tokens - before, {}};
  for (engine::RequestId id : ids) core_.finish(id, sched::FinishReason::cancelled);
  events_.clear();
  core_.step(events_);  // collects the step that is under way: it is not the next load's
  // The mean length of a sequence over the timed steps.
  const int64_t context = load.context + before / load.sequences + load.steps / 2;
  phase.passes.push_back({.sequences = load.sequences, .context = context, .count = load.steps});
  return phase;
}

}  // namespace sluice::tools
