// The CUDA backend: one Hopper GPU (compute capability 9.0), its memory and its kernels.
#pragma once

#include "ops/ops.h"

namespace sluice::cuda {

/// Refuses with one sentence that says what is missing: the CUDA part of this build, a driver, a GPU that it
/// runs on. Nothing of CUDA is touched before this call.
Result<ops::Backend> make_cuda_backend();

/// What a device of that backend does at best.
struct DeviceLimit {
  double read_bytes_per_second = 0, f32_per_second = 0, bf16_per_second = 0;
  double copy_bytes_per_second = 0;  // from pinned memory of the host
};
Result<DeviceLimit> measure_cuda_limit(device::Device& device);

}  // namespace sluice::cuda
