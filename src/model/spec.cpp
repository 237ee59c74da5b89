#include "model/spec.h"

#include <cmath>

#include "base/error.h"

namespace sluice::model {
namespace {

class Validator {
 public:
  std::vector<std::string> run(const Spec& s) {
    check(s.vocab > 0 && s.hidden > 0, "vocabulary and hidden size must be positive");
    check(!s.layers.empty(), "a model needs layers");
    check(std::isfinite(s.embed_scale) && std::isfinite(s.logit_scale) && std::isfinite(s.logit_softcap) &&
              s.logit_softcap >= 0,
          "scales must be finite and softcaps not negative");
    check(s.learned_positions >= 0, "learned positions must not be negative");
    for (const int32_t id : s.eos)
      check(id >= 0 && id < s.vocab, "the tokens that end a text must be in the vocabulary");
    norm(s.final_norm);
    for (const Rope& rope : s.ropes) {
      check(rope.dims > 0 && rope.dims % 2 == 0 &&
                static_cast<int64_t>(rope.frequencies.size()) == rope.dims / 2,
            "rope frequencies must be half as many as rotated dimensions");
      check(rope.long_frequencies.empty() || rope.long_frequencies.size() == rope.frequencies.size(),
            "long and short rope frequencies must be equally many");
    }
    for (size_t i = 0; i < s.layers.size(); ++i) {
      where_ = fmt::format("layer {}: ", i);
      layer(s, s.layers[i]);
    }
    return std::move(problems_);
  }

 private:
  void check(bool ok, const char* what) {
    if (!ok) problems_.push_back(where_ + what);
  }

  void norm(const std::optional<Norm>& n) {
    if (n) check(n->eps > 0 && std::isfinite(n->eps), "a norm's epsilon must be positive");
  }

  void layer(const Spec& s, const Layer& l) {
    for (const auto* n : {&l.pre_mixer, &l.post_mixer, &l.pre_ff, &l.post_ff}) norm(*n);
    check(std::isfinite(l.residual_multiplier), "the residual multiplier must be finite");
    check(!(l.mlp && l.moe), "one feed-forward block");
    if (l.attention) {
      const Attention& a = *l.attention;
      check(a.heads > 0 && a.kv_heads > 0 && a.heads % a.kv_heads == 0,
            "key-value heads must divide the heads");
      check(a.d_qk > 0 && a.d_v > 0, "head dimensions must be positive");
      check(a.window >= 0 && a.softcap >= 0 && std::isfinite(a.softcap) && std::isfinite(a.scale) &&
                a.scale > 0,
            "attention scale, softcap and window must be in range");
      check(a.rope >= -1 && a.rope < static_cast<int64_t>(s.ropes.size()), "no such rope");
      if (a.rope >= 0 && a.rope < static_cast<int64_t>(s.ropes.size())) {
        check(s.ropes[static_cast<size_t>(a.rope)].dims <= a.d_qk, "more rotated dimensions than a head has");
      }
    }
    if (l.mlp) check(l.mlp->width > 0, "the feed-forward width must be positive");
    if (l.moe) {
      check(l.moe->experts > 0 && l.moe->k > 0 && l.moe->k <= l.moe->experts && l.moe->width > 0,
            "experts, experts a token and expert width must be positive and agree");
    }
  }

  std::string where_;
  std::vector<std::string> problems_;
};

}  // namespace

std::vector<std::string> validate(const Spec& spec) { return Validator().run(spec); }

}  // namespace sluice::model
