// One step of the engine on a device: the Program over a batch.
#pragma once

#include <functional>

#include "program/program.h"

namespace sluice::program {

/// What a step computes on. All arrays are where the device's kernels can read them; `sequences` is for the
/// host, which sizes launches by it.
struct Batch {
  int32_t tokens = 0;
  const int32_t* ids = nullptr;        // (tokens), each in [0, vocab)
  const int32_t* positions = nullptr;  // (tokens)
  const int32_t* rope_variants =
      nullptr;  // (tokens): 1 where the sequence is longer than the rope's switch_length
  std::span<const ops::SequenceRows> sequences;
  std::span<const ops::PageTables> tables;  // (groups)
  std::span<const int32_t> logit_rows;      // rows whose logits are wanted
  ops::DeviceSequences on_device = {};      // for devices that do not share the host's memory
};

/// Told of what a step is about to do, where weights are not always in place. A step begins and finishes
/// once; each of its layers is entered and left, in order.
class LayerGate {
 public:
  virtual ~LayerGate() = default;
  virtual void begin(device::Stream& stream) = 0;
  virtual void enter(int32_t layer, device::Stream& stream) = 0;
  virtual void leave(int32_t layer, device::Stream& stream) = 0;
  virtual void finish(device::Stream& stream) = 0;
};

/// The memory that a Program runs in.
struct Memory {
  std::byte* activations = nullptr;
  std::byte* workspace = nullptr;
  std::vector<const std::byte*> weights;  // (Program::weights)
  struct Cache {
    std::byte* keys = nullptr;
    std::byte* values = nullptr;
  };
  std::vector<Cache> caches;  // (Program::caches)
  LayerGate* gate = nullptr;  // nullptr: all weights are in place
};

/// Called before step i runs, when all before it is done, and once more with i = steps.size() at the end. For
/// profilers and for `verify`.
using Observer = std::function<void(size_t)>;

/// Receives logits of rows [first, first + logits.rows) of Batch::logit_rows, in memory of the device and
/// complete when what is queued so far is; may change them, must not keep them.
using LogitsSink = std::function<void(size_t first, Matrix logits)>;

/// Runs every step in order on `stream`. Those on rows whose logits are wanted run once for each
/// Limits::logits of them, and `sink` takes each result. Neither allocates nor looks anything up, nor waits
/// for the device unless observed.
void run(const Program& program, const Memory& memory, const Batch& batch, device::Stream& stream,
         const LogitsSink& sink, const Observer* observer = nullptr);

/// Where a buffer lies for a batch of these rows.
Matrix matrix(const Program& program, const Memory& memory, int32_t buffer, int64_t rows);

}  // namespace sluice::program
