// The CPU as a backend: a device whose stream is a thread pool, and its kernels.
#pragma once

#include <string>

#include "cpu/features.h"
#include "cpu/thread_pool.h"
#include "ops/ops.h"

namespace sluice::cpu {

struct CpuOptions {
  int threads = 0;  // 0: one for each physical core that this process may use
  // Memory comes when it is allocated, so that what was planned is what the process has and no step waits for
  // it; false: as it is touched, for a process that soon ends.
  bool populate = true;
  std::string
      isa;  // kernels of no better instruction set than this (a name of Isa); empty: the machine's best
};

/// Refuses an unknown instruction set, one that this machine lacks, and a nonsensical number of threads. From
/// now on the calling thread's memory is interleaved (cpu_set.h).
Result<ops::Backend> make_cpu_backend(const CpuOptions& options);

/// Runs each kernel at once, in the calling thread's order, on the device's pool.
class CpuStream final : public device::Stream {
 public:
  explicit CpuStream(ThreadPool& pool) : pool_(pool) {}
  void synchronize() override {}
  ThreadPool& pool() const { return pool_; }

 private:
  ThreadPool& pool_;
};

/// The pool of the stream that a CPU kernel was launched on.
inline ThreadPool& pool_of(const ops::Launch& launch) {
  return static_cast<CpuStream&>(launch.stream).pool();
}

}  // namespace sluice::cpu
