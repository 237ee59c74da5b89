// The character classes that normalizers and pre-tokenizers speak of, by Unicode general category.
#pragma once

#include <cstdint>

namespace sluice::text {

/// The property White_Space (Rust's char::is_whitespace).
bool is_space(char32_t c);
/// Categories Nd, Nl and No (Rust's char::is_numeric).
bool is_numeric(char32_t c);
/// Categories P*, and ASCII's symbols, which tokenizers count as punctuation.
bool is_punctuation(char32_t c);
/// Letters, marks, decimal and letter numbers, connectors and joiners: `\w` of Unicode regular expressions.
bool is_word(char32_t c);
/// Categories Mn, Mc and Me.
bool is_mark(char32_t c);
/// Category Mn.
bool is_nonspacing_mark(char32_t c);
/// Categories Cc, Cf, Cn and Co.
bool is_other(char32_t c);
/// The CJK ideographs that BERT sets apart as words.
bool is_bert_ideograph(char32_t c);

}  // namespace sluice::text
