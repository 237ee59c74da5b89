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

Status usable(const ops::Largest& s) {
  if (s.place >= 0) return {};
  return internal_error("the model's logits are {}; nothing can be sampled from them",
                        s.nan ? "NaN" : "not finite");
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
      std::push_heap(heap.begin(), heap.end(), ops::better);
    } else if (ops::better(entry, heap.front())) {
      std::pop_heap(heap.begin(), heap.end(), ops::better);
      heap.back() = entry;
      std::push_heap(heap.begin(), heap.end(), ops::better);
    }
  }
  std::sort(heap.begin(), heap.end(), ops::better);
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

ops::Choice Sampler::choice(uint64_t index) const {
  return {.top_k = std::max(params_.top_k, 0),
          .temperature = params_.temperature,
          .top_p = params_.top_p,
          .min_p = params_.min_p,
          .place = uniform(seed_, index)};
}

Result<Sample> Sampler::choose(std::span<float> logits, int32_t vocab_limit) {
  if (static_cast<size_t>(vocab_limit) < logits.size())
    logits = logits.first(static_cast<size_t>(vocab_limit));
  ops::Largest best = ops::largest_logit(logits);
  SLUICE_TRY(usable(best));
  bool reshaped = penalties_ || too_short_to_end(drawn_) || !params_.logit_bias.empty();
  if (constrained_) {
    // The model's favourite mostly fits: then nothing needs to be masked.
    bool fits = false;
    if (params_.temperature == 0 && !reshaped) {
      SLUICE_ASSIGN(fits, constrained_->allows(best.place));
    }
    reshaped |= !fits;
  }
  std::optional<std::vector<float>> kept;  // log-probabilities are of the model's own distribution
  if (params_.logprobs >= 0 && reshaped) kept.emplace(logits.begin(), logits.end());
  if (penalties_) penalise(logits);
  add_bias(logits);
  if (constrained_ && reshaped) SLUICE_TRY(constrained_->restrict(logits));
  if (too_short_to_end(drawn_)) {
    for (int32_t id : end_ids_) {
      if (static_cast<size_t>(id) < logits.size()) logits[static_cast<size_t>(id)] = -INFINITY;
    }
  }
  if (reshaped) {
    best = ops::largest_logit(logits);
    if (constrained_ && best.place < 0 && !best.nan)
      return internal_error("the grammar allows no token of the vocabulary here; nothing can be chosen");
    SLUICE_TRY(usable(best));
  }
  Sample out;
  out.token = best.place;
  if (params_.temperature > 0) {
    const ops::Choice next = choice(drawn_);
    const double sum = ops::candidates(logits, best.value, next, candidates_);
    out.token = ops::token_at(candidates_, sum, next.place);
  }
  ++drawn_;
  if (constrained_) SLUICE_TRY(constrained_->chosen(out.token));
  if (params_.logprobs >= 0)
    out.logprobs = logprobs_of(kept ? std::span<const float>(*kept) : logits, out.token, params_.logprobs);
  if (penalties_) ++seen_[out.token].outputs;
  return out;
}

std::optional<ops::Choice> Sampler::plain_choice(int ahead) const {
  const uint64_t index = drawn_ + static_cast<uint64_t>(ahead);
  if (penalties_ || !params_.logit_bias.empty() || params_.logprobs >= 0 || too_short_to_end(index) ||
      constrained_)
    return std::nullopt;
  return choice(index);
}

Result<Sample> Sampler::take(int32_t token) {
  if (token < 0)
    return internal_error("the model's logits are NaN or not finite; nothing can be sampled from them");
  ++drawn_;
  return Sample{token, std::nullopt};
}

}  // namespace sampling
}  // namespace sluice
