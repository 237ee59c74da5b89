#include "serve/generation.h"

namespace sluice::serve {
namespace {

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

// Collects the log-probabilities of a prompt's tokens as its logits come by, on the engine's thread.
std::function<void(int, std::span<const float>)> prompt_logprobs_into(std::shared_ptr<PromptLogprobs> out,
                                                                      std::vector<int32_t> prompt,
                                                                      int count) {
  return [out = std::move(out), prompt = std::move(prompt), count](int position, std::span<const float> row) {
    const auto next = static_cast<size_t>(position) + 1;
    if (next < prompt.size())
      (*out)[next] = sampling::TokenLogprobs(ops::logprobs_of(row, prompt[next], count));
  };
}

// Leaves in `event` what is no part of tool calls; adds the rest to the choice's calls and returns it.
std::vector<ToolCallDelta> take_calls(Choice& choice, engine::TextEvent& event) {
  if (!choice.call_parser) return {};
  text::grammar::ToolDeltas deltas = choice.call_parser->push(event.text);
  if (event.finish) choice.call_parser->finish(deltas);
  // Calls end an answer: behind one there can only be an end token that ignore_eos lets through.
  event.text = choice.calls.empty() ? std::move(deltas.content) : "";
  for (const ToolCallDelta& delta : deltas.calls) {
    if (!delta.name.empty()) choice.calls.push_back({delta.id, delta.name, ""});
    choice.calls.back().arguments += delta.arguments;
  }
  return std::move(deltas.calls);
}

// The same of thoughts.
std::string take_reasoning(Choice& choice, engine::TextEvent& event) {
  if (!choice.reasoning_parser) return "";
  text::ReasoningParser& parser = *choice.reasoning_parser;
  const bool thought = parser.thinking();
  text::ReasoningParser::Parts parts = parser.push(event.text);
  if (event.finish) parser.finish(parts);
  choice.reasoning_tokens += event.token >= 0 && (thought || parser.thinking());
  choice.reasoning += parts.reasoning;
  event.text = std::move(parts.answer);
  return std::move(parts.reasoning);
}

}  // namespace

void Formatter::fail(const Generation&, const ApiError& error, std::string& out) {
  out += "data: " + error_body(error) + "\n\ndata: [DONE]\n\n";
}

Generation::Generation(App& app, Call call, std::unique_ptr<Formatter> formatter,
                       const std::shared_ptr<Mailbox>& mailbox, std::function<void()> wake)
    : app_(app), engine_(*app.engine()), call_(std::move(call)), formatter_(std::move(formatter)) {
  inbox_->wake = std::move(wake);
  if (call_.stream) {
    inbox_->max_bytes = app.options().stream_buffer_bytes;
    inbox_->overflow = [this] {
      stalled_ = true;
      app_.metrics().stream_stalled();
      abandon();
      inbox_->wake();
    };
  }
  try {
    submit(mailbox);
  } catch (...) {
    let_go();
    throw;
  }
}

Generation::~Generation() { let_go(); }

void Generation::let_go() {
  if (unfinished_ > 0 && !inbox_->closed) abandon();
  inbox_->closed = true;
  inbox_->wake = nullptr;
  inbox_->overflow = nullptr;
}

Source::Pulled Generation::give_up(std::string& out) {
  out.clear();
  items_.clear();
  return fail(out_of_memory(), out);
}

void Generation::abandon() {
  inbox_->closed = true;
  inbox_->items.clear();
  for (size_t i = 0; i < ids_.size(); ++i) {
    if (choices_[i].finish) continue;
    engine_.abandon(ids_[i]);
    count_finished(choices_[i], {.finish = sched::FinishReason::cancelled, .time = Clock::now()});
  }
}

void Generation::submit(const std::shared_ptr<Mailbox>& mailbox) {
  const size_t count = call_.prompts.size() * static_cast<size_t>(call_.n);
  choices_.resize(count);
  unfinished_ = count;
  for (size_t i = 0; i < count; ++i) {
    Choice& choice = choices_[i];
    choice.index = static_cast<int>(i);
    choice.prompt = static_cast<int>(i) / call_.n;
    const Prompt& prompt = call_.prompts[static_cast<size_t>(choice.prompt)];
    engine::TextRequest request;
    request.core.prompt = prompt.ids;
    request.core.sampling = call_.sampling;
    // Choices of one seed must differ, and each must come again with the same seed.
    if (call_.sampling.seed)
      request.core.sampling.seed = *call_.sampling.seed + i % static_cast<size_t>(call_.n);
    request.core.constraint = call_.constraint;
    request.core.bad_words = call_.bad_words;
    request.core.priority = call_.priority;
    request.core.salt = call_.salt;
    if (call_.prompt_logprobs >= 0) {
      auto logprobs = std::make_shared<PromptLogprobs>(prompt.ids.size());
      request.core.prompt_logits = true;
      request.core.on_logits = prompt_logprobs_into(logprobs, prompt.ids, call_.prompt_logprobs);
      choice.prompt_logprobs = logprobs;
    }
    // Marks may be special tokens: parsers see them all.
    request.skip_special_tokens = call_.skip_special_tokens && !call_.tools && !call_.reasoning;
    if (call_.tools)
      choice.call_parser.emplace(call_.constraint->automaton(), call_.tools->request, call_.tools->dialect,
                                 std::hash<std::string>()(call_.id) + i);
    if (call_.reasoning) choice.reasoning_parser.emplace(call_.reasoning->begun);
    request.include_stop = call_.include_stop;
    if (call_.timeout > 0)
      request.deadline = call_.arrival + std::chrono::duration_cast<Clock::duration>(
                                             std::chrono::duration<double>(call_.timeout));
    ids_.push_back(
        engine_.post(std::move(request), std::make_shared<MailSink>(mailbox, inbox_, static_cast<int>(i))));
  }
}

void Generation::take(Choice& choice, const engine::TextEvent& event) {
  Metrics& metrics = app_.metrics();
  if (event.token >= 0) {
    if (choice.tokens.empty()) {
      choice.first_token = event.time;
      choice.cached_tokens = event.admission.cached_tokens;
      metrics.first_token(seconds(event.time - call_.arrival));
    } else {
      metrics.next_token(seconds(event.time - choice.last_token));
    }
    choice.last_token = event.time;
    choice.tokens.push_back(event.token);
  }
  if (event.logprobs) choice.logprobs.push_back(*event.logprobs);
  if (!event.text.empty()) choice.text_tokens = choice.tokens.size();
  choice.text += event.text;
  if (!event.finish) return;
  choice.finish = event.finish;
  choice.stop_string = event.stop_string;
  if (choice.tokens.empty()) choice.cached_tokens = event.admission.cached_tokens;
  --unfinished_;
  count_finished(choice, event);
}

void Generation::count_finished(const Choice& choice, const engine::TextEvent& event) {
  FinishedRequest f;
  const engine::Admission& admission = event.admission;
  const bool scheduled = admission.scheduled != Clock::time_point();
  const Clock::time_point first = choice.tokens.empty() ? event.time : choice.first_token;
  f.e2e = seconds(event.time - call_.arrival);
  if (scheduled) {
    f.queue = seconds(admission.scheduled - admission.added);
    f.prefill = seconds(first - admission.scheduled);
  }
  f.decode = choice.tokens.empty() ? 0 : seconds(choice.last_token - choice.first_token);
  f.prompt_tokens = static_cast<int>(call_.prompts[static_cast<size_t>(choice.prompt)].ids.size());
  f.generation_tokens = static_cast<int>(choice.tokens.size());
  f.cached_tokens = choice.cached_tokens;
  f.max_tokens = call_.sampling.max_tokens;
  f.n = call_.n;
  switch (*event.finish) {
    case sched::FinishReason::stop:
      f.end = FinishedRequest::End::stop;
      break;
    case sched::FinishReason::length:
      f.end = FinishedRequest::End::length;
      break;
    case sched::FinishReason::cancelled:
      f.end = FinishedRequest::End::abort;
      break;
    case sched::FinishReason::error:
      f.end = FinishedRequest::End::error;
      break;
  }
  app_.metrics().finished(f);
}

std::optional<ApiError> Generation::failure(const engine::TextEvent& event) const {
  if (!event.error.ok()) {
    ApiError error = from_status(event.error);
    const bool began = event.admission.added != Clock::time_point();
    if (event.error.code() == StatusCode::resource_exhausted && !began) {
      error.status = 429;
      error.retry_after = 1;
      app_.metrics().rejected("queue_full");
    }
    return error;
  }
  if (event.finish == sched::FinishReason::cancelled)
    return ApiError{.status = 503, .message = "the server is shutting down", .retry_after = 1};
  return std::nullopt;
}

Source::Pulled Generation::fail(const ApiError& error, std::string& out) {
  abandon();
  unfinished_ = 0;
  if (!streamed_ && out.empty()) return {error_response(error), true};
  formatter_->fail(*this, error, out);
  return {std::nullopt, true};
}

Source::Pulled Generation::pull(std::string& out) {
  inbox_->woken = false;
  if (stalled_) {
    return fail({.status = 500,
                 .message = "the stream was read too slowly and its buffer is full; it ends here",
                 .retry = false},
                out);
  }
  items_.clear();
  items_.swap(inbox_->items);
  inbox_->bytes = 0;
  for (Inbox::Item& item : items_) {
    Choice& choice = choices_[static_cast<size_t>(item.request)];
    Parts parts;
    parts.calls = take_calls(choice, item.event);
    parts.reasoning = take_reasoning(choice, item.event);
    take(choice, item.event);
    if (const auto error = failure(item.event)) return fail(*error, out);
    if (call_.stream) formatter_->chunk(*this, choice, item.event, parts, out);
  }
  if (unfinished_ == 0 && call_.stream) formatter_->end(*this, out);
  streamed_ = streamed_ || !out.empty();
  if (unfinished_ > 0) return {};
  if (call_.stream) return {std::nullopt, true};
  HttpResponse response;
  response.body = formatter_->whole(*this);
  return {std::move(response), true};
}

Usage Generation::usage() const {
  Usage out;
  for (const Choice& choice : choices_) {
    out.completion += static_cast<int>(choice.tokens.size());
    out.reasoning += choice.reasoning_tokens;
    if (choice.index % call_.n != 0) continue;
    out.prompt += static_cast<int>(call_.prompts[static_cast<size_t>(choice.prompt)].ids.size());
    out.cached += choice.cached_tokens;
  }
  return out;
}

std::string Generation::summary() const {
  const Usage u = usage();
  std::string finish;
  for (const Choice& choice : choices_) {
    if (finish.size() > 64) break;
    if (!finish.empty()) finish += ",";
    finish += choice.finish ? sched::finish_reason_name(*choice.finish) : "abort";
  }
  double ttft = 0;
  if (!choices_.empty() && !choices_[0].tokens.empty())
    ttft = seconds(choices_[0].first_token - call_.arrival);
  return fmt::format(
      R"("prompt_tokens":{},"cached_tokens":{},"completion_tokens":{},"ttft_ms":{:.1f},"finish":"{}")",
      u.prompt, u.cached, u.completion, 1e3 * ttft, finish);
}

Reply generate(App& app, Call call, std::unique_ptr<Formatter> formatter) {
  struct Given {
    Call call;
    std::unique_ptr<Formatter> formatter;
  };
  // A std::function must be copyable.
  auto given = std::make_shared<Given>(Given{std::move(call), std::move(formatter)});
  Reply reply;
  reply.start = [&app, given](const std::shared_ptr<Mailbox>& mailbox, std::function<void()> wake) {
    return std::make_unique<Generation>(app, std::move(given->call), std::move(given->formatter), mailbox,
                                        std::move(wake));
  };
  return reply;
}

}  // namespace sluice::serve
