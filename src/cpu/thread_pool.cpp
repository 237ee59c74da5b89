#include "cpu/thread_pool.h"

#include <immintrin.h>

#include <utility>

#include "base/check.h"

namespace sluice::cpu {
namespace {

constexpr uint32_t kInsideMask = 0x7ff;
constexpr uint32_t kOpen = 0x800;
constexpr uint32_t kSectionStep = 0x1000;
uint32_t section_number(uint32_t state) { return state / kSectionStep; }

// Long enough to bridge the serial parts between two kernels (tens of microseconds at the 2-4 GHz of a time
// stamp counter), short enough to leave the core to others soon after the last one.
constexpr uint64_t kSpinTicks = 100'000;

/// Polls until done() or the spin time is over; returns done().
template <typename Done>
bool spin_until(const Done& done) {
  const uint64_t start = __rdtsc();
  do {
    for (int i = 0; i < 8; ++i) {
      if (done()) return true;
      _mm_pause();
    }
  } while (__rdtsc() - start < kSpinTicks);
  return done();
}

thread_local const ThreadPool* current_pool = nullptr;
thread_local int current_worker = -1;

}  // namespace

ThreadPool::InSection::InSection(const ThreadPool& pool, int worker)
    : outer_pool_(current_pool), outer_worker_(current_worker) {
  current_pool = &pool;
  current_worker = worker;
}
ThreadPool::InSection::~InSection() {
  current_pool = outer_pool_;
  current_worker = outer_worker_;
}
int ThreadPool::worker_of_this_thread() const { return current_pool == this ? current_worker : -1; }

ThreadPool::ThreadPool(int threads) {
  SLUICE_CHECK(threads >= 1 && threads < static_cast<int>(kInsideMask), "threads={}", threads);
  workers_.reserve(static_cast<size_t>(threads - 1));
  for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
}

ThreadPool::~ThreadPool() {
  stopping_.store(true);
  state_.fetch_add(kSectionStep);
  state_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::call(int worker) {
  try {
    const InSection in(*this, worker);
    section_.call(section_.context, worker);
  } catch (...) {
    if (!failed_.exchange(true)) error_ = std::current_exception();
  }
}

void ThreadPool::work(int worker) {
  uint32_t last_section = 0;
  for (;;) {
    uint32_t state = state_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    if ((state & kOpen) != 0 && section_number(state) != last_section) {
      if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
      last_section = section_number(state);
      call(worker);
      const uint32_t before = state_.fetch_sub(1);
      const bool last_out = (before & kOpen) == 0 && (before & kInsideMask) == 1;
      if (last_out && caller_sleeps_.exchange(0) != 0) caller_sleeps_.notify_one();
      continue;
    }
    const auto changed = [&] { return state_.load(std::memory_order_acquire) != state; };
    if (!spin_until(changed)) state_.wait(state, std::memory_order_acquire);
  }
}

void ThreadPool::await_workers() {
  const auto all_out = [&] { return (state_.load() & kInsideMask) == 0; };
  while (!spin_until(all_out)) {
    caller_sleeps_.store(1);
    if (all_out()) break;
    caller_sleeps_.wait(1);
  }
  caller_sleeps_.store(0);
}

void ThreadPool::run_section(Section section) {
  if (const int nested = worker_of_this_thread(); nested >= 0) return section.call(section.context, nested);

  const std::lock_guard turn(turn_);
  section_ = section;
  const uint32_t next = (section_number(state_.load()) + 1) * kSectionStep;
  state_.store(next | kOpen);
  state_.notify_all();
  call(0);
  state_.fetch_and(~kOpen);
  await_workers();
  if (failed_.load()) {
    failed_.store(false);
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

}  // namespace sluice::cpu
