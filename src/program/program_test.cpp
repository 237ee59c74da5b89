// Lowering, fusion and the memory plan.
#include "program/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "program/passes.h"
#include "program/testing/tiny_program.h"

namespace sluice::program {
namespace {

using model::testing::TinyModel;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TinyProgram;

TinyProgram make(const TinyModel& shape, const TinyProgram::Change& change = {},
                 const TinyProgram::Options& options = {}) {
  auto made = TinyProgram::make(shape, change, options);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return *std::move(made);
}

// Steps of one layer, by label.
std::vector<std::string> labels(const Program& program, int32_t layer) {
  std::vector<std::string> out;
  for (const Step& step : program.steps) {
    if (step.layer == layer) out.push_back(step.label);
  }
  return out;
}

template <typename S>
std::vector<const S*> steps_of(const Program& program) {
  std::vector<const S*> out;
  for (const Step& step : program.steps) {
    if (const S* s = std::get_if<S>(&step.op)) out.push_back(s);
  }
  return out;
}

const WeightInfo& weight(const Program& program, int32_t id) {
  return program.weights[static_cast<size_t>(id)];
}

// --- lowering and fusion
// --------------------------------------------------------------------------------------

TEST(Lowering, ALayerIsNineSteps) {
  const Program program = make({.layers = 3}).program;
  EXPECT_THAT(labels(program, 1),
              ElementsAre("attention.qkv", "attention.rope_kv", "attention.core", "attention.out",
                          "attention.add", "mlp.gate_up", "mlp.activation", "mlp.down", "ff.add"));
  EXPECT_EQ(labels(program, 0).size(), 10u) << "the first norm follows no sum";
}

TEST(Lowering, BehindTheLastKeysThereAreOnlyTheRowsThatAreWanted) {
  for (const char* arch : {"llama", "gemma2", "mixtral"}) {
    const Program program = make({.arch = arch, .layers = 3}).program;
    bool gathered = false;
    for (const Step& step : program.steps) {
      gathered |= step.label == "head.gather";
      EXPECT_EQ(step.rows == Rows::logits, gathered) << arch << ": " << step.label;
      const bool tail = step.layer < 0 || step.label.starts_with("mlp") || step.label.starts_with("moe") ||
                        step.label.starts_with("ff") || step.label.starts_with("pre_ff");
      if (step.layer < 2 || step.label == "head.gather") continue;
      EXPECT_EQ(tail, gathered) << arch << ": " << step.label;
    }
    EXPECT_EQ(program.buffers[static_cast<size_t>(program.last_hidden)].rows, Rows::logits);
  }
  // Where attention and MLP read the same rows, they are kept to the end.
  const Program parallel = make({}, [](TinyProgram& t) {
                             for (model::Layer& l : t.model.spec.layers) l.parallel = true;
                           }).program;
  for (const Step& step : parallel.steps)
    EXPECT_EQ(step.rows == Rows::logits, step.label.starts_with("head") || step.label == "final_norm");
}

TEST(Fusion, LeavesNoSumBeforeANorm) {
  for (const char* arch : {"llama", "qwen2", "gemma2", "mixtral"}) {
    const Program program = make({.arch = arch, .layers = 3}).program;
    size_t sums = 0, fused = 0;
    for (size_t i = 0; i < program.steps.size(); ++i) {
      const auto* s = std::get_if<AddNormStep>(&program.steps[i].op);
      if (s == nullptr || !s->desc.branch) continue;
      ++sums;
      fused += s->desc.output;
      const auto* next =
          i + 1 < program.steps.size() ? std::get_if<AddNormStep>(&program.steps[i + 1].op) : nullptr;
      EXPECT_FALSE(next != nullptr && !next->desc.branch && next->h.buffer == s->h.buffer && !s->desc.output)
          << arch << ": step " << i << " could take the norm after it";
    }
    EXPECT_EQ(sums, 6u) << arch;
    EXPECT_EQ(fused, 5u) << arch << ": all but the one that the gather of rows follows";
  }
}

TEST(Fusion, KeepsBothNormsOfASandwich) {
  const Program program = make({.arch = "gemma2"}).program;
  const auto norms = steps_of<AddNormStep>(program);
  const AddNormStep& middle = *norms[1];  // h += post_mixer(mixer); y = pre_ff(h)
  EXPECT_EQ(weight(program, middle.branch_weight).name, "layers.0.post_mixer_norm");
  EXPECT_EQ(weight(program, middle.output_weight).name, "layers.0.pre_ff_norm");
}

TEST(Fusion, OfGatesIsForKernelsThatAreNoSlower) {
  TinyProgram tiny = make({});  // whose kernels the plan asks
  Program& program = tiny.program;
  const Program before = program;
  for (const LinearStep* s : steps_of<LinearStep>(program))
    EXPECT_FALSE(s->desc.gate) << "the fast kernels here have none";
  fuse_gates(program, [](const LinearStep&, const ops::Linear::Desc&) { return false; });
  EXPECT_EQ(program.steps.size(), before.steps.size());
  fuse_gates(program, [](const LinearStep& product, const ops::Linear::Desc& gated) {
    return gated.gate == ops::ActivationKind::silu && gated.n == product.desc.n;
  });
  EXPECT_EQ(program.steps.size() + 2, before.steps.size());
  EXPECT_TRUE(steps_of<ActivationStep>(program).empty());
  const LinearStep& up = *steps_of<LinearStep>(program)[2];
  const ActivationStep& was = *steps_of<ActivationStep>(before)[0];
  EXPECT_EQ(up.y.buffer, was.y.buffer);
  EXPECT_EQ(up.y.cols, up.desc.outputs());
  plan_memory(program, 2);
  EXPECT_EQ(program.buffers[static_cast<size_t>(was.x.buffer)].bytes, 0u) << "nobody writes it any more";
}

TEST(Merging, OfEqualTypesMakesOneProduct) {
  const Program program = make({}).program;
  const LinearStep& qkv = *steps_of<LinearStep>(program)[0];
  EXPECT_EQ(qkv.desc.n, 64 + 32 + 32);
  EXPECT_THAT(weight(program, qkv.weight).roles,
              ElementsAre("layers.0.attention.q", "layers.0.attention.k", "layers.0.attention.v"));
  const LinearStep& up = *steps_of<LinearStep>(program)[2];
  EXPECT_THAT(weight(program, up.weight).roles, ElementsAre("layers.0.mlp.gate", "layers.0.mlp.up"));
}

TEST(Merging, StopsWhereTypesDiffer) {
  const Program program =
      make({}, [](TinyProgram& t) { t.types["layers.0.attention.v"] = DType::q8_0; }).program;
  const auto linears = steps_of<LinearStep>(program);
  EXPECT_THAT(weight(program, linears[0]->weight).roles,
              ElementsAre("layers.0.attention.q", "layers.0.attention.k"));
  EXPECT_THAT(weight(program, linears[1]->weight).roles, ElementsAre("layers.0.attention.v"));
  EXPECT_EQ(linears[1]->desc.weight, DType::q8_0);
  // Side by side in one buffer, as one product would have left them.
  EXPECT_EQ(linears[0]->y.buffer, linears[1]->y.buffer);
  EXPECT_EQ(linears[0]->y.cols, 96);
  EXPECT_EQ(linears[1]->y.column, 96);
  EXPECT_EQ(linears[1]->y.cols, 32);
  std::set<std::string> names;
  for (const WeightInfo& w : program.weights) EXPECT_TRUE(names.insert(w.name).second) << w.name << " twice";
}

TEST(Merging, CarriesBiasesAlong) {
  const Program merged = make({.arch = "qwen2"}).program;
  const LinearStep& qkv = *steps_of<LinearStep>(merged)[0];
  EXPECT_THAT(
      weight(merged, qkv.bias).roles,
      ElementsAre("layers.0.attention.q.bias", "layers.0.attention.k.bias", "layers.0.attention.v.bias"));
  // A bias on some of them only: three products.
  const Program apart = make({.arch = "qwen2"}, [](TinyProgram& t) {
                          t.model.spec.layers[0].attention->k_bias = false;
                        }).program;
  EXPECT_GE(steps_of<LinearStep>(apart)[0]->bias, 0);
  EXPECT_EQ(steps_of<LinearStep>(apart)[1]->bias, kNone);
  EXPECT_GE(steps_of<LinearStep>(apart)[2]->bias, 0);
}

TEST(Lowering, TiedHeadsReadTheEmbeddingsOwnBytes) {
  const Program program = make({.arch = "gemma2"}).program;
  const auto embeds = steps_of<EmbedStep>(program);
  EXPECT_EQ(embeds[0]->weight, steps_of<LinearStep>(program).back()->weight);
  for (const WeightInfo& w : program.weights) EXPECT_NE(w.name, "head");
}

TEST(Lowering, LayersOfOneWindowShareAGroup) {
  const TinyProgram gemma = make({.arch = "gemma2", .layers = 4});
  ASSERT_EQ(gemma.program.groups.size(), 2u);
  ASSERT_EQ(gemma.program.caches.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(gemma.program.groups[static_cast<size_t>(gemma.program.caches[i].group)].window,
              i % 2 == 0 ? 16 : 0);
  }
  EXPECT_EQ(gemma.program.page_bytes(0), 2u * 2 * 2 * 16 * 32 * 2)
      << "2 layers, k and v, 2 heads of 16, 32 tokens of f16";
  // A window that no sequence can leave is none.
  model::Recipe shorter;
  shorter.max_seq_len = 16;
  EXPECT_EQ(make({.arch = "gemma2"}, {}, {.recipe = shorter}).program.groups.size(), 1u);
}

TEST(Lowering, RefusesWhatItCannotRun) {
  const auto refusal = [](const std::function<void(TinyProgram&)>& change, Wishes wishes = {}) {
    auto made = TinyProgram::make({}, change, {.wishes = std::move(wishes)});
    return made.ok() ? std::string("lowered") : made.status().message();
  };
  EXPECT_THAT(refusal([](TinyProgram& t) { t.types.erase("layers.1.mlp.down"); }),
              HasSubstr("layers.1.mlp.down"));
  EXPECT_THAT(refusal([](TinyProgram& t) {
                for (auto& l : t.model.spec.layers) l.attention.reset();
              }),
              HasSubstr("attention"));
  EXPECT_THAT(refusal({}, {.layouts = {{"layers.0.attention.qkv", "cpu-rows99.7"}}}),
              AllOf(HasSubstr("layers.0.attention.qkv"), HasSubstr("cpu-rows99.7"), HasSubstr("optimize")));
}

TEST(Lowering, TakesMeasuredKernelsWhereTheyExist) {
  const TinyProgram plain = make({});
  const Step& qkv = *std::find_if(plain.program.steps.begin(), plain.program.steps.end(),
                                  [](const Step& s) { return s.label == "attention.qkv"; });
  for (const auto& kernel : plain.backend.kernels.all<ops::Linear>()) {
    const auto& desc = std::get<LinearStep>(qkv.op).desc;
    if (!kernel.refuses(desc).empty()) continue;
    const TinyProgram wished =
        make({}, {}, {.wishes = {.kernels = {{kernel_key(qkv), std::string(kernel.name)}}}});
    EXPECT_EQ(steps_of<LinearStep>(wished.program)[0]->kernel->name, kernel.name);
  }
  const TinyProgram gone =
      make({}, {}, {.wishes = {.kernels = {{kernel_key(qkv), "cpu.linear.of-another-machine"}}}});
  EXPECT_EQ(steps_of<LinearStep>(gone.program)[0]->kernel->name,
            steps_of<LinearStep>(plain.program)[0]->kernel->name);
}

// --- memory
// ---------------------------------------------------------------------------------------------------

// Which columns of which buffers hold a value that is still wanted after each step, by going backwards from
// the results: an analysis that shares nothing with the plan's own.
class Liveness {
 public:
  explicit Liveness(const Program& program) : program_(program), wanted_(program.buffers.size()) {
    for (size_t b = 0; b < wanted_.size(); ++b)
      wanted_[b].resize(static_cast<size_t>(program.buffers[b].cols));
    for (int32_t result : {program.hidden, program.logits})
      set(result, 0, program.buffers[static_cast<size_t>(result)].cols, true);
    occupied_.resize(program.steps.size());
    for (size_t i = program.steps.size(); i-- > 0;) {
      std::set<int32_t>& here = occupied_[i];
      for (size_t b = 0; b < wanted_.size(); ++b) {
        if (std::find(wanted_[b].begin(), wanted_[b].end(), true) != wanted_[b].end())
          here.insert(static_cast<int32_t>(b));
      }
      each(i, [&](const Operand& o, bool written) {
        here.insert(o.buffer);
        if (written) set(o.buffer, o.column, o.cols, false);
      });
      each(i, [&](const Operand& o, bool written) {
        if (!written) set(o.buffer, o.column, o.cols, true);
      });
    }
  }

