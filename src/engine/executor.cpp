#include "engine/executor.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::engine {

Result<Executor> Executor::create(LoadedModel& model) {
  device::Device& device = *model.backend().device;
  Executor executor(model);
  executor.stream_ = device.make_stream();
  SLUICE_ASSIGN(executor.stage_, BatchStage::make(device, model.recipe(), model.program().groups.size()));
  executor.logit_uses_.reserve(static_cast<size_t>(model.recipe().max_batch_tokens));
  if (device.shares_host_memory()) return executor;
  const int64_t vocab = model.spec().vocab;
  SLUICE_ASSIGN(executor.argmax_, model.backend().kernels.select<ops::Argmax>({vocab}, {}));
  SLUICE_ASSIGN(executor.samples_, SampleStage::make(device, model.program().limits.logits, vocab));
  return executor;
}

void Executor::fill(const Step& step) {
  stage_->clear();
  logit_uses_.clear();
  for (size_t e = 0; e < step.plan.entries.size(); ++e) {
    const sched::StepEntry& entry = step.plan.entries[e];
    const auto sequence = static_cast<int32_t>(e);
    const int32_t first_row = stage_->rows();
    const int32_t variant = step.context_of(entry.id).long_rope ? 1 : 0;
    for (int i = 0; i < entry.count; ++i) {
      const int32_t id = step.plan.tokens_of(entry)[static_cast<size_t>(i)];
      SLUICE_CHECK(id >= 0 && id < model_->spec().vocab, "token {} at position {}", id, entry.first + i);
      stage_->add_row(id, entry.first + i, variant, sequence);
    }
    stage_->add_sequence({first_row, entry.count, entry.first, sequence});
    for (size_t g = 0; g < model_->program().groups.size(); ++g) {
      const auto pages = step.plan.pages_of(entry, static_cast<int>(g));
      SLUICE_CHECK(static_cast<int64_t>(pages.size()) <= stage_->table_pages(), "{} pages of {}",
                   pages.size(), stage_->table_pages());
      std::copy(pages.begin(), pages.end(), stage_->pages(sequence, g).begin());
    }
    for (int i = entry.count - entry.num_logits; i < entry.count; ++i) {
      stage_->add_logit_row(first_row + i);
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
    const Step step{plan, context_of, vocab_limit, result};
    fill(step);
    if (model_->streamer() != nullptr) model_->streamer()->prepare(*stream_);
    const int32_t rows = recorded_rows(plan);
    rows > 0 ? decode_recorded(step, rows) : compute(step);
  } catch (const std::exception& e) {
    if (model_->streamer() != nullptr) model_->streamer()->forget();
    result.status = internal_error("step {} failed: {}", plan.step, e.what());
  }
  return result;
}

void Executor::compute(const Step& step) {
  const program::Batch batch = stage_->batch(*stream_);
  program::run(
      model_->program(), model_->memory(), batch, *stream_,
      [&](size_t first, const Matrix& logits) { sample(step, first, logits, false); },
      observer_ ? &observer_ : nullptr);
  stream_->synchronize();
}

int32_t Executor::recorded_rows(const sched::StepPlan& plan) const {
  if (argmax_ == nullptr || observer_) return 0;
  for (const sched::StepEntry& entry : plan.entries) {
    if (entry.count != 1 || entry.num_logits != 1) return 0;
  }
  // Sizes at which kernels change their tiles; in between, rows without a sequence fill the batch.
  const auto count = static_cast<int32_t>(plan.entries.size());
  const int32_t step = count <= 4 ? 1 : count <= 64 ? 8 : count <= 256 ? 32 : 64;
  const int32_t rows = (count + step - 1) / step * step;
  const program::Limits& limits = model_->program().limits;
  return rows <= limits.logits && rows <= limits.tokens && rows <= model_->recipe().max_sequences ? rows : 0;
}

void Executor::decode_recorded(const Step& step, int32_t rows) {
  while (stage_->rows() < rows) {
    stage_->add_row(0, 0, 0, -1);
    stage_->add_sequence({stage_->rows() - 1, 1, 0, -1});
    stage_->add_logit_row(0);
  }
  const program::Batch batch = stage_->batch(*stream_);
  const auto work = [&] {
    program::run(model_->program(), model_->memory(), batch, *stream_,
                 [&](size_t, const Matrix& logits) { queue_argmax(logits, step.vocab_limit); });
  };
  Recorded& recorded = recorded_[rows];
  if (++recorded.uses == 1) {
    work();
  } else {
    if (!recorded.work || recorded.vocab_limit != step.vocab_limit) {
      recorded.work = stream_->record(work);
      recorded.vocab_limit = step.vocab_limit;
    }
    stream_->replay(*recorded.work);
  }
  const auto count = static_cast<int64_t>(logit_uses_.size());
  sample(step, 0, program::matrix(model_->program(), model_->memory(), model_->program().logits, count),
         true);
}

void Executor::queue_argmax(const Matrix& logits, int32_t vocab_limit) {
  argmax_->run({logits.cols}, {logits, vocab_limit, samples_->device_ids()}, {*stream_});
  samples_->fetch_ids(*stream_, logits.rows);
}

void Executor::sample(const Step& step, size_t first, const Matrix& logits, bool argmax_known) {
  const auto use_of = [&](int64_t row) -> const LogitRow& {
    return logit_uses_[first + static_cast<size_t>(row)];
  };
  if (argmax_ == nullptr) {
    for (int64_t r = 0; r < logits.rows; ++r)
      sample_row(step, use_of(r), {logits.f32(r), static_cast<size_t>(logits.cols)}, -1);
    return;
  }
  const auto enough = [&](const LogitRow& use) {
    const SequenceContext& context = step.context_of(step.plan.entries[use.entry].id);
    return !context.on_logits && (!use.sample || context.sampler->takes_argmax());
  };
  if (!argmax_known) queue_argmax(logits, step.vocab_limit);
  for (int64_t r = 0; r < logits.rows; ++r) {
    if (!enough(use_of(r))) samples_->fetch_logits(*stream_, logits, r);
  }
  stream_->synchronize();
  for (int64_t r = 0; r < logits.rows; ++r)
    sample_row(step, use_of(r), enough(use_of(r)) ? std::span<float>() : samples_->logits(r),
               samples_->ids()[r]);
}

// Without logits, `best` is the largest of them.
void Executor::sample_row(const Step& step, const LogitRow& use, std::span<float> logits, int32_t best) {
  SequenceContext& context = step.context_of(step.plan.entries[use.entry].id);
  sched::EntryResult& out = step.result.entries[use.entry];
  if (context.on_logits) context.on_logits(use.position, logits);
  if (!use.sample || !out.status.ok()) return;
  auto sample =
      logits.empty() ? context.sampler->take_argmax(best) : context.sampler->choose(logits, step.vocab_limit);
  if (!sample.ok()) {
    out.status = sample.status();
    return;
  }
  out.token = sample->token;
  context.logprobs = std::move(sample->logprobs);
}

std::vector<float> Executor::read(const Matrix& m) {
  std::vector<float> out(static_cast<size_t>(m.rows * m.cols));
  stream_->synchronize();
  for (int64_t r = 0; r < m.rows; ++r)
    stream_->copy(out.data() + r * m.cols, m.f32(r), static_cast<size_t>(m.cols) * sizeof(float));
  stream_->synchronize();
  return out;
}

}  // namespace sluice::engine
