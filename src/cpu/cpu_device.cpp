#include "cpu/cpu_device.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/checked.h"
#include "cpu/cpu_set.h"
#include "cpu/kernels.h"

namespace sluice::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr std::align_val_t kSmallAlignment{64};

/// Fresh zero pages that begin where a huge page could; `huge`: and should be such.
void* map_pages(size_t bytes, bool huge) {
  const size_t mapped = bytes + kHugePage;
  void* raw = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::byte*>(raw);
  const size_t head = (kHugePage - reinterpret_cast<uintptr_t>(raw) % kHugePage) % kHugePage;
  if (head > 0) munmap(begin, head);
  if (head < kHugePage) munmap(begin + head + bytes, kHugePage - head);
  // Advice: without it the memory is slower, not wrong.
  if (huge) madvise(begin + head, bytes, MADV_HUGEPAGE);
  return begin + head;
}

class CpuDevice final : public device::Device {
 public:
  CpuDevice(const CpuFeatures& features, int threads, bool populate) : pool_(threads), populate_(populate) {
    info_.kind = "cpu";
    info_.name = features.name;
    info_.features = enum_name(features.isa);
    info_.parallelism = threads;
    info_.memory_bytes = usable_memory();
  }

  const device::DeviceInfo& info() const override { return info_; }

  Result<device::Buffer> allocate(size_t bytes, const std::string& what) override {
    return allocate(bytes, what, true);
  }
  Result<device::Buffer> allocate_sparse(size_t bytes, const std::string& what) override {
    return allocate(bytes, what, populate_);
  }

  void free(void* data, size_t bytes) override {
    const size_t size = *rounded(bytes);
    if (size >= kHugePage) {
      munmap(data, size);
    } else {
      ::operator delete(data, kSmallAlignment);
    }
  }

  std::unique_ptr<device::Stream> make_stream() override { return std::make_unique<CpuStream>(pool_); }
  bool shares_host_memory() const override { return true; }

 private:
  Result<device::Buffer> allocate(size_t bytes, const std::string& what, bool huge) {
    if (bytes == 0) return device::Buffer();
    const std::optional<size_t> size = rounded(bytes);
    void* data = nullptr;
    if (size && *size >= kHugePage) {
      data = map_pages(*size, huge);
      if (data != nullptr && populate_ && !populate(static_cast<std::byte*>(data), *size)) {
        munmap(data, *size);
        data = nullptr;
      }
    } else if (size) {
      data = ::operator new(*size, kSmallAlignment, std::nothrow);
      if (data != nullptr) std::memset(data, 0, *size);
    }
    if (data == nullptr)
      return resource_exhausted("cannot allocate {} bytes for {}: use a smaller model, batch or context",
                                bytes, what);
    return device::Buffer(this, data, bytes);
  }

  /// Bytes really taken for a request of `bytes`: whole cache lines, whole pages for mapped memory.
  static std::optional<size_t> rounded(size_t bytes) {
    const auto room = checked_add<size_t>(bytes, 2 * kHugePage);
    if (!room) return std::nullopt;
    return bytes >= kHugePage ? round_up<size_t>(bytes, 4096) : round_up<size_t>(bytes, 64);
  }

  /// Brings mapped memory in now: what was planned is what the process has, and no step waits for it. False
  /// when there is too little. Kernels before Linux 5.14 bring it in as it is touched.
  bool populate(std::byte* begin, size_t bytes) {
    constexpr size_t kPiece = 16 * kHugePage;
    std::atomic<bool> enough{true};
    pool_.parallel_for(static_cast<int64_t>(ceil_div(bytes, kPiece)), 1, [&](int64_t piece, int64_t, int) {
      const size_t at = static_cast<size_t>(piece) * kPiece;
      if (madvise(begin + at, std::min(kPiece, bytes - at), MADV_POPULATE_WRITE) != 0 && errno == ENOMEM)
        enough = false;
    });
    return enough;
  }

  device::DeviceInfo info_;
  ThreadPool pool_;
  const bool populate_;
};

}  // namespace

Result<ops::Backend> make_cpu_backend(const CpuOptions& options) {
  constexpr int kMaxThreads = 1024;
  if (options.threads < 0 || options.threads > kMaxThreads)
    return invalid_argument("threads = {}: give a number from 1 to {}, or 0 for all", options.threads,
                            kMaxThreads);
  CpuFeatures features = detect_features();
  if (!options.isa.empty()) {
    const auto wanted = enum_from_name<Isa>(options.isa);
    if (!wanted)
      return invalid_argument("isa = \"{}\": it is one of {}", options.isa,
                              fmt::join(enum_names(Isa{}), ", "));
    if (!features.has(*wanted))
      return unsupported("isa = {}: this machine ({}) does not have it; its best is {}", options.isa,
                         features.name, enum_name(features.isa));
    features.isa = *wanted;
  }
  const int threads = options.threads > 0 ? options.threads : std::min(usable_cores(), kMaxThreads);
  interleave_memory();
  ops::Backend backend;
  backend.device = std::make_unique<CpuDevice>(features, threads, options.populate);
  register_cpu_kernels(backend.kernels, features);
  if (features.isa >= Isa::avx512bf16) backend.rounded_products = {DType::bf16};
  return backend;
}

}  // namespace sluice::cpu
