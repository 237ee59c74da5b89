// What comes back from a device with memory of its own: the tokens that it chose, and the logits of rows
// whose token the host chooses.
#pragma once

#include <span>

#include "device/device.h"
#include "tensor/matrix.h"

namespace sluice::engine {

/// Room for the ids of `sequences` and `rows` rows of `vocab` logits; on the host for the ids of two steps:
/// while those of one are looked at, those of the next may arrive.
class SampleStage {
 public:
  static uint64_t device_bytes(int64_t sequences) {
    return static_cast<uint64_t>(sequences) * sizeof(int32_t);
  }
  static uint64_t host_bytes(int64_t sequences, int64_t rows, int64_t vocab) {
    return 2 * device_bytes(sequences) + logit_bytes(rows, vocab);
  }
  static Result<SampleStage> make(device::Device& device, int64_t sequences, int64_t rows, int64_t vocab) {
    SampleStage stage;
    stage.sequences_ = sequences;
    stage.vocab_ = vocab;
    SLUICE_ASSIGN(stage.on_device_, device.allocate(device_bytes(sequences), "sampling"));
    SLUICE_ASSIGN(stage.ids_, device.allocate_host(2 * device_bytes(sequences), "sampling"));
    SLUICE_ASSIGN(stage.logits_, device.allocate_host(logit_bytes(rows, vocab), "sampling"));
    return stage;
  }

  /// (sequences) on the device: where its kernel writes.
  int32_t* device_ids() const { return reinterpret_cast<int32_t*>(on_device_.data()); }
  /// (sequences) of step 0 or 1, and one row of logits, when what was fetched has arrived.
  int32_t* ids(int step) const { return reinterpret_cast<int32_t*>(ids_.data()) + step * sequences_; }
  std::span<float> logits(int64_t row) const {
    return {reinterpret_cast<float*>(logits_.data()) + row * vocab_, static_cast<size_t>(vocab_)};
  }
  void fetch_ids(device::Stream& stream, int64_t sequences, int step) const {
    stream.copy(ids(step), on_device_.data(), device_bytes(sequences));
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
  int64_t sequences_ = 0, vocab_ = 0;
  device::Buffer on_device_, ids_, logits_;
};

}  // namespace sluice::engine
