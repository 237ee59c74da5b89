#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <map>
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
  if (p.min_tokens < 0) return bad("min_tokens", p.min_tokens, "0 or more");
  if (p.min_tokens > p.max_tokens)
    return invalid_argument("min_tokens: {} is more than max_tokens, {}", p.min_tokens, p.max_tokens);
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
  if (p.bad_words.size() > 1024) return bad("bad_words", p.bad_words.size(), "at most 1024 words");
  for (const std::string& word : p.bad_words) {
    if (word.empty()) return invalid_argument("bad_words: an empty string is no word");
  }
  if (p.allowed_token_ids && p.allowed_token_ids->empty())
    return invalid_argument("allowed_token_ids: an empty list leaves nothing to choose");
  if (p.logprob_token_ids.size() > 128)
    return bad("logprob_token_ids", p.logprob_token_ids.size(), "at most 128 ids");
  if (!p.logprob_token_ids.empty() && p.logprobs < 0)
    return invalid_argument("logprob_token_ids: it needs logprobs, which are not asked for");
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

Status validate_token_ids(const SamplingParams& p, int64_t vocab) {
  Status status;
  const auto check = [&](const char* field, int32_t id) {
    if (status.ok() && (id < 0 || id >= vocab))
      status = invalid_argument("{}: {} is not a token id below {}", field, id, vocab);
  };
  for (const int32_t id : p.stop_token_ids) check("stop_token_ids", id);
  for (const int32_t id : p.logprob_token_ids) check("logprob_token_ids", id);
  if (p.allowed_token_ids) {
    for (const int32_t id : *p.allowed_token_ids) check("allowed_token_ids", id);
  }
  return status;
}

TokenLogprobs::TokenLogprobs(const ops::Logprobs& reported) : logprob(reported.chosen), rank(reported.rank) {
  for (int32_t i = 0; i < reported.count; ++i) top.emplace_back(reported.ids[i], reported.values[i]);
}

Sampler::Sampler(SamplingParams params, std::span<const int32_t> prompt, std::span<const int32_t> outputs,
                 std::vector<int32_t> end_ids, std::shared_ptr<const Constraint> constraint,
                 std::shared_ptr<const BadWords> bad_words)
    : params_(std::move(params)),
      end_ids_(std::move(end_ids)),
      drawn_(outputs.size()),
      bad_words_(std::move(bad_words)) {
  if (constraint)
    constrained_ = std::make_unique<ConstrainedChoice>(std::move(constraint), end_ids_, outputs);
  if (bad_words_) outputs_.assign(outputs.begin(), outputs.end());
  if (const auto& ids = params_.allowed_token_ids) {
    allowed_.emplace(*std::max_element(ids->begin(), ids->end()) + 1);
    for (const int32_t id : *ids) allowed_->set(id);
  }
  penalties_ = choice(0).penalises();
  if (penalties_) {
    if (params_.repetition_penalty != 1) {
      for (int32_t id : prompt) seen_[id] = ops::kInPrompt;
    }
    for (int32_t id : outputs) ++seen_[id];
  }
  std::map<int32_t, float> biases;
  for (const auto& [id, bias] : params_.logit_bias) biases[id] += bias;
  for (const auto& [id, bias] : biases) biases_.push_back({id, bias});
  own_biases_ = biases_.size();
  if (params_.min_tokens > 0) {
    for (int32_t id : end_ids_) biases_.push_back({id, -INFINITY});
  }
  seed_ = params_.seed ? *params_.seed : (uint64_t{std::random_device{}()} << 32) | std::random_device{}();
  if (!params_.seed) params_.seed = seed_;
}

void Sampler::reshape(std::span<float> logits, const ops::Choice& choice) const {
  for (const auto& [id, seen] : seen_) {
    if (static_cast<size_t>(id) >= logits.size()) continue;
    float& v = logits[static_cast<size_t>(id)];
    v = ops::penalised(v, seen, choice);
  }
  for (const ops::Bias& bias : std::span(biases_).first(static_cast<size_t>(choice.biases))) {
    if (static_cast<size_t>(bias.id) < logits.size()) logits[static_cast<size_t>(bias.id)] += bias.value;
  }
  if (allowed_) allowed_->apply(logits);
  if (bad_words_) bad_words_->ban(logits, outputs_);
}

