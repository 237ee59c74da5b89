// Any bytes as a SentencePiece model; a tokenizer that loads encodes and decodes without a crash.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "text/sentencepiece_model.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::text;
  const auto tokenizer = make_sentencepiece_tokenizer({reinterpret_cast<const char*>(data), size});
  if (!tokenizer.ok()) return 0;
  for (const bool parse : {false, true}) {
    const auto ids = tokenizer->encode("ab  a\xC3\xA9<s>\xFF", {.parse_special = parse});
    if (!ids.ok()) continue;
    const auto text = tokenizer->decode(*ids);
    SLUICE_CHECK(text.ok() && is_valid_utf8(*text), "decode");
  }
  return 0;
}
