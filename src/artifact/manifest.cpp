#include "artifact/manifest.h"

#include <algorithm>
#include <array>
#include <set>

#include "artifact/checksum.h"
#include "base/checked.h"
#include "base/fields.h"
#include "base/file.h"

namespace sluice::artifact {
namespace {

constexpr const char* kAgain = "run optimize again";

// How every manifest begins: enough to tell one of ours whatever happened to the rest.
std::string opening() { return fmt::format("{{\n  \"format\": \"{}\"", kFormat); }

std::string content_checksum(const Json& manifest) {
  Json content = manifest;
  content.erase("checksum");
  return checksum_of(dump_json(content));
}

// A relative path of plain names.
bool stays_inside(const std::string& file) {
  if (file.empty() || file.size() > 512) return false;
  for (size_t begin = 0; begin <= file.size();) {
    const size_t end = std::min(file.find('/', begin), file.size());
    const std::string_view part = std::string_view(file).substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return file.find('\0') == std::string::npos;
}

Status check_entry(const FileEntry& entry, const std::string& origin) {
  if (!stays_inside(entry.file)) {
    return corrupt("{}: \"{}\" is not the name of a file inside the engine; {}", origin,
                   entry.file.substr(0, 64), kAgain);
  }
  if (entry.xxh3.size() != 32 || entry.xxh3.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return corrupt("{}: {}: xxh3 is not a checksum of 32 hexadecimal digits; {}", origin, entry.file, kAgain);
  }
  return {};
}

Status check_blocks(const Manifest& m, const std::string& origin) {
  if (m.block_bytes == 0 || m.block_bytes % kBlockAlignment != 0 || m.block_bytes > kMaxBlockBytes) {
    return corrupt("{}: block_bytes is {}, not a multiple of {} up to {}; {}", origin, m.block_bytes,
                   kBlockAlignment, kMaxBlockBytes, kAgain);
  }
  const uint64_t count = m.weight_bytes / m.block_bytes + (m.weight_bytes % m.block_bytes != 0 ? 1 : 0);
  if (m.blocks.size() != count) {
    return corrupt("{}: {} blocks where weight_bytes {} needs {}; {}", origin, m.blocks.size(),
                   m.weight_bytes, count, kAgain);
  }
  for (size_t i = 0; i < m.blocks.size(); ++i) {
    const FileEntry& block = m.blocks[i];
    SLUICE_TRY(check_entry(block, origin));
    const uint64_t expected = std::min(m.block_bytes, m.weight_bytes - i * m.block_bytes);
    if (block.file != block_file(i) || block.bytes != expected) {
      return corrupt("{}: blocks[{}] is {} of {} bytes, expected {} of {}; {}", origin, i, block.file,
                     block.bytes, block_file(i), expected, kAgain);
    }
  }
  return {};
}

Status check_tensors(const Manifest& m, const std::string& origin) {
  std::set<std::string_view> names;
  uint64_t end = 0;  // of the tensor before
  for (const TensorEntry& t : m.tensors) {
    const auto tensor_end = checked_add(t.offset, t.bytes);
    std::string_view problem;
    if (t.name.empty() || !names.insert(t.name).second) problem = "its name is empty or there twice";
    if (t.n < 1 || t.k < 1 || t.copies < 1) problem = "n, k and copies must be positive";
    if (t.bytes == 0 || (t.copies > 0 && t.bytes % static_cast<uint64_t>(t.copies) != 0))
      problem = "its bytes are not a multiple of its copies";
    if (t.offset % kTensorAlignment != 0) problem = "its offset is not aligned";
    if (t.offset < end) problem = "it overlaps the tensor before it";
    if (!tensor_end || *tensor_end > m.weight_bytes) problem = "it ends beyond the weights";
    if (!problem.empty()) {
      return corrupt("{}: tensor \"{}\" (offset {}, {} bytes): {}; {}", origin, t.name.substr(0, 100),
                     t.offset, t.bytes, problem, kAgain);
    }
    end = *tensor_end;
  }
  return {};
}

Status check_files(const Manifest& m, const std::string& origin) {
  std::set<std::string_view> names;
  for (const FileEntry& file : m.files) {
    SLUICE_TRY(check_entry(file, origin));
    if (file.file == kManifestFile || !names.insert(file.file).second)
      return corrupt("{}: files: {} is listed twice; {}", origin, file.file, kAgain);
  }
  return {};
}

Status check(Manifest& m, const std::string& origin) {
  if (const auto problems = model::validate(m.spec); !problems.empty())
    return corrupt("{}: spec: {}; {}", origin, problems.front(), kAgain);
  if (m.recipe.page_tokens == 0) return corrupt("{}: recipe: page_tokens is 0; {}", origin, kAgain);
  SLUICE_TRY(model::complete(m.recipe, m.spec, m.recipe.page_tokens).with_context(origin + ": recipe"));
  SLUICE_TRY(check_blocks(m, origin));
  SLUICE_TRY(check_tensors(m, origin));
  return check_files(m, origin);
}

}  // namespace

std::string block_file(size_t index) { return fmt::format("blocks/r0-{:05}.bin", index); }

std::string write_manifest(const Manifest& manifest) {
  Json out = Json::object();
  out["format"] = kFormat;
  out["version"] = kFormatVersion;
  out.update(to_json(manifest));
  out["checksum"] = content_checksum(out);
  return dump_json(out, 2) + "\n";
}

Result<Manifest> parse_manifest(std::string_view text, const std::string& origin) {
  SLUICE_ASSIGN(Json json, parse_json(text, origin));
  const auto member = [&](const char* name) { return json.is_object() ? json.value(name, Json()) : Json(); };
  if (member("format") != kFormat)
    return corrupt("{}: not the manifest of a Sluice engine; {}", origin, kAgain);
  if (member("version") != kFormatVersion) {
    return unsupported("{}: version {} of the format, this release reads version {}; {}", origin,
                       dump_json(member("version")).substr(0, 32), kFormatVersion, kAgain);
  }
  if (member("checksum") != content_checksum(json))
    return corrupt("{}: the checksum does not match: the file was damaged or edited; {}", origin, kAgain);
  for (const char* own : {"format", "version", "checksum"}) json.erase(own);
  Manifest manifest;
  SLUICE_TRY(from_json(json, origin, manifest));
  SLUICE_TRY(check(manifest, origin));
  return manifest;
}

bool is_engine_dir(const std::string& path) {
  const std::string expected = opening();
  std::string found(expected.size(), '\0');
  const auto file = File::open(join_path(path, kManifestFile));
  return file.ok() && file->size() >= found.size() &&
         file->read_at(0, std::as_writable_bytes(std::span(found))).ok() && found == expected;
}

}  // namespace sluice::artifact