  /// Buffers that hold something during step i.
  const std::set<int32_t>& occupied(size_t i) const { return occupied_[i]; }
  /// Buffers read before anything was written to them.
  std::vector<std::string> undefined() const {
    std::vector<std::string> out;
    for (size_t b = 0; b < wanted_.size(); ++b) {
      if (std::find(wanted_[b].begin(), wanted_[b].end(), true) != wanted_[b].end())
        out.push_back(program_.buffers[b].name);
    }
    return out;
  }

 private:
  template <typename F>
  void each(size_t i, F&& f) const {
    std::visit(
        [&](const auto& s) {
          s.visit([&](const Operand& o, bool w) {
            if (o.buffer >= 0) f(o, w);
          });
        },
        program_.steps[i].op);
  }
  void set(int32_t buffer, int64_t column, int64_t cols, bool value) {
    auto& row = wanted_[static_cast<size_t>(buffer)];
    std::fill(row.begin() + column, row.begin() + column + cols, value);
  }

  const Program& program_;
  std::vector<std::vector<bool>> wanted_;
  std::vector<std::set<int32_t>> occupied_;
};

void check_plan(const Program& program, const std::string& name) {
  const Liveness live(program);
  EXPECT_TRUE(live.undefined().empty()) << name << ": " << ::testing::PrintToString(live.undefined());
  uint64_t sum = 0;
  for (const BufferInfo& b : program.buffers) {
    const int64_t rows = b.rows == Rows::tokens ? program.limits.tokens : program.limits.logits;
    EXPECT_GE(b.bytes, static_cast<uint64_t>(rows * b.cols) * info(b.dtype).block_bytes)
        << name << ": " << b.name;
    EXPECT_EQ(b.offset % 64, 0u) << b.name;
    EXPECT_LE(b.offset + b.bytes, program.activation_bytes) << b.name;
    sum += b.bytes;
  }
  EXPECT_LT(program.activation_bytes, sum) << name << ": no memory is used twice";
  for (size_t i = 0; i < program.steps.size(); ++i) {
    for (int32_t a : live.occupied(i)) {
      for (int32_t b : live.occupied(i)) {
        if (a >= b) continue;
        const BufferInfo& x = program.buffers[static_cast<size_t>(a)];
        const BufferInfo& y = program.buffers[static_cast<size_t>(b)];
        EXPECT_TRUE(x.offset + x.bytes <= y.offset || y.offset + y.bytes <= x.offset)
            << name << ": " << x.name << " and " << y.name << " meet in step " << i << " ("
            << program.steps[i].label << ")";
      }
    }
  }
}

TEST(MemoryPlan, GivesNoTwoLiveBuffersTheSameBytes) {
  for (const char* arch : {"llama", "qwen2", "gemma2", "mixtral"}) {
    for (int64_t layers : {1, 2, 5}) {
      check_plan(make({.arch = arch, .layers = layers}).program, arch);
    }
  }
}

TEST(MemoryPlan, HoldsForEveryPatternOfALayer) {
  const std::pair<const char*, std::function<void(model::Layer&)>> patterns[] = {
      {"parallel, one norm", [](model::Layer& l) { l.parallel = true, l.pre_ff.reset(); }},
      {"parallel, two norms", [](model::Layer& l) { l.parallel = true; }},
      {"post-norm",
       [](model::Layer& l) {
         l.post_mixer = l.pre_mixer, l.post_ff = l.pre_ff, l.pre_mixer.reset(), l.pre_ff.reset();
       }},
      {"no norm", [](model::Layer& l) { l.pre_mixer.reset(), l.pre_ff.reset(); }},
      {"attention alone", [](model::Layer& l) { l.mlp.reset(); }},
  };
  for (const auto& pattern : patterns) {
    check_plan(make({.layers = 3},
                    [&](TinyProgram& t) {
                      for (model::Layer& l : t.model.spec.layers) pattern.second(l);
                    })
                   .program,
               pattern.first);
  }
  check_plan(make({}, [](TinyProgram& t) { t.types["layers.0.attention.v"] = DType::f16; }).program,
             "split qkv");
}

TEST(MemoryPlan, DoesNotGrowWithTheLayers) {
  const uint64_t two = make({.layers = 2}).program.activation_bytes;
  EXPECT_EQ(make({.layers = 9}).program.activation_bytes, two);
}

TEST(Weights, LieOneAfterAnother) {
  const Program program = make({.arch = "mixtral", .dtype = DType::bf16}).program;
  uint64_t end = 0;
  for (const WeightInfo& w : program.weights) {
    EXPECT_EQ(w.offset % 64, 0u) << w.name;
    EXPECT_GE(w.offset, end) << w.name;
    EXPECT_LT(w.offset - end, 64u) << w.name;
    end = w.offset + w.bytes;
  }
  EXPECT_LE(end, program.weight_bytes);
}

// --- printing and cost
// ----------------------------------------------------------------------------------------

TEST(Text, HasALineForEachBufferWeightAndStep) {
  const TinyProgram gemma = make({.arch = "gemma2"});
  const Program& program = gemma.program;
  const std::string text = to_text(program);
  EXPECT_EQ(
      static_cast<size_t>(std::count(text.begin(), text.end(), '\n')),
      1 + program.groups.size() + program.buffers.size() + program.weights.size() + program.steps.size());
  for (const Step& step : program.steps) {
    EXPECT_THAT(text, HasSubstr(std::string(kernel_name(step))));
    EXPECT_THAT(text, HasSubstr(kernel_key(step)));
  }
  EXPECT_THAT(text, HasSubstr("window 16"));
  EXPECT_THAT(text, HasSubstr("layers.1.mlp.gate_up"));
}

TEST(Cost, OfMatricesIsTwoOperationsAWeightAndRow) {
  const Program program = make({}).program;
  double flops = 0, weights = 0;
  for (const Step& step : program.steps) {
    if (const auto* s = std::get_if<LinearStep>(&step.op)) {
      flops += cost(step, 10, 3, 0).flops;
      weights += static_cast<double>(s->desc.n * s->desc.k) * (step.rows == Rows::logits ? 3 : 10);
      EXPECT_GT(cost(step, 10, 3, 0).bytes, 4.0 * static_cast<double>(s->desc.n * s->desc.k));
    }
  }
  EXPECT_NEAR(flops / (2 * weights), 1, 0.05);
  const auto& attention = *std::find_if(program.steps.begin(), program.steps.end(),
                                        [](const Step& s) { return s.label == "attention.core"; });
  EXPECT_NEAR(cost(attention, 8, 1, 2000).flops / cost(attention, 8, 1, 1000).flops, 2, 0.05);
  for (const Step& step : program.steps) EXPECT_EQ(cost(step, 0, 0, 0).flops, 0);
}

}  // namespace
}  // namespace sluice::program
