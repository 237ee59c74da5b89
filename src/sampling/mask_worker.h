// One thread that computes masks while the device runs the step they are for.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace sluice::sampling {

class MaskWorker {
 public:
  /// A piece of work that is done once: by the worker, or by whoever needs it before the worker came to it.
  class Task {
   public:
    explicit Task(std::function<void()> work) : work_(std::move(work)) {}
    /// Returns when it is done.
    void finish();

   private:
    friend class MaskWorker;
    enum State : int { kWaiting, kRunning, kDone };
    bool run_if_waiting();

    std::function<void()> work_;
    std::atomic<int> state_{kWaiting};
  };

  MaskWorker() = default;
  ~MaskWorker();
  MaskWorker(const MaskWorker&) = delete;
  MaskWorker& operator=(const MaskWorker&) = delete;

  /// Whoever submits must finish() the task before anything that `work` refers to goes away.
  std::shared_ptr<Task> submit(std::function<void()> work);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Task>> tasks_;
  bool stopping_ = false;
  std::thread thread_;  // begins with the first task
};

}  // namespace sluice::sampling
