// An executor whose "model" can tell whether the scheduler lied to it. For tests, fuzzing and simulation.
#pragma once

#include <fmt/format.h>

#include "sched/step.h"

namespace sluice::sched {

/// What goes wrong in a step: the logits of one entry are NaN, or the whole step is lost.
struct Failure {
  size_t entry = SIZE_MAX;
  bool step = false;
};

/// Its keys and values are fingerprints: the cell of a position holds a hash of all tokens up to there,
/// chained to the cell before it. The next token is a function of that hash, so it depends on the whole
/// prefix and on nothing else. A wrong, stale or missing page breaks the chain (a line in `faults`), or at
/// the latest gives a token that differs from next_token() over the true prefix.
class FakeExecutor {
 public:
  FakeExecutor(const kv::Layout& layout, int max_num_seqs, int vocab)
      : layout_(layout), vocab_(vocab), last_sample_(static_cast<size_t>(max_num_seqs), kNoToken) {
    for (const kv::GroupSpec& group : layout.groups) {
      cells_.emplace_back(static_cast<size_t>(group.num_pages) * static_cast<size_t>(layout.page_tokens));
    }
  }

  static constexpr uint64_t kEmptyPrefix = 0x9e3779b97f4a7c15;
  static uint64_t extend(uint64_t prefix, int32_t token) {
    const uint64_t x = (prefix ^ static_cast<uint64_t>(token)) * 0xff51afd7ed558ccd;
    return (x ^ (x >> 32)) * 0xc4ceb9fe1a85ec53;
  }
  int32_t next_token(uint64_t prefix) const {
    return static_cast<int32_t>((prefix >> 33) % static_cast<uint64_t>(vocab_));
  }

  /// A failing entry writes too, as a real one would: keys and values that nobody must ever use.
  StepResult run(const StepPlan& plan, Failure failure = {}) {
    StepResult result{.step = plan.step};
    for (const StepEntry& entry : plan.entries) {
      const bool fails = failure.step || failure.entry == result.entries.size();
      uint64_t prefix = read(plan, entry);
      for (int i = 0; i < entry.count; ++i) {
        int32_t token = plan.tokens_of(entry)[static_cast<size_t>(i)];
        if (token == kPreviousSample) token = last_sample_[static_cast<size_t>(entry.slot)];
        const uint64_t before = prefix;
        prefix = extend(prefix, token) ^ (fails ? 0x5a5a5a5a5a5a5a5a : 0);
        write(plan, entry, entry.first + i, before, prefix);
      }
      EntryResult& sampled = result.entries.emplace_back();
      if (entry.sample) sampled.token = last_sample_[static_cast<size_t>(entry.slot)] = next_token(prefix);
      if (fails) sampled = {kNoToken, internal_error("logits are NaN")};
    }
    if (failure.step) result = {.step = plan.step, .status = internal_error("the device is lost")};
    return result;
  }

  std::vector<std::string> faults;

 private:
  struct Cell {
    int position = -1;
    uint64_t before = 0, after = 0;  // hashes of the tokens before it, and including it
  };

  Cell* cell(const StepPlan& plan, const StepEntry& entry, int group, int position) {
    const kv::PageId page = plan.pages_of(entry, group)[static_cast<size_t>(position / layout_.page_tokens)];
    if (page == kv::kNoPage) return nullptr;
    return &cells_[static_cast<size_t>(group)]
                  [static_cast<size_t>(page * layout_.page_tokens + position % layout_.page_tokens)];
  }

  // The hash of everything before the entry, after checking all cells that its first token sees, in every
  // group.
  uint64_t read(const StepPlan& plan, const StepEntry& entry) {
    uint64_t prefix = kEmptyPrefix;
    for (int g = 0; g < layout_.num_groups(); ++g) {
      const int window = layout_.groups[static_cast<size_t>(g)].window;
      const Cell* previous = nullptr;
      for (int p = window == 0 ? 0 : std::max(0, entry.first - window + 1); p < entry.first; ++p) {
        const Cell* now = cell(plan, entry, g, p);
        if (now == nullptr || now->position != p || (previous != nullptr && previous->after != now->before)) {
          faults.push_back(fmt::format("step {}: sequence {} reads a wrong page at position {} of group {}",
                                       plan.step, entry.id, p, g));
          return 0;
        }
        previous = now;
      }
      if (previous == nullptr) continue;
      if (prefix != kEmptyPrefix && prefix != previous->after) {
        faults.push_back(
            fmt::format("step {}: the groups of sequence {} hold different prefixes", plan.step, entry.id));
      }
      prefix = previous->after;
    }
    return prefix;
  }

  void write(const StepPlan& plan, const StepEntry& entry, int position, uint64_t before, uint64_t after) {
    for (int g = 0; g < layout_.num_groups(); ++g) {
      if (Cell* c = cell(plan, entry, g, position)) {
        *c = {position, before, after};
      } else {
        faults.push_back(fmt::format("step {}: sequence {} has no page to write position {} of group {}",
                                     plan.step, entry.id, position, g));
      }
    }
  }

  kv::Layout layout_;
  int vocab_;
  std::vector<int32_t> last_sample_;      // (slot)
  std::vector<std::vector<Cell>> cells_;  // (group, page * page_tokens + offset)
};

}  // namespace sluice::sched
