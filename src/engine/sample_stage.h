// What comes back from a device with memory of its own: the place of each row's largest logit, and whole rows
// where more is asked for.
#pragma once

#include <span>

#include "device/device.h"
#include "tensor/matrix.h"

namespace sluice::engine {

/// Room for `rows` rows of `vocab` logits.
class SampleStage {
 public:
  static uint64_t device_bytes(int64_t rows) { return static_cast<uint64_t>(rows) * sizeof(int32_t); }
  static uint64_t host_bytes(int64_t rows, int64_t vocab) {
    return device_bytes(rows) + static_cast<uint64_t>(rows * vocab) * sizeof(float);
  }
  static Result<SampleStage> make(device::Device& device, int64_t rows, int64_t vocab) {
    SampleStage stage;
    stage.vocab_ = vocab;
    SLUICE_ASSIGN(stage.on_device_, device.allocate(device_bytes(rows), "sampling"));
    SLUICE_ASSIGN(stage.ids_, device.allocate_host(device_bytes(rows), "sampling"));
    SLUICE_ASSIGN(stage.logits_,
                  device.allocate_host(host_bytes(rows, vocab) - device_bytes(rows), "sampling"));
    return stage;
  }

  /// (rows) on the device: where its kernel writes.
  int32_t* device_ids() const { return reinterpret_cast<int32_t*>(on_device_.data()); }
  /// (rows), and one row of logits, when what was fetched has arrived.
  const int32_t* ids() const { return reinterpret_cast<const int32_t*>(ids_.data()); }
  std::span<float> logits(int64_t row) const {
    return {reinterpret_cast<float*>(logits_.data()) + row * vocab_, static_cast<size_t>(vocab_)};
  }
  void fetch_ids(device::Stream& stream, int64_t rows) const {
    stream.copy(ids_.data(), on_device_.data(), device_bytes(rows));
  }
  void fetch_logits(device::Stream& stream, const Matrix& logits, int64_t row) const {
    const std::span<float> to = this->logits(row);
    stream.copy(to.data(), logits.f32(row), to.size_bytes());
  }

 private:
  SampleStage() = default;
  int64_t vocab_ = 0;
  device::Buffer on_device_, ids_, logits_;
};

}  // namespace sluice::engine
