// A call's requests on their way through the engine: one for each prompt and each of its n choices. Collects
// what comes of them and has a formatter say it in the call's own shape, as a stream or as one response.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "serve/app.h"
#include "serve/http/mailbox.h"
#include "text/grammar/tool_calls.h"
#include "text/reasoning.h"

namespace sluice::serve {

struct Prompt {
  std::vector<int32_t> ids;
  std::string text;  // for echo
};

/// The tools that the model may call, and how it writes that.
struct ToolUse {
  text::grammar::ToolRequest request;
  text::grammar::ToolDialect dialect;
};
using text::grammar::ToolCallDelta;

/// The model may think before it answers.
struct Reasoning {
  bool begun = false;  // the prompt ends inside thoughts
};

/// What a step brought that is no part of the answer's text.
struct Parts {
  std::string reasoning;
  std::vector<ToolCallDelta> calls;
  bool empty() const { return reasoning.empty() && calls.empty(); }
};

inline constexpr int kHighestPriority = 1000;

/// A call, parsed and checked.
struct Call {
  std::string id;       // "chatcmpl-..."
  std::string model;    // as the client named it
  int64_t created = 0;  // Unix seconds
  std::vector<Prompt> prompts;
  SamplingParams sampling;
  std::shared_ptr<const sampling::Constraint> constraint;  // what the output must match, if anything
  std::optional<ToolUse> tools;                            // `constraint` is their grammar
  std::shared_ptr<const sampling::BadWords> bad_words;     // sampling.bad_words, if any
  std::optional<Reasoning> reasoning;                      // thoughts are told apart
  int n = 1;
  bool stream = false, include_usage = false, continuous_usage = false;
  bool obfuscate = false;    // pad what is streamed, so that its size says less about its text
  bool echo = false;         // of completions: their prompts
  std::string echoed_text;   // of chats: the message that the answer goes on with
  int prompt_logprobs = -1;  // alternatives for each prompt token; -1: none
  bool skip_special_tokens = true, include_stop = false;
  bool return_token_ids = false, tokens_as_ids = false;
  int truncate_prompt = 0;  // of longer prompts the last so many tokens are read; 0: all, -1: what fits
  int priority = 0;
  double timeout = 0;  // seconds; 0: none
  std::string salt;
  Clock::time_point arrival;
};

using PromptLogprobs = std::vector<std::optional<sampling::TokenLogprobs>>;  // (prompt); the first has none

struct ToolCall {
  std::string id, name, arguments;
};

/// One choice of one prompt.
struct Choice {
  int prompt = 0;
  int index = 0;     // of all choices of the call
  std::string text;  // without thoughts, and what is part of tool calls
  std::string reasoning;
  std::vector<ToolCall> calls;
  std::optional<text::grammar::ToolCallParser> call_parser;  // with tools
  std::optional<text::ReasoningParser> reasoning_parser;
  int reasoning_tokens = 0;
  std::vector<int32_t> tokens;
  size_t text_tokens = 0;                                 // those up to the end of `text`
  std::vector<sampling::TokenLogprobs> logprobs;          // (tokens), when asked for
  std::shared_ptr<const PromptLogprobs> prompt_logprobs;  // when asked for
  std::optional<sched::FinishReason> finish;
  std::optional<std::string> stop_string;
  int cached_tokens = 0;
  bool begun = false;      // something of it was streamed
  size_t text_offset = 0;  // code points streamed, for completion logprobs
  Clock::time_point first_token, last_token;
};

struct Usage {
  int prompt = 0, completion = 0, cached = 0, reasoning = 0;
};

class Generation;

/// How a call's results are written.
class Formatter {
 public:
  virtual ~Formatter() = default;
  /// Appends the stream's events for what a step brought to `choice`, which already holds it: `event`, whose
  /// text is the answer's, and the other `parts`.
  virtual void chunk(const Generation& call, Choice& choice, const engine::TextEvent& event,
                     const Parts& parts, std::string& out) = 0;
  /// Appends what ends the stream.
  virtual void end(const Generation& call, std::string& out) = 0;
  /// Appends what ends the stream after a failure.
  virtual void fail(const Generation& call, const ApiError& error, std::string& out);
  virtual std::string whole(const Generation& call) = 0;
};

class Generation : public Source {
 public:
  /// Queues the requests. `app` outlives this.
  Generation(App& app, Call call, std::unique_ptr<Formatter> formatter,
             const std::shared_ptr<Mailbox>& mailbox, std::function<void()> wake);
  ~Generation() override;

  Pulled pull(std::string& out) override;
  Pulled give_up(std::string& out) override;
  void blocked(bool is) override { inbox_->blocked = is; }
  std::string summary() const override;

  const Call& call() const { return call_; }
  const std::vector<Choice>& choices() const { return choices_; }
  Usage usage() const;
  const text::Tokenizer* tokenizer() const { return engine_.codec().tokenizer(); }
  const App& app() const { return app_; }

 private:
  void submit(const std::shared_ptr<Mailbox>& mailbox);
  void take(Choice& choice, const engine::TextEvent& event);
  void count_finished(const Choice& choice, const engine::TextEvent& event);
  std::optional<ApiError> failure(const engine::TextEvent& event) const;
  Pulled fail(const ApiError& error, std::string& out);
  void abandon();
  /// Nothing comes to this any more.
  void let_go();

  App& app_;
  engine::Service& engine_;
  Call call_;
  std::unique_ptr<Formatter> formatter_;
  std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();
  std::vector<Inbox::Item> items_;  // those that pull() works on; a member to keep its memory
  std::vector<Choice> choices_;
  std::vector<uint64_t> ids_;  // (choices), in the engine
  size_t unfinished_ = 0;
  bool streamed_ = false;  // bytes have been given out
  bool stalled_ = false;   // the reader was too slow
};

/// A reply that runs the call.
Reply generate(App& app, Call call, std::unique_ptr<Formatter> formatter);

}  // namespace sluice::serve
