// Regular expressions of tokenizers: PCRE2 with its JIT, over valid UTF-8, with Unicode properties.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/tokenizer.h"

struct pcre2_real_code_8;

namespace sluice::text {

class Regex {
 public:
  static constexpr size_t kMaxPatternBytes = size_t{1} << 16;

  /// Compiles a pattern in the dialect that Hugging Face tokenizers use (Oniguruma's Ruby syntax, see
  /// oniguruma.h).
  static Result<Regex> compile(std::string_view pattern);

  /// Appends every match in `subject`, left to right, as offsets into it. An empty match directly behind a
  /// match does not count. resource_exhausted when the pattern backtracks beyond its budget of steps, stack
  /// or time.
  Status find_all(std::string_view subject, std::vector<TextRange>& out) const;

  const std::string& pattern() const { return pattern_; }

 private:
  Regex(std::string pattern, pcre2_real_code_8* code);
  Status failure(int error) const;

  std::string pattern_;
  std::shared_ptr<pcre2_real_code_8> code_;
};

}  // namespace sluice::text
