#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace sluice {

Status validate(const SamplingParams& p) {
  const auto bad = [](const char* field, const auto& value, const char* range) {
    return invalid_argument("{}: {} is out of range; expected {}", field, value, range);
  };
  if (!(p.temperature >= 0 && p.temperature <= 100)) return bad("temperature", p.temperature, "0 to 100");
  if (p.top_k < -1) return bad("top_k", p.top_k, "a positive number, or 0 or -1 for all tokens");
  if (!(p.top_p > 0 && p.top_p <= 1)) return bad("top_p", p.top_p, "more than 0, at most 1");
  if (!(p.min_p >= 0 && p.min_p <= 1)) return bad("min_p", p.min_p, "0 to 1");
  if (!(p.repetition_penalty > 0 && p.repetition_penalty <= 100)) {
    return bad("repetition_penalty", p.repetition_penalty, "more than 0, at most 100");
  }
  if (!(p.presence_penalty >= -2 && p.presence_penalty <= 2))
    return bad("presence_penalty", p.presence_penalty, "-2 to 2");
  if (!(p.frequency_penalty >= -2 && p.frequency_penalty <= 2))
    return bad("frequency_penalty", p.frequency_penalty, "-2 to 2");
  if (p.max_tokens < 0) return bad("max_tokens", p.max_tokens, "0 or more");
  if (p.min_tokens < 0 || p.min_tokens > p.max_tokens)
    return bad("min_tokens", p.min_tokens, "0 to max_tokens");
  if (p.logprobs < -1 || p.logprobs > 20) return bad("logprobs", p.logprobs, "0 to 20, or -1 for none");
  if (p.stop.size() > 64) return bad("stop", p.stop.size(), "at most 64 strings");
  for (const std::string& s : p.stop) {
    if (s.empty()) return invalid_argument("stop: an empty string would end every text at once");
  }
  if (p.structured_output && p.structured_output->kind == StructuredOutput::Kind::choice &&
      p.structured_output->choices.empty()) {
    return invalid_argument("structured_output: the list of choices is empty");
  }
  for (const auto& [id, bias] : p.logit_bias) {
    if (id < 0) return bad("logit_bias", id, "token ids of 0 or more");
    if (!(bias >= -100 && bias <= 100)) return bad("logit_bias", bias, "-100 to 100");
  }
  return {};
}

