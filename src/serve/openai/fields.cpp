#include "serve/openai/fields.h"

#include <algorithm>

namespace sluice::serve {

std::optional<std::string> Fields::unknown() const {
  if (!object_.is_object()) return std::nullopt;
  for (const auto& member : object_.items()) {
    if (std::find(known_.begin(), known_.end(), member.key()) == known_.end()) return member.key();
  }
  return std::nullopt;
}

}  // namespace sluice::serve
