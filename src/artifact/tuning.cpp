#include "artifact/tuning.h"

#include "base/fields.h"
#include "base/file.h"

namespace sluice::artifact {

std::string write_tuning(const Tuning& tuning) { return dump_json(to_json(tuning), 2) + "\n"; }

Result<Tuning> parse_tuning(std::string_view text, const std::string& origin) {
  SLUICE_ASSIGN(const Json json, parse_json(text, origin));
  Tuning tuning;
  SLUICE_TRY(from_json(json, origin, tuning));
  return tuning;
}

Result<Tuning> read_tuning(const std::string& engine) {
  const std::string path = join_path(engine, kTuningFile);
  if (!is_regular_file(path)) return Tuning();
  SLUICE_ASSIGN(const std::string text, read_text_file(path, size_t{64} << 20));
  return parse_tuning(text, path);
}

}  // namespace sluice::artifact
