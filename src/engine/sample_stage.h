// What lies on a device with memory of its own so that it can choose tokens, and what comes back: the tokens,
// what is reported of them, and the logits of rows whose token the host chooses.
#pragma once

#include <span>

#include "device/device.h"
#include "ops/choice.h"
#include "sampling/sampler.h"
#include "tensor/matrix.h"

namespace sluice::engine {

/// Results of `sequences` choices, the past of as many slots, and `rows` rows of `vocab` logits. Results have
/// room for two steps on either side: those of one are fetched and looked at while the next one makes its
/// own.
class SampleStage {
 public:
  struct Sizes {
    int64_t sequences = 0, rows = 0, vocab = 0;

    uint64_t id_bytes() const { return static_cast<uint64_t>(sequences) * sizeof(int32_t); }
    uint64_t logprob_bytes() const { return static_cast<uint64_t>(sequences) * sizeof(ops::Logprobs); }
    /// Of one slot's past.
    uint64_t seen_bytes() const { return static_cast<uint64_t>(vocab) * sizeof(ops::Seen); }
    static constexpr uint64_t bias_bytes() { return ops::kMostBiases * sizeof(ops::Bias); }
    uint64_t logit_bytes() const { return static_cast<uint64_t>(rows * vocab) * sizeof(float); }

    uint64_t device_bytes() const {
      return result_bytes() + static_cast<uint64_t>(sequences) * (seen_bytes() + bias_bytes());
    }
    uint64_t host_bytes() const { return result_bytes() + seen_bytes() + bias_bytes() + logit_bytes(); }
    /// Of both steps.
    uint64_t result_bytes() const { return 2 * (id_bytes() + logprob_bytes()); }
  };

  static Result<SampleStage> make(device::Device& device, const Sizes& sizes) {
    SampleStage stage;
    stage.sizes_ = sizes;
    SLUICE_ASSIGN(stage.on_device_, device.allocate(sizes.device_bytes(), "sampling"));
    SLUICE_ASSIGN(stage.on_host_, device.allocate_host(sizes.host_bytes(), "sampling"));
    return stage;
  }

  /// On the device, where its kernel reads and writes: (sequences) results of step 0 or 1, and the past by
  /// slot.
  int32_t* device_ids(size_t step) const { return at<int32_t>(on_device_, results(step)); }
  ops::Logprobs* device_logprobs(size_t step) const {
    return at<ops::Logprobs>(on_device_, results(step) + sizes_.id_bytes());
  }
  ops::Seen* device_seen() const { return at<ops::Seen>(on_device_, sizes_.result_bytes()); }
  ops::Bias* device_biases() const {
    return at<ops::Bias>(
        on_device_, sizes_.device_bytes() - static_cast<uint64_t>(sizes_.sequences) * Sizes::bias_bytes());
  }

  /// On the host, when what was fetched has arrived: (sequences) results of step 0 or 1, and a row of logits.
  int32_t* ids(size_t step) const { return at<int32_t>(on_host_, results(step)); }
  ops::Logprobs* logprobs(size_t step) const {
    return at<ops::Logprobs>(on_host_, results(step) + sizes_.id_bytes());
  }
  std::span<float> logits(int64_t row) const {
    const auto vocab = static_cast<size_t>(sizes_.vocab);
    return {
        at<float>(on_host_, sizes_.host_bytes() - sizes_.logit_bytes()) + static_cast<size_t>(row) * vocab,
        vocab};
  }

  void fetch_results(device::Stream& stream, int64_t sequences, size_t step, bool with_logprobs) const {
    const auto count = static_cast<size_t>(sequences);
    stream.copy(ids(step), device_ids(step), count * sizeof(int32_t));
    if (with_logprobs) stream.copy(logprobs(step), device_logprobs(step), count * sizeof(ops::Logprobs));
  }
  void fetch_logits(device::Stream& stream, const Matrix& logits, int64_t row) const {
    const std::span<float> to = this->logits(row);
    stream.copy(to.data(), logits.f32(row), to.size_bytes());
  }

  /// Has the device know a sequence's past as that of `slot`; waits for what is queued on `stream`.
  void put_past(device::Stream& stream, int64_t slot, const sampling::Sampler& sampler) const {
    const uint64_t past = sizes_.result_bytes();
    const std::span seen(at<ops::Seen>(on_host_, past), static_cast<size_t>(sizes_.vocab));
    const std::span biases(at<ops::Bias>(on_host_, past + sizes_.seen_bytes()), ops::kMostBiases);
    stream.synchronize();  // another's past may be on its way
    sampler.write_past(seen, biases);
    stream.copy(device_seen() + slot * sizes_.vocab, seen.data(), seen.size_bytes());
    stream.copy(device_biases() + slot * ops::kMostBiases, biases.data(), biases.size_bytes());
  }

 private:
  SampleStage() = default;
  template <typename T>
  static T* at(const device::Buffer& buffer, uint64_t offset) {
    return reinterpret_cast<T*>(buffer.data() + offset);
  }
  /// Where the results of a step begin, on either side. Behind both come, on the host, one slot's past and
  /// the logits.
  uint64_t results(size_t step) const { return step * sizes_.result_bytes() / 2; }

  Sizes sizes_;
  device::Buffer on_device_, on_host_;
};

}  // namespace sluice::engine
