#include "sched/scheduler.h"

#include <utility>

#include "base/check.h"

namespace sluice::sched {
namespace {

bool by_rank(const Sequence* a, const Sequence* b) { return outranks(*a, *b); }

void insert(std::vector<Sequence*>& queue, Sequence* sequence) {
  queue.insert(std::lower_bound(queue.begin(), queue.end(), sequence, by_rank), sequence);
}

void remove(std::vector<Sequence*>& queue, Sequence* sequence) {
  const auto at = std::lower_bound(queue.begin(), queue.end(), sequence, by_rank);
  SLUICE_CHECK(at != queue.end() && *at == sequence, "sequence {} is not in its queue", sequence->id);
  queue.erase(at);
}

}  // namespace

Status SchedulerConfig::check() const {
  const auto at_least = [](const char* field, int value, int bound) {
    return value >= bound ? Status()
                          : invalid_argument("{} is {}; it must be at least {}", field, value, bound);
  };
  SLUICE_TRY(at_least("max_num_seqs", max_num_seqs, 1));
  SLUICE_TRY(at_least("max_batched_tokens", max_batched_tokens, max_num_seqs)
                 .with_context("each running sequence decodes one token per step"));
  SLUICE_TRY(at_least("mixed_prefill_tokens", mixed_prefill_tokens, 1));
  SLUICE_TRY(at_least("max_model_len", max_model_len, 1));
  SLUICE_TRY(at_least("max_waiting", max_waiting, 1));
  SLUICE_TRY(at_least("max_in_flight_steps", max_in_flight_steps, 1));
  SLUICE_TRY(at_least("protect_after_preemptions", protect_after_preemptions, 1));
  SLUICE_TRY(at_least("protect_after_waiting_steps", protect_after_waiting_steps, 1));
  return {};
}

Result<Scheduler> Scheduler::create(SchedulerConfig config, kv::Layout layout) {
  SLUICE_TRY(config.check());
  SLUICE_TRY(layout.check());
  return Scheduler(std::move(config), std::move(layout));
}

Scheduler::Scheduler(SchedulerConfig config, kv::Layout layout)
    : config_(std::move(config)),
      books_(std::move(layout)),
      slots_(static_cast<size_t>(config_.max_num_seqs)) {}

// ---- add
// ------------------------------------------------------------------------------------------------------------

int Scheduler::max_total_tokens() const {
  return static_cast<int>(std::min<int64_t>(config_.max_model_len, books_.capacity() + 1));
}

Result<SequenceId> Scheduler::add(Request request) {
  if (request.prompt.empty()) return invalid_argument("the prompt is empty; give at least one token");
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    if (request.prompt[i] < 0)
      return invalid_argument("prompt token {} is {}; ids start at 0", i, request.prompt[i]);
  }
  if (request.max_tokens < 0)
    return invalid_argument("max_tokens is {}; it must be at least 0", request.max_tokens);
  const uint64_t prompt = request.prompt.size(), outputs = static_cast<uint64_t>(request.max_tokens);
  const uint64_t limit = static_cast<uint64_t>(max_total_tokens());
  if (prompt + outputs > limit) {
    return invalid_argument(
        "the prompt has {} tokens and max_tokens is {}, together {}; at most {} fit (max_model_len {}, KV "
        "pages for {})",
        prompt, outputs, prompt + outputs, limit, config_.max_model_len, books_.capacity());
  }
  if (prompt > static_cast<uint64_t>(books_.capacity())) {
    return invalid_argument("the prompt has {} tokens; the KV pages hold {}", prompt, books_.capacity());
  }
  if (static_cast<int>(waiting_.size()) >= config_.max_waiting) {
    return resource_exhausted("{} requests are waiting already (max_waiting {}); try again later",
                              waiting_.size(), config_.max_waiting);
  }

  const SequenceId id = ++last_id_;
  Sequence& s = sequences_[id];
  s.id = id;
  s.tokens = std::move(request.prompt);
  s.num_prompt = static_cast<int>(s.tokens.size());
  s.end = std::max(s.num_prompt, s.num_prompt + request.max_tokens - 1);
  s.request = std::move(request);
  s.waiting_since = totals_.steps;
  insert(waiting_, &s);
  ++totals_.added;
  return id;
}

// ---- plan
// -----------------------------------------------------------------------------------------------------------

