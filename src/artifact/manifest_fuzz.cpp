// parse_manifest must refuse or accept any text without a fault; what it accepts must survive being written
// again.
#include <cstdlib>

#include "artifact/checksum.h"
#include "artifact/manifest.h"
#include "artifact/tuning.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)artifact::parse_tuning(text, "tuning.json");

  // A fuzzer does not guess checksums: give the text the right one.
  auto json = parse_json(text, "manifest.json");
  if (!json.ok() || !json->is_object()) return 0;
  json->erase("checksum");
  (*json)["checksum"] = artifact::checksum_of(dump_json(*json));
  const auto manifest = artifact::parse_manifest(dump_json(*json), "manifest.json");
  if (!manifest.ok()) return 0;
  const auto again = artifact::parse_manifest(artifact::write_manifest(*manifest), "manifest.json");
  if (!again.ok() || !(*again == *manifest)) std::abort();
  return 0;
}
