// XXH3-128 checksums as 32 hexadecimal digits: they find damage, not forgery.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/file.h"

struct XXH3_state_s;

namespace sluice::artifact {

/// Checksum of bytes that come in pieces.
class Checksum {
 public:
  Checksum();
  void update(std::span<const std::byte> bytes);
  /// Of everything so far.
  std::string hex() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

std::string checksum_of(std::string_view text);

/// Reads the whole file: a damaged disk is an error here and not a signal later.
Result<std::string> checksum_of(const File& file);

}  // namespace sluice::artifact
