// Any bytes as tokenizer.json; a tokenizer that loads encodes, decodes and streams without a crash.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "text/detokenizer.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::text;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = input.find('\0');  // what follows is tokenizer_config.json
  const std::string_view config = cut == std::string_view::npos ? std::string_view() : input.substr(cut + 1);
  const auto tokenizer = make_json_tokenizer({.tokenizer = input.substr(0, cut), .tokenizer_config = config});
  if (!tokenizer.ok()) return 0;
  for (const bool parse : {false, true}) {
    const auto ids = tokenizer->encode("Hello  w\xC3\xB6rld\n<s>123\xFF", {.parse_special = parse});
    if (!ids.ok()) continue;
    const auto text = tokenizer->decode(*ids);
    SLUICE_CHECK(text.ok() && is_valid_utf8(*text), "decode");
    Detokenizer stream(*tokenizer);
    for (const int32_t id : *ids) SLUICE_CHECK(is_valid_utf8(stream.push(id)), "stream");
    stream.flush();
  }
  for (int32_t id = 0; id < tokenizer->vocab_size() && id < 64; ++id) (void)tokenizer->token_bytes(id);
  return 0;
}
