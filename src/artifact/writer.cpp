#include "artifact/writer.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "base/check.h"

namespace sluice::artifact {
namespace {

// Fails early what would fail late; quotas and other writers can still make it fail.
Status check_room(const std::string& path, uint64_t needed) {
  struct statvfs fs {};
  if (::statvfs(path.c_str(), &fs) != 0 || fs.f_blocks == 0) return {};  // some file systems do not say
  const uint64_t have = static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize;
  if (have >= needed) return {};
  return resource_exhausted("{}: no space left: the engine needs {:.1f} MB, {:.1f} MB are free", path,
                            static_cast<double>(needed) / 1e6, static_cast<double>(have) / 1e6);
}

}  // namespace

Result<EngineWriter> EngineWriter::create(const std::string& output, uint64_t weight_bytes,
                                          uint64_t block_bytes) {
  SLUICE_CHECK(block_bytes > 0 && block_bytes % kBlockAlignment == 0 && block_bytes <= kMaxBlockBytes, "{}",
               block_bytes);
  SLUICE_ASSIGN(StagedDirectory directory, StagedDirectory::create(output, is_engine_dir));
  SLUICE_TRY(check_room(directory.path(), weight_bytes).with_context(directory.output()));
  if (::mkdir(join_path(directory.path(), "blocks").c_str(), 0777) != 0)
    return errno_error(join_path(directory.path(), "blocks") + ": cannot create the directory");
  return EngineWriter(std::move(directory), weight_bytes, block_bytes);
}

Status EngineWriter::append(std::span<const std::byte> bytes) {
  SLUICE_CHECK(bytes.size() <= weight_bytes_ - written_, "{} + {} of {}", written_, bytes.size(),
               weight_bytes_);
  while (!bytes.empty()) {
    if (!block_) {
      const std::string name = block_file(blocks_.size());
      SLUICE_ASSIGN(block_, HashedFile::create(join_path(directory_.path(), name), name));
    }
    const auto part = bytes.first(std::min<uint64_t>(bytes.size(), block_bytes_ - block_->size()));
    SLUICE_TRY(block_->append(part));
    written_ += part.size();
    bytes = bytes.subspan(part.size());
    if (block_->size() == block_bytes_ || written_ == weight_bytes_) SLUICE_TRY(finish_block());
  }
  return {};
}

Status EngineWriter::finish_block() {
  SLUICE_ASSIGN(FileEntry entry, block_->finish());
  blocks_.push_back(std::move(entry));
  block_.reset();
  return {};
}

Status EngineWriter::pad_to(uint64_t offset) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  SLUICE_CHECK(offset >= written_ && offset <= weight_bytes_, "{} to {} of {}", written_, offset,
               weight_bytes_);
  while (written_ < offset) {
    SLUICE_TRY(append(std::span(kZeros).first(std::min<uint64_t>(offset - written_, kZeros.size()))));
  }
  return {};
}

Status EngineWriter::add_file(const std::string& name, std::string_view content) {
  const std::string path = join_path(directory_.path(), name);
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return io_error("{}: cannot create its directory: {}", path, error.message());
  SLUICE_ASSIGN(HashedFile file, HashedFile::create(path, name));
  SLUICE_TRY(file.append(std::as_bytes(std::span(content))));
  SLUICE_ASSIGN(FileEntry entry, file.finish());
  files_.push_back(std::move(entry));
  return {};
}

Status EngineWriter::publish(Manifest manifest) {
  SLUICE_CHECK(written_ == weight_bytes_, "{} of {}", written_, weight_bytes_);
  manifest.weight_bytes = weight_bytes_;
  manifest.block_bytes = block_bytes_;
  manifest.blocks = std::move(blocks_);
  manifest.files = std::move(files_);
  const std::string path = join_path(directory_.path(), kManifestFile);
  SLUICE_ASSIGN(HashedFile file, HashedFile::create(path, kManifestFile));
  SLUICE_TRY(file.append(std::as_bytes(std::span<const char>(write_manifest(manifest)))));
  SLUICE_TRY(file.finish().status());
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(directory_.path(), error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_directory()) SLUICE_TRY(sync_directory(it->path().string()));
  }
  if (error) return io_error("{}: cannot list the directory: {}", directory_.path(), error.message());
  return directory_.publish();
}

}  // namespace sluice::artifact
