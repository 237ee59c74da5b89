// A stream of operations on a small scheduler: any order of arrivals, cancellations, plans and commits keeps
// every invariant and drains to the last page.
#include <cstdio>
#include <cstdlib>

#include "base/check.h"
#include "sched/simulation.h"

namespace {

using namespace sluice;
using namespace sluice::sched;

constexpr int kVocab = 3;

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return at_ == size_; }
  int below(int bound) { return empty() ? 0 : data_[at_++] % bound; }

 private:
  const uint8_t* data_;
  size_t size_, at_ = 0;
};

Simulation make_world(Bytes& bytes) {
  SchedulerConfig config;
  config.max_num_seqs = 1 + bytes.below(4);
  config.max_batched_tokens = config.max_num_seqs + bytes.below(12);
  config.mixed_prefill_tokens = 1 + bytes.below(8);
  config.max_model_len = 24;
  config.max_waiting = 6;
  config.max_in_flight_steps = 1 + bytes.below(3);
  config.preemption = bytes.below(4) != 0;
  config.protect_after_preemptions = 1 + bytes.below(2);
  config.protect_after_waiting_steps = 10;
  config.eos_tokens = {0};
  kv::Layout layout{.page_tokens = 1 + bytes.below(4)};
  layout.groups.push_back({"first", bytes.below(3) == 0 ? 2 + bytes.below(8) : 0, 3 + bytes.below(16)});
  if (bytes.below(2) == 1) layout.groups.push_back({"second", 1 + bytes.below(8), 2 + bytes.below(16)});
  Result<Scheduler> scheduler = Scheduler::create(config, layout);
  SLUICE_CHECK(scheduler.ok(), "{}", scheduler.status().message());
  return Simulation(std::move(*scheduler), kVocab);
}

Request make_request(Bytes& bytes) {
  Request request;
  const int32_t token = bytes.below(kVocab);  // prompts of one repeated token share prefixes all the time
  request.prompt.assign(static_cast<size_t>(bytes.below(24)), token);
  request.max_tokens = bytes.below(12);
  request.priority = bytes.below(3);
  const int flags = bytes.below(32);
  request.ignore_eos = (flags & 1) != 0;
  request.prompt_logits = (flags & 6) == 6;
  if ((flags & 8) != 0) request.min_tokens = 3;
  if ((flags & 16) != 0) request.salt = "x";
  return request;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, std::min<size_t>(size, 4096));
  Simulation world = make_world(bytes);
  while (!bytes.empty() && world.ok()) {
    switch (bytes.below(8)) {
      case 0:
      case 1:
        (void)world.add(make_request(bytes)).ok();
        break;
      case 2:
        world.cancel(static_cast<size_t>(bytes.below(8)));
        break;
      case 3:
        if (world.can_plan()) world.plan(bytes.below(8));
        break;
      case 4:
        if (world.can_plan())
          world.plan(8, {.entry = static_cast<size_t>(bytes.below(4)), .step = bytes.below(4) == 0});
        break;
      case 5:
        world.commit();
        break;
      default:
        if (!world.can_plan() || !world.plan()) world.commit();
    }
  }
  world.drain(100'000);
  for (const std::string& fault : world.faults()) fprintf(stderr, "%s\n", fault.c_str());
  if (!world.ok()) abort();
  return 0;
}
