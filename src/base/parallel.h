// Plain parallelism for work that happens once: loading, packing, checking. Kernels have their own pool.
#pragma once

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace sluice {

/// Calls work(i, worker) for i in [0, count) on up to `threads` threads, worker in [0, threads), and returns
/// the first failure; after one no new index is begun. work returns a Status and may be called from several
/// threads at once.
template <typename Work>
requires std::is_invocable_v<Work, int64_t, int> Status parallel_for(int64_t count, int threads,
                                                                     Work&& work) {
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  Status first;
  const auto loop = [&](int worker) {
    for (int64_t i = next++; i < count; i = next++) {
      Status status;
      try {
        status = work(i, worker);
      } catch (const std::exception& e) {
        status = internal_error("{}", e.what());
      }
      if (status.ok()) continue;
      next = count;
      const std::lock_guard lock(mutex);
      if (first.ok()) first = std::move(status);
    }
  };
  std::vector<std::thread> helpers;
  for (int worker = 1; worker < std::min<int64_t>(threads, count); ++worker)
    helpers.emplace_back(loop, worker);
  loop(0);
  for (std::thread& helper : helpers) helper.join();
  return first;
}
template <typename Work>
requires std::is_invocable_v<Work, int64_t> Status parallel_for(int64_t count, int threads, Work&& work) {
  return parallel_for(count, threads, [&](int64_t i, int) { return work(i); });
}

}  // namespace sluice
