#include "artifact/reader.h"

#include <sys/mman.h>

#include <cerrno>
#include <mutex>
#include <vector>

#include "artifact/checksum.h"
#include "base/file.h"
#include "base/parallel.h"

namespace sluice::artifact {
namespace {

constexpr size_t kMaxManifestBytes = size_t{256} << 20;

// The file behind an entry, with the length it should have.
Result<File> open_entry(const std::string& directory, const FileEntry& entry) {
  auto file = File::open(join_path(directory, entry.file));
  if (!file.ok()) return file.status().with_context("the engine is incomplete, run optimize again");
  if (file->size() != entry.bytes) {
    return corrupt("{}: {} bytes, the manifest says {}; run optimize again", file->path(), file->size(),
                   entry.bytes);
  }
  return file;
}

Status compare(const std::string& checksum, const File& file, const FileEntry& entry) {
  if (checksum == entry.xxh3) return {};
  return corrupt("{}: the checksum does not match: the file was damaged or edited; run optimize again",
                 file.path());
}

Status check_content(const File& file, const FileEntry& entry) {
  SLUICE_ASSIGN(const std::string found, checksum_of(file));
  return compare(found, file, entry);
}

// For file systems without mmap.
Status read_into(const File& file, std::byte* at) {
  if (::mmap(at, file.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
      MAP_FAILED)
    return errno_error(file.path() + ": no memory to read it into");
  SLUICE_TRY(file.read_at(0, {at, file.size()}));
  if (::mprotect(at, file.size(), PROT_READ) != 0) return errno_error(file.path() + ": cannot protect");
  return {};
}

}  // namespace

Result<AddressRange> AddressRange::reserve(uint64_t bytes) {
  AddressRange range;
  if (bytes == 0) return range;
  void* p = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return errno_error(fmt::format("cannot reserve {} bytes of addresses", bytes));
  range.data_ = static_cast<std::byte*>(p);
  range.size_ = bytes;
  return range;
}

AddressRange& AddressRange::operator=(AddressRange&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

AddressRange::~AddressRange() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

Result<EngineDir> EngineDir::open(const std::string& path) {
  EngineDir engine;
  engine.path_ = path;
  const std::string manifest_path = join_path(path, kManifestFile);
  if (is_directory(path) && !is_regular_file(manifest_path)) {
    return not_found(
        "{}: there is no {}: this is not an engine, or one whose build did not end; run optimize", path,
        kManifestFile);
  }
  SLUICE_ASSIGN(const std::string text, read_text_file(manifest_path, kMaxManifestBytes));
  SLUICE_ASSIGN(engine.manifest_, parse_manifest(text, manifest_path));
  for (const auto* entries : {&engine.manifest_.files, &engine.manifest_.blocks}) {
    for (const FileEntry& entry : *entries) SLUICE_TRY(open_entry(path, entry).status());
  }
  return engine;
}

Status EngineDir::load(const LoadOptions& options) {
  SLUICE_ASSIGN(range_, AddressRange::reserve(manifest_.weight_bytes));
  const int64_t blocks = static_cast<int64_t>(manifest_.blocks.size());
  const int64_t files = options.verify ? static_cast<int64_t>(manifest_.files.size()) : 0;
  return parallel_for(blocks + files, options.threads, [&](int64_t i) -> Status {
    if (i < blocks) return load_block(static_cast<size_t>(i), options.verify);
    return check_file(manifest_.files[static_cast<size_t>(i - blocks)]);
  });
}

Status EngineDir::check_file(const FileEntry& entry) const {
  SLUICE_ASSIGN(const File file, open_entry(path_, entry));
  return check_content(file, entry);
}

Status EngineDir::read(bool verify, std::span<const std::unique_ptr<PieceSink>> sinks) const {
  const int64_t blocks = static_cast<int64_t>(manifest_.blocks.size());
  const int64_t files = verify ? static_cast<int64_t>(manifest_.files.size()) : 0;
  std::mutex mutex;
  std::vector<PieceSink*> idle;
  for (const auto& sink : sinks) idle.push_back(sink.get());
  return parallel_for(blocks + files, static_cast<int>(sinks.size()), [&](int64_t i) -> Status {
    if (i >= blocks) return check_file(manifest_.files[static_cast<size_t>(i - blocks)]);
    std::unique_lock lock(mutex);
    PieceSink* sink = idle.back();
    idle.pop_back();
    lock.unlock();
    SLUICE_TRY(read_block(static_cast<size_t>(i), verify, *sink));
    lock.lock();
    idle.push_back(sink);
    return {};
  });
}

Status EngineDir::read_block(size_t index, bool verify, PieceSink& sink) const {
  const FileEntry& entry = manifest_.blocks[index];
  SLUICE_ASSIGN(const File file, open_entry(path_, entry));
  Checksum checksum;
  for (uint64_t offset = 0; offset < file.size();) {
    const std::span<std::byte> room = sink.room();
    const std::span<std::byte> piece = room.first(std::min<uint64_t>(room.size(), file.size() - offset));
    SLUICE_TRY(file.read_at(offset, piece));
    if (verify) checksum.update(piece);
    sink.take(index * manifest_.block_bytes + offset, piece.size());
    offset += piece.size();
  }
  return verify ? compare(checksum.hex(), file, entry) : Status();
}

Status EngineDir::load_block(size_t index, bool verify) {
  const FileEntry& entry = manifest_.blocks[index];
  SLUICE_ASSIGN(const File file, open_entry(path_, entry));
  if (verify) SLUICE_TRY(check_content(file, entry));
  std::byte* at = range_.data() + index * manifest_.block_bytes;
  if (::mmap(at, file.size(), PROT_READ, MAP_PRIVATE | MAP_FIXED, file.fd(), 0) != MAP_FAILED) return {};
  if (errno == ENODEV) return read_into(file, at);
  return errno_error(file.path() + ": cannot map");
}

}  // namespace sluice::artifact
