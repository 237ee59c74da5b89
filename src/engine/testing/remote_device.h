// A device with memory and a queue of its own, for tests: the CPU's reference kernels behind the interface of
// a GPU. Work is done when somebody waits for it and not before, so that whoever reads results too early, or
// overwrites what a queued copy is still to read, gets wrong numbers. Memory is counted, and any piece of
// work can be made to fail.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <set>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "cpu/cpu_device.h"
#include "ops/ops.h"

namespace sluice::engine::testing {

/// What a test sees and decides of a remote device.
struct RemoteControl {
  uint64_t capacity = uint64_t{1} << 34;      // bytes
  uint64_t taken_by_others = 0;               // of the capacity, which the device does not know of
  uint64_t device_bytes = 0, host_bytes = 0;  // allocated now
  int64_t works = 0;                          // kernels and copies done so far
  int64_t replays = 0;                        // of recorded work
  bool eager_copies = false;                  // copies that wait for nothing are done at once
  int64_t nan_rows = 0;                       // of the next choice of tokens: its first rows are NaN
  int64_t fail_at = -1;                       // the work that throws, as `works` counts; -1: none
};

using Work = std::function<void()>;

class RemoteStream;
class RemoteRecording final : public device::Recording {
 public:
  std::vector<Work> work;
  std::set<RemoteStream*> forked, joined;  // streams beside the one that is recorded
};

class RemoteMark final : public device::Mark {
 public:
  using Time = std::chrono::steady_clock::time_point;
  RemoteMark(device::Stream& stream, std::shared_ptr<Time> reached)
      : stream_(stream), reached_(std::move(reached)) {}
  bool reached() const override { return *reached_ != Time(); }
  double seconds_since(const device::Mark& earlier) const override {
    stream_.synchronize();
    return std::chrono::duration<double>(*reached_ - *static_cast<const RemoteMark&>(earlier).reached_)
        .count();
  }

 private:
  device::Stream& stream_;
  std::shared_ptr<Time> reached_;
};

class RemoteStream final : public device::Stream {
 public:
  /// Of its device's memory it takes `bytes`.
  RemoteStream(std::shared_ptr<RemoteControl> control, uint64_t bytes)
      : control_(std::move(control)), bytes_(bytes) {
    control_->device_bytes += bytes_;
  }
  RemoteStream(const RemoteStream&) = delete;
  ~RemoteStream() override { control_->device_bytes -= bytes_; }

  const std::shared_ptr<RemoteControl>& control() const { return control_; }
  void queue(Work work) { queue(Item{std::move(work)}); }
  void synchronize() override {
    SLUICE_CHECK(recording_ == nullptr, "waiting for work that is being recorded");
    run_until(queued_);
  }
  void copy(void* to, const void* from, size_t bytes) override {
    queue(Item{.work = [=] { std::memcpy(to, from, bytes); }, .is_copy = true});
  }
  void follow(device::Stream& stream) override {
    auto& other = static_cast<RemoteStream&>(stream);
    if (other.recording_ != nullptr && recording_ == nullptr) {
      recording_ = other.recording_;
      recording_->forked.insert(this);
    } else if (recording_ != nullptr) {
      // As CUDA has it: a recording depends on nothing outside it, and ends with all that it forked joined
      // again.
      SLUICE_CHECK(other.recording_ == recording_, "recorded work waits for work that is not recorded");
      recording_->joined.insert(&other);
      recording_->joined.erase(this);
    } else {
      const int64_t mark = other.queued_;
      queue(Item{.work = [&other, mark] { other.run_until(mark); }, .after = &other, .mark = mark});
    }
  }
  std::unique_ptr<device::Recording> record(const std::function<void()>& work) override {
    auto recording = std::make_unique<RemoteRecording>();
    recording_ = recording.get();
    work();
    recording_ = nullptr;
    for (RemoteStream* stream : recording->forked) {
      SLUICE_CHECK(recording->joined.contains(stream), "recorded work of another stream is never waited for");
      stream->recording_ = nullptr;
    }
    return recording;
  }
  std::unique_ptr<device::Mark> mark() override {
    auto reached = std::make_shared<std::chrono::steady_clock::time_point>();
    queue([reached] { *reached = std::chrono::steady_clock::now(); });
    return std::make_unique<RemoteMark>(*this, std::move(reached));
  }
  void replay(const device::Recording& recording) override {
    ++control_->replays;
    for (const Work& work : static_cast<const RemoteRecording&>(recording).work) queue(work);
  }

 private:
  struct Item {
    Work work;
    bool is_copy = false;
    RemoteStream* after = nullptr;  // waits for that stream's first `mark` works
    int64_t mark = 0;
  };
  void queue(Item item) {
    if (recording_ != nullptr) {
      recording_->joined.erase(this);
      recording_->work.push_back(std::move(item.work));
      return;
    }
    queue_.push_back(std::move(item));
    ++queued_;
    const auto can_run = [&] {
      const Item& next = queue_.front();
      return next.is_copy || (next.after != nullptr && next.after->done_ >= next.mark);
    };
    while (control_->eager_copies && !queue_.empty() && can_run()) run_until(done_ + 1);
  }
  void run_until(int64_t mark) {
    while (done_ < mark) {
      const Item item = std::move(queue_.front());
      queue_.pop_front();
      ++done_;
      try {
        if (control_->works++ == control_->fail_at)
          throw std::runtime_error("an injected fault of the device");
        item.work();
      } catch (...) {  // its own, or that of a stream it follows: nothing behind it is done
        queue_.clear();
        done_ = queued_;
        throw;
      }
    }
  }

