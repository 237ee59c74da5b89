#include "ops/sample.h"

#include <algorithm>
#include <cmath>

namespace sluice::ops {
namespace {

double sum_of(Candidates::const_iterator begin, Candidates::const_iterator end) {
  double sum = 0;
  for (auto it = begin; it != end; ++it) sum += static_cast<double>(it->first);
  return sum;
}

}  // namespace

Largest largest_logit(std::span<const float> logits) {
  // In two passes that vectorise: the maximum with NaNs found on the way, then where it first stands.
  float max = -INFINITY;
  bool nan = false;
  for (float v : logits) {
    max = v > max ? v : max;
    nan |= v != v;
  }
  Largest out{max, -1, nan};
  if (nan || !std::isfinite(max)) return out;
  const auto at = std::find(logits.begin(), logits.end(), max);
  out.place = static_cast<int32_t>(at - logits.begin());
  return out;
}

double log_sum_exp(std::span<const float> logits) {
  float max = -INFINITY;
  for (float v : logits) max = v > max ? v : max;
  double sum = 0;
  for (float v : logits) sum += std::exp(static_cast<double>(v) - static_cast<double>(max));
  return static_cast<double>(max) + std::log(sum);
}

Logprobs logprobs_of(std::span<const float> logits, int32_t token, int32_t count) {
  const double lse = log_sum_exp(logits);
  const auto logprob = [lse](float logit) { return static_cast<float>(static_cast<double>(logit) - lse); };
  Logprobs out;
  const float own = logits[static_cast<size_t>(token)];
  out.chosen = logprob(own);
  for (float v : logits) out.rank += v > own;
  // A heap of the best so far, its worst on top.
  Candidates heap;
  for (size_t i = 0; count > 0 && i < logits.size(); ++i) {
    const Candidates::value_type entry{logits[i], static_cast<int32_t>(i)};
    if (heap.size() < static_cast<size_t>(count)) {
      heap.push_back(entry);
      std::push_heap(heap.begin(), heap.end(), better);
    } else if (better(entry, heap.front())) {
      std::pop_heap(heap.begin(), heap.end(), better);
      heap.back() = entry;
      std::push_heap(heap.begin(), heap.end(), better);
    }
  }
  std::sort(heap.begin(), heap.end(), better);
  for (const auto& [logit, id] : heap) {
    out.ids[out.count] = id;
    out.values[out.count++] = logprob(logit);
  }
  return out;
}

// No row is ever sorted: top-k selects, and top-p orders no more than it keeps.
double candidates(std::span<const float> logits, float largest, const Choice& choice, Candidates& all) {
  // The smallest temperatures would have an infinite inverse, and 0 * infinity is no number.
  const float inverse = 1 / std::max(choice.temperature, 1e-30f);
  const bool limited = choice.top_k > 0 || choice.top_p < 1;
  const float floor = choice.min_p > 0 && !limited ? std::log(choice.min_p) : -30.0f;
  all.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const float scaled = (logits[i] - largest) * inverse;
    if (scaled >= floor) all.emplace_back(std::exp(scaled), static_cast<int32_t>(i));
  }
  auto end = all.end();
  if (choice.top_k > 0 && static_cast<size_t>(choice.top_k) < all.size()) {
    end = all.begin() + choice.top_k;
    std::nth_element(all.begin(), end - 1, all.end(), better);
  }
  double sum = sum_of(all.begin(), end);
  if (choice.top_p < 1) {
    // The best few in order, twice as many each time, until they hold the wanted share.
    double held = 0;
    auto sorted = all.begin();
    for (std::ptrdiff_t want = 32; held < static_cast<double>(choice.top_p) * sum && sorted != end;
         want *= 2) {
      const auto next = end - sorted > want ? sorted + want : end;
      std::partial_sort(sorted, next, end, better);
      for (; sorted != next; ++sorted) {
        if (held >= static_cast<double>(choice.top_p) * sum) break;
        held += static_cast<double>(sorted->first);
      }
      if (sorted != next) break;
    }
    end = sorted;
    sum = held;
  }
  if (choice.min_p > 0 && limited) {
    end = std::remove_if(all.begin(), end, [&](const auto& c) { return c.first < choice.min_p; });
    sum = sum_of(all.begin(), end);
  }
  all.erase(end, all.end());
  // In order of ids, so that the choice does not depend on how the selection left them.
  if (limited)
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return sum;
}

int32_t token_at(const Candidates& candidates, double sum, double place) {
  double remaining = place * sum;
  for (const auto& [weight, id] : candidates) {
    remaining -= static_cast<double>(weight);
    if (remaining < 0) return id;
  }
  return candidates.back().second;
}

}  // namespace sluice::ops
