#include "sampling/mask_worker.h"

namespace sluice::sampling {

bool MaskWorker::Task::run_if_waiting() {
  int expected = kWaiting;
  if (!state_.compare_exchange_strong(expected, kRunning)) return false;
  work_();
  state_.store(kDone);
  state_.notify_all();
  return true;
}

void MaskWorker::Task::finish() {
  if (run_if_waiting()) return;
  while (state_.load() != kDone) state_.wait(kRunning);
}

MaskWorker::~MaskWorker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<MaskWorker::Task> MaskWorker::submit(std::function<void()> work) {
  auto task = std::make_shared<Task>(std::move(work));
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(task);
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  }
  wake_.notify_one();
  return task;
}

void MaskWorker::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !tasks_.empty(); });
    if (stopping_) return;
    const std::shared_ptr<Task> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task->run_if_waiting();
    lock.lock();
  }
}

}  // namespace sluice::sampling
