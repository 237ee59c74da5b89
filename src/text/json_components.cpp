#include "text/json_components.h"

#include <array>
#include <utility>

#include "text/char_class.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

constexpr int kMaxNesting = 16;  // of Sequence in Sequence

// Calls read(fields, type) for a component, or for each of a Sequence's, however deep, in order.
template <typename Read>
Status each_component(const Json& json, const std::string& where, const char* list, Read read,
                      int depth = 0) {
  if (json.is_null()) return {};
  if (!json.is_object()) return corrupt("{} must be an object or null", where);
  if (depth > kMaxNesting) return corrupt("{} nests Sequence more than {} deep", where, kMaxNesting);
  const Fields fields(json, where);
  SLUICE_ASSIGN(const std::string type, fields.string("type"));
  if (type != "Sequence") return read(fields, type);
  SLUICE_ASSIGN(const Json* parts, fields.array(list));
  for (size_t i = 0; i < parts->size(); ++i) {
    SLUICE_TRY(
        each_component((*parts)[i], fmt::format("{}[{}]", fields.where(list), i), list, read, depth + 1));
  }
  return {};
}

Status unknown(const Fields& fields, const std::string& type) {
  return unsupported("{}.type \"{}\" is not supported; the tokenizer would give wrong ids without it",
                     fields.where(), type);
}

// {"String": ...} or {"Regex": ...}. Empty, it stands between all characters: some tokenizers split so, but
// nothing can be replaced there.
Result<Pattern> read_pattern(const Fields& fields, bool may_be_empty) {
  SLUICE_ASSIGN(const Json* json, fields.object("pattern"));
  const Fields pattern(*json, fields.where("pattern"));
  const bool literal = pattern.find("String") != nullptr;
  SLUICE_ASSIGN(const std::string text, pattern.string(literal ? "String" : "Regex"));
  if (text.empty() && !may_be_empty) return corrupt("{}: the pattern is empty", pattern.where());
  auto compiled = literal && !text.empty() ? Pattern::literal(text) : Pattern::regex(text);
  if (!compiled.ok()) return compiled.status().with_context(pattern.where());
  return compiled;
}

// A string of exactly one character.
Result<std::string> read_char(const Fields& fields, const char* name,
                              std::optional<std::string> fallback = {}) {
  SLUICE_ASSIGN(std::string text, fields.string(name, std::move(fallback)));
  if (text.empty() || decode_utf8(text).length != text.size()) {
    return corrupt("{} must be one character, it is \"{}\"", fields.where(name), text);
  }
  return text;
}

Result<std::string> decode_base64(std::string_view text, const std::string& where) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (const char c : text) {
    constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) return corrupt("{} is no base64", where);
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) out.push_back(static_cast<char>(bits >> (count -= 8)));
  }
  return out;
}

Status read_one_normalizer(const Fields& fields, const std::string& type, Normalizers& out) {
  constexpr std::array<std::pair<std::string_view, UnicodeForm>, 4> kForms = {{{"NFC", UnicodeForm::nfc},
                                                                               {"NFD", UnicodeForm::nfd},
                                                                               {"NFKC", UnicodeForm::nfkc},
                                                                               {"NFKD", UnicodeForm::nfkd}}};
  for (const auto& [name, form] : kForms) {
    if (type == name) {
      out.push_back(make_unicode_normalizer(form));
      return {};
    }
  }
  if (type == "Lowercase") {
    out.push_back(make_lowercase());
  } else if (type == "StripAccents") {
    out.push_back(make_strip_accents());
  } else if (type == "Nmt") {
    out.push_back(make_nmt());
  } else if (type == "ByteLevel") {
    out.push_back(make_byte_level_normalizer());
  } else if (type == "Strip") {
    SLUICE_ASSIGN(const bool left, fields.boolean("strip_left"));
    SLUICE_ASSIGN(const bool right, fields.boolean("strip_right"));
    out.push_back(make_strip(left, right));
  } else if (type == "Prepend") {
    SLUICE_ASSIGN(std::string prefix, fields.string("prepend"));
    out.push_back(make_prepend(std::move(prefix)));
  } else if (type == "Replace") {
    SLUICE_ASSIGN(Pattern pattern, read_pattern(fields, false));
    SLUICE_ASSIGN(std::string content, fields.string("content"));
    out.push_back(make_replace(std::move(pattern), std::move(content)));
  } else if (type == "BertNormalizer") {
    BertNormalizerOptions options;
    SLUICE_ASSIGN(options.clean_text, fields.boolean("clean_text", true));
    SLUICE_ASSIGN(options.handle_chinese_chars, fields.boolean("handle_chinese_chars", true));
    SLUICE_ASSIGN(options.lowercase, fields.boolean("lowercase", true));
    SLUICE_ASSIGN(options.strip_accents, fields.boolean("strip_accents", options.lowercase));
    out.push_back(make_bert_normalizer(options));
  } else if (type == "Precompiled") {
    SLUICE_ASSIGN(const std::string base64, fields.string("precompiled_charsmap"));
    SLUICE_ASSIGN(const std::string blob, decode_base64(base64, fields.where("precompiled_charsmap")));
    auto map = PrecompiledCharsmap::create(blob);
    if (!map.ok()) return map.status().with_context(fields.where());
    out.push_back(make_precompiled(std::move(map).value()));
  } else {
    return unknown(fields, type);
  }
  return {};
}

