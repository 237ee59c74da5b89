// Any ids through the tiny tokenizers: a stream, cut wherever the input says, is valid and equals one-shot
// decoding; stop strings find the same however the text arrives.
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "text/detokenizer.h"
#include "text/stop_strings.h"
#include "text/tiny_tokenizers.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

void check_stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool byte_fallback) {
  Detokenizer stream(tokenizer, {.skip_special = false});
  std::string streamed;
  for (const int32_t id : ids) {
    const std::string delta = stream.push(id);
    SLUICE_CHECK(is_valid_utf8(delta), "half a character");
    streamed += delta;
  }
  streamed += stream.flush();
  const std::string whole = *tokenizer.decode(ids);
  const bool broken = byte_fallback && whole.find(kReplacement) != std::string::npos;
  SLUICE_CHECK(broken || streamed == whole, "stream \"{}\" decode \"{}\"", streamed, whole);

  static const StopStrings kStops = *StopStrings::create({"he", "ell", "lo w", "\xC3\xA9"});
  StopMatcher at_once(kStops);
  StopMatcher by_byte(kStops);
  std::string a;
  std::string b;
  at_once.push(streamed, a);
  for (const char c : streamed) by_byte.push({&c, 1}, b);
  SLUICE_CHECK(at_once.flush(a) == by_byte.flush(b) && a == b, "\"{}\" and \"{}\"", a, b);
}

}  // namespace
}  // namespace sluice::text

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::text;
  static const Tokenizer kByteLevel = tiny::make(tiny::byte_level_json());
  static const Tokenizer kByteFallback = tiny::make(tiny::byte_fallback_json());
  std::vector<int32_t> level;
  std::vector<int32_t> fallback;
  for (size_t i = 0; i + 1 < size; i += 2) {
    const int32_t id = data[i] | data[i + 1] << 8;
    level.push_back(id % kByteLevel.vocab_size());
    fallback.push_back(id % kByteFallback.vocab_size());
  }
  check_stream(kByteLevel, level, false);
  check_stream(kByteFallback, fallback, true);
  return 0;
}
