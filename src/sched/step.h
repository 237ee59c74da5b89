// The two values between the scheduler and whoever runs the model: StepPlan goes out, StepResult comes back.
//
// The contract of an executor:
//   order    Steps run in the order in which they were planned, each seeing what those before it wrote. So a
//   page, or a
//            slot, that was given up while a step still used it can be given to the next step at once.
//   write    An entry writes the keys and values of its tokens, into pages that no other entry of the step
//   names. read     A token at position p reads positions (p - window, p] of its own entry's page tables, no
//   others. sample   The token sampled for an entry is kept per slot, for a following step that names it
//   kPreviousSample. failure  An entry whose logits are not finite, or a step that fails as a whole, is
//   reported; nothing throws.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sched/sequence.h"

namespace sluice::sched {

/// In StepPlan::tokens: the value is the last one sampled for this slot, which the host does not know yet.
inline constexpr int32_t kPreviousSample = -1;
/// In EntryResult and Update: no token.
inline constexpr int32_t kNoToken = -1;

/// One sequence's share of a step: `count` tokens at positions [first, first + count).
struct StepEntry {
  SequenceId id = 0;
  int slot = 0;  // in [0, max_num_seqs); the sequence keeps it while it runs
  int first = 0;
  int count = 0;
  int num_logits =
      0;  // logits are wanted for the last so many of its tokens: 0, 1, or a stretch of the prompt
  bool sample = false;  // sample a token from the last one's logits
  bool joins =
      false;  // first step since it was (re-)admitted: set up the slot. `first` tokens came from the cache
  int tokens_begin = 0;  // use StepPlan::tokens_of
  int pages_begin = 0;   // use StepPlan::pages_of
  int num_pages = 0;     // slots per group in its page table

  int end() const { return first + count; }
};

/// What the next step does. A plain value: print it with to_string, compare it, make one in a test.
struct StepPlan {
  uint64_t step = 0;                  // counts up from 1
  std::vector<StepEntry> entries;     // decodes, then prefill chunks
  int num_decodes = 0;                // the first entries: one token each
  std::vector<int32_t> tokens;        // (tokens of all entries)
  std::vector<kv::PageId> pages;      // (entry, group, slot); kv::kNoPage where the window has passed
  std::vector<SequenceId> preempted;  // sent back to the queue to make room; they will be recomputed

  /// An empty plan is not run and not committed: there is nothing to do until a commit or a new request.
  bool empty() const { return entries.empty(); }
  int num_tokens() const { return static_cast<int>(tokens.size()); }

  std::span<const int32_t> tokens_of(const StepEntry& entry) const;               // (count)
  std::span<const kv::PageId> pages_of(const StepEntry& entry, int group) const;  // (num_pages)
};

struct EntryResult {
  int32_t token = kNoToken;  // the sampled one, if one was asked for
  Status status;             // a failure ends this sequence and no other
};

struct StepResult {
  uint64_t step = 0;
  Status status;  // a failure ends every sequence of the step
  std::vector<EntryResult>
      entries;  // one for each of the plan's entries, in their order; none needed on failure
};

/// What a commit did to a sequence. A sequence's last Update, and no other, has `finish`.
struct Update {
  SequenceId id = 0;
  int32_t token = kNoToken;  // a new output (also when it is the stop token)
  std::optional<FinishReason> finish;
  Status error;  // with FinishReason::error
};

/// One line per entry.
std::string to_string(const StepPlan& plan);

}  // namespace sluice::sched