namespace sampling {
namespace {

// SplitMix64 (Steele et al. 2014) of (seed, index): a random sequence that can be entered anywhere.
double uniform(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

struct Scan {
  float max = -INFINITY;
  int32_t argmax = -1;
  bool nan = false;
};

Scan scan(std::span<const float> logits) {
  // In two passes that vectorise: the maximum with NaNs found on the way, then where it first stands.
  float max = -INFINITY;
  bool nan = false;
  for (float v : logits) {
    max = v > max ? v : max;
    nan |= v != v;
  }
  Scan out{max, -1, nan};
  if (nan || !std::isfinite(max)) return out;
  const auto at = std::find(logits.begin(), logits.end(), max);
  out.argmax = static_cast<int32_t>(at - logits.begin());
  return out;
}

Status usable(const Scan& s) {
  if (s.argmax >= 0) return {};
  return internal_error("the model's logits are {}; nothing can be sampled from them",
                        s.nan ? "NaN" : "not finite");
}

bool better(const std::pair<float, int32_t>& a, const std::pair<float, int32_t>& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

}  // namespace

double log_sum_exp(std::span<const float> logits) {
  float max = -INFINITY;
  for (float v : logits) max = v > max ? v : max;
  double sum = 0;
  for (float v : logits) sum += std::exp(static_cast<double>(v) - static_cast<double>(max));
  return static_cast<double>(max) + std::log(sum);
}

TokenLogprobs logprobs_of(std::span<const float> logits, int32_t token, int32_t count) {
  const double lse = log_sum_exp(logits);
  TokenLogprobs out;
  const float own = logits[static_cast<size_t>(token)];
  out.logprob = static_cast<float>(static_cast<double>(own) - lse);
  for (float v : logits) out.rank += v > own;
  // A heap of the best so far, its worst on top.
  std::vector<std::pair<float, int32_t>> heap;
  for (size_t i = 0; count > 0 && i < logits.size(); ++i) {
    const std::pair<float, int32_t> entry{logits[i], static_cast<int32_t>(i)};
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
  for (const auto& [logit, id] : heap)
    out.top.emplace_back(id, static_cast<float>(static_cast<double>(logit) - lse));
  return out;
}

Sampler::Sampler(SamplingParams params, std::span<const int32_t> prompt, std::span<const int32_t> outputs,
                 std::vector<int32_t> end_ids, std::shared_ptr<const Constraint> constraint)
    : params_(std::move(params)), end_ids_(std::move(end_ids)), drawn_(outputs.size()) {
  if (constraint)
    constrained_ = std::make_unique<ConstrainedChoice>(std::move(constraint), end_ids_, outputs);
  penalties_ =
      params_.repetition_penalty != 1 || params_.presence_penalty != 0 || params_.frequency_penalty != 0;
  if (penalties_) {
    if (params_.repetition_penalty != 1) {
      for (int32_t id : prompt) seen_[id].in_prompt = true;
    }
    for (int32_t id : outputs) ++seen_[id].outputs;
  }
  seed_ = params_.seed ? *params_.seed : (uint64_t{std::random_device{}()} << 32) | std::random_device{}();
  if (!params_.seed) params_.seed = seed_;
}

void Sampler::penalise(std::span<float> logits) const {
  for (const auto& [id, seen] : seen_) {
    if (id < 0 || static_cast<size_t>(id) >= logits.size()) continue;
    float& v = logits[static_cast<size_t>(id)];
    v = v > 0 ? v / params_.repetition_penalty : v * params_.repetition_penalty;
    if (seen.outputs > 0) {
      v -= params_.presence_penalty + params_.frequency_penalty * static_cast<float>(seen.outputs);
    }
  }
}

void Sampler::add_bias(std::span<float> logits) const {
  for (const auto& [id, bias] : params_.logit_bias) {
    if (static_cast<size_t>(id) < logits.size()) logits[static_cast<size_t>(id)] += bias;
  }
}

// Inverse-transform sampling over what top-k, top-p and min-p leave, in this order.
int32_t Sampler::draw(std::span<const float> logits, float max) {
  // The smallest temperatures would have an infinite inverse, and 0 * infinity is no number.
  const float inverse = 1 / std::max(params_.temperature, 1e-30f);
  const double u = uniform(seed_, drawn_);
  const bool limited = params_.top_k > 0 || params_.top_p < 1;
  // Weights relative to the most likely token; anything below e^-30 of it cannot matter to any cut.
  const float floor = params_.min_p > 0 && !limited ? std::log(params_.min_p) : -30.0f;
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const float scaled = (logits[i] - max) * inverse;
    if (scaled >= floor) candidates_.emplace_back(std::exp(scaled), static_cast<int32_t>(i));
  }
  auto end = candidates_.end();
  if (params_.top_k > 0 && static_cast<size_t>(params_.top_k) < candidates_.size()) {
    end = candidates_.begin() + params_.top_k;
    std::nth_element(candidates_.begin(), end - 1, candidates_.end(), better);
  }
  double total = 0;
  for (auto it = candidates_.begin(); it != end; ++it) total += static_cast<double>(it->first);
  if (params_.top_p < 1) {
    // The best few in order, twice as many each time, until they hold the wanted share.
    double held = 0;
    auto sorted = candidates_.begin();
    for (std::ptrdiff_t want = 32; held < static_cast<double>(params_.top_p) * total && sorted != end;
         want *= 2) {
      const auto next = end - sorted > want ? sorted + want : end;
      std::partial_sort(sorted, next, end, better);
      for (; sorted != next; ++sorted) {
        if (held >= static_cast<double>(params_.top_p) * total) break;
        held += static_cast<double>(sorted->first);
      }
      if (sorted != next) break;
    }
    end = sorted;
    total = held;
  }
  if (params_.min_p > 0 && limited) {
    end = std::remove_if(candidates_.begin(), end, [&](const auto& c) { return c.first < params_.min_p; });
    total = 0;
    for (auto it = candidates_.begin(); it != end; ++it) total += static_cast<double>(it->first);
  }
  // In order of ids, so that the choice does not depend on how the selection left them.
  if (limited)
    std::sort(candidates_.begin(), end, [](const auto& a, const auto& b) { return a.second < b.second; });
  double remaining = u * total;
  for (auto it = candidates_.begin(); it != end; ++it) {
    remaining -= static_cast<double>(it->first);
    if (remaining < 0) return it->second;
  }
  return (end - 1)->second;
}

Result<Sample> Sampler::choose(std::span<float> logits, int32_t vocab_limit) {
  if (static_cast<size_t>(vocab_limit) < logits.size())
    logits = logits.first(static_cast<size_t>(vocab_limit));
  Scan best = scan(logits);
  SLUICE_TRY(usable(best));
  bool reshaped = penalties_ || too_short_to_end() || !params_.logit_bias.empty();
  if (constrained_) {
    // The model's favourite mostly fits: then nothing needs to be masked.
    bool fits = false;
    if (params_.temperature == 0 && !reshaped) {
      SLUICE_ASSIGN(fits, constrained_->allows(best.argmax));
    }
    reshaped |= !fits;
  }
  std::optional<std::vector<float>> kept;  // log-probabilities are of the model's own distribution
  if (params_.logprobs >= 0 && reshaped) kept.emplace(logits.begin(), logits.end());
  if (penalties_) penalise(logits);
  add_bias(logits);
  if (constrained_ && reshaped) SLUICE_TRY(constrained_->restrict(logits));
  if (too_short_to_end()) {
    for (int32_t id : end_ids_) {
      if (static_cast<size_t>(id) < logits.size()) logits[static_cast<size_t>(id)] = -INFINITY;
    }
  }
  if (reshaped) {
    best = scan(logits);
    if (constrained_ && best.argmax < 0 && !best.nan)
      return internal_error("the grammar allows no token of the vocabulary here; nothing can be chosen");
    SLUICE_TRY(usable(best));
  }
  Sample out;
  out.token = params_.temperature == 0 ? best.argmax : draw(logits, best.max);
  ++drawn_;
  if (constrained_) SLUICE_TRY(constrained_->chosen(out.token));
  if (params_.logprobs >= 0)
    out.logprobs = logprobs_of(kept ? std::span<const float>(*kept) : logits, out.token, params_.logprobs);
  if (penalties_) ++seen_[out.token].outputs;
  return out;
}

Result<Sample> Sampler::take_argmax(int32_t token) {
  if (token < 0)
    return internal_error("the model's logits are NaN or not finite; nothing can be sampled from them");
  ++drawn_;
  return Sample{token, std::nullopt};
}

}  // namespace sampling
}  // namespace sluice
