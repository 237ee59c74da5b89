// Counters and histograms that many threads count into without a lock, and their Prometheus text.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::serve {

class Counter {
 public:
  void add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

/// Counts of values in buckets with these upper bounds, and one for what is above them.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), buckets_(new std::atomic<uint64_t>[bounds_.size() + 1]()) {}

  void observe(double value);

  const std::vector<double>& bounds() const { return bounds_; }
  uint64_t bucket(size_t i) const { return buckets_[i].load(std::memory_order_relaxed); }
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::vector<double> bounds_;  // rising
  std::unique_ptr<std::atomic<uint64_t>[]> buckets_;
  std::atomic<double> sum_{0};
};

using Label = std::pair<std::string_view, std::string_view>;

/// Text exposition format 0.0.4. Series of one family must be written one after the other; the family's HELP
/// and TYPE lines come with the first.
class Exposition {
 public:
  /// Labels that every series has.
  explicit Exposition(std::vector<Label> common) : common_(std::move(common)) {}

  void counter(std::string_view name, std::string_view help, double value,
               std::span<const Label> labels = {});
  void gauge(std::string_view name, std::string_view help, double value, std::span<const Label> labels = {});
  void histogram(std::string_view name, std::string_view help, const Histogram& histogram);

  std::string take() { return std::move(text_); }

 private:
  void family(std::string_view name, std::string_view help, std::string_view type);
  void sample(std::string_view name, std::string_view suffix, double value, std::span<const Label> labels,
              std::string_view bound = {});

  std::vector<Label> common_;
  std::string text_, family_;
};

}  // namespace sluice::serve
