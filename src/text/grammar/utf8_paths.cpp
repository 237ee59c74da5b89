#include "text/grammar/utf8_paths.h"

#include "text/utf8.h"

namespace sluice::text::grammar {

void append_utf8_paths(CharRange range, std::vector<Utf8Path>& out) {
  // Cut where the number of bytes changes, then where a trailing byte's range is not whole.
  static constexpr char32_t kLast[] = {0x7F, 0x7FF, 0xFFFF};
  for (char32_t last : kLast) {
    if (range.lo <= last && range.hi > last) {
      append_utf8_paths({range.lo, last}, out);
      append_utf8_paths({last + 1, range.hi}, out);
      return;
    }
  }
  for (int trailing = 1; range.hi > 0x7F && trailing < 4; ++trailing) {
    const char32_t mask = (char32_t{1} << (6 * trailing)) - 1;
    if ((range.lo & ~mask) == (range.hi & ~mask)) continue;
    if ((range.lo & mask) != 0) {
      append_utf8_paths({range.lo, range.lo | mask}, out);
      append_utf8_paths({(range.lo | mask) + 1, range.hi}, out);
      return;
    }
    if ((range.hi & mask) != mask) {
      append_utf8_paths({range.lo, (range.hi & ~mask) - 1}, out);
      append_utf8_paths({range.hi & ~mask, range.hi}, out);
      return;
    }
  }
  const std::string lo = to_utf8(range.lo), hi = to_utf8(range.hi);
  Utf8Path path;
  path.length = static_cast<int>(lo.size());
  for (size_t i = 0; i < lo.size(); ++i)
    path.bytes[i] = {static_cast<uint8_t>(lo[i]), static_cast<uint8_t>(hi[i])};
  out.push_back(path);
}

}  // namespace sluice::text::grammar
