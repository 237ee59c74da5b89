// What a model thinks before it answers, told apart from the answer: <think> thoughts </think> answer.
#pragma once

#include <string>
#include <string_view>

#include "text/grammar/grammar.h"

namespace sluice::text {

/// Whether the model thinks before answers, going by its chat template.
bool template_has_reasoning(std::string_view chat_template);
/// Whether a rendered prompt ends where thoughts have begun; `open`: its last message goes on.
bool prompt_begins_reasoning(std::string_view prompt, bool open);

/// An answer that must have a form, behind thoughts that need none. `begun`: the prompt has begun them; else
/// there may be none.
grammar::Grammar behind_reasoning(const grammar::Grammar& form, bool begun);

/// Follows one answer. How its text is cut into pieces changes nothing but where parts end.
class ReasoningParser {
 public:
  struct Parts {
    std::string reasoning, answer;  // without white space around thoughts
  };

  explicit ReasoningParser(bool begun) : state_(begun ? State::thinking : State::before) {}

  Parts push(std::string_view text);
  /// The end: appends what was held back because it might have become a mark.
  void finish(Parts& out);
  bool thinking() const { return state_ == State::thinking; }

 private:
  enum class State { before, thinking, behind, answer };
  void think(Parts& out);
  void answer(Parts& out);

  State state_;
  std::string held_;   // not given out yet
  bool said_ = false;  // any of the thoughts
};

}  // namespace sluice::text