TokenLogprobs Sampler::report(std::span<const float> logits, int32_t token) const {
  const std::vector<int32_t>& ids = params_.logprob_token_ids;
  TokenLogprobs out(ops::logprobs_of(logits, token, ids.empty() ? params_.logprobs : 0));
  for (const int32_t id : ids) {
    const auto place = static_cast<size_t>(id);
    const double above = place < logits.size()
                             ? double{logits[place]} - double{logits[static_cast<size_t>(token)]}
                             : -INFINITY;
    out.top.emplace_back(id, static_cast<float>(double{out.logprob} + above));
  }
  return out;
}

void Sampler::write_past(std::span<ops::Seen> seen, std::span<ops::Bias> biases) const {
  std::fill(seen.begin(), seen.end(), 0);
  for (const auto& [id, times] : seen_) {
    if (static_cast<size_t>(id) < seen.size()) seen[static_cast<size_t>(id)] = times;
  }
  std::copy(biases_.begin(), biases_.end(), biases.begin());
}

ops::Choice Sampler::choice(uint64_t index) const {
  return {.top_k = std::max(params_.top_k, 0),
          .temperature = params_.temperature,
          .top_p = params_.top_p,
          .min_p = params_.min_p,
          .repetition_penalty = params_.repetition_penalty,
          .presence_penalty = params_.presence_penalty,
          .frequency_penalty = params_.frequency_penalty,
          .biases = static_cast<int32_t>(too_short_to_end(index) ? biases_.size() : own_biases_),
          .logprobs = params_.logprobs,
          .place = uniform(seed_, index)};
}

Result<Sample> Sampler::choose(std::span<float> logits, int32_t vocab_limit) {
  if (static_cast<size_t>(vocab_limit) < logits.size())
    logits = logits.first(static_cast<size_t>(vocab_limit));
  ops::Largest best = ops::largest_logit(logits);
  SLUICE_TRY(usable(best));
  const ops::Choice next = choice(drawn_);
  bool reshaped = penalties_ || next.biases > 0 || allowed_ || bad_words_;
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
  reshape(logits, next);
  if (constrained_ && reshaped) SLUICE_TRY(constrained_->restrict(logits));
  if (reshaped) {
    best = ops::largest_logit(logits);
    if (restricted() && best.place < 0 && !best.nan) {
      std::vector<std::string_view> by;
      if (constrained_) by.push_back("the grammar");
      if (allowed_) by.push_back("allowed_token_ids");
      if (bad_words_) by.push_back("bad_words");
      if (too_short_to_end(drawn_)) by.push_back("min_tokens");
      return invalid_argument("no token of the vocabulary is left to choose here, going by {}",
                              fmt::join(by, ", "));
    }
    SLUICE_TRY(usable(best));
  }
  Sample out;
  out.token = best.place;
  if (params_.temperature > 0) {
    const double sum = ops::candidates(logits, best.value, next, candidates_);
    out.token = ops::token_at(candidates_, sum, next.place);
  }
  ++drawn_;
  if (constrained_) SLUICE_TRY(constrained_->chosen(out.token));
  if (params_.logprobs >= 0) out.logprobs = report(kept ? std::span<const float>(*kept) : logits, out.token);
  if (penalties_) ++seen_[out.token];
  if (bad_words_) outputs_.push_back(out.token);
  return out;
}

std::optional<ops::Choice> Sampler::choice_elsewhere(int ahead) const {
  if (restricted() || !params_.logprob_token_ids.empty() ||
      biases_.size() > static_cast<size_t>(ops::kMostBiases))
    return std::nullopt;
  return choice(drawn_ + static_cast<uint64_t>(ahead));
}

Result<Sample> Sampler::take(int32_t token, const ops::Logprobs& reported) {
  if (token < 0)
    return internal_error("the model's logits are NaN or not finite; nothing can be sampled from them");
  ++drawn_;
  if (penalties_) ++seen_[token];
  Sample out{token, std::nullopt};
  if (params_.logprobs >= 0) out.logprobs.emplace(reported);
  return out;
}

}  // namespace sampling
}  // namespace sluice