// The step that plan() is making. A pick's pages are already in its table; its sequence changes only in
// seal().
struct Scheduler::Draft {
  struct Pick {
    Sequence* sequence;
    int count;
  };
  std::vector<Pick> picks;
  std::vector<SequenceId> preempted;
  int num_decodes = 0;  // the first picks
  int budget;           // tokens left in the step
  int prefill_budget;   // of these, for prefill chunks

  void pick(Sequence& sequence, int count) {
    picks.push_back({&sequence, count});
    budget -= count;
  }
  void unpick(const Sequence& sequence) {
    const auto at =
        std::find_if(picks.begin(), picks.end(), [&](const Pick& p) { return p.sequence == &sequence; });
    if (at == picks.end()) return;
    budget += at->count;
    if (at - picks.begin() < num_decodes) --num_decodes;
    picks.erase(at);
  }
};

StepPlan Scheduler::plan(int prefill_token_limit) {
  SLUICE_CHECK(num_in_flight() < config_.max_in_flight_steps, "in flight: {}", num_in_flight());
  Draft draft;
  draft.budget = draft.prefill_budget = config_.max_batched_tokens;
  protect_longest_waiting();
  for (Sequence* s : running_) books_.trim(s->table, s->planned);

  plan_decodes(draft);
  if (draft.num_decodes > 0)
    draft.prefill_budget = std::min(config_.mixed_prefill_tokens, prefill_token_limit);
  plan_prefills(draft);
  admit_waiting(draft);
  return seal(std::move(draft));
}

// One a step is enough: it stays protected, and the next one's turn comes.
void Scheduler::protect_longest_waiting() {
  for (auto& [id, s] : sequences_) {
    if (s.state != Sequence::State::waiting || s.protected_) continue;
    if (totals_.steps - s.waiting_since < static_cast<uint64_t>(config_.protect_after_waiting_steps)) return;
    remove(waiting_, &s);
    s.protected_ = true;
    insert(waiting_, &s);
    return;
  }
}

// Preempting takes from the end of running_, never what stands before the sequence that it is done for.
void Scheduler::plan_decodes(Draft& draft) {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& s = *running_[i];
    if (s.remaining() == 1 && make_room(s, 1, draft) == 1) draft.pick(s, 1);
  }
  draft.num_decodes = static_cast<int>(draft.picks.size());
}

void Scheduler::plan_prefills(Draft& draft) {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& s = *running_[i];
    if (s.remaining() < 2) continue;
    if (s.in_flight == 0) s.planned = s.computed = books_.adopt(s.table, s.tokens, adoptable(s));
    const int wanted = std::min({s.remaining(), draft.budget, draft.prefill_budget});
    if (wanted < 1) return;
    const int count = make_room(s, wanted, draft);
    if (count == 0) continue;
    draft.pick(s, count);
    draft.prefill_budget -= count;
  }
}

// Strictly by rank: nobody overtakes a sequence that does not fit yet, so it will fit.
void Scheduler::admit_waiting(Draft& draft) {
  while (!waiting_.empty() && std::min(draft.budget, draft.prefill_budget) > 0) {
    Sequence& s = *waiting_.front();
    if (s.in_flight > 0) return;  // preempted a moment ago: its last output is still on its way
    while (running_.size() == slots_.size()) {
      if (!preempt_for(s, draft)) return;
    }
    if (!admit(s, draft)) return;
  }
}

bool Scheduler::admit(Sequence& s, Draft& draft) {
  if (!config_.preemption && !fits_to_the_end(s)) return false;
  s.table = books_.open(s.request.salt);
  const int hit = books_.adopt(s.table, s.tokens, adoptable(s));
  s.planned = s.computed = hit;
  // All its tokens, and a page for the next token of each running one: or it would be preempted before long.
  while (!books_.fits(s.table, s.length(), static_cast<int>(running_.size()))) {
    if (preempt_for(s, draft)) continue;
    books_.close(s.table);
    s.planned = s.computed = 0;
    return false;
  }
  const int count = make_room(s, std::min({s.remaining(), draft.budget, draft.prefill_budget}), draft);
  SLUICE_CHECK(count > 0, "sequence {} fits and got no page", s.id);
  remove(waiting_, &s);
  insert(running_, &s);
  s.state = Sequence::State::running;
  const auto slot = std::find(slots_.begin(), slots_.end(), nullptr);
  *slot = &s;
  s.slot = static_cast<int>(slot - slots_.begin());
  s.joins = true;
  totals_.prefix_hit_tokens += static_cast<uint64_t>(hit);
  totals_.prefix_miss_tokens += static_cast<uint64_t>(s.length() - hit);
  draft.pick(s, count);
  draft.prefill_budget -= count;
  return true;
}

