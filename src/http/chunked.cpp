#include "http/chunked.h"

#include <algorithm>
#include <charconv>

namespace sluice::serve {

// Collects up to a line feed; `whole` once line_ has a line, without its end.
ChunkDecoder::State ChunkDecoder::take_line(std::string_view& data, bool& whole) {
  const size_t feed = data.find('\n');
  const size_t take = feed == std::string_view::npos ? data.size() : feed + 1;
  if (line_.size() + take > kMaxLine) return State::malformed;
  line_.append(data.substr(0, take));
  data.remove_prefix(take);
  whole = feed != std::string_view::npos;
  if (!whole) return State::more;
  if (!line_.ends_with("\r\n")) return State::malformed;
  line_.resize(line_.size() - 2);
  return State::more;
}

ChunkDecoder::State ChunkDecoder::end_size_line() {
  const size_t digits = std::min(line_.find_first_of("; \t"), line_.size());
  const char* end = line_.data() + digits;
  const auto [at, ec] = std::from_chars(line_.data(), end, left_, 16);
  if (digits == 0 || at != end || ec == std::errc::invalid_argument) return State::malformed;
  if (ec == std::errc::result_out_of_range || left_ > max_body_ - total_) return State::too_large;
  if (++chunks_ > kMaxChunks) return State::too_large;
  part_ = left_ == 0 ? Part::trailer : Part::data;
  line_.clear();
  return State::more;
}

ChunkDecoder::State ChunkDecoder::feed(std::string_view& data, std::string& body) {
  while (!data.empty()) {
    if (part_ == Part::data) {
      const size_t take = static_cast<size_t>(std::min<uint64_t>(left_, data.size()));
      body.append(data.substr(0, take));
      data.remove_prefix(take);
      left_ -= take;
      total_ += take;
      if (left_ == 0) part_ = Part::data_end;
      continue;
    }
    bool whole = false;
    if (const State state = take_line(data, whole); state != State::more) return state;
    if (!whole) return State::more;
    if (part_ == Part::size) {
      if (const State state = end_size_line(); state != State::more) return state;
    } else if (part_ == Part::data_end) {
      if (!line_.empty()) return State::malformed;
      part_ = Part::size;
    } else {
      if (line_.empty()) return State::done;
      trailers_ += line_.size();
      if (trailers_ > kMaxTrailers) return State::malformed;
      line_.clear();
    }
  }
  return State::more;
}

}  // namespace sluice::serve
