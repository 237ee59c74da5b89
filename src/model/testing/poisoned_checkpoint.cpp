#include "model/testing/poisoned_checkpoint.h"

#include <algorithm>

#include "model/testing/loose_checkpoint.h"
#include "model/testing/temp_directory.h"
#include "model/testing/tiny_checkpoint.h"

namespace sluice::model::testing {

// The bad token's embedding alone points along the last dimension, where the first feed-forward block
// overflows.
Status write_poisoned_checkpoint(const std::string& directory) {
  const TempDirectory healthy;
  SLUICE_TRY(write_tiny_checkpoint(healthy.path(), TinyModel()));
  SLUICE_ASSIGN(LooseCheckpoint c, read_loose(healthy.path()));
  const size_t last = 63;
  auto& embed = c.tensors.at("model.embed_tokens.weight").values;
  for (size_t t = 0; t < 128; ++t) embed[t * 64 + last] = t == kBadToken ? 8.0f : 0.0f;
  auto& head = c.tensors.at("lm_head.weight").values;  // never the best choice
  std::fill_n(head.begin() + kBadToken * 64, 64, 0.0f);
  auto& out = c.tensors.at("model.layers.0.self_attn.o_proj.weight").values;
  std::fill(out.begin() + last * 64, out.end(), 0.0f);
  for (const char* part : {"gate", "up"}) {
    auto& w = c.tensors.at(fmt::format("model.layers.0.mlp.{}_proj.weight", part)).values;
    for (size_t k = 0; k < 64; ++k) w[k] = k == last ? 1e30f : 0.0f;
  }
  return write_loose(directory, c);
}

}  // namespace sluice::model::testing
