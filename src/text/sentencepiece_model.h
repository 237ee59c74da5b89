// tokenizer.model of SentencePiece: a ModelProto with pieces, scores and how texts are normalised.
#pragma once

#include <string_view>

#include "base/error.h"
#include "text/tokenizer.h"

namespace sluice::text {

/// Makes a tokenizer from the bytes of a ModelProto of type BPE or Unigram; WORD and CHAR are refused by
/// name. add_special puts BOS in front (as Llama does); other habits are said in tokenizer_config.json, whose
/// text may be given (add_bos_token, add_eos_token).
Result<Tokenizer> make_sentencepiece_tokenizer(std::string_view model,
                                               std::string_view tokenizer_config = {});

}  // namespace sluice::text
