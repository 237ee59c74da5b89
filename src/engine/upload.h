// Bytes of the host on their way to a device.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "base/parallel.h"
#include "device/device.h"

namespace sluice::engine {

/// Copies through two pinned pieces in turn: while the device takes one, threads fill the other. What was put
/// is there after `finish`. Where the device shares the host's memory this is a plain copy.
class Uploader {
 public:
  static Result<Uploader> make(device::Device& device, int threads) {
    Uploader uploader;
    uploader.threads_ = threads;
    for (Lane& lane : uploader.lanes_) {
      if (!device.shares_host_memory()) {
        SLUICE_ASSIGN(lane.pinned, device.allocate_host(kPiece, "loading weights"));
      }
      lane.stream = device.make_copy_stream();
    }
    return uploader;
  }
  void finish() {
    for (Lane& lane : lanes_) lane.stream->synchronize();
  }

  void put(std::byte* to, std::span<const std::byte> from) {
    while (!from.empty()) {
      Lane& lane = lanes_[next_++ % lanes_.size()];
      if (lane.pinned.size() == 0) return lane.stream->copy(to, from.data(), from.size());
      const size_t bytes = std::min(from.size(), kPiece);
      lane.stream->synchronize();
      fill(lane.pinned.data(), from.first(bytes));
      lane.stream->copy(to, lane.pinned.data(), bytes);
      to += bytes;
      from = from.subspan(bytes);
    }
  }

 private:
  static constexpr size_t kPiece = size_t{32} << 20, kSlice = size_t{1} << 20;
  struct Lane {
    device::Buffer pinned;
    std::unique_ptr<device::Stream> stream;
  };

  Uploader() = default;
  void fill(std::byte* to, std::span<const std::byte> from) const {
    const auto slices = static_cast<int64_t>((from.size() + kSlice - 1) / kSlice);
    static_cast<void>(parallel_for(slices, threads_, [&](int64_t i) -> Status {
      const size_t at = static_cast<size_t>(i) * kSlice;
      std::memcpy(to + at, from.data() + at, std::min(kSlice, from.size() - at));
      return {};
    }));
  }

  std::array<Lane, 2> lanes_;
  size_t next_ = 0;
  int threads_ = 1;
};

}  // namespace sluice::engine
