// A scheduler, a fake executor and an honest bookkeeper: what the random test and the fuzzer drive.
#pragma once

#include <algorithm>
#include <deque>
#include <map>

#include "sched/fake_executor.h"
#include "sched/invariants.h"

namespace sluice::sched {

/// Every operation is followed by a check of all invariants; whatever is wrong becomes a line in faults().
/// The bookkeeper knows of each request only what its client would, and checks that it gets exactly the
/// tokens that the fake model gives for its own prefix, each prompt logit once, and one end with the right
/// reason.
class Simulation {
 public:
  Simulation(Scheduler scheduler, int vocab)
      : scheduler_(std::move(scheduler)),
        executor_(scheduler_.books().layout(), scheduler_.config().max_num_seqs, vocab) {}

  const Scheduler& scheduler() const { return scheduler_; }
  bool ok() const { return faults_.empty(); }
  const std::vector<std::string>& faults() const { return faults_; }
  size_t num_alive() const { return clients_.size(); }
  bool can_plan() const { return scheduler_.num_in_flight() < scheduler_.config().max_in_flight_steps; }
  bool can_commit() const { return !results_.empty(); }

  Status add(const Request& request) {
    const Result<SequenceId> id = scheduler_.add(request);
    if (!id.ok()) return id.status();
    Client client{.request = request};
    for (int32_t token : request.prompt) client.prefix = FakeExecutor::extend(client.prefix, token);
    if (!clients_.emplace(*id, std::move(client)).second)
      faults_.push_back(fmt::format("id {} given out twice", *id));
    check();
    return {};
  }

  /// The client at `index` (modulo their number) goes away.
  void cancel(size_t index) {
    if (clients_.empty()) return;
    auto client = clients_.begin();
    std::advance(client, static_cast<std::ptrdiff_t>(index % clients_.size()));
    const SequenceId id = client->first;
    clients_.erase(client);
    if (!scheduler_.cancel(id) || scheduler_.cancel(id))
      faults_.push_back(fmt::format("{} did not end once", id));
    check();
  }

  /// Plans a step and runs it at once, as a device would before the host hears of it. False if nothing could
  /// run.
  bool plan(int prefill_token_limit = std::numeric_limits<int>::max(), Failure failure = {}) {
    StepPlan plan = scheduler_.plan(prefill_token_limit);
    append(validate(plan, scheduler_.config(), scheduler_.books().layout()));
    const bool runs = !plan.empty();
    if (runs && ok()) results_.push_back({executor_.run(plan, failure), std::move(plan)});
    append(std::exchange(executor_.faults, {}));
    if (!runs && scheduler_.num_in_flight() == 0 && scheduler_.has_sequences())
      faults_.push_back("a livelock: nothing runs");
    check();
    return runs;
  }

  /// Commits the oldest step, if there is one.
  void commit() {
    if (results_.empty()) return;
    const auto [result, plan] = std::move(results_.front());
    results_.pop_front();
    count_logits(plan, result);
    std::map<SequenceId, int> seen;
    for (const Update& update : scheduler_.commit(result)) {
      if (++seen[update.id] > 1) faults_.push_back(fmt::format("two updates of {} in one step", update.id));
      take(update);
    }
    check();
  }

  /// Runs until nothing is left, then gives back every page. Returns the steps it took.
  int drain(int max_steps) {
    int steps = 0;
    while (ok() && (scheduler_.has_sequences() || can_commit())) {
      if (!can_plan() || !plan()) {
        commit();
      } else if (++steps > max_steps) {
        faults_.push_back("does not drain");
      }
    }
    if (!clients_.empty()) faults_.push_back(fmt::format("{} requests never ended", clients_.size()));
    scheduler_.drop_prefix_cache();
    check();
    for (int g = 0; g < scheduler_.books().layout().num_groups(); ++g) {
      const kv::PagePool& pool = scheduler_.books().pool(g);
      if (pool.num_free() != pool.num_pages()) faults_.push_back(fmt::format("group {} leaks pages", g));
    }
    return steps;
  }

 private:
  struct Client {
    Request request;
    std::vector<int32_t> outputs;
    int logits = 0;  // prompt positions delivered
    uint64_t prefix = FakeExecutor::kEmptyPrefix;
  };

  void append(const std::vector<std::string>& lines) {
    faults_.insert(faults_.end(), lines.begin(), lines.end());
  }
  void check() { append(scheduler_.validate()); }

  bool is_stop(const Client& client, int32_t token) const {
    const auto holds = [token](const std::vector<int32_t>& set) {
      return std::find(set.begin(), set.end(), token) != set.end();
    };
    return holds(client.request.stop_tokens) ||
           (!client.request.ignore_eos && holds(scheduler_.config().eos_tokens));
  }

  void count_logits(const StepPlan& plan, const StepResult& result) {
    for (size_t i = 0; i < plan.entries.size() && result.status.ok(); ++i) {
      const StepEntry& e = plan.entries[i];
      const auto client = clients_.find(e.id);
      if (client == clients_.end() || !client->second.request.prompt_logits || !result.entries[i].status.ok())
        continue;
      const int prompt = static_cast<int>(client->second.request.prompt.size());
      if (client->second.logits == prompt || e.num_logits == 0) continue;
      if (e.end() - e.num_logits != client->second.logits)
        faults_.push_back(fmt::format("{}: prompt logits jump", e.id));
      client->second.logits = e.end();
    }
  }

  void take(const Update& update) {
    const auto found = clients_.find(update.id);
    if (found == clients_.end()) {
      faults_.push_back(fmt::format("an update of {}, which has ended", update.id));
      return;
    }
    Client& client = found->second;
    if (update.token != kNoToken) {
      const int32_t expected = executor_.next_token(client.prefix);
      if (update.token != expected) {
        faults_.push_back(fmt::format("{}: output {} is {} instead of {}", update.id, client.outputs.size(),
                                      update.token, expected));
      }
      client.outputs.push_back(update.token);
      client.prefix = FakeExecutor::extend(client.prefix, update.token);
    }
    check_end(update, client);
    if (update.finish) clients_.erase(found);
  }

  void check_end(const Update& update, const Client& client) {
    const int outputs = static_cast<int>(client.outputs.size());
    const bool stops =
        update.token != kNoToken && outputs >= client.request.min_tokens && is_stop(client, update.token);
    const bool full = outputs >= client.request.max_tokens;
    std::optional<FinishReason> expected;
    if (!update.error.ok())
      expected = FinishReason::error;
    else if (stops)
      expected = FinishReason::stop;
    else if (full)
      expected = FinishReason::length;
    if (update.finish != expected)
      faults_.push_back(fmt::format("{} ends wrongly after {} outputs", update.id, outputs));
    if (update.finish && update.error.ok() && client.request.prompt_logits &&
        client.logits != static_cast<int>(client.request.prompt.size())) {
      faults_.push_back(fmt::format("{} ends with {} prompt logits", update.id, client.logits));
    }
  }

  Scheduler scheduler_;
  FakeExecutor executor_;
  std::deque<std::pair<StepResult, StepPlan>> results_;  // run, not committed
  std::map<SequenceId, Client> clients_;
  std::vector<std::string> faults_;
};

}  // namespace sluice::sched