// Tokens that a prefix hit may cover: the last one must be computed for its logits, and so must every prompt
// token whose logits were asked for and not delivered.
int Scheduler::adoptable(const Sequence& s) const {
  if (s.request.prompt_logits && s.logits_done < s.num_prompt)
    return std::min(s.logits_done, s.num_prompt - 1);
  return s.length() - 1;
}

// Without preemption a running sequence must never wait for a page: each keeps what it may need at the most.
bool Scheduler::fits_to_the_end(const Sequence& sequence) const {
  const kv::Layout& layout = books_.layout();
  for (const kv::GroupSpec& group : layout.groups) {
    int64_t pages = kv::most_pages_held(group.window, sequence.end, layout.page_tokens);
    for (const Sequence* s : running_) pages += kv::most_pages_held(group.window, s->end, layout.page_tokens);
    if (pages > group.num_pages) return false;
  }
  return true;
}

// Pages for the next `count` tokens, or for fewer when they run short; preempts rather than return 0.
int Scheduler::make_room(Sequence& s, int count, Draft& draft) {
  do {
    const int granted = books_.grow(s.table, s.planned + count) - s.planned;
    if (granted > 0) return granted;
  } while (preempt_for(s, draft));
  return 0;
}

// Sends the lowest in rank back to the queue, if `s` may displace it: a running sequence displaces whatever
// it outranks, a waiting one only lower priorities. (Protection lets a waiting one go first, not push its
// equals out.)
bool Scheduler::preempt_for(const Sequence& s, Draft& draft) {
  if (!config_.preemption || running_.empty()) return false;
  Sequence& victim = *running_.back();
  if (!outranks(s, victim)) return false;
  if (s.state == Sequence::State::waiting &&
      (victim.protected_ || victim.request.priority >= s.request.priority)) {
    return false;
  }
  draft.unpick(victim);
  draft.preempted.push_back(victim.id);
  leave_slot(victim);
  ++victim.preemptions;
  ++totals_.preemptions;
  victim.protected_ = victim.protected_ || victim.preemptions >= config_.protect_after_preemptions;
  victim.waiting_since = totals_.steps;
  insert(waiting_, &victim);
  return true;
}

StepPlan Scheduler::seal(Draft draft) {
  StepPlan plan;
  plan.preempted = std::move(draft.preempted);
  if (draft.picks.empty()) return plan;
  plan.step = ++totals_.steps;
  plan.num_decodes = draft.num_decodes;
  plan.entries.reserve(draft.picks.size());
  for (const auto& [sequence, count] : draft.picks) {
    Sequence& s = *sequence;
    StepEntry& e = plan.entries.emplace_back();
    e.id = s.id;
    e.slot = s.slot;
    e.first = s.planned;
    e.count = count;
    e.sample = s.samples() && e.end() == s.length();
    e.num_logits = e.sample ? 1 : 0;
    if (s.request.prompt_logits && s.logits_done < s.num_prompt) {
      e.num_logits = std::clamp(e.end() - s.logits_done, 0, e.count);
    }
    e.joins = std::exchange(s.joins, false);
    e.tokens_begin = plan.num_tokens();
    e.pages_begin = static_cast<int>(plan.pages.size());
    e.num_pages = s.table.num_pages();
    for (int position = e.first; position < e.end(); ++position) {
      const size_t index = static_cast<size_t>(position);
      plan.tokens.push_back(index < s.tokens.size() ? s.tokens[index] : kPreviousSample);
    }
    for (const auto& group : s.table.pages) plan.pages.insert(plan.pages.end(), group.begin(), group.end());
    s.planned = e.end();
    s.pending += e.sample ? 1 : 0;
    ++s.in_flight;
  }
  flights_.push_back({plan.step, plan.entries});
  return plan;
}

// ---- commit
// ---------------------------------------------------------------------------------------------------------

