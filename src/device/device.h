// The one hardware interface. It knows memory and queues of work, and nothing of models or ops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"

namespace sluice::device {

/// What the machine is, as far as plans depend on it.
struct DeviceInfo {
  std::string kind;           // "cpu", "cuda": the name users give to --device
  std::string name;           // "AMD EPYC 9B14"
  std::string features;       // what kernels may use, e.g. "avx2 avx512 vnni"
  int parallelism = 1;        // threads (cpu) or SMs (cuda)
  uint64_t memory_bytes = 0;  // usable memory
  uint64_t stream_bytes = 0;  // of it that each stream takes, unless it only copies
};

/// Work that was recorded once and can be queued again as one piece (a CUDA graph). It reads the same
/// addresses each time; what they hold may change between replays.
class Recording {
 public:
  virtual ~Recording() = default;
};

/// A point in a stream's time, by the device's clock.
class Mark {
 public:
  virtual ~Mark() = default;
  /// Whether the stream has come to this point.
  virtual bool reached() const = 0;
  /// Waits until it has.
  virtual double seconds_since(const Mark& earlier) const = 0;
};

/// A queue of work. Kernels are given one; on the CPU it carries the thread pool and runs in the caller's
/// order.
class Stream {
 public:
  virtual ~Stream() = default;
  /// Returns when everything queued so far is done. Throws when any of it failed.
  virtual void synchronize() = 0;
  /// Queues a copy between memories of this device and of the host. Host memory that the device did not
  /// allocate may make the call wait.
  virtual void copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
  /// Work queued from now on waits for what is queued on `other` by now. While `other` is being recorded,
  /// this stream's work goes into the same recording, until a call the other way round ends that.
  virtual void follow(Stream& other) { static_cast<void>(other); }
  /// Records what `work` queues on this stream instead of doing it; null where the device cannot.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& work) {
    static_cast<void>(work);
    return nullptr;
  }
  virtual void replay(const Recording& recording) { static_cast<void>(recording); }
  /// The point behind what is queued by now; null where work is done when it is queued. Not while recording.
  virtual std::unique_ptr<Mark> mark() { return nullptr; }
};

/// Whose memory: the device's own, or the host's, which the device copies from and to at full speed.
enum class Place { device, host };

class Device;

/// Memory of a device, freed with its owner.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device* device, void* data, size_t bytes, Place place = Place::device)
      : device_(device), data_(data), bytes_(bytes), place_(place) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(place_, other.place_);
    return *this;
  }
  ~Buffer();

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  size_t size() const { return bytes_; }

 private:
  Device* device_ = nullptr;
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Place place_ = Place::device;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;

  /// Zeroed memory, aligned to at least 64 bytes, large ones to 2 MiB. `what` names it in a refusal.
  virtual Result<Buffer> allocate(size_t bytes, const std::string& what) = 0;
  /// The same of memory that may never be touched in whole.
  virtual Result<Buffer> allocate_sparse(size_t bytes, const std::string& what) {
    return allocate(bytes, what);
  }
  virtual void free(void* data, size_t bytes) = 0;
  /// The same in Place::host.
  virtual Result<Buffer> allocate_host(size_t bytes, const std::string& what) {
    return allocate(bytes, what);
  }
  virtual void free_host(void* data, size_t bytes) { free(data, bytes); }

  virtual std::unique_ptr<Stream> make_stream() = 0;
  /// One that is given no kernels.
  virtual std::unique_ptr<Stream> make_copy_stream() { return make_stream(); }

  /// Whether kernels may read host memory such as a mapped file directly.
  virtual bool shares_host_memory() const = 0;
};

inline Buffer::~Buffer() {
  if (data_ == nullptr) return;
  place_ == Place::device ? device_->free(data_, bytes_) : device_->free_host(data_, bytes_);
}

}  // namespace sluice::device
