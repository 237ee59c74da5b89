#include "base/error.h"

#include <cerrno>
#include <cstring>

namespace sluice {

const char* status_code_name(StatusCode code) {
  switch (code) {
    case StatusCode::ok:
      return "ok";
    case StatusCode::invalid_argument:
      return "invalid_argument";
    case StatusCode::not_found:
      return "not_found";
    case StatusCode::unsupported:
      return "unsupported";
    case StatusCode::corrupt:
      return "corrupt";
    case StatusCode::resource_exhausted:
      return "resource_exhausted";
    case StatusCode::io_error:
      return "io_error";
    case StatusCode::cancelled:
      return "cancelled";
    case StatusCode::internal:
      return "internal";
  }
  return "unknown";
}

Status errno_error(const std::string& what) {
  const int saved = errno;
  const bool exhausted = saved == ENOSPC || saved == ENOMEM || saved == EDQUOT || saved == EMFILE;
  return {exhausted ? StatusCode::resource_exhausted : StatusCode::io_error,
          fmt::format("{}: {}", what, std::strerror(saved))};
}

}  // namespace sluice
