#include "text/json_fields.h"

namespace sluice::text {

const Json* Fields::find(const char* field) const {
  if (!object_->is_object()) return nullptr;
  const auto it = object_->find(field);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

Status Fields::missing(const char* field, const char* type) const {
  const Json* value = find(field);
  if (value == nullptr) return corrupt("{} is missing; it must be {}", where(field), type);
  return corrupt("{} is of type {}; it must be {}", where(field), value->type_name(), type);
}

Result<bool> Fields::boolean(const char* field, std::optional<bool> fallback) const {
  const Json* value = find(field);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr || !value->is_boolean()) return missing(field, "true or false");
  return value->get<bool>();
}

Result<std::string> Fields::string(const char* field, std::optional<std::string> fallback) const {
  const Json* value = find(field);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr || !value->is_string()) return missing(field, "a string");
  return value->get<std::string>();
}

Result<int64_t> Fields::integer(const char* field, std::optional<int64_t> fallback) const {
  const Json* value = find(field);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr || !value->is_number_integer()) return missing(field, "an integer");
  if (value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX) {
    return corrupt("{} is {}, beyond 64 bits", where(field), value->get<uint64_t>());
  }
  return value->get<int64_t>();
}

Result<const Json*> Fields::array(const char* field) const {
  const Json* value = find(field);
  if (value == nullptr || !value->is_array()) return missing(field, "an array");
  return value;
}

Result<const Json*> Fields::object(const char* field) const {
  const Json* value = find(field);
  if (value == nullptr || !value->is_object()) return missing(field, "an object");
  return value;
}

}  // namespace sluice::text
