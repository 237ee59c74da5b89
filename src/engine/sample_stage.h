// What comes back from a device with memory of its own: the place of each row's largest logit, and whole rows
// where more is asked for.
#pragma once

#include <span>

#include "device/device.h"
#include "tensor/matrix.h"

namespace sluice::engine {

/// Room for `rows` rows of `vocab` logits, and for the ids of two steps on the host: while those of one are
/// looked at, those of the next may arrive.
class SampleStage {
 public:
  static uint64_t device_bytes(int64_t rows) { return static_cast<uint64_t>(rows) * sizeof(int32_t); }
  static uint64_t host_bytes(int64_t rows, int64_t vocab) {
    return 2 * device_bytes(rows) + logit_bytes(rows, vocab);
  }
  static Result<SampleStage> make(device::Device& device, int64_t rows, int64_t vocab) {
    SampleStage stage;
    stage.rows_ = rows;
    stage.vocab_ = vocab;
    SLUICE_ASSIGN(stage.on_device_, device.allocate(device_bytes(rows), "sampling"));
    SLUICE_ASSIGN(stage.ids_, device.allocate_host(2 * device_bytes(rows), "sampling"));
    SLUICE_ASSIGN(stage.logits_, device.allocate_host(logit_bytes(rows, vocab), "sampling"));
    return stage;
  }

  /// (rows) on the device: where its kernel writes.
  int32_t* device_ids() const { return reinterpret_cast<int32_t*>(on_device_.data()); }
  /// (rows) of step 0 or 1, and one row of logits, when what was fetched has arrived.
  int32_t* ids(int step) const { return reinterpret_cast<int32_t*>(ids_.data()) + step * rows_; }
  std::span<float> logits(int64_t row) const {
    return {reinterpret_cast<float*>(logits_.data()) + row * vocab_, static_cast<size_t>(vocab_)};
  }
  void fetch_ids(device::Stream& stream, int64_t rows, int step) const {
    stream.copy(ids(step), on_device_.data(), device_bytes(rows));
  }
  void fetch_logits(device::Stream& stream, const Matrix& logits, int64_t row) const {
    const std::span<float> to = this->logits(row);
    stream.copy(to.data(), logits.f32(row), to.size_bytes());
  }

 private:
  SampleStage() = default;
  static uint64_t logit_bytes(int64_t rows, int64_t vocab) {
    return static_cast<uint64_t>(rows * vocab) * sizeof(float);
  }
  int64_t rows_ = 0, vocab_ = 0;
  device::Buffer on_device_, ids_, logits_;
};

}  // namespace sluice::engine
