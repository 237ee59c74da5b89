// Names from files in messages: one line, of bounded length, whatever the file holds.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace sluice::model {

/// `name` in quotes, control characters escaped, cut after 100 bytes.
inline std::string quoted_name(std::string_view name) {
  constexpr size_t kLongest = 100;
  if (name.size() <= kLongest) return dump_json(Json(std::string(name)));
  return dump_json(Json(std::string(name.substr(0, kLongest)) + "..."));
}

}  // namespace sluice::model
