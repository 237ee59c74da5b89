#include "tools/answer.h"

namespace sluice::tools {
namespace {

double milliseconds(std::chrono::steady_clock::duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

}  // namespace

Result<Pending> Pending::submit(engine::Service& service, std::vector<int32_t> prompt_ids,
                                const SamplingParams& sampling, int priority) {
  const auto start = Clock::now();
  engine::CoreRequest request;
  request.prompt = prompt_ids;
  request.sampling = sampling;
  request.priority = priority;
  SLUICE_ASSIGN(auto ticket, service.submit(std::move(request)));
  Pending pending(service, std::move(ticket));
  pending.start_ = start;
  pending.answer_.prompt_ids = std::move(prompt_ids);
  pending.answer_.wants_logprobs = sampling.logprobs >= 0;
  return pending;
}

Answer Pending::collect(const std::function<void(std::string_view)>& show) {
  engine::TextEvent event;
  Clock::time_point first = start_, last = start_;
  while (ticket_.events->next(event)) {
    if (event.token >= 0) {
      last = Clock::now();
      if (answer_.ids.empty()) first = last;
      answer_.ids.push_back(event.token);
      if (event.logprobs) answer_.logprobs.push_back(*std::move(event.logprobs));
    }
    if (show && !event.text.empty()) show(event.text);
    answer_.text += event.text;
    if (!event.finish) continue;
    answer_.reason = *event.finish;
    answer_.error = std::move(event.error);
  }
  answer_.ttft_ms = milliseconds(first - start_);
  if (answer_.ids.size() > 1)
    answer_.tpot_ms = milliseconds(last - first) / static_cast<double>(answer_.ids.size() - 1);
  return std::move(answer_);
}

Json answer_json(const Answer& a) {
  Json logprobs;
  if (a.wants_logprobs) {
    logprobs = Json::array();
    for (size_t i = 0; i < a.logprobs.size(); ++i) {
      Json top = Json::array();
      for (const auto& [id, logprob] : a.logprobs[i].top) top.push_back({{"id", id}, {"logprob", logprob}});
      logprobs.push_back({{"id", a.ids[i]},
                          {"logprob", a.logprobs[i].logprob},
                          {"rank", a.logprobs[i].rank},
                          {"top", std::move(top)}});
    }
  }
  Json out = {{"prompt_ids", a.prompt_ids},
              {"ids", a.ids},
              {"text", a.text},
              {"finish_reason", sched::finish_reason_name(a.reason)},
              {"logprobs", std::move(logprobs)},
              {"ttft_ms", a.ttft_ms},
              {"tpot_ms", a.tpot_ms}};
  if (!a.error.ok()) out["error"] = a.error.message();
  return out;
}

}  // namespace sluice::tools
