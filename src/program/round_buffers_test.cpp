// Buffers that are stored as their only readers round them.
#include <gtest/gtest.h>

#include <algorithm>

#include "program/testing/tiny_program.h"

namespace sluice::program {
namespace {

using testing::TinyProgram;

Program lowered(ops::Activations activations, bool rounded_buffers, bool mixed = false) {
  model::Recipe recipe;
  recipe.activations = activations;
  auto made = TinyProgram::make({},
                                [&](TinyProgram& tiny) {
                                  tiny.backend.rounded_products = {DType::bf16};
                                  tiny.backend.rounded_buffers = rounded_buffers;
                                  for (auto& entry : tiny.types) entry.second = DType::bf16;
                                  if (mixed) tiny.types["layers.0.mlp.down"] = DType::f32;
                                },
                                {.recipe = recipe});
  EXPECT_TRUE(made.ok()) << made.status().message();
  return std::move(made->program);
}

DType type_of(const Program& program, std::string_view buffer) {
  const auto it = std::find_if(program.buffers.begin(), program.buffers.end(),
                               [&](const BufferInfo& b) { return b.name == buffer; });
  EXPECT_NE(it, program.buffers.end()) << buffer;
  return it->dtype;
}

TEST(RoundBuffers, InputsOfRoundingProductsAreStoredRounded) {
  const Program program = lowered(ops::Activations::int8, true);
  for (const char* buffer : {"normed", "attended", "activated", "last_normed"})
    EXPECT_EQ(type_of(program, buffer), DType::bf16) << buffer;
  for (const char* buffer : {"hidden", "qkv", "mixer_out", "up", "ff_out", "logits", "rope.0", "last_hidden"})
    EXPECT_EQ(type_of(program, buffer), DType::f32) << buffer;
}

TEST(RoundBuffers, OneReaderInFp32KeepsABufferInFp32) {
  const Program program = lowered(ops::Activations::int8, true, true);
  EXPECT_EQ(type_of(program, "activated"), DType::f32);
  EXPECT_EQ(type_of(program, "normed"), DType::bf16);
}

TEST(RoundBuffers, NothingIsRoundedWhereFloatsAreAskedForOrTheBackendWritesFloats) {
  for (const bool floats : {true, false}) {
    const Program program = lowered(floats ? ops::Activations::f32 : ops::Activations::int8, floats);
    for (const BufferInfo& buffer : program.buffers) EXPECT_NE(buffer.dtype, DType::bf16) << buffer.name;
  }
}

}  // namespace
}  // namespace sluice::program
