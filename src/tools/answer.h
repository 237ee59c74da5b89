// One request from submission to its end, as `run` shows it.
#pragma once

#include <chrono>
#include <functional>

#include "base/json.h"
#include "engine/service.h"

namespace sluice::tools {

struct Answer {
  std::vector<int32_t> prompt_ids;
  std::vector<int32_t> ids;
  std::string text;
  sched::FinishReason reason = sched::FinishReason::stop;
  Status error;
  std::vector<sampling::TokenLogprobs> logprobs;  // (ids), when asked for
  bool wants_logprobs = false;
  double ttft_ms = 0;  // submission to first token
  double tpot_ms = 0;  // between tokens, mean
};

/// A request on its way. collect() may be called once.
class Pending {
 public:
  static Result<Pending> submit(engine::Service& service, std::vector<int32_t> prompt_ids,
                                const SamplingParams& sampling, int priority = 0);

  /// Waits for the end; `show` gets each piece of text as it comes.
  Answer collect(const std::function<void(std::string_view)>& show = {});
  void cancel() { service_->cancel(ticket_.id); }

 private:
  using Clock = std::chrono::steady_clock;
  Pending(engine::Service& service, engine::Service::Ticket ticket)
      : service_(&service), ticket_(std::move(ticket)) {}

  engine::Service* service_;
  engine::Service::Ticket ticket_;
  Answer answer_;
  Clock::time_point start_ = Clock::now();
};

/// {"prompt_ids", "ids", "text", "finish_reason", "logprobs", "ttft_ms", "tpot_ms"}, and "error" where there
/// was one.
Json answer_json(const Answer& answer);

}  // namespace sluice::tools
