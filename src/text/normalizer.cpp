#include "text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/byte_level.h"
#include "text/char_class.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

// Below this code point nothing changes under the form and nothing combines.
char32_t first_affected(UnicodeForm form) { return form == UnicodeForm::nfc ? 0x300 : 0x80; }

class UnicodeNormalizer final : public Normalizer {
 public:
  explicit UnicodeNormalizer(UnicodeForm form) : form_(form) {}

  Status apply(std::string& text) const override {
    bool affected = false;
    for_each_char(text, [&](char32_t c, std::string_view) { affected |= c >= first_affected(form_); });
    if (!affected) return {};
    std::vector<utf8proc_int32_t> codes = decompose(text);
    const bool compose = form_ == UnicodeForm::nfc || form_ == UnicodeForm::nfkc;
    auto count = static_cast<utf8proc_ssize_t>(codes.size());
    if (compose) {
      count = utf8proc_normalize_utf32(codes.data(), count,
                                       static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
      if (count < 0) return internal_error("Unicode composition failed: {}", utf8proc_errmsg(count));
    }
    text.clear();
    for (utf8proc_ssize_t i = 0; i < count; ++i) append_utf8(text, static_cast<char32_t>(codes[i]));
    return {};
  }

 private:
  // Canonical order is made here because utf8proc_decompose sorts runs of marks in quadratic time.
  std::vector<utf8proc_int32_t> decompose(std::string_view text) const {
    const bool compatible = form_ == UnicodeForm::nfkc || form_ == UnicodeForm::nfkd;
    const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                        (compatible ? UTF8PROC_COMPAT : 0));
    const auto combining_class = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
    std::vector<utf8proc_int32_t> codes;
    codes.reserve(text.size());
    size_t run = 0;  // where the current run of marks begins
    const auto sort_run = [&] {
      std::stable_sort(
          codes.begin() + static_cast<ptrdiff_t>(run), codes.end(),
          [&](utf8proc_int32_t a, utf8proc_int32_t b) { return combining_class(a) < combining_class(b); });
    };
    for_each_char(text, [&](char32_t c, std::string_view) {
      utf8proc_int32_t parts[32];  // the longest decomposition in Unicode has 18
      int boundary = 0;
      const auto count =
          utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, 32, options, &boundary);
      for (utf8proc_ssize_t i = 0; i < std::min<utf8proc_ssize_t>(count, 32); ++i) {
        if (combining_class(parts[i]) == 0) {
          sort_run();
          codes.push_back(parts[i]);
          run = codes.size();
        } else {
          codes.push_back(parts[i]);
        }
      }
    });
    sort_run();
    return codes;
  }

  UnicodeForm form_;
};

// Rewrites the text character by character: fn(code point, its bytes, out) appends what takes its place.
template <typename Fn>
class CharNormalizer final : public Normalizer {
 public:
  explicit CharNormalizer(Fn fn) : fn_(std::move(fn)) {}
  Status apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size());
    for_each_char(text, [&](char32_t c, std::string_view bytes) { fn_(c, bytes, out); });
    text = std::move(out);
    return {};
  }

 private:
  Fn fn_;
};

template <typename Fn>
std::unique_ptr<Normalizer> by_char(Fn fn) {
  return std::make_unique<CharNormalizer<Fn>>(std::move(fn));
}

// Rewrites the text as a whole: fn(text) -> text.
template <typename Fn>
class TextNormalizer final : public Normalizer {
 public:
  explicit TextNormalizer(Fn fn) : fn_(std::move(fn)) {}
  Status apply(std::string& text) const override { return fn_(text); }

 private:
  Fn fn_;
};

template <typename Fn>
std::unique_ptr<Normalizer> by_text(Fn fn) {
  return std::make_unique<TextNormalizer<Fn>>(std::move(fn));
}

void append_lowercase(char32_t c, std::string& out) {
  if (c == 0x130) {  // the only character whose lower case is two: i and a dot above
    out += "i\xCC\x87";
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

void strip(std::string& text, bool left, bool right) {
  size_t begin = 0;
  while (left && begin < text.size()) {
    const Utf8Char c = decode_utf8(std::string_view(text).substr(begin));
    if (!is_space(c.code)) break;
    begin += c.length;
  }
  size_t end = text.size();
  while (right && end > begin) {
    size_t last = end - 1;
    while (last > begin && (static_cast<uint8_t>(text[last]) & 0xC0) == 0x80) --last;
    if (!is_space(decode_utf8(std::string_view(text).substr(last)).code)) break;
    end = last;
  }
  text = text.substr(begin, end - begin);
}

// The length in bytes of the grapheme cluster that `text` (not empty) starts with.
size_t grapheme_length(std::string_view text) {
  Utf8Char c = decode_utf8(text);
  size_t length = c.length;
  utf8proc_int32_t state = 0;
  while (length < text.size()) {
    const Utf8Char next = decode_utf8(text.substr(length));
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(c.code),
                                         static_cast<utf8proc_int32_t>(next.code), &state)) {
      break;
    }
    length += next.length;
    c = next;
  }
  return length;
}

