// For tests: whether a grammar matches a text, asked of the automaton and of the reference acceptor at once.
#pragma once

#include <gtest/gtest.h>

#include <random>

#include "text/grammar/matcher.h"
#include "text/grammar/reference_acceptor.h"

namespace sluice::text::grammar {

class Tested {
 public:
  explicit Tested(Result<Grammar> grammar) {
    if (!grammar.ok()) {
      status_ = grammar.status();
      return;
    }
    grammar_ = *std::move(grammar);
    auto compiled = compile(grammar_);
    if (!compiled.ok()) {
      status_ = compiled.status();
      return;
    }
    automaton_ = *compiled;
  }

  const Status& status() const { return status_; }
  const Grammar& grammar() const { return grammar_; }
  const std::shared_ptr<const Automaton>& automaton() const { return automaton_; }

  bool matches(std::string_view text) const {
    EXPECT_TRUE(status_.ok()) << status_.message();
    if (!status_.ok()) return false;
    Matcher matcher(automaton_);
    const bool out = matcher.accept(text) && matcher.can_end();
    EXPECT_EQ(out, ReferenceAcceptor(grammar_).matches(text))
        << "automaton and reference differ on: " << text;
    return out;
  }

  bool viable(std::string_view text) const { return Matcher(automaton_).accept(text); }

  /// A random text that the grammar matches, unless it grows beyond `limit` bytes.
  std::string sample(std::mt19937& random, size_t limit) const {
    Matcher matcher(automaton_);
    std::string out;
    while (out.size() < limit) {
      if (matcher.exhausted() || (matcher.can_end() && random() % 4 == 0)) break;
      std::vector<uint8_t> next;
      for (const Thread& t : matcher.threads()) {
        if (t.state == Stacks::kEnded) continue;
        for (const Automaton::Edge& e : automaton_->edges(automaton_->state(t.state)))
          next.push_back(static_cast<uint8_t>(e.lo + random() % (e.hi - e.lo + 1u)));
      }
      if (next.empty()) break;
      out += static_cast<char>(next[random() % next.size()]);
      EXPECT_TRUE(matcher.accept(std::string_view(out).substr(out.size() - 1)));
    }
    return out;
  }

 private:
  Grammar grammar_;
  std::shared_ptr<const Automaton> automaton_;
  Status status_;
};

struct Case {
  const char* source;
  std::vector<std::string> yes;
  std::vector<std::string> no;
};

template <typename Make>
void check_cases(const std::vector<Case>& cases, Make make) {
  for (const Case& c : cases) {
    const Tested tested(make(c.source));
    ASSERT_TRUE(tested.status().ok()) << c.source << ": " << tested.status().message();
    for (const std::string& text : c.yes) EXPECT_TRUE(tested.matches(text)) << c.source << " on " << text;
    for (const std::string& text : c.no) EXPECT_FALSE(tested.matches(text)) << c.source << " on " << text;
  }
}

}  // namespace sluice::text::grammar
