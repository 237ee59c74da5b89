#include "serve/metrics/instruments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace sluice::serve {
namespace {

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

void append_escaped(std::string& out, std::string_view text, bool quote) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quote) {
      out += "\\\"";
    } else {
      out.push_back(c);
    }
  }
}

}  // namespace

void Histogram::observe(double value) {
  const auto at = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  buckets_[static_cast<size_t>(at)].fetch_add(1, std::memory_order_relaxed);
  double sum = sum_.load(std::memory_order_relaxed);
  while (!sum_.compare_exchange_weak(sum, sum + value, std::memory_order_relaxed)) {
  }
}

void Exposition::family(std::string_view name, std::string_view help, std::string_view type) {
  if (family_ == name) return;
  family_ = name;
  text_ += fmt::format("# HELP {} ", name);
  append_escaped(text_, help, false);
  text_ += fmt::format("\n# TYPE {} {}\n", name, type);
}

void Exposition::sample(std::string_view name, std::string_view suffix, double value,
                        std::span<const Label> labels, std::string_view bound) {
  text_ += name;
  text_ += suffix;
  char separator = '{';
  const auto label = [&](std::string_view key, std::string_view text) {
    text_.push_back(std::exchange(separator, ','));
    text_ += key;
    text_ += "=\"";
    append_escaped(text_, text, true);
    text_.push_back('"');
  };
  for (const auto& [key, text] : common_) label(key, text);
  for (const auto& [key, text] : labels) label(key, text);
  if (!bound.empty()) label("le", bound);
  if (separator == ',') text_.push_back('}');
  text_ += " " + number(value) + "\n";
}

void Exposition::counter(std::string_view name, std::string_view help, double value,
                         std::span<const Label> labels) {
  family(name, help, "counter");
  sample(name, "", value, labels);
}

void Exposition::gauge(std::string_view name, std::string_view help, double value,
                       std::span<const Label> labels) {
  family(name, help, "gauge");
  sample(name, "", value, labels);
}

void Exposition::histogram(std::string_view name, std::string_view help, const Histogram& histogram) {
  family(name, help, "histogram");
  uint64_t count = 0;
  for (size_t i = 0; i < histogram.bounds().size(); ++i) {
    count += histogram.bucket(i);
    sample(name, "_bucket", static_cast<double>(count), {}, number(histogram.bounds()[i]));
  }
  count += histogram.bucket(histogram.bounds().size());
  sample(name, "_bucket", static_cast<double>(count), {}, "+Inf");
  sample(name, "_sum", histogram.sum(), {});
  sample(name, "_count", static_cast<double>(count), {});
}

}  // namespace sluice::serve
