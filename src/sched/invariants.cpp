#include "sched/invariants.h"

#include <fmt/format.h>

#include <set>
#include <utility>

namespace sluice::sched {
namespace {

using Violations = std::vector<std::string>;

struct InFlight {
  int steps = 0, samples = 0;
};

void check_sequence(const Sequence& s, const InFlight& in_flight, const SchedulerConfig& config,
                    Violations& out) {
  const auto broken = [&](const std::string& what) {
    out.push_back(fmt::format("sequence {}: {}", s.id, what));
  };
  if (s.in_flight != in_flight.steps || s.pending != in_flight.samples) {
    broken(fmt::format("counts {} steps and {} samples in flight; there are {} and {}", s.in_flight,
                       s.pending, in_flight.steps, in_flight.samples));
  }
  if (s.num_outputs() > s.request.max_tokens) broken(fmt::format("has {} outputs", s.num_outputs()));
  if (s.preemptions >= config.protect_after_preemptions && !s.protected_) broken("was preempted too often");
  if (s.state == Sequence::State::waiting) {
    if (s.slot != -1 || s.table.is_open() || s.planned != 0 || s.computed != 0)
      broken("waits and holds a slot or pages");
    return;
  }
  if (s.computed > s.planned || s.planned > std::min(s.length(), s.end)) {
    broken(fmt::format("computed {}, planned {}, length {}, end {} are out of order", s.computed, s.planned,
                       s.length(), s.end));
  }
  if (s.table.tokens != s.planned)
    broken(fmt::format("planned {} with pages for {}", s.planned, s.table.tokens));
  if (s.in_flight == 0 && s.computed != s.planned) broken("planned tokens that no step in flight computes");
}

void check_queue(const char* name, const std::vector<Sequence*>& queue, Sequence::State state,
                 Violations& out) {
  for (size_t i = 0; i < queue.size(); ++i) {
    if (queue[i]->state != state) out.push_back(fmt::format("sequence {} is in {}", queue[i]->id, name));
    if (i > 0 && !outranks(*queue[i - 1], *queue[i])) {
      out.push_back(fmt::format("{}: {} stands before {}", name, queue[i - 1]->id, queue[i]->id));
    }
  }
}

void check_entry(const StepPlan& plan, const StepEntry& e, const SchedulerConfig& config,
                 const kv::Layout& layout, Violations& out) {
  const auto broken = [&](const std::string& what) {
    out.push_back(fmt::format("step {}, sequence {}: {}", plan.step, e.id, what));
  };
  if (e.first < 0 || e.count < 1 || e.end() > config.max_model_len) {
    broken(fmt::format("positions [{}, {})", e.first, e.end()));
  }
  if (e.slot < 0 || e.slot >= config.max_num_seqs) broken(fmt::format("slot {}", e.slot));
  if (e.num_logits < 0 || e.num_logits > e.count || (e.sample && e.num_logits < 1))
    broken(fmt::format("{} logits", e.num_logits));
  for (int32_t token : plan.tokens_of(e)) {
    if (token < 0 && (token != kPreviousSample || config.max_in_flight_steps == 1))
      broken(fmt::format("token {}", token));
  }
  if (e.num_pages != kv::pages_for(e.end(), layout.page_tokens))
    broken(fmt::format("{} pages per group", e.num_pages));
  for (int g = 0; g < layout.num_groups(); ++g) {
    const kv::GroupSpec& group = layout.groups[static_cast<size_t>(g)];
    for (int slot = kv::first_visible_page(group.window, e.first, layout.page_tokens); slot < e.num_pages;
         ++slot) {
      const kv::PageId page = plan.pages_of(e, g)[static_cast<size_t>(slot)];
      if (page < 0 || page >= group.num_pages)
        broken(fmt::format("slot {} of {} holds page {}", slot, group.name, page));
    }
  }
}

// A page that an entry writes is in no other entry's table, so entries of a step may run in any order.
void check_writes(const StepPlan& plan, const kv::Layout& layout, Violations& out) {
  for (int g = 0; g < layout.num_groups(); ++g) {
    std::vector<int> holders(static_cast<size_t>(layout.groups[static_cast<size_t>(g)].num_pages));
    for (const StepEntry& e : plan.entries) {
      for (kv::PageId page : plan.pages_of(e, g)) {
        if (page != kv::kNoPage) ++holders[static_cast<size_t>(page)];
      }
    }
    for (const StepEntry& e : plan.entries) {
      for (int slot = e.first / layout.page_tokens; slot < e.num_pages; ++slot) {
        const kv::PageId page = plan.pages_of(e, g)[static_cast<size_t>(slot)];
        if (holders[static_cast<size_t>(page)] != 1) {
          out.push_back(
              fmt::format("step {}: sequence {} writes page {} of group {}, which another entry names",
                          plan.step, e.id, page, g));
        }
      }
    }
  }
}

}  // namespace

std::vector<std::string> validate(const StepPlan& plan, const SchedulerConfig& config,
                                  const kv::Layout& layout) {
  Violations out;
  if (plan.num_tokens() > config.max_batched_tokens) {
    out.push_back(fmt::format("step {}: {} tokens exceed max_batched_tokens", plan.step, plan.num_tokens()));
  }
  if (plan.num_decodes > 0 && plan.num_tokens() - plan.num_decodes > config.mixed_prefill_tokens) {
    out.push_back(fmt::format("step {}: {} prefill tokens beside decodes", plan.step,
                              plan.num_tokens() - plan.num_decodes));
  }
  std::set<SequenceId> ids;
  std::set<int> slots;
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    const StepEntry& e = plan.entries[i];
    if (!ids.insert(e.id).second) out.push_back(fmt::format("step {}: sequence {} twice", plan.step, e.id));
    if (!slots.insert(e.slot).second) out.push_back(fmt::format("step {}: slot {} twice", plan.step, e.slot));
    if (static_cast<int>(i) < plan.num_decodes && e.count != 1) {
      out.push_back(fmt::format("step {}: sequence {} decodes {} tokens", plan.step, e.id, e.count));
    }
    check_entry(plan, e, config, layout, out);
  }
  if (out.empty()) check_writes(plan, layout, out);
  return out;
}