std::vector<Update> Scheduler::commit(const StepResult& result) {
  SLUICE_CHECK(!flights_.empty() && flights_.front().step == result.step, "result of step {}, {} in flight",
               result.step, flights_.size());
  const size_t num_entries = flights_.front().entries.size();
  SLUICE_CHECK(!result.status.ok() || result.entries.size() == num_entries, "{} results for {} entries",
               result.entries.size(), num_entries);
  const Flight flight = std::move(flights_.front());
  flights_.pop_front();

  std::vector<Update> updates;
  updates.reserve(num_entries);
  for (size_t i = 0; i < num_entries; ++i) {
    const auto found = sequences_.find(flight.entries[i].id);
    if (found == sequences_.end()) continue;  // ended while the step ran
    const EntryResult failed{.status = result.status};
    Update update = settle(found->second, flight.entries[i], result.status.ok() ? result.entries[i] : failed);
    if (update.finish) end(found->second, *update.finish);
    if (update.finish || update.token != kNoToken) updates.push_back(std::move(update));
  }
  return updates;
}

Update Scheduler::settle(Sequence& s, const StepEntry& entry, const EntryResult& result) {
  Update update{.id = s.id};
  --s.in_flight;
  s.pending -= entry.sample ? 1 : 0;
  update.error = result.status;
  if (update.error.ok() && entry.sample && result.token < 0) {
    update.error = internal_error("no token was sampled for sequence {}", s.id);
  }
  if (!update.error.ok()) {
    update.finish = FinishReason::error;
    return update;
  }
  if (s.request.prompt_logits) s.logits_done = std::max(s.logits_done, std::min(entry.end(), s.num_prompt));
  if (s.state == Sequence::State::running) {
    s.computed = entry.end();
    books_.publish(s.table, std::span(s.tokens).first(static_cast<size_t>(s.computed)));
  }
  if (entry.sample) {
    s.tokens.push_back(result.token);
    update.token = result.token;
  }
  if (entry.sample || (!s.samples() && entry.end() == s.num_prompt)) update.finish = reason_to_end(s);
  return update;
}

std::optional<FinishReason> Scheduler::reason_to_end(const Sequence& s) const {
  const auto holds = [](const std::vector<int32_t>& set, int32_t token) {
    return std::find(set.begin(), set.end(), token) != set.end();
  };
  if (s.num_outputs() > 0 && s.num_outputs() >= s.request.min_tokens) {
    const int32_t last = s.tokens.back();
    if (!s.request.ignore_eos && holds(config_.eos_tokens, last)) return FinishReason::stop;
    if (holds(s.request.stop_tokens, last)) return FinishReason::stop;
  }
  if (s.num_outputs() >= s.request.max_tokens) return FinishReason::length;
  return std::nullopt;
}

// ---- the end
// --------------------------------------------------------------------------------------------------------

bool Scheduler::finish(SequenceId id, FinishReason reason) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return false;
  end(found->second, reason);
  return true;
}

void Scheduler::end(Sequence& s, FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      ++totals_.stopped;
      break;
    case FinishReason::length:
      ++totals_.reached_length;
      break;
    case FinishReason::cancelled:
      ++totals_.cancelled;
      break;
    case FinishReason::error:
      ++totals_.failed;
      break;
  }
  if (s.state == Sequence::State::running) {
    leave_slot(s);
  } else {
    remove(waiting_, &s);
  }
  sequences_.erase(s.id);
}

// running → nowhere yet: pages and slot are free, steps in flight still carry it.
void Scheduler::leave_slot(Sequence& s) {
  remove(running_, &s);
  books_.close(s.table);
  slots_[static_cast<size_t>(s.slot)] = nullptr;
  s.slot = -1;
  s.planned = s.computed = 0;
  s.joins = false;
  s.state = Sequence::State::waiting;
}

const Sequence* Scheduler::find(SequenceId id) const {
  const auto found = sequences_.find(id);
  return found == sequences_.end() ? nullptr : &found->second;
}

Counts Scheduler::counts() const {
  Counts counts = totals_;
  counts.waiting = static_cast<int>(waiting_.size());
  counts.running = static_cast<int>(running_.size());
  counts.in_flight_steps = num_in_flight();
  return counts;
}

}  // namespace sluice::sched
