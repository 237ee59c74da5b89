// JSON from outside, read with limits; JSON of ours, written with keys in the order they were set.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace sluice {

/// Objects keep their order (chat templates print it). Looking a key up in an object is linear: iterate
/// over large ones such as vocabularies.
using Json = nlohmann::ordered_json;

struct JsonLimits {
  size_t max_depth = 256;
  size_t max_nodes = 50'000'000;
  bool allow_nan_literals = false;  // Python writes NaN, Infinity and -Infinity into config.json
};

/// Parses RFC 8259 JSON. Refuses with line and column: malformed text, invalid UTF-8, duplicate keys, a BOM,
/// anything after the value, nesting or size beyond `limits`. `origin` names the file or field in messages.
Result<Json> parse_json(std::string_view text, const std::string& origin, const JsonLimits& limits = {});

/// Reads and parses a regular file of at most `max_bytes`.
Result<Json> read_json_file(const std::string& path, size_t max_bytes = size_t{1} << 30,
                            const JsonLimits& limits = {});

/// Text of `value`; invalid UTF-8 in strings is replaced by U+FFFD, never thrown on. indent < 0: one line.
std::string dump_json(const Json& value, int indent = -1);

}  // namespace sluice
