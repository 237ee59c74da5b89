#include "text/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "text/oniguruma.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

// Steps of backtracking for one match: a few for each byte, since \s*[\r\n]+ has to give a long run of spaces
// back.
constexpr uint64_t kStepsBase = 100'000;
constexpr uint64_t kStepsPerByte = 8;
// Address space for what a match has to remember: about 50 bytes for each repeat of a group. Used as needed.
constexpr size_t kJitStackBytes = size_t{64} << 20;
// One call looks for a match that starts in this many bytes, so that the clock is read in between.
constexpr size_t kWindow = 256;
// Wall time after which a subject is given up: far above what a pattern that is linear in its subject takes
// (50 MB/s and more), so only patterns that are quadratic in it get here.
constexpr std::chrono::milliseconds kTimeBase{2000};
constexpr std::chrono::nanoseconds kTimePerByte{1000};

// What one thread needs to match, kept between calls.
struct Scratch {
  Scratch()
      : match_data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr)) {
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(match_data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  pcre2_match_data* match_data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

std::string message_of(int error) {
  PCRE2_UCHAR buffer[256];
  if (pcre2_get_error_message(error, buffer, sizeof buffer) < 0) return "unknown error";
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

Regex::Regex(std::string pattern, pcre2_real_code_8* code)
    : pattern_(std::move(pattern)), code_(code, pcre2_code_free) {}

Result<Regex> Regex::compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return invalid_argument("a regular expression of {} bytes is refused, the limit is {}", pattern.size(),
                            kMaxPatternBytes);
  }
  SLUICE_ASSIGN(const std::string translated, translate_oniguruma(pattern));
  std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  constexpr uint32_t kOptions =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT;
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                   kOptions, &error, &offset, context.get());
  if (code == nullptr) {
    return invalid_argument("the regular expression \"{}\" is refused: {}", pattern, message_of(error));
  }
  // Without JIT (a build of PCRE2 that lacks it) the interpreter gives the same matches, slower.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return Regex(std::string(pattern), code);
}

Status Regex::failure(int error) const {
  return resource_exhausted("the regular expression \"{}\" gave up on a text ({}); it backtracks too much",
                            pattern_, message_of(error));
}

Status Regex::find_all(std::string_view subject, std::vector<TextRange>& out) const {
  static thread_local Scratch scratch;
  std::optional<std::chrono::steady_clock::time_point>
      deadline;  // set once the search turns out not to be short
  const PCRE2_SIZE* span = pcre2_get_ovector_pointer(scratch.match_data);
  const uint64_t steps = kStepsBase + kStepsPerByte * subject.size();
  pcre2_set_match_limit(scratch.context, static_cast<uint32_t>(std::min<uint64_t>(steps, UINT32_MAX)));
  size_t from = 0;
  size_t last_end = PCRE2_UNSET;
  size_t calls = 0;
  while (from <= subject.size()) {
    if (++calls % 16 == 0) {
      const auto now = std::chrono::steady_clock::now();
      if (!deadline) deadline = now + kTimeBase + subject.size() * kTimePerByte;
      if (now > *deadline) return failure(PCRE2_ERROR_MATCHLIMIT);
    }
    const size_t limit = from + kWindow;
    pcre2_set_offset_limit(scratch.context, limit < subject.size() ? limit : PCRE2_UNSET);
    const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(),
                                  from, PCRE2_NO_UTF_CHECK, scratch.match_data, scratch.context);
    if (found == PCRE2_ERROR_NOMATCH) {
      if (limit >= subject.size()) break;
      from = limit;
      while ((static_cast<uint8_t>(subject[from]) & 0xC0) == 0x80) ++from;
      continue;
    }
    if (found < 0) return failure(found);
    const TextRange match{span[0], span[1]};
    if (match.begin == match.end && match.end == last_end) {
      from = match.end + (match.end < subject.size() ? utf8_length(subject[match.end]) : 1);
      continue;
    }
    out.push_back(match);
    from = last_end = match.end;
  }
  return {};
}

}  // namespace sluice::text
