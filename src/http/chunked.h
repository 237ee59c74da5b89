// Decodes a chunked request body (RFC 9112 section 7.1), piece by piece and within limits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::serve {

class ChunkDecoder {
 public:
  static constexpr size_t kMaxChunks = 1 << 20;
  static constexpr size_t kMaxLine = 1024;      // a chunk's size and extensions, or a trailer line
  static constexpr size_t kMaxTrailers = 8192;  // bytes

  explicit ChunkDecoder(size_t max_body_bytes) : max_body_(max_body_bytes) {}

  enum class State { more, done, malformed, too_large };
  /// Takes bytes from the front of `data`, which it shortens to what it has not taken, and appends content to
  /// `body`. After `done`, what is left of `data` belongs to the next request.
  State feed(std::string_view& data, std::string& body);

 private:
  enum class Part { size, data, data_end, trailer };
  State take_line(std::string_view& data, bool& whole);
  State end_size_line();

  size_t max_body_;
  Part part_ = Part::size;
  std::string line_;
  uint64_t left_ = 0;  // bytes of the chunk under way
  size_t chunks_ = 0, trailers_ = 0, total_ = 0;
};

}  // namespace sluice::serve
