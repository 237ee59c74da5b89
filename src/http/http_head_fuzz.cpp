// Whatever bytes come first on a connection: they are a head, an error, or not enough yet; and that does not
// depend on how many of them have come already. What is accepted is within the limits.
#include <cstdlib>

#include "http/chunked.h"
#include "http/head.h"

using namespace sluice::serve;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const HttpLimits limits{.max_header_bytes = 1024, .max_headers = 20, .max_body_bytes = 4096};
  const HeadEnd end = find_head_end(text, limits);
  if (end.bytes > size || (end.bytes > 0 && end.error)) std::abort();
  if (end.bytes == 0) return 0;
  // A shorter piece must not have been taken for a whole head.
  if (find_head_end(text.substr(0, end.bytes - 1), limits).bytes != 0) std::abort();
  const Head head = parse_head(text.substr(0, end.bytes), limits);
  if (head.error) return head.error->status >= 400 ? 0 : (std::abort(), 0);
  if (head.body.length > limits.max_body_bytes || (head.body.chunked && head.body.length > 0)) std::abort();
  if (head.request.path != "*" && normal_path(head.request.path) == std::nullopt &&
      head.request.path.find('%') == std::string::npos)
    std::abort();
  std::string whole, pieces;
  std::string_view rest = text.substr(end.bytes), left = rest;
  ChunkDecoder at_once(limits.max_body_bytes), by_bytes(limits.max_body_bytes);
  const auto state = at_once.feed(left, whole);
  auto other = ChunkDecoder::State::more;
  for (size_t i = 0; i < rest.size() && other == ChunkDecoder::State::more; ++i) {
    std::string_view one = rest.substr(i, 1);
    other = by_bytes.feed(one, pieces);
  }
  if (whole.size() > limits.max_body_bytes) std::abort();
  if (state == ChunkDecoder::State::done && (other != state || whole != pieces)) std::abort();
  return 0;
}
