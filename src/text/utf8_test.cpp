#include "text/utf8.h"

#include <gtest/gtest.h>

namespace sluice::text {
namespace {

std::string join(std::string_view bytes, size_t step) {
  Utf8Joiner joiner;
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += step) joiner.push(bytes.substr(at, step), out);
  joiner.flush(out);
  return out;
}

struct Row {
  std::string_view bytes;
  std::string_view text;  // what Python's bytes.decode("utf-8", "replace") gives
};

constexpr Row kRows[] = {
    {"plain", "plain"},           {"\xC3\xA9\xF0\x9F\xA6\x99", "é🦙"}, {"a\x80z", "a�z"},
    {"\xC0\xAF", "��"},            // overlong
    {"\xE0\x80\x80", "���"},       // overlong
    {"\xED\xA0\x80", "���"},       // a surrogate
    {"\xF4\x90\x80\x80", "����"},  // beyond U+10FFFF
    {"\xF0\x9F\xA6", "�"},         // one replacement for the maximal part
    {"\xF0\x9F\xA6x", "�x"},      {"\xE2\x82\xE2\x82\xAC", "�€"},         {"\xFF\xFE", "��"},
};

TEST(Utf8, BrokenBytesAreReplacedHoweverTheyArrive) {
  for (const Row& row : kRows) {
    for (size_t step = 1; step <= row.bytes.size(); ++step)
      EXPECT_EQ(join(row.bytes, step), row.text) << step;
    EXPECT_EQ(make_valid_utf8(std::string(row.bytes)), row.text);
    EXPECT_EQ(is_valid_utf8(row.bytes), row.bytes == row.text);
  }
}

TEST(Utf8, EveryScalarValueComesBack) {
  for (char32_t c = 0; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 97) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    const Utf8Char back = decode_utf8(to_utf8(c));
    ASSERT_TRUE(back.valid);
    ASSERT_EQ(back.code, c);
    ASSERT_EQ(back.length, utf8_length(to_utf8(c)[0]));
  }
}

}  // namespace
}  // namespace sluice::text
