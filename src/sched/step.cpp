#include "sched/step.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace sluice::sched {

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::error:
      return "error";
  }
  return "unknown";
}

std::span<const int32_t> StepPlan::tokens_of(const StepEntry& entry) const {
  return std::span(tokens).subspan(static_cast<size_t>(entry.tokens_begin), static_cast<size_t>(entry.count));
}

std::span<const kv::PageId> StepPlan::pages_of(const StepEntry& entry, int group) const {
  return std::span(pages).subspan(static_cast<size_t>(entry.pages_begin + group * entry.num_pages),
                                  static_cast<size_t>(entry.num_pages));
}

std::string to_string(const StepPlan& plan) {
  std::string out =
      fmt::format("step {}: {} decodes, {} chunks, {} tokens", plan.step, plan.num_decodes,
                  plan.entries.size() - static_cast<size_t>(plan.num_decodes), plan.num_tokens());
  if (!plan.preempted.empty()) out += fmt::format(", preempted {}", fmt::join(plan.preempted, " "));
  for (const StepEntry& e : plan.entries) {
    out += fmt::format("\n  sequence {} slot {}{}: positions [{}, {}), {} logits{}, {} pages; tokens {}",
                       e.id, e.slot, e.joins ? " joins" : "", e.first, e.end(), e.num_logits,
                       e.sample ? ", sample" : "", e.num_pages, fmt::join(plan.tokens_of(e), " "));
  }
  return out;
}

}  // namespace sluice::sched
