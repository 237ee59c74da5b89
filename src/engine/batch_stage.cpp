#include "engine/batch_stage.h"

#include "base/check.h"
#include "base/checked.h"

namespace sluice::engine {
namespace {

constexpr int64_t kSequenceWords = sizeof(ops::SequenceRows) / sizeof(int32_t);
constexpr int64_t kChoiceWords = sizeof(ops::Choice) / sizeof(int32_t);

}  // namespace

int64_t BatchStage::table_pages(const model::Recipe& recipe) {
  return ceil_div(recipe.max_seq_len, recipe.page_tokens);
}

// Pages come last: a step copies no more of them than it has sequences.
BatchStage::Places BatchStage::places(const model::Recipe& recipe, size_t groups) {
  const int64_t tokens = round_up<int64_t>(recipe.max_batch_tokens, 4);  // sequences are 16 bytes each
  Places p{.ids = 0,
           .positions = tokens,
           .variants = 2 * tokens,
           .logit_rows = 3 * tokens,
           .sequence_of = 4 * tokens};
  p.sequences = 5 * tokens;
  p.choices = p.sequences + recipe.max_sequences * kSequenceWords;
  p.pages = p.choices + recipe.max_sequences * kChoiceWords;
  p.end = p.pages + recipe.max_sequences * static_cast<int64_t>(groups) * table_pages(recipe);
  return p;
}

uint64_t BatchStage::bytes(const model::Recipe& recipe, size_t groups) {
  return static_cast<uint64_t>(places(recipe, groups).end) * sizeof(int32_t);
}

Result<BatchStage> BatchStage::make(device::Device& device, const model::Recipe& recipe, size_t groups) {
  BatchStage stage;
  stage.places_ = places(recipe, groups);
  stage.table_pages_ = table_pages(recipe);
  stage.groups_ = groups;
  stage.tables_.resize(groups);
  const uint64_t size = bytes(recipe, groups);
  const std::string what = "the inputs of a step";
  SLUICE_ASSIGN(stage.host_[0], device.allocate_host(size, what));
  if (device.shares_host_memory()) return stage;
  SLUICE_ASSIGN(stage.host_[1], device.allocate_host(size, what));
  for (device::Buffer& buffer : stage.device_) {
    SLUICE_ASSIGN(buffer, device.allocate(size, what));
  }
  return stage;
}

void BatchStage::clear() {
  num_rows_ = num_sequences_ = num_logit_rows_ = 0;
  if (host_[1].size() > 0) turn_ = 1 - turn_;
}

void BatchStage::add_row(int32_t id, int32_t position, int32_t rope_variant, int32_t sequence) {
  SLUICE_CHECK(num_rows_ < places_.positions, "{} rows", num_rows_);
  at(places_.ids)[num_rows_] = id;
  at(places_.positions)[num_rows_] = position;
  at(places_.variants)[num_rows_] = rope_variant;
  at(places_.sequence_of)[num_rows_++] = sequence;
}

void BatchStage::add_sequence(const ops::SequenceRows& sequence) {
  SLUICE_CHECK(num_sequences_ * kSequenceWords < places_.choices - places_.sequences, "{} sequences",
               num_sequences_);
  choice(num_sequences_) = {};
  reinterpret_cast<ops::SequenceRows*>(at(places_.sequences))[num_sequences_++] = sequence;
}

std::span<int32_t> BatchStage::pages(int32_t sequence, size_t group) {
  const int64_t row = int64_t{sequence} * static_cast<int64_t>(groups_) + static_cast<int64_t>(group);
  return {at(places_.pages + row * table_pages_), static_cast<size_t>(table_pages_)};
}

program::Batch BatchStage::batch(device::Stream& stream) {
  const int64_t groups = static_cast<int64_t>(groups_);
  const std::byte* seen = host_[turn_].data();
  if (const device::Buffer& device = device_[turn_]; device.size() > 0) {
    const int64_t used = places_.pages + num_sequences_ * groups * table_pages_;
    stream.copy(device.data(), seen, static_cast<size_t>(used) * sizeof(int32_t));
    seen = device.data();
  }
  const auto* words = reinterpret_cast<const int32_t*>(seen);
  for (int64_t g = 0; g < groups; ++g)
    tables_[static_cast<size_t>(g)] = {words + places_.pages + g * table_pages_, groups * table_pages_};
  program::Batch batch;
  batch.tokens = num_rows_;
  batch.ids = words + places_.ids;
  batch.positions = words + places_.positions;
  batch.rope_variants = words + places_.variants;
  batch.sequences = {reinterpret_cast<const ops::SequenceRows*>(at(places_.sequences)),
                     static_cast<size_t>(num_sequences_)};
  batch.tables = tables_;
  batch.logit_rows = {words + places_.logit_rows, static_cast<size_t>(num_logit_rows_)};
  batch.on_device = {reinterpret_cast<const ops::SequenceRows*>(words + places_.sequences),
                     words + places_.sequence_of};
  return batch;
}

}  // namespace sluice::engine
