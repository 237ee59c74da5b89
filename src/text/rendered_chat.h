// What rendering a chat template may cost, and what it gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace sluice::text {

/// Budgets of one template. Exceeding one is `resource_exhausted`, never a crash.
struct RenderLimits {
  size_t max_template_bytes = size_t{1} << 20;
  size_t max_depth = 600;           // nesting of expressions, statements and macro calls, together
  uint64_t max_steps = 5'000'000;  // nodes evaluated, loop turns taken, 64 characters searched
  size_t max_output_bytes = size_t{32} << 20;
  size_t max_memory_bytes = size_t{256} << 20;  // everything one render allocates, inputs included
};

/// Bytes [begin, end) of a rendered text.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const ByteRange&) const = default;
};

/// A rendered prompt that remembers who wrote what. `from_input` lists, in order and without overlap, the
/// bytes that come from the caller's messages, tools, documents or other variables; all other bytes were
/// written by the template or are one of the model's own special tokens (bos_token and the like). A tokenizer
/// that recognises a special token only where its first and last byte lie outside `from_input` cannot be
/// talked into a control token by a user who spells one. The text is one string, not pieces, so that
/// pre-tokenisation across the seams is the same as without marks.
struct RenderedChat {
  std::string text;
  std::vector<ByteRange> from_input;
};

}  // namespace sluice::text
