#include "text/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace sluice::text {
namespace {

std::string word(std::mt19937& rng, size_t most, std::string_view alphabet) {
  std::string out(1 + rng() % most, ' ');
  for (char& c : out) c = alphabet[rng() % alphabet.size()];
  return out;
}

std::vector<int32_t> run(const Model& model, const std::string& text) {
  Words words;
  words.text = text;
  words.ranges = {{0, text.size()}};
  std::vector<int32_t> ids;
  EXPECT_TRUE(model.tokenize(words, ids).ok());
  return ids;
}

// Merges the pair of the lowest rank, the leftmost of equals, until there is none: the definition.
template <typename Rank>
std::vector<std::string> merge_by_hand(std::vector<std::string> parts, Rank rank) {
  for (;;) {
    size_t best = 0;
    double lowest = 1e9;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const double r = rank(parts[i], parts[i + 1]);
      if (r < lowest) {
        lowest = r;
        best = i;
      }
    }
    if (lowest == 1e9) return parts;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> out;
  for (const char c : text) out.emplace_back(1, c);
  return out;
}

TEST(Bpe, RankedMergesAgreeWithTheDefinition) {
  std::mt19937 rng(1);
  for (int round = 0; round < 300; ++round) {
    Vocab vocab;
    int32_t next = 0;
    for (const char c : std::string("abc"))
      ASSERT_TRUE(vocab.add(next++, std::string(1, c), Vocab::kModel).ok());
    std::map<std::pair<std::string, std::string>, int> ranks;
    MergeListReader reader(vocab, 16);
    for (int i = 0; i < 16; ++i) {
      const std::string left(vocab.token(static_cast<int32_t>(rng() % static_cast<size_t>(next))));
      const std::string right(vocab.token(static_cast<int32_t>(rng() % static_cast<size_t>(next))));
      if (ranks.contains({left, right})) continue;
      if (!vocab.find(left + right)) {
        ASSERT_TRUE(vocab.add(next++, left + right, Vocab::kModel).ok());
      }
      ASSERT_TRUE(reader.add(left, right).ok());
      const int rank = static_cast<int>(ranks.size());
      ranks[{left, right}] = rank;
    }
    const RankedBpe model(vocab, reader.take(), {});
    const std::string text = word(rng, 40, "abc");
    std::vector<int32_t> expected;
    for (const std::string& part : merge_by_hand(characters(text), [&](const auto&l, const auto&r) {
           const auto it = ranks.find({l, r});
           return it == ranks.end() ? 1e9 : it->second;
         })) {
      expected.push_back(*vocab.find(part));
    }
    ASSERT_EQ(run(model, text), expected) << text;
  }
}

TEST(Bpe, ScoredMergesAgreeWithTheDefinition) {
  std::mt19937 rng(2);
  for (int round = 0; round < 300; ++round) {
    Vocab vocab;
    std::vector<float> scores;
    const auto add = [&](const std::string& token) {
      if (vocab.find(token)) return;
      ASSERT_TRUE(vocab.add(static_cast<int32_t>(scores.size()), token, Vocab::kModel).ok());
      scores.push_back(static_cast<float>(rng() % 7) - 3.0f);
    };
    for (const char* c : {"a", "b", "c", "\xE2\x96\x81"}) add(c);
    for (int i = 0; i < 16; ++i) add(word(rng, 5, "abc"));
    add("\xE2\x96\x81" + word(rng, 3, "abc"));
    if (round % 2) add(word(rng, 2, "abc") + "\xE2\x96\x81");  // where a text must not be cut at this mark
    const ScoredBpe model(vocab, scores, std::nullopt);
    std::vector<std::string> parts;
    for (int i = 0; i < 4; ++i) {
      for (const std::string& c : characters(word(rng, 8, "abc"))) parts.push_back(c);
      parts.emplace_back("\xE2\x96\x81");
    }
    std::string text;
    for (const std::string& part : parts) text += part;
    std::vector<int32_t> expected;
    for (const std::string& part : merge_by_hand(parts, [&](const auto&l, const auto&r) {
           const auto id = vocab.find(l + r);
           return id ? -static_cast<double>(scores[static_cast<size_t>(*id)]) : 1e9;
         })) {
      expected.push_back(*vocab.find(part));
    }
    ASSERT_EQ(run(model, text), expected) << text;
  }
}

// Every pair is looked up once at the start, and two after each merge: a megabyte of one letter is no attack.
TEST(Bpe, LooksUpLinearlyManyPairs) {
  constexpr uint32_t kLetters = 1'000'000;
  MergeQueue queue;
  for (uint32_t i = 0; i < kLetters; ++i) queue.push(0, i, 1);
  size_t looks = 0;
  queue.run([&](const Symbol& left, const Symbol& right) {
    ++looks;
    const bool merges = left.id == right.id && left.id < 7;  // up to 128 letters
    return merges ? Merge{static_cast<uint32_t>(left.id), left.id + 1} : Merge{};
  });
  EXPECT_LE(looks, 3 * size_t{kLetters});
  EXPECT_EQ(std::ranges::count_if(queue.symbols(), [](const Symbol& s) { return s.length > 0; }),
            kLetters / 128 + 1);  // the last one of 64
}

TEST(Bpe, MergeListRefusesWhatTheVocabularyLacks) {
  Vocab vocab;
  for (int32_t id = 0; const char* token : {"a", "b", "ab"})
    ASSERT_TRUE(vocab.add(id++, token, Vocab::kModel).ok());
  MergeListReader reader(vocab, 4);
  EXPECT_TRUE(reader.add_line("a b").ok());
  EXPECT_FALSE(reader.add_line("b a").ok());
  EXPECT_FALSE(reader.add_line("a c").ok());
  EXPECT_FALSE(reader.add_line("ab").ok());
  EXPECT_FALSE(reader.add_line("a ").ok());
  EXPECT_FALSE(reader.add_line("a b c").ok());
}

}  // namespace
}  // namespace sluice::text
