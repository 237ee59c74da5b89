#include "serve/openai/fields.h"

#include <algorithm>

namespace sluice::serve {

void Fields::adopt(const Status& status) {
  if (error_ || status.ok()) return;
  const std::string& message = status.message();
  error_ =
      ApiError{.status = 400, .message = message, .param = message.substr(0, message.find_first_of(": "))};
  if (status.code() == StatusCode::unsupported) error_->code = "unsupported_parameter";
}

std::optional<std::string> Fields::unknown() const {
  if (!object_.is_object()) return std::nullopt;
  for (const auto& member : object_.items()) {
    if (std::find(known_.begin(), known_.end(), member.key()) == known_.end()) return member.key();
  }
  return std::nullopt;
}

}  // namespace sluice::serve
