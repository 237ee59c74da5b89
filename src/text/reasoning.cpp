#include "text/reasoning.h"

#include <algorithm>

namespace sluice::text {
namespace {

constexpr std::string_view kBegin = "<think>", kEnd = "</think>", kSpace = " \t\r\n";

bool is_blank(std::string_view text) { return text.find_first_not_of(kSpace) == std::string_view::npos; }

}  // namespace

bool template_has_reasoning(std::string_view chat_template) {
  return chat_template.find(kEnd) != std::string_view::npos;
}

bool prompt_begins_reasoning(std::string_view prompt, bool open) {
  const size_t begin = prompt.rfind(kBegin);
  if (begin == std::string_view::npos) return false;
  const std::string_view rest = prompt.substr(begin + kBegin.size());
  return open ? rest.find(kEnd) == std::string_view::npos : is_blank(rest);
}

grammar::Grammar behind_reasoning(const grammar::Grammar& form, bool begun) {
  constexpr int32_t kMostSpaces = 4;
  grammar::Grammar g;
  const grammar::RuleId root = g.add_rule("root");
  const grammar::NodeId answer = g.ref(g.include(form));
  const grammar::NodeId space = g.repeat(g.chars({{'\n', '\n'}, {' ', ' '}}), 0, kMostSpaces);
  const grammar::NodeId rest = g.sequence({g.free_text({std::string(kEnd)}), space, answer});
  g.define(root, begun ? rest : g.choice({answer, g.sequence({g.bytes(kBegin), rest})}));
  g.set_root(root);
  return g;
}

ReasoningParser::Parts ReasoningParser::push(std::string_view text) {
  Parts out;
  held_ += text;
  if (state_ == State::before) {
    const size_t begin = std::min(held_.find_first_not_of(kSpace), held_.size());
    const std::string_view rest = std::string_view(held_).substr(begin);
    if (rest.starts_with(kBegin)) {
      state_ = State::thinking;
      held_.erase(0, begin + kBegin.size());
    } else if (!kBegin.starts_with(rest)) {
      state_ = State::answer;
    }
  }
  if (state_ == State::thinking) think(out);
  if (state_ == State::behind || state_ == State::answer) answer(out);
  return out;
}

void ReasoningParser::think(Parts& out) {
  if (!said_) held_.erase(0, std::min(held_.find_first_not_of(kSpace), held_.size()));
  const size_t end = held_.find(kEnd);
  size_t mark = end;  // where one begins, or may
  if (end == std::string::npos) {
    size_t part = std::min(kEnd.size() - 1, held_.size());
    while (!held_.ends_with(kEnd.substr(0, part))) --part;
    mark = held_.size() - part;
  }
  const size_t said = std::string_view(held_).substr(0, mark).find_last_not_of(kSpace) + 1;
  out.reasoning.append(held_, 0, said);
  said_ = said_ || said > 0;
  held_.erase(0, end == std::string::npos ? said : end + kEnd.size());
  if (end != std::string::npos) state_ = State::behind;
}

void ReasoningParser::answer(Parts& out) {
  if (state_ == State::behind) {
    held_.erase(0, std::min(held_.find_first_not_of(kSpace), held_.size()));
    if (held_.empty()) return;
    state_ = State::answer;
  }
  out.answer += held_;
  held_.clear();
}

void ReasoningParser::finish(Parts& out) {
  (state_ == State::thinking ? out.reasoning : out.answer) += held_;
  held_.clear();
}

}  // namespace sluice::text
