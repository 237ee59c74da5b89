// What must always hold, in one place. Tests and the fuzzer call these after every operation.
#pragma once

#include "sched/scheduler.h"

namespace sluice::sched {

/// Violations inside one plan: budgets, slots and ids used once, page tables that reach, nobody writes a page
/// that another entry names.
std::vector<std::string> validate(const StepPlan& plan, const SchedulerConfig& config,
                                  const kv::Layout& layout);

}  // namespace sluice::sched
