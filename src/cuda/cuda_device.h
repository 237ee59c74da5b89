#pragma once

#include "cuda/kernels/kernels.h"
#include "cuda/kernels/runtime.h"
#include "device/device.h"
#include "ops/kernel.h"

namespace sluice::cuda {

class CudaRecording final : public device::Recording {
 public:
  explicit CudaRecording(CUgraphExec_st* graph) : graph_(graph) {}
  CudaRecording(const CudaRecording&) = delete;
  ~CudaRecording() override { destroy(graph_); }
  CUgraphExec_st* graph() const { return graph_; }

 private:
  CUgraphExec_st* graph_;
};

class CudaMark final : public device::Mark {
 public:
  explicit CudaMark(Queue queue) { cuda::mark(queue, event_); }
  CudaMark(const CudaMark&) = delete;
  ~CudaMark() override { destroy_event(event_); }
  bool reached() const override { return is_reached(event_); }
  double seconds_since(const device::Mark& earlier) const override {
    return 1e-3 * static_cast<double>(milliseconds(static_cast<const CudaMark&>(earlier).event_, event_));
  }

 private:
  void* event_ = make_event();
};

/// A CUDA stream. Its calls throw CudaError when the device reports a failure, of this call or of work before
/// it.
class CudaStream final : public device::Stream {
 public:
  explicit CudaStream(bool has_kernels = true) : queue_(make_queue()) {
    if (!has_kernels) return;
    counters_ = allocate_device(kCounterBytes);
    if (counters_ == nullptr) throw CudaError("the GPU has no memory left for a stream");
  }
  CudaStream(const CudaStream&) = delete;
  ~CudaStream() override {
    destroy(queue_);
    destroy_event(reached_);
    free_device(counters_);
  }

  void synchronize() override { cuda::synchronize(queue_); }
  void copy(void* to, const void* from, size_t bytes) override { cuda::copy(queue_, to, from, bytes); }
  void follow(device::Stream& other) override {
    cuda::mark(static_cast<CudaStream&>(other).queue_, reached_);
    await(queue_, reached_);
  }
  std::unique_ptr<device::Recording> record(const std::function<void()>& work) override {
    return std::make_unique<CudaRecording>(cuda::record(queue_, work));
  }
  void replay(const device::Recording& recording) override {
    cuda::replay(queue_, static_cast<const CudaRecording&>(recording).graph());
  }
  std::unique_ptr<device::Mark> mark() override { return std::make_unique<CudaMark>(queue_); }
  Queue queue() const { return queue_; }
  uint32_t* counters() const { return static_cast<uint32_t*>(counters_); }
  static constexpr size_t kCounterBytes = kCounters * sizeof(uint32_t);

 private:
  Queue queue_;
  // (kCounters) zeros between kernels: how many blocks have left their share of a result.
  void* counters_ = nullptr;
  void* reached_ = make_event();  // of the stream that was followed last
};

/// The first GPU that the driver shows.
class CudaDevice final : public device::Device {
 public:
  CudaDevice();
  const device::DeviceInfo& info() const override { return info_; }
  Result<device::Buffer> allocate(size_t bytes, const std::string& what) override;
  Result<device::Buffer> allocate_host(size_t bytes, const std::string& what) override;
  void free(void* data, size_t) override { free_device(data); }
  void free_host(void* data, size_t) override { free_pinned(data); }
  std::unique_ptr<device::Stream> make_stream() override { return std::make_unique<CudaStream>(); }
  std::unique_ptr<device::Stream> make_copy_stream() override { return std::make_unique<CudaStream>(false); }
  bool shares_host_memory() const override { return false; }

 private:
  device::DeviceInfo info_;
};

/// The queue of the stream that a CUDA kernel was launched on.
inline Queue queue_of(const ops::Launch& launch) { return static_cast<CudaStream&>(launch.stream).queue(); }
inline uint32_t* counters_of(const ops::Launch& launch) {
  return static_cast<CudaStream&>(launch.stream).counters();
}

}  // namespace sluice::cuda
