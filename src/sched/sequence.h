// A request inside the scheduler: what was asked, and how far it has come.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "kv/books.h"

namespace sluice::sched {

/// Given out by the scheduler in order of arrival, never reused.
using SequenceId = uint64_t;

enum class FinishReason {
  stop,       // an end-of-sequence or stop token, or a stop string that the engine found
  length,     // max_tokens or max_model_len
  cancelled,  // the client went away or the deadline passed
  error,      // its logits were not finite, or its step failed
};

/// "stop", "length", "cancelled", "error".
const char* finish_reason_name(FinishReason reason);

/// What the engine asks the scheduler to run. The engine has checked token ids against the vocabulary, and
/// has lowered a max_tokens that was not the client's own choice to what fits (Scheduler::max_total_tokens).
struct Request {
  std::vector<int32_t> prompt;
  int max_tokens = 16;               // 0: compute the prompt only (its logits, say), sample nothing
  int min_tokens = 0;                // stop tokens before this many outputs do not end it
  std::vector<int32_t> stop_tokens;  // besides the model's own
  bool ignore_eos = false;           // the model's own end-of-sequence tokens do not end it
  bool prompt_logits = false;        // logits of every prompt position: prompt logprobs, verify, eval
  int priority = 0;                  // higher goes first
  std::string salt;                  // prefixes are shared among equal salts only
};

/// Positions, from left to right (all counts of tokens):
///
///   0 ............ computed ............ planned ............ length() ....... end
///     KV committed            in flight            to be run           never run beyond
///
/// The host knows the values of the first tokens.size(); those up to length() are still on the device.
struct Sequence {
  enum class State { waiting, running };

  SequenceId id = 0;
  Request request;              // its prompt has moved into `tokens`
  std::vector<int32_t> tokens;  // prompt, then outputs
  int num_prompt = 0;
  int end = 0;  // no position from here on is ever computed: the last output needs no keys and values

  State state = State::waiting;
  int slot = -1;       // while running: its row in whatever the device keeps per sequence
  bool joins = false;  // admitted, and no step planned since
  int planned = 0;     // positions computed, or being computed by a step in flight
  int computed = 0;    // positions computed by committed steps
  int in_flight = 0;   // steps that carry it and are not committed
  int pending = 0;     // outputs that those steps sample
  kv::PageTable table;

  int logits_done = 0;  // prompt positions whose logits were delivered (prompt_logits)
  int preemptions = 0;
  bool protected_ = false;     // preempted or kept waiting too often: goes before every priority
  uint64_t waiting_since = 0;  // step number

  int num_outputs() const { return static_cast<int>(tokens.size()) - num_prompt; }
  int length() const { return static_cast<int>(tokens.size()) + pending; }
  /// Positions that a step could compute now. 1 is a decode, or the end of a prompt that looks just like one.
  int remaining() const { return std::min(length(), end) - planned; }
  bool samples() const { return request.max_tokens > 0; }
};

/// Who goes first: protected sequences, then higher priority, then earlier arrival. A total order; a
/// sequence's place in it changes only when it becomes protected.
inline bool outranks(const Sequence& a, const Sequence& b) {
  const auto key = [](const Sequence& s) {
    return std::tuple(!s.protected_, -int64_t{s.request.priority}, s.id);
  };
  return key(a) < key(b);
}

}  // namespace sluice::sched
