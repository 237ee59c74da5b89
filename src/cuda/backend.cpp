#include "cuda/backend.h"

#ifdef SLUICE_HAS_CUDA
#include "cuda/cuda_device.h"
#include "cuda/kernels/kernels.h"
#include "cuda/register.h"
#endif

namespace sluice::cuda {

#ifdef SLUICE_HAS_CUDA

Result<ops::Backend> make_cuda_backend() {
  try {
    if (const std::string why = why_unusable(); !why.empty()) return unsupported("--device cuda: {}", why);
    ops::Backend backend;
    backend.device = std::make_unique<CudaDevice>();
    backend.block_weights = false;
    backend.rounded_buffers = true;
    backend.page_tokens = 64;  // half as many copies for the same keys as with 32
    backend.rounded_products = {DType::bf16, DType::f16};
    register_row_kernels(backend.kernels);
    register_linear_kernels(backend.kernels);
    register_attention_kernels(backend.kernels);
    register_moe_kernels(backend.kernels);
    return backend;
  } catch (const CudaError& e) {
    return unsupported("--device cuda: {}; use --device cpu", e.what());
  }
}

namespace {

/// Bytes a second of the quickest of a few copies from pinned memory.
Result<double> copy_rate(device::Device& device, device::Stream& stream, const device::Buffer& memory) {
  constexpr size_t kBytes = size_t{256} << 20;
  SLUICE_ASSIGN(const device::Buffer pinned, device.allocate_host(kBytes, "measuring the device"));
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const auto begin = stream.mark();
    stream.copy(memory.data(), pinned.data(), kBytes);
    best = std::max(best, static_cast<double>(kBytes) / stream.mark()->seconds_since(*begin));
  }
  return best;
}

}  // namespace

Result<DeviceLimit> measure_cuda_limit(device::Device& device) {
  SLUICE_ASSIGN(const device::Buffer memory, device.allocate(kLimitsMemory, "measuring the device"));
  CudaStream stream;
  const Limits l = measure_limits(stream.queue(), memory.data(), memory.size(), device.info().parallelism,
                                  stream.counters());
  SLUICE_ASSIGN(const double copied, copy_rate(device, stream, memory));
  return DeviceLimit{l.read_bytes_per_second, l.f32_per_second, l.bf16_per_second, copied};
}

#else

Result<ops::Backend> make_cuda_backend() {
  return unsupported(
      "--device cuda: this program was built without CUDA; build it where nvcc is installed, or use --device "
      "cpu");
}

Result<DeviceLimit> measure_cuda_limit(device::Device&) { return make_cuda_backend().status(); }

#endif

}  // namespace sluice::cuda
