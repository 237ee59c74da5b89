#include "text/detokenizer.h"

#include "text/pipeline.h"

namespace sluice::text {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, const DetokenizerOptions& options)
    : tokenizer_(tokenizer),
      skip_special_(options.skip_special),
      stream_(std::make_unique<DecodeStream>(tokenizer.pipeline().decoders, false)) {
  for (const int32_t id : options.context) push(id);
}

Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;
Detokenizer::~Detokenizer() = default;

std::string Detokenizer::push(int32_t id) {
  std::string out;
  const Vocab& vocab = tokenizer_.pipeline().vocab;
  if (!vocab.contains(id) || !vocab.is_defined(id) || (skip_special_ && vocab.is_special(id))) return out;
  stream_->push(tokenizer_.pipeline().spelling(id), out);
  return out;
}

std::string Detokenizer::flush() {
  std::string out;
  stream_->flush(out);
  return out;
}

}  // namespace sluice::text
