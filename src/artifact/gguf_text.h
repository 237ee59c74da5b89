// GGUF metadata as the text room's values.
#pragma once

#include "base/json.h"
#include "model/checkpoint/gguf_metadata.h"
#include "text/gguf_vocab.h"

namespace sluice::artifact {

/// The fields under `tokenizer.ggml`; views point into `metadata`. Refuses values of the wrong type by key.
Result<text::GgufVocab> gguf_vocab(const model::GgufMetadata& metadata);

/// The spelling of bos, eos, unk and pad: {"bos_token": "<s>", ...}.
Result<Json> gguf_special_tokens(const model::GgufMetadata& metadata);

/// The part of a file's metadata that texts need: tokenizer, template, generation defaults, and the names by
/// which tokenizers are told apart.
model::GgufMetadata text_metadata(const model::GgufMetadata& metadata);

}  // namespace sluice::artifact
