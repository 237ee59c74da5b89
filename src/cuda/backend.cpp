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

Result<DeviceLimit> measure_cuda_limit(device::Device& device) {
  SLUICE_ASSIGN(const device::Buffer memory, device.allocate(kLimitsMemory, "measuring the device"));
  const CudaStream stream;
  const Limits l = measure_limits(stream.queue(), memory.data(), memory.size(), device.info().parallelism,
                                  stream.counters());
  return DeviceLimit{l.read_bytes_per_second, l.f32_per_second, l.bf16_per_second};
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
