// A MODEL made ready: loaded, with its tokenizer, behind a scheduler.
#pragma once

#include "engine/codec.h"
#include "engine/core.h"

namespace sluice::engine {

struct Opened {
  std::unique_ptr<Core> core;
  Codec codec;
};

/// Opens an engine directory, a Hugging Face directory or a GGUF file. Tokenizer and weights are read side by
/// side. Ids beyond the tokenizer's are padding of the embedding and are never sampled.
Result<Opened> open(const std::string& path, model::Recipe recipe, ops::Backend backend,
                    LoadOptions options = {}, CoreOptions core_options = {});

/// As open(), for a core that computes nothing: only headers of the weights are read. Its tokens are short
/// words that end no text.
Result<Opened> open_null(const std::string& path, model::Recipe recipe, ops::Backend backend,
                         LoadOptions options = {}, CoreOptions core_options = {});

}  // namespace sluice::engine
