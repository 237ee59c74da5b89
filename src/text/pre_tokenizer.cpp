#include "text/pre_tokenizer.h"

#include <algorithm>
#include <optional>

#include "text/byte_level.h"
#include "text/char_class.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// A part of a word: a match of the pattern, or what lies between matches.
struct Part {
  TextRange range;
  bool match = false;
};

// Appends the words that `parts`, which cover a word, make under a behaviour.
void apply_behavior(const std::vector<Part>& parts, SplitBehavior behavior, std::vector<TextRange>& out) {
  const size_t first = out.size();
  bool previous = false;  // whether the part before was a match
  switch (behavior) {
    case SplitBehavior::removed:
      for (const Part& part : parts) {
        if (!part.match) out.push_back(part.range);
      }
      break;
    case SplitBehavior::isolated:
      for (const Part& part : parts) out.push_back(part.range);
      break;
    case SplitBehavior::contiguous:
      for (const Part& part : parts) {
        if (part.match == previous && out.size() > first) {
          out.back().end = part.range.end;
        } else {
          out.push_back(part.range);
        }
        previous = part.match;
      }
      break;
    case SplitBehavior::merged_with_previous:
      for (const Part& part : parts) {
        if (part.match && !previous && out.size() > first) {
          out.back().end = part.range.end;
        } else {
          out.push_back(part.range);
        }
        previous = part.match;
      }
      break;
    case SplitBehavior::merged_with_next:
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (part->match && !previous && out.size() > first) {
          out.back().begin = part->range.begin;
        } else {
          out.push_back(part->range);
        }
        previous = part->match;
      }
      std::reverse(out.begin() + static_cast<ptrdiff_t>(first), out.end());
      break;
  }
  out.erase(std::remove_if(out.begin() + static_cast<ptrdiff_t>(first), out.end(),
                           [](TextRange r) { return r.begin == r.end; }),
            out.end());
}

// Cuts every word at the matches that find(word, matches) reports as offsets into it.
template <typename Find>
Status split_words(Words& words, SplitBehavior behavior, bool invert, Find find) {
  std::vector<TextRange> out;
  out.reserve(words.ranges.size());
  std::vector<TextRange> matches;
  std::vector<Part> parts;
  for (const TextRange word : words.ranges) {
    matches.clear();
    SLUICE_TRY(find(words.word(word), matches));
    parts.clear();
    size_t done = word.begin;
    for (const TextRange match : matches) {
      const TextRange range{word.begin + match.begin, word.begin + match.end};
      if (done < range.begin) parts.push_back({{done, range.begin}, invert});
      parts.push_back({range, !invert});
      done = range.end;
    }
    if (done < word.end) parts.push_back({{done, word.end}, invert});
    apply_behavior(parts, behavior, out);
  }
  words.ranges = std::move(out);
  return {};
}

// Rewrites every word: fn(word, out) appends it to the new text.
template <typename Fn>
void rewrite_words(Words& words, Fn fn) {
  std::string text;
  text.reserve(words.text.size() + words.text.size() / 4 + 16);
  for (TextRange& word : words.ranges) {
    const size_t begin = text.size();
    fn(word, text);
    word = {begin, text.size()};
  }
  words.text = std::move(text);
}

