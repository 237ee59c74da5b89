#include "engine/executor.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::engine {

Executor::Executor(LoadedModel& model) : model_(model), stream_(model.backend().device->make_stream()) {
  const model::Recipe& r = model.recipe();
  const auto tokens = static_cast<size_t>(r.max_batch_tokens);
  for (auto* array : {&ids_, &positions_, &rope_variants_, &logit_rows_}) array->reserve(tokens);
  logit_uses_.reserve(tokens);
  sequences_.reserve(static_cast<size_t>(r.max_sequences));
  table_stride_ = (r.max_seq_len + r.page_tokens - 1) / r.page_tokens;
  pages_.assign(model.program().groups.size(),
                std::vector<int32_t>(static_cast<size_t>(r.max_sequences * table_stride_)));
  for (const auto& group : pages_) tables_.push_back({group.data(), table_stride_});
}

void Executor::fill(const sched::StepPlan& plan, const ContextOf& context_of) {
  for (auto* array : {&ids_, &positions_, &rope_variants_, &logit_rows_}) array->clear();
  sequences_.clear();
  logit_uses_.clear();
  for (size_t e = 0; e < plan.entries.size(); ++e) {
    const sched::StepEntry& entry = plan.entries[e];
    const auto first_row = static_cast<int32_t>(ids_.size());
    const int32_t variant = context_of(entry.id).long_rope ? 1 : 0;
    for (int i = 0; i < entry.count; ++i) {
      const int32_t id = plan.tokens_of(entry)[static_cast<size_t>(i)];
      SLUICE_CHECK(id >= 0 && id < model_.spec().vocab, "token {} at position {}", id, entry.first + i);
      ids_.push_back(id);
      positions_.push_back(entry.first + i);
      rope_variants_.push_back(variant);
    }
    sequences_.push_back({first_row, entry.count, entry.first, static_cast<int32_t>(e)});
    for (size_t g = 0; g < pages_.size(); ++g) {
      const auto pages = plan.pages_of(entry, static_cast<int>(g));
      SLUICE_CHECK(static_cast<int64_t>(pages.size()) <= table_stride_, "{} pages of {}", pages.size(),
                   table_stride_);
      std::copy(pages.begin(), pages.end(), pages_[g].begin() + static_cast<int64_t>(e) * table_stride_);
    }
    for (int i = entry.count - entry.num_logits; i < entry.count; ++i) {
      logit_rows_.push_back(first_row + i);
      logit_uses_.push_back({e, entry.first + i, entry.sample && i + 1 == entry.count});
    }
  }
}

sched::StepResult Executor::run(const sched::StepPlan& plan, const ContextOf& context_of,
                                int32_t vocab_limit) {
  sched::StepResult result;
  result.step = plan.step;
  result.entries.resize(plan.entries.size());
  try {
    fill(plan, context_of);
    program::Batch batch;
    batch.tokens = static_cast<int32_t>(ids_.size());
    batch.ids = ids_.data();
    batch.positions = positions_.data();
    batch.rope_variants = rope_variants_.data();
    batch.sequences = sequences_;
    batch.tables = tables_;
    batch.logit_rows = logit_rows_;
    const auto take = [&](size_t first, Matrix logits) {
      for (int64_t r = 0; r < logits.rows; ++r) {
        const LogitRow& use = logit_uses_[first + static_cast<size_t>(r)];
        const std::span<float> row(logits.f32(r), static_cast<size_t>(logits.cols));
        SequenceContext& context = context_of(plan.entries[use.entry].id);
        sched::EntryResult& out = result.entries[use.entry];
        if (context.on_logits) context.on_logits(use.position, row);
        if (!use.sample || !out.status.ok()) continue;
        auto sample = context.sampler->choose(row, vocab_limit);
        if (!sample.ok()) {
          out.status = sample.status();
          continue;
        }
        out.token = sample->token;
        context.logprobs = std::move(sample->logprobs);
      }
    };
    program::run(model_.program(), model_.memory(), batch, *stream_, take, observer_ ? &observer_ : nullptr);
  } catch (const std::exception& e) {
    result.status = internal_error("step {} failed: {}", plan.step, e.what());
  }
  return result;
}

}  // namespace sluice::engine
