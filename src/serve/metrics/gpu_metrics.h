// GPUs as gauges, under the names that dashboards for NVIDIA's servers query.
#pragma once

#include <span>

#include "serve/metrics/instruments.h"
#include "telemetry/gpu_monitor.h"

namespace sluice::serve {

/// Writes nothing for no GPUs, and no series for what a GPU does not tell.
void write_gpu_metrics(Exposition& out, std::span<const telemetry::GpuSample> gpus);

}  // namespace sluice::serve
