// Where a server is.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace sluice::load {

using Headers = std::vector<std::pair<std::string, std::string>>;  // (name, value)

struct Target {
  std::string host, port;
  std::string prefix;  // of paths; no slash at its end

  /// As the Host header has it.
  std::string authority() const;
};

/// "http://host:port/prefix"; the scheme may be missing. https is refused: nothing here speaks TLS.
Result<Target> parse_target(const std::string& url);

}  // namespace sluice::load