Result<SplitBehavior> read_behavior(const Fields& fields, std::optional<std::string> fallback = {}) {
  constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviors = {
      {{"Removed", SplitBehavior::removed},
       {"Isolated", SplitBehavior::isolated},
       {"MergedWithPrevious", SplitBehavior::merged_with_previous},
       {"MergedWithNext", SplitBehavior::merged_with_next},
       {"Contiguous", SplitBehavior::contiguous}}};
  SLUICE_ASSIGN(const std::string name, fields.string("behavior", std::move(fallback)));
  for (const auto& [known, behavior] : kBehaviors) {
    if (name == known) return behavior;
  }
  return unsupported("{} \"{}\" is not known", fields.where("behavior"), name);
}

// When Metaspace puts its mark in front; older files have a flag instead of the scheme.
Result<PrependScheme> read_prepend_scheme(const Fields& fields) {
  SLUICE_ASSIGN(const bool add_prefix_space, fields.boolean("add_prefix_space", true));
  SLUICE_ASSIGN(const std::string scheme,
                fields.string("prepend_scheme", add_prefix_space ? "always" : "never"));
  if (scheme == "always") return PrependScheme::always;
  if (scheme == "first") return PrependScheme::first;
  if (scheme == "never") return PrependScheme::never;
  return unsupported("{} \"{}\" is not known", fields.where("prepend_scheme"), scheme);
}

Status read_one_pre_tokenizer(const Fields& fields, const std::string& type, PreTokenizers& out) {
  if (type == "ByteLevel") {
    SLUICE_ASSIGN(const bool add_prefix_space, fields.boolean("add_prefix_space", true));
    SLUICE_ASSIGN(const bool use_regex, fields.boolean("use_regex", true));
    SLUICE_ASSIGN(auto byte_level, make_byte_level(add_prefix_space, use_regex));
    out.push_back(std::move(byte_level));
  } else if (type == "Split") {
    SLUICE_ASSIGN(Pattern pattern, read_pattern(fields, true));
    SLUICE_ASSIGN(const SplitBehavior behavior, read_behavior(fields));
    SLUICE_ASSIGN(const bool invert, fields.boolean("invert", false));
    out.push_back(make_split(std::move(pattern), behavior, invert));
  } else if (type == "Digits") {
    SLUICE_ASSIGN(const bool individual, fields.boolean("individual_digits", false));
    out.push_back(
        make_char_split(is_numeric, individual ? SplitBehavior::isolated : SplitBehavior::contiguous));
  } else if (type == "Punctuation") {
    SLUICE_ASSIGN(const SplitBehavior behavior, read_behavior(fields, "Isolated"));
    out.push_back(make_char_split(is_punctuation, behavior));
  } else if (type == "Whitespace") {
    out.push_back(make_whitespace());
  } else if (type == "WhitespaceSplit") {
    out.push_back(make_char_split(is_space, SplitBehavior::removed));
  } else if (type == "BertPreTokenizer") {
    out.push_back(make_char_split(is_space, SplitBehavior::removed));
    out.push_back(make_char_split(is_punctuation, SplitBehavior::isolated));
  } else if (type == "CharDelimiterSplit") {
    SLUICE_ASSIGN(const std::string delimiter, read_char(fields, "delimiter"));
    SLUICE_ASSIGN(Pattern pattern, Pattern::literal(delimiter));
    out.push_back(make_split(std::move(pattern), SplitBehavior::removed, false));
  } else if (type == "Metaspace") {
    SLUICE_ASSIGN(std::string replacement, read_char(fields, "replacement"));
    SLUICE_ASSIGN(const PrependScheme scheme, read_prepend_scheme(fields));
    SLUICE_ASSIGN(const bool split, fields.boolean("split", true));
    out.push_back(make_metaspace(std::move(replacement), scheme, split));
  } else if (type == "FixedLength") {
    SLUICE_ASSIGN(const int64_t length, fields.integer("length", 5));
    if (length < 1) return corrupt("{} is {}, it must be at least 1", fields.where("length"), length);
    out.push_back(make_fixed_length(static_cast<size_t>(length)));
  } else {
    return unknown(fields, type);
  }
  return {};
}

