// The inputs of a step, in one stretch of memory: written by the host, copied to the device at once.
#pragma once

#include <array>
#include <span>

#include "device/device.h"
#include "model/recipe.h"
#include "ops/choice.h"
#include "program/run.h"

namespace sluice::engine {

/// Holds a batch of up to the recipe's sizes. Where the device shares the host's memory, it reads what the
/// host wrote. Where not, there are two of them on either side, used in turn: one is written and copied while
/// the device computes on the other. Every array of each has a fixed place, so that recorded work finds it
/// again.
class BatchStage {
 public:
  /// Of one of them, on one side.
  static uint64_t bytes(const model::Recipe& recipe, size_t groups);
  static Result<BatchStage> make(device::Device& device, const model::Recipe& recipe, size_t groups);

  /// Begins the next batch.
  void clear();
  /// Which of the two it is: 0 or 1.
  size_t turn() const { return turn_; }
  /// One row of the batch.
  void add_row(int32_t id, int32_t position, int32_t rope_variant, int32_t sequence);
  void add_sequence(const ops::SequenceRows& sequence);
  /// What is asked of the logits of a sequence that was added: nothing as yet.
  ops::Choice& choice(int32_t sequence) {
    return reinterpret_cast<ops::Choice*>(at(places_.choices))[sequence];
  }
  void add_logit_row(int32_t row) { at(places_.logit_rows)[num_logit_rows_++] = row; }
  /// Where the pages of a sequence in a group go: as many as `table_pages()`.
  std::span<int32_t> pages(int32_t sequence, size_t group);

  int32_t rows() const { return num_rows_; }
  int32_t logit_rows() const { return num_logit_rows_; }
  int64_t table_pages() const { return table_pages_; }

  /// The batch where kernels read it, when what is queued on `stream` is done: the copy to the device.
  program::Batch batch(device::Stream& stream);
  /// Where a device with memory of its own reads the ids of rows, and what is asked of sequences.
  int32_t* device_ids() const { return on_device() + places_.ids; }
  const ops::Choice* device_choices() const {
    return reinterpret_cast<const ops::Choice*>(on_device() + places_.choices);
  }

 private:
  BatchStage() = default;
  // Places, in int32s from the start of the stage.
  struct Places {
    int64_t ids, positions, variants, logit_rows, sequence_of, sequences, choices, pages, end;
  };
  static Places places(const model::Recipe& recipe, size_t groups);
  static int64_t table_pages(const model::Recipe& recipe);
  int32_t* at(int64_t place) { return reinterpret_cast<int32_t*>(host_[turn_].data()) + place; }
  int32_t* on_device() const { return reinterpret_cast<int32_t*>(device_[turn_].data()); }

  std::array<device::Buffer, 2> host_, device_;
  size_t turn_ = 0;
  Places places_{};
  int64_t table_pages_ = 0;
  size_t groups_ = 0;
  int32_t num_rows_ = 0, num_sequences_ = 0, num_logit_rows_ = 0;
  std::vector<ops::PageTables> tables_;
};

}  // namespace sluice::engine
