// Persistent threads for kernels: many short parallel sections, one after another.
//
// Work is claimed in chunks, and a section ends when every chunk is done: a worker that the operating system
// has taken off its core delays nothing but a chunk it already holds, and one that wakes up late is not
// waited for. Between sections workers spin for some tens of microseconds and then sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace sluice::cpu {

class ThreadPool {
 public:
  /// `threads` >= 1 counts the caller, who takes part in every section.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls f(worker) on the caller and on every worker that arrives before the caller's own call returns; ids
  /// are distinct and in [0, threads()). The caller alone must therefore be able to finish the work. Returns
  /// when all calls have; the first exception thrown is rethrown here.
  ///
  /// Called from inside a section of the same pool, f runs on the calling worker alone. Called from several
  /// threads at once, the sections take turns.
  template <typename F>
  void run(F&& f) {
    using Function = std::remove_reference_t<F>;
    run_section({[](void* context, int worker) { (*static_cast<Function*>(context))(worker); },
                 const_cast<void*>(static_cast<const void*>(std::addressof(f)))});
  }

  /// Covers [0, n) with calls f(begin, end, worker), each of at most `grain` items, in any order and on any
  /// worker. After an exception no further chunk is begun.
  template <typename F>
  void parallel_for(int64_t n, int64_t grain, F&& f) {
    if (n <= 0) return;
    if (n <= grain || threads() == 1) {
      run_alone([&](int worker) {
        for (int64_t begin = 0; begin < n; begin += grain)
          f(begin, begin + grain < n ? begin + grain : n, worker);
      });
      return;
    }
    alignas(64) std::atomic<int64_t> next{0};
    run([&](int worker) {
      try {
        for (int64_t begin; (begin = next.fetch_add(grain, std::memory_order_relaxed)) < n;)
          f(begin, begin + grain < n ? begin + grain : n, worker);
      } catch (...) {
        next.store(n, std::memory_order_relaxed);
        throw;
      }
    });
  }

 private:
  struct Section {
    void (*call)(void* context, int worker) = nullptr;
    void* context = nullptr;
  };

  void run_section(Section section);
  template <typename F>
  void run_alone(F&& f) {
    const int nested = worker_of_this_thread();
    if (nested >= 0) return f(nested);
    const std::lock_guard turn(turn_);
    const InSection in(*this, 0);
    f(0);
  }
  void call(int worker);
  void work(int worker);
  void await_workers();
  /// Id of the calling thread in the section that it is part of, -1 outside of any.
  int worker_of_this_thread() const;

  /// Marks the calling thread as part of a section.
  class InSection {
   public:
    InSection(const ThreadPool& pool, int worker);
    ~InSection();

   private:
    const ThreadPool* outer_pool_;
    int outer_worker_;
  };

  std::mutex turn_;  // held by the caller whose section is running
  Section section_;
  std::exception_ptr error_;
  std::atomic<bool> failed_{false};
  std::atomic<bool> stopping_{false};

  // The word that workers watch: number of the section | open to newcomers | workers inside.
  alignas(64) std::atomic<uint32_t> state_{0};
  alignas(64) std::atomic<uint32_t> caller_sleeps_{0};
  std::vector<std::thread> workers_;
};

}  // namespace sluice::cpu
