#include "cuda/cuda_device.h"

namespace sluice::cuda {

CudaDevice::CudaDevice() {
  const Properties p = properties();
  info_.kind = "cuda";
  info_.name = p.name;
  info_.features = fmt::format("sm_{}{}", p.major, p.minor);
  info_.parallelism = p.multiprocessors;
  info_.memory_bytes = p.memory_bytes;
  info_.stream_bytes = CudaStream::kCounterBytes;
}

Result<device::Buffer> CudaDevice::allocate(size_t bytes, const std::string& what) {
  if (bytes == 0) return device::Buffer();
  void* data = allocate_device(bytes);
  if (data == nullptr) {
    return resource_exhausted("the GPU has no {} MiB left for {}: use a smaller model, batch or context",
                              (bytes + (1 << 20) - 1) >> 20, what);
  }
  return device::Buffer(this, data, bytes);
}

Result<device::Buffer> CudaDevice::allocate_host(size_t bytes, const std::string& what) {
  if (bytes == 0) return device::Buffer();
  void* data = allocate_pinned(bytes);
  if (data == nullptr)
    return resource_exhausted("the host has no {} bytes of pinned memory left for {}", bytes, what);
  return device::Buffer(this, data, bytes, device::Place::host);
}

}  // namespace sluice::cuda
