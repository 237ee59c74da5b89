// What chat.completion and text_completion share: the envelope around their choices, and the end of a stream.
#pragma once

#include "serve/generation.h"

namespace sluice::serve {

class ChoicesFormatter : public Formatter {
 public:
  /// `object`: the chunk's kind, or the whole answer's.
  explicit ChoicesFormatter(const char* object) : object_(object) {}

  void end(const Generation& g, std::string& out) override;

 protected:
  /// data: {"id":...,"choices":[
  void open(const Generation& g, std::string& out);
  void close(const Generation& g, std::string& out);
  /// ,"finish_reason":...,"stop_reason":... and, where asked for, token ids
  static void finish(const Generation& g, const Choice& choice, const engine::TextEvent& event,
                     std::string& out);
  Json envelope(const Generation& g, Json choices) const;

  /// "stop", "length", "tool_calls", "abort".
  static const char* finish_reason(const Choice& choice);
  /// The stop string, or the one of stop_token_ids, that ended it; or null.
  static Json stop_reason(const Generation& g, const Choice& choice);
  static const Prompt& prompt_of(const Generation& g, const Choice& choice) {
    return g.call().prompts[static_cast<size_t>(choice.prompt)];
  }
  /// As vLLM gives them: for each prompt token, an object by token id; null for the first.
  static Json prompt_logprobs(const Generation& g, const Choice& choice);
  static bool worth_a_chunk(const Generation& g, const engine::TextEvent& event);

 private:
  const char* object_;
  std::string prefix_;
  size_t begin_ = 0;  // of the event that is being written
};

}  // namespace sluice::serve
