// Fields of a JSON object from outside, read with messages that say where they stand.
#pragma once

#include <optional>
#include <string>

#include "base/json.h"

namespace sluice::text {

/// An object and its place, such as "tokenizer.json: pre_tokenizer.pretokenizers[1]".
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(&object), where_(std::move(where)) {}

  const Json& json() const { return *object_; }
  const std::string& where() const { return where_; }
  std::string where(const std::string& field) const { return where_ + "." + field; }

  /// The value of a field; null when it is missing or JSON's null.
  const Json* find(const char* field) const;

  /// The field, which must be of the type; `fallback` when it is missing or null.
  Result<bool> boolean(const char* field, std::optional<bool> fallback = {}) const;
  Result<std::string> string(const char* field, std::optional<std::string> fallback = {}) const;
  Result<int64_t> integer(const char* field, std::optional<int64_t> fallback = {}) const;
  Result<const Json*> array(const char* field) const;
  Result<const Json*> object(const char* field) const;

 private:
  Status missing(const char* field, const char* type) const;
  const Json* object_;
  std::string where_;
};

}  // namespace sluice::text
