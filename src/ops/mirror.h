// Problems for devices with memory of their own.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "base/check.h"
#include "ops/problem.h"

namespace sluice::ops {

/// Memory of a device beside each piece of a problem's host memory: what kernels are given instead, and what
/// comes back.
class Mirror {
 public:
  explicit Mirror(device::Device& device)
      : device_(device), own_stream_(device.make_stream()), stream_(own_stream_.get()) {}
  /// Copies on a stream that outlives it.
  Mirror(device::Device& device, device::Stream& stream) : device_(device), stream_(&stream) {}

  /// Where the `bytes` at `host` are on the device; unknown content at nullptr.
  template <typename T>
  T* in(T* host, size_t bytes) {
    if (host == nullptr || bytes == 0) return nullptr;
    auto buffer = device_.allocate(bytes, "a problem");
    SLUICE_CHECK(buffer.ok(), "{}", buffer.status().message());
    stream_->copy(buffer->data(), host, bytes);
    void* host_bytes = const_cast<void*>(static_cast<const void*>(host));
    pieces_.push_back({host_bytes, bytes, *std::move(buffer)});
    return reinterpret_cast<T*>(pieces_.back().device.data());
  }
  void in(Matrix& m) {
    if (m.rows > 0) m.data = in(static_cast<std::byte*>(m.data), static_cast<size_t>(m.rows * m.stride) * 4);
  }
  template <typename T>
  void floats(const T*& host, int64_t count) {
    host = in(host, static_cast<size_t>(count) * sizeof(T));
  }
  void in(KvCache& cache, ProblemCache& problem) {
    cache.keys = in(cache.keys, problem.key_bytes());
    cache.values = in(cache.values, problem.value_bytes());
    cache.tables.pages = in(cache.tables.pages, problem.table_bytes());
  }

  DeviceSequences sequences(std::span<const SequenceRows> all, int64_t rows) {
    std::vector<int32_t>& of = sequence_of_.emplace_back(static_cast<size_t>(rows), -1);
    for (size_t i = 0; i < all.size(); ++i) {
      for (int32_t r = 0; r < all[i].rows; ++r)
        of[static_cast<size_t>(all[i].first_row + r)] = static_cast<int32_t>(i);
    }
    return {in(all.data(), all.size_bytes()), in(of.data(), of.size() * sizeof(int32_t))};
  }

  /// Scratch filled with NaN: nothing may be read before it was written.
  std::byte* scratch(uint64_t bytes) {
    nan_.assign(bytes, std::byte{0xff});
    return in(nan_.data(), nan_.size());
  }
  /// Of all that is on the device.
  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const Piece& piece : pieces_) sum += piece.bytes;
    return sum;
  }
  device::Stream& stream() { return *stream_; }
  void fetch() {
    for (const Piece& piece : pieces_) stream_->copy(piece.host, piece.device.data(), piece.bytes);
    stream_->synchronize();
  }

 private:
  struct Piece {
    void* host;
    size_t bytes;
    device::Buffer device;
  };

  device::Device& device_;
  std::unique_ptr<device::Stream> own_stream_;
  device::Stream* stream_;
  std::vector<Piece> pieces_;
  std::deque<std::vector<int32_t>> sequence_of_;
  std::vector<std::byte> nan_;
};

/// Puts all that an op's arguments point to on the device; weights lie in the plain layout.
void mirror(Mirror& m, Problem<Linear>& problem, Linear::Args& args);
void mirror(Mirror& m, Problem<MoeMlp>& problem, MoeMlp::Args& args);
void mirror(Mirror& m, Problem<Embed>& problem, Embed::Args& args);
void mirror(Mirror& m, Problem<AddNorm>& problem, AddNorm::Args& args);
void mirror(Mirror& m, Problem<Activation>& problem, Activation::Args& args);
void mirror(Mirror& m, Problem<ScaleSoftcap>& problem, ScaleSoftcap::Args& args);
void mirror(Mirror& m, Problem<Sample>& problem, Sample::Args& args);
void mirror(Mirror& m, Problem<RopeKv>& problem, RopeKv::Args& args);
void mirror(Mirror& m, Problem<Attention>& problem, Attention::Args& args);

}  // namespace sluice::ops
