#include "cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <set>
#include <stdexcept>

namespace sluice::cpu {
namespace {

TEST(ThreadPool, ParallelForCoversEachItemOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int64_t n : {0, 1, 7, 64, 1000}) {
      for (int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
        pool.parallel_for(n, grain, [&](int64_t begin, int64_t end, int worker) {
          EXPECT_LE(end - begin, grain);
          EXPECT_GE(worker, 0);
          EXPECT_LT(worker, threads);
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        for (const auto& count : seen) EXPECT_EQ(count, 1) << "n=" << n << " grain=" << grain;
      }
    }
  }
}

TEST(ThreadPool, WorkersOfASectionHaveDistinctIds) {
  ThreadPool pool(4);
  for (int i = 0; i < 2000; ++i) {
    std::array<std::atomic<int>, 4> calls{};
    pool.run([&](int worker) { ++calls[static_cast<size_t>(worker)]; });
    EXPECT_EQ(calls[0], 1);
    for (const auto& c : calls) EXPECT_LE(c, 1);
  }
}

TEST(ThreadPool, SectionsFollowEachOtherWithoutLoss) {
  ThreadPool pool(3);
  int64_t total = 0;  // plain: a section's writes are seen by the next
  std::vector<int64_t> parts(64);
  for (int64_t round = 0; round < 20000; ++round) {
    pool.parallel_for(64, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) parts[static_cast<size_t>(i)] += i + round;
    });
  }
  total = std::accumulate(parts.begin(), parts.end(), int64_t{0});
  EXPECT_EQ(total, 20000 * (63 * 64 / 2) + 64 * (19999LL * 20000 / 2));
}

TEST(ThreadPool, ExceptionsReachTheCallerAndThePoolLivesOn) {
  for (int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 50; ++round) {
      EXPECT_THROW(pool.parallel_for(100, 1,
                                     [&](int64_t begin, int64_t, int) {
                                       if (begin == 13) throw std::runtime_error("thirteen");
                                     }),
                   std::runtime_error);
      std::atomic<int> sum{0};
      pool.parallel_for(10, 1, [&](int64_t begin, int64_t, int) { sum += static_cast<int>(begin); });
      EXPECT_EQ(sum, 45);
    }
  }
}

TEST(ThreadPool, NestedSectionsRunOnTheirWorker) {
  ThreadPool pool(3);
  std::atomic<int> inner{0};
  pool.parallel_for(30, 1, [&](int64_t, int64_t, int worker) {
    pool.parallel_for(10, 1, [&](int64_t, int64_t, int nested) {
      EXPECT_EQ(nested, worker);
      ++inner;
    });
  });
  EXPECT_EQ(inner, 300);
}

TEST(ThreadPool, CallersTakeTurns) {
  ThreadPool pool(2);
  std::atomic<int> inside{0}, calls{0};
  const auto caller = [&] {
    for (int i = 0; i < 500; ++i) {
      pool.parallel_for(1, 1, [&](int64_t, int64_t, int) {
        EXPECT_EQ(inside.fetch_add(1), 0);
        ++calls;
        inside.fetch_sub(1);
      });
    }
  };
  std::thread a(caller), b(caller);
  a.join();
  b.join();
  EXPECT_EQ(calls, 1000);
}

TEST(ThreadPool, SleepingWorkersWakeUp) {
  ThreadPool pool(2);
  std::set<int> workers;
  std::mutex lock;
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // longer than they spin
    pool.parallel_for(2, 1, [&](int64_t, int64_t, int worker) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // leaves a chunk for the other
      const std::lock_guard hold(lock);
      workers.insert(worker);
    });
  }
  EXPECT_EQ(workers.size(), 2u);
}

}  // namespace
}  // namespace sluice::cpu