  std::shared_ptr<RemoteControl> control_;
  uint64_t bytes_;
  std::deque<Item> queue_;
  int64_t queued_ = 0, done_ = 0;  // works so far
  RemoteRecording* recording_ = nullptr;
};

class RemoteDevice final : public device::Device {
 public:
  explicit RemoteDevice(std::shared_ptr<RemoteControl> control) : control_(std::move(control)) {
    info_.kind = "remote";
    info_.name = "a device for tests";
    info_.memory_bytes = control_->capacity;
    info_.stream_bytes = 4096;
  }
  const device::DeviceInfo& info() const override { return info_; }
  Result<device::Buffer> allocate(size_t bytes, const std::string& what) override {
    if (control_->device_bytes + control_->taken_by_others + bytes > control_->capacity)
      return resource_exhausted("the device has no {} bytes left for {}", bytes, what);
    control_->device_bytes += bytes;
    return device::Buffer(this, take(bytes), bytes);
  }
  Result<device::Buffer> allocate_host(size_t bytes, const std::string&) override {
    control_->host_bytes += bytes;
    return device::Buffer(this, take(bytes), bytes, device::Place::host);
  }
  void free(void* data, size_t bytes) override {
    control_->device_bytes -= bytes;
    std::free(data);
  }
  void free_host(void* data, size_t bytes) override {
    control_->host_bytes -= bytes;
    std::free(data);
  }
  std::unique_ptr<device::Stream> make_stream() override {
    return std::make_unique<RemoteStream>(control_, info_.stream_bytes);
  }
  std::unique_ptr<device::Stream> make_copy_stream() override {
    return std::make_unique<RemoteStream>(control_, 0);
  }
  bool shares_host_memory() const override { return false; }

 private:
  static void* take(size_t bytes) {
    constexpr size_t kAlignment = 64;
    const size_t rounded = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
    return std::memset(std::aligned_alloc(kAlignment, rounded), 0, rounded);
  }

  std::shared_ptr<RemoteControl> control_;
  device::DeviceInfo info_;
};

/// The CPU that does a remote device's work.
inline ops::Backend& remote_worker() {
  static ops::Backend worker = [] {
    auto made = cpu::make_cpu_backend({.threads = 1});
    SLUICE_CHECK(made.ok(), "{}", made.status().message());
    return *std::move(made);
  }();
  return worker;
}

/// The CPU's reference kernel of an op as a kernel that queues.
template <typename Op>
class RemoteKernel {
 public:
  static ops::Kernel<Op> make() {
    for (const ops::Kernel<Op>& kernel : remote_worker().kernels.template all<Op>()) {
      if (kernel.name.ends_with(".reference")) inner_ = &kernel;
    }
    SLUICE_CHECK(inner_ != nullptr, "{} has no reference", Op::kName);
    ops::Kernel<Op> remote = *inner_;
    remote.run = run;
    return remote;
  }

  static void run(const typename Op::Desc& desc, const typename Op::Args& args, const ops::Launch& launch) {
    static_cast<RemoteStream&>(launch.stream).queue([desc, args, workspace = launch.workspace] {
      typename Op::Args own = args;
      std::vector<ops::SequenceRows> sequences;
      std::vector<int32_t> ids;
      if constexpr (std::is_same_v<Op, ops::Embed>) {
        for (int64_t t = 0; t < args.y.rows; ++t) ids.push_back(std::max(args.ids[t], 0));
        own.ids = ids.data();
      }
      if constexpr (requires { own.on_device; }) {
        // As kernels of a GPU do: from the device's copy of the batch, past the rows that only fill it.
        for (size_t i = 0; i < args.sequences.size(); ++i) {
          const ops::SequenceRows& s = args.on_device.sequences[i];
          if (args.on_device.sequence_of[s.first_row] == static_cast<int32_t>(i)) sequences.push_back(s);
        }
        own.sequences = sequences;
      }
      const auto stream = remote_worker().device->make_stream();
      inner_->run(desc, own, {*stream, workspace});
    });
  }

 private:
  static inline const ops::Kernel<Op>* inner_ = nullptr;
};

/// With rows that are made NaN first.
inline ops::Kernel<ops::Sample> remote_sample() {
  ops::Kernel<ops::Sample> kernel = RemoteKernel<ops::Sample>::make();
  kernel.run = [](const ops::Sample::Desc& desc, const ops::Sample::Args& args, const ops::Launch& launch) {
    auto& stream = static_cast<RemoteStream&>(launch.stream);
    stream.queue([x = args.x, control = stream.control()] {
      for (int64_t r = 0; r < std::min(control->nan_rows, x.rows); ++r) x.f32(r)[0] = NAN;
      control->nan_rows = 0;
    });
    RemoteKernel<ops::Sample>::run(desc, args, launch);
  };
  return kernel;
}

inline ops::Backend make_remote_backend(std::shared_ptr<RemoteControl> control) {
  ops::Backend backend;
  backend.device = std::make_unique<RemoteDevice>(std::move(control));
  const auto add = [&]<typename... Op>(std::type_identity<Op>...) {
    (backend.kernels.add(RemoteKernel<Op>::make()), ...);
  };
  add(std::type_identity<ops::Embed>(), std::type_identity<ops::RopeTable>(),
      std::type_identity<ops::Linear>(), std::type_identity<ops::AddNorm>(),
      std::type_identity<ops::RopeKv>(), std::type_identity<ops::Attention>(),
      std::type_identity<ops::Activation>(), std::type_identity<ops::Route>(),
      std::type_identity<ops::MoeMlp>(), std::type_identity<ops::GatherRows>(),
      std::type_identity<ops::ScaleSoftcap>());
  backend.kernels.add(remote_sample());
  return backend;
}

}  // namespace sluice::engine::testing