Status read_strip_decoder(const Fields& fields, bool fused, DecodeStages& out) {
  SLUICE_ASSIGN(std::string content, read_char(fields, "content"));
  SLUICE_ASSIGN(const int64_t start, fields.integer("start"));
  SLUICE_ASSIGN(const int64_t stop, fields.integer("stop"));
  constexpr int64_t kMost = 1 << 20;
  if (start < 0 || stop < 0 || start > kMost || stop > kMost) {
    return corrupt("{}: start {} and stop {} must lie in [0, {}]", fields.where(), start, stop, kMost);
  }
  out.push_back(
      make_strip_decoder(std::move(content), static_cast<size_t>(start), static_cast<size_t>(stop), fused));
  return {};
}

Status read_one_decoder(const Fields& fields, const std::string& type, bool& fused, DecodeStages& out) {
  // A stage that looks at single tokens makes no sense behind one that has joined them.
  const bool by_token = type == "ByteFallback" || type == "Metaspace" || type == "WordPiece" ||
                        type == "BPEDecoder" || type == "ByteLevel";
  if (fused && by_token) {
    return unsupported("{}: {} behind a decoder that joins all tokens is not supported", fields.where(),
                       type);
  }
  if (type == "ByteLevel") {
    fused = true;
    out.push_back(make_byte_level_decoder());
  } else if (type == "Fuse") {
    fused = true;
    out.push_back(make_fuse_decoder());
  } else if (type == "ByteFallback") {
    out.push_back(make_byte_fallback_decoder());
  } else if (type == "Metaspace") {
    SLUICE_ASSIGN(std::string replacement, read_char(fields, "replacement"));
    SLUICE_ASSIGN(const PrependScheme scheme, read_prepend_scheme(fields));
    out.push_back(make_metaspace_decoder(std::move(replacement), scheme != PrependScheme::never));
  } else if (type == "Replace") {
    SLUICE_ASSIGN(Pattern pattern, read_pattern(fields, false));
    SLUICE_ASSIGN(std::string content, fields.string("content"));
    out.push_back(make_replace_decoder(std::move(pattern), std::move(content), fused));
  } else if (type == "Strip") {
    return read_strip_decoder(fields, fused, out);
  } else if (type == "WordPiece") {
    SLUICE_ASSIGN(std::string prefix, fields.string("prefix", "##"));
    SLUICE_ASSIGN(const bool cleanup, fields.boolean("cleanup", true));
    out.push_back(make_wordpiece_decoder(std::move(prefix), cleanup));
  } else if (type == "BPEDecoder") {
    SLUICE_ASSIGN(std::string suffix, fields.string("suffix", "</w>"));
    if (suffix.empty()) return corrupt("{} is empty", fields.where("suffix"));
    out.push_back(make_bpe_decoder(std::move(suffix)));
  } else {
    return unknown(fields, type);
  }
  return {};
}

}  // namespace

Status read_normalizer(const Json& json, const std::string& where, Pipeline& pipeline) {
  return each_component(json, where, "normalizers", [&](const Fields& fields, const std::string& type) {
    return read_one_normalizer(fields, type, pipeline.normalizers);
  });
}

Status read_pre_tokenizer(const Json& json, const std::string& where, Pipeline& pipeline) {
  return each_component(json, where, "pretokenizers", [&](const Fields& fields, const std::string& type) {
    return read_one_pre_tokenizer(fields, type, pipeline.pre_tokenizers);
  });
}

Status read_decoder(const Json& json, const std::string& where, Pipeline& pipeline) {
  if (json.is_null()) {
    pipeline.decoders.push_back(make_space_joiner());
    return {};
  }
  bool fused = false;
  return each_component(json, where, "decoders", [&](const Fields& fields, const std::string& type) {
    return read_one_decoder(fields, type, fused, pipeline.decoders);
  });
}

}  // namespace sluice::text
