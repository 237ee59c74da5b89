// The components of tokenizer.json: each reader takes the JSON of its slot (null for none) and fills the
// pipeline.
#pragma once

#include <string>

#include "text/json_fields.h"
#include "text/pipeline.h"

namespace sluice::text {

/// Fills Pipeline::normalizers.
Status read_normalizer(const Json& json, const std::string& where, Pipeline& pipeline);
/// Fills Pipeline::pre_tokenizers.
Status read_pre_tokenizer(const Json& json, const std::string& where, Pipeline& pipeline);
/// Fills Pipeline::decoders.
Status read_decoder(const Json& json, const std::string& where, Pipeline& pipeline);
/// Puts the model's tokens into Pipeline::vocab. Added tokens must be added before the model itself is read.
Status read_model_vocab(const Fields& model, Pipeline& pipeline);
/// Makes Pipeline::model and sets unk_id.
Status read_model(const Fields& model, Pipeline& pipeline);
/// Sets Pipeline::prefix and suffix: what a post-processor puts around a single text.
Status read_post_processor(const Json& json, const std::string& where, Pipeline& pipeline);

}  // namespace sluice::text
