// manifest.json: everything an engine directory says about itself. A plain value; whatever else lies in the
// directory is listed here with its length and checksum.
//
//   ENGINE/manifest.json          written last
//   ENGINE/blocks/r0-00000.bin    the weight arena of rank 0 in files of equal size, only the last shorter
//   ENGINE/tokenizer/             as the checkpoint had it, or its GGUF metadata as tokenizer.gguf
//   ENGINE/tuning.json            kernel choices
//
// Numbers are little endian, and the bytes of a tensor are what its layout's kernels read. Layout names carry
// a version, and the Program is lowered anew at each load, so an engine outlives a release.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "model/recipe.h"
#include "model/spec.h"
#include "tensor/dtype.h"

namespace sluice::artifact {

constexpr std::string_view kFormat = "sluice-engine";
constexpr int64_t kFormatVersion = 1;

constexpr const char* kManifestFile = "manifest.json";
constexpr const char* kTuningFile = "tuning.json";
constexpr const char* kTokenizerDir = "tokenizer";

/// Blocks begin at multiples of this in the arena, so that each can be mapped behind the other. Bytes.
constexpr uint64_t kBlockAlignment = uint64_t{1} << 16;
constexpr uint64_t kMaxBlockBytes = 200'000'000;
/// A multiple of 2 MiB, which lets the kernel use huge pages where it does so for files.
constexpr uint64_t kDefaultBlockBytes = uint64_t{128} << 20;
constexpr uint64_t kTensorAlignment = 64;

/// A matrix or vector in the arena: `copies` packed (n, k) matrices one after another.
struct TensorEntry {
  std::string name;
  DType type = DType::f32;
  std::string layout;
  int64_t n = 0;
  int64_t k = 0;
  int64_t copies = 1;
  uint64_t offset = 0;  // in the arena
  uint64_t bytes = 0;   // of all copies
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("name", s.name), v("type", s.type), v("layout", s.layout), v("n", s.n), v("k", s.k);
    v("copies", s.copies), v("offset", s.offset), v("bytes", s.bytes);
  }
  bool operator==(const TensorEntry&) const = default;
};

/// A file of the directory, its name relative to it.
struct FileEntry {
  std::string file;
  uint64_t bytes = 0;
  std::string xxh3;  // XXH3-128
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("file", s.file), v("bytes", s.bytes), v("xxh3", s.xxh3);
  }
  bool operator==(const FileEntry&) const = default;
};

/// Facts that show which checkpoint an engine came from.
struct SourceFile {
  std::string file;
  uint64_t bytes = 0;
  int64_t modified_ns = 0;  // since 1970
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("file", s.file), v("bytes", s.bytes), v("modified_ns", s.modified_ns);
  }
  bool operator==(const SourceFile&) const = default;
};
struct Source {
  std::string kind;  // "safetensors", "gguf"
  std::string name;  // of the directory or file
  std::vector<SourceFile> files;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("kind", s.kind), v("name", s.name), v("files", s.files);
  }
  bool operator==(const Source&) const = default;
};

/// The machine whose kernels chose the layouts.
struct Hardware {
  std::string device;    // "cpu"
  std::string name;      // "AMD EPYC 9B14"
  std::string features;  // "avx512vnni"
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("device", s.device), v("name", s.name), v("features", s.features);
  }
  bool operator==(const Hardware&) const = default;
};

struct Manifest {
  std::string writer;  // "sluice 0.1.0"
  Source source;
  Hardware hardware;
  model::Spec spec;
  model::Recipe recipe;  // complete
  model::RoleTypes types;
  uint64_t weight_bytes = 0;         // of the arena
  uint64_t block_bytes = 0;          // of each block but the last
  std::vector<TensorEntry> tensors;  // by offset
  std::vector<FileEntry> blocks;     // of the arena, in order
  std::vector<FileEntry> files;      // tokenizer and tuning
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("writer", s.writer), v("source", s.source), v("hardware", s.hardware), v("spec", s.spec);
    v("recipe", s.recipe), v("types", s.types), v("weight_bytes", s.weight_bytes);
    v("block_bytes", s.block_bytes), v("tensors", s.tensors), v("blocks", s.blocks), v("files", s.files);
  }
  bool operator==(const Manifest&) const = default;
};

/// Name of a block file of rank 0, "blocks/r0-00007.bin".
std::string block_file(size_t index);

/// The text of manifest.json. Its last member is a checksum over all others.
std::string write_manifest(const Manifest& manifest);

/// Reads and checks it: a version of this release (`unsupported` otherwise, with the remedy), the checksum, a
/// Spec without contradictions, a complete Recipe, blocks that add up to the arena, tensors that lie in it
/// aligned and apart, file names that stay inside the directory. That each tensor has the size its layout
/// gives it is for the one who lowers the Program to compare. `origin` names the file in messages.
Result<Manifest> parse_manifest(std::string_view text, const std::string& origin);

/// Whether `path` is a directory whose manifest.json is one of ours, be it damaged or of another version.
bool is_engine_dir(const std::string& path);

}  // namespace sluice::artifact