void append_precompiled(const PrecompiledCharsmap& map, std::string_view grapheme, std::string& out) {
  if (grapheme.size() < 6) {
    if (const auto hit = map.shortest(grapheme)) {
      out += hit->replacement;
      return;
    }
  }
  for_each_char(grapheme, [&](char32_t, std::string_view bytes) {
    const auto hit = map.shortest(bytes);
    out += hit ? hit->replacement : bytes;
  });
}

}  // namespace

Status normalize(const Normalizers& normalizers, std::string& text) {
  for (const auto& normalizer : normalizers) SLUICE_TRY(normalizer->apply(text));
  return {};
}

std::unique_ptr<Normalizer> make_unicode_normalizer(UnicodeForm form) {
  return std::make_unique<UnicodeNormalizer>(form);
}

std::unique_ptr<Normalizer> make_lowercase() {
  return by_char([](char32_t c, std::string_view, std::string& out) { append_lowercase(c, out); });
}

std::unique_ptr<Normalizer> make_strip_accents() {
  return by_char([](char32_t c, std::string_view bytes, std::string& out) {
    if (!is_mark(c)) out += bytes;
  });
}

std::unique_ptr<Normalizer> make_strip(bool left, bool right) {
  return by_text([=](std::string& text) {
    strip(text, left, right);
    return Status();
  });
}

std::unique_ptr<Normalizer> make_replace(Pattern pattern, std::string content) {
  return by_text([pattern = std::move(pattern), content = std::move(content)](std::string& text) -> Status {
    SLUICE_ASSIGN(text, replace_all(text, pattern, content));
    return {};
  });
}

std::unique_ptr<Normalizer> make_prepend(std::string prefix) {
  return by_text([prefix = std::move(prefix)](std::string& text) {
    if (!text.empty()) text.insert(0, prefix);
    return Status();
  });
}

std::unique_ptr<Normalizer> make_bert_normalizer(const BertNormalizerOptions& options) {
  const auto nfd = std::make_shared<UnicodeNormalizer>(UnicodeForm::nfd);
  return by_text([options, nfd](std::string& text) -> Status {
    std::string out;
    for_each_char(text, [&](char32_t c, std::string_view bytes) {
      if (options.clean_text) {
        const bool blank = is_space(c);
        if (c == 0 || c == kReplacementChar || (is_other(c) && !(c == '\t' || c == '\n' || c == '\r')))
          return;
        if (blank) {
          out += ' ';
          return;
        }
      }
      if (options.handle_chinese_chars && is_bert_ideograph(c)) {
        out.append(" ").append(bytes).append(" ");
      } else {
        out += bytes;
      }
    });
    if (options.strip_accents) {
      SLUICE_TRY(nfd->apply(out));
    }
    text.clear();
    for_each_char(out, [&](char32_t c, std::string_view bytes) {
      if (options.strip_accents && is_nonspacing_mark(c)) return;
      if (options.lowercase) {
        append_lowercase(c, text);
      } else {
        text += bytes;
      }
    });
    return {};
  });
}

std::unique_ptr<Normalizer> make_nmt() {
  return by_char([](char32_t c, std::string_view bytes, std::string& out) {
    if ((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F ||
        c == 0x9F) {
      return;
    }
    const bool blank = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    out += blank ? std::string_view(" ") : bytes;
  });
}

std::unique_ptr<Normalizer> make_byte_level_normalizer() {
  return by_char([](char32_t, std::string_view bytes, std::string& out) { append_byte_level(out, bytes); });
}

std::unique_ptr<Normalizer> make_precompiled(PrecompiledCharsmap map) {
  return by_text([map = std::move(map)](std::string& text) {
    std::string out;
    out.reserve(text.size());
    for (std::string_view rest = text; !rest.empty();) {
      const size_t length = grapheme_length(rest);
      append_precompiled(map, rest.substr(0, length), out);
      rest.remove_prefix(length);
    }
    text = make_valid_utf8(std::move(out));  // a charsmap may hold anything
    return Status();
  });
}

std::unique_ptr<Normalizer> make_sentencepiece_charsmap(PrecompiledCharsmap map) {
  return by_text([map = std::move(map)](std::string& text) {
    std::string out;
    out.reserve(text.size());
    for (std::string_view rest = text; !rest.empty();) {
      const auto hit = map.longest(rest);
      const size_t length = hit ? hit->length : utf8_length(rest[0]);
      out += hit ? hit->replacement : rest.substr(0, length);
      rest.remove_prefix(length);
    }
    text = make_valid_utf8(std::move(out));  // a charsmap may hold anything
    return Status();
  });
}

std::unique_ptr<Normalizer> make_collapse_spaces() {
  return by_text([](std::string& text) {
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
      if (c != ' ' || (!out.empty() && out.back() != ' ')) out.push_back(c);
    }
    if (out.ends_with(' ')) out.pop_back();
    text = std::move(out);
    return Status();
  });
}

}  // namespace sluice::text
