// An engine's blocks on their way from files to a device with memory of its own.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "artifact/reader.h"
#include "device/device.h"

namespace sluice::engine {

/// Reads pieces into two pinned ones in turn: while the device takes one, the other is filled. Several work
/// side by side, since one thread reads less than a device takes, and share one stream: a GPU that takes
/// pieces from many in turn loses as much time between two as a quarter of a piece takes.
class BlockUpload final : public artifact::PieceSink {
 public:
  /// A stretch of the engine's arena, and where it belongs.
  struct Part {
    uint64_t offset = 0, bytes = 0;
    std::byte* to = nullptr;
    bool on_host = false;
  };

  /// Brings all parts to their places, which are there when this returns.
  static Status run(device::Device& device, const artifact::EngineDir& engine, std::vector<Part> parts,
                    int threads, bool verify) {
    std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.offset < b.offset; });
    constexpr int kMostThreads = 16;
    threads = std::min({threads, kMostThreads, static_cast<int>(std::thread::hardware_concurrency())});
    Copies copies{{}, device.make_copy_stream()};
    std::vector<std::unique_ptr<artifact::PieceSink>> sinks;
    for (int i = 0; i < std::max(threads, 1); ++i) {
      auto sink = std::make_unique<BlockUpload>(parts, copies);
      for (Lane& lane : sink->lanes_) {
        SLUICE_ASSIGN(lane.pinned, device.allocate_host(kPiece, "loading weights"));
        lane.taken = device.make_copy_stream();
      }
      sinks.push_back(std::move(sink));
    }
    SLUICE_TRY(engine.read(verify, sinks));
    copies.stream->synchronize();
    return {};
  }

  /// Where all of them queue their pieces.
  struct Copies {
    std::mutex mutex;
    std::unique_ptr<device::Stream> stream;
  };
  BlockUpload(const std::vector<Part>& parts, Copies& copies) : parts_(parts), copies_(copies) {}

  std::span<std::byte> room() override {
    lane().taken->synchronize();
    return {lane().pinned.data(), kPiece};
  }

  void take(uint64_t offset, size_t bytes) override {
    const uint64_t end = offset + bytes;
    auto part = std::partition_point(parts_.begin(), parts_.end(),
                                     [&](const Part& p) { return p.offset + p.bytes <= offset; });
    for (; part != parts_.end() && part->offset < end; ++part) {
      const uint64_t from = std::max(offset, part->offset), upto = std::min(end, part->offset + part->bytes);
      std::byte* to = part->to + (from - part->offset);
      const std::byte* piece = lane().pinned.data() + (from - offset);
      if (part->on_host) {
        std::memcpy(to, piece, upto - from);
      } else {
        const std::lock_guard lock(copies_.mutex);
        copies_.stream->copy(to, piece, upto - from);
      }
    }
    const std::lock_guard lock(copies_.mutex);
    lane().taken->follow(*copies_.stream);
    ++next_;
  }

 private:
  static constexpr size_t kPiece = size_t{2} << 20;
  struct Lane {
    device::Buffer pinned;
    std::unique_ptr<device::Stream> taken;  // has nothing to do but to follow the copy of the piece
  };
  Lane& lane() { return lanes_[next_ % lanes_.size()]; }

  const std::vector<Part>& parts_;
  Copies& copies_;
  std::array<Lane, 2> lanes_;
  size_t next_ = 0;
};

}  // namespace sluice::engine