class Split final : public PreTokenizer {
 public:
  Split(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  Status apply(Words& words) const override {
    return split_words(words, behavior_, invert_,
                       [&](std::string_view word, std::vector<TextRange>& matches) {
                         return pattern_.find_all(word, matches);
                       });
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class CharSplit final : public PreTokenizer {
 public:
  CharSplit(CharPredicate predicate, SplitBehavior behavior) : predicate_(predicate), behavior_(behavior) {}

  Status apply(Words& words) const override {
    return split_words(words, behavior_, false, [&](std::string_view word, std::vector<TextRange>& matches) {
      size_t at = 0;
      for_each_char(word, [&](char32_t c, std::string_view bytes) {
        if (predicate_(c)) matches.push_back({at, at + bytes.size()});
        at += bytes.size();
      });
      return Status();
    });
  }

 private:
  CharPredicate predicate_;
  SplitBehavior behavior_;
};

// 0: white space, 1: word character, 2: anything else
int whitespace_class(char32_t c) { return is_word(c) ? 1 : is_space(c) ? 0 : 2; }

class Whitespace final : public PreTokenizer {
 public:
  Status apply(Words& words) const override {
    return split_words(words, SplitBehavior::removed, true,
                       [](std::string_view word, std::vector<TextRange>& runs) {
                         int previous = 0;
                         size_t at = 0;
                         for_each_char(word, [&](char32_t c, std::string_view bytes) {
                           const int kind = whitespace_class(c);
                           if (kind != 0 && kind == previous) {
                             runs.back().end = at + bytes.size();
                           } else if (kind != 0) {
                             runs.push_back({at, at + bytes.size()});
                           }
                           previous = kind;
                           at += bytes.size();
                         });
                         return Status();
                       });
  }
};

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, std::optional<Split> split)
      : add_prefix_space_(add_prefix_space), split_(std::move(split)) {}

  Status apply(Words& words) const override {
    if (add_prefix_space_) {
      rewrite_words(words, [&](TextRange word, std::string& out) {
        if (words.word(word)[0] != ' ') out.push_back(' ');
        out += words.word(word);
      });
    }
    if (split_) SLUICE_TRY(split_->apply(words));
    rewrite_words(words, [&](TextRange word, std::string& out) { append_byte_level(out, words.word(word)); });
    return {};
  }

 private:
  bool add_prefix_space_;
  std::optional<Split> split_;
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}

  Status apply(Words& words) const override {
    rewrite_words(words, [&](TextRange word, std::string& out) {
      const size_t begin = out.size();
      const std::string_view text = words.word(word);
      const bool starts = text[0] == ' ' || text.starts_with(replacement_);
      const bool wanted =
          prepend_ == PrependScheme::always ||
          (prepend_ == PrependScheme::first && words.at_start && begin == 0 && word.begin == 0);
      if (wanted && !starts) out += replacement_;
      for (const char c : text) {
        if (c == ' ') {
          out += replacement_;
        } else {
          out.push_back(c);
        }
      }
    });
    if (!split_) return {};
    return split_words(words, SplitBehavior::merged_with_next, false,
                       [&](std::string_view word, std::vector<TextRange>& matches) {
                         for (size_t at = word.find(replacement_); at != std::string_view::npos;
                              at = word.find(replacement_, at + replacement_.size())) {
                           matches.push_back({at, at + replacement_.size()});
                         }
                         return Status();
                       });
  }

 private:
  std::string replacement_;
  PrependScheme prepend_;
  bool split_;
};

class FixedLength final : public PreTokenizer {
 public:
  explicit FixedLength(size_t length) : length_(length) {}

  Status apply(Words& words) const override {
    return split_words(words, SplitBehavior::isolated, false,
                       [&](std::string_view word, std::vector<TextRange>& matches) {
                         size_t at = 0;
                         size_t chars = 0;
                         for_each_char(word, [&](char32_t, std::string_view bytes) {
                           if (chars++ % length_ == 0) matches.push_back({at, at});
                           at += bytes.size();
                           matches.back().end = at;
                         });
                         return Status();
                       });
  }

 private:
  size_t length_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_split(Pattern pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<Split>(std::move(pattern), behavior, invert);
}

std::unique_ptr<PreTokenizer> make_char_split(CharPredicate predicate, SplitBehavior behavior) {
  return std::make_unique<CharSplit>(predicate, behavior);
}

std::unique_ptr<PreTokenizer> make_whitespace() { return std::make_unique<Whitespace>(); }

Result<std::unique_ptr<PreTokenizer>> make_byte_level(bool add_prefix_space, bool use_regex) {
  std::optional<Split> split;
  if (use_regex) {
    SLUICE_ASSIGN(Pattern pattern, Pattern::regex(kGpt2Pattern));
    split.emplace(std::move(pattern), SplitBehavior::isolated, false);
  }
  return std::unique_ptr<PreTokenizer>(std::make_unique<ByteLevel>(add_prefix_space, std::move(split)));
}

std::unique_ptr<PreTokenizer> make_metaspace(std::string replacement, PrependScheme prepend, bool split) {
  return std::make_unique<Metaspace>(std::move(replacement), prepend, split);
}

std::unique_ptr<PreTokenizer> make_fixed_length(size_t length) {
  return std::make_unique<FixedLength>(length);
}

}  // namespace sluice::text