std::vector<std::string> Scheduler::validate() const {
  std::map<SequenceId, InFlight> in_flight;
  for (const Flight& flight : flights_) {
    for (const StepEntry& e : flight.entries) {
      ++in_flight[e.id].steps;
      in_flight[e.id].samples += e.sample ? 1 : 0;
    }
  }
  Violations out;
  std::vector<const kv::PageTable*> tables;
  for (const auto& [id, s] : sequences_) {
    check_sequence(s, in_flight[id], config_, out);
    tables.push_back(&s.table);
  }
  check_queue("running", running_, Sequence::State::running, out);
  check_queue("waiting", waiting_, Sequence::State::waiting, out);
  if (running_.size() + waiting_.size() != sequences_.size()) {
    out.push_back(fmt::format("{} running and {} waiting of {} sequences", running_.size(), waiting_.size(),
                              sequences_.size()));
  }
  size_t slots_used = 0;
  for (size_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot] == nullptr) continue;
    ++slots_used;
    if (slots_[slot]->slot != static_cast<int>(slot))
      out.push_back(fmt::format("slot {} is not its sequence's", slot));
  }
  if (slots_used != running_.size())
    out.push_back(fmt::format("{} slots for {} running", slots_used, running_.size()));
  if (num_in_flight() > config_.max_in_flight_steps)
    out.push_back(fmt::format("{} steps in flight", num_in_flight()));
  const uint64_t ended = totals_.stopped + totals_.reached_length + totals_.cancelled + totals_.failed;
  if (totals_.added != ended + sequences_.size()) {
    out.push_back(fmt::format("{} added, {} ended, {} alive", totals_.added, ended, sequences_.size()));
  }
  if (!config_.preemption && totals_.preemptions > 0) out.push_back("preempted with preemption off");
  const Violations kv = books_.validate(tables);
  out.insert(out.end(), kv.begin(), kv.end());
  return out;
}

}  // namespace sluice::sched
