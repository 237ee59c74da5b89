// The one translation unit that compiles {fmt}: elsewhere its headers only declare, which takes a third off
// the time of a build. Distributions ship the library as headers and as a shared object; the release is one
// binary.
#define FMT_HEADER_ONLY 1
#include <fmt/format.h>

namespace sluice {

// In this unit the library's functions are inline: an address taken keeps each that others link to.
[[gnu::used]] static const struct {
  std::string (*format)(fmt::string_view, fmt::format_args) = &fmt::vformat;
  void (*print)(fmt::string_view, fmt::format_args) = &fmt::vprint;
  void (*print_to)(std::FILE*, fmt::string_view, fmt::format_args) = &fmt::vprint;
  bool (*printable)(uint32_t) = &fmt::detail::is_printable;
  decltype(&fmt::detail::thousands_sep_impl<char>) separator = &fmt::detail::thousands_sep_impl<char>;
} kKept;

}  // namespace sluice
