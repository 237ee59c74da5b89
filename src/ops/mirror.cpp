#include "ops/mirror.h"

namespace sluice::ops {
namespace {

uint64_t weight_bytes(DType type, int64_t n, int64_t k) { return plain_layout().packed_bytes(type, n, k); }

}  // namespace

void mirror(Mirror& m, Problem<Linear>& p, Linear::Args& a) {
  m.in(a.x), m.in(a.y);
  a.weight = m.in(a.weight, weight_bytes(p.desc.weight, p.desc.n, p.desc.k));
  m.floats(a.bias, p.desc.n);
}
void mirror(Mirror& m, Problem<MoeMlp>& p, MoeMlp::Args& a) {
  const auto& up = p.desc.gate_up_linear();
  m.in(a.x), m.in(a.experts), m.in(a.weights), m.in(a.y);
  a.gate_up = m.in(a.gate_up, weight_bytes(p.desc.gate_up, p.desc.experts * up.n, up.k));
  a.down = m.in(a.down, weight_bytes(p.desc.down, p.desc.experts * p.desc.hidden, p.desc.width));
}
void mirror(Mirror& m, Problem<Embed>& p, Embed::Args& a) {
  m.floats(a.ids, p.rows), m.floats(a.positions, p.rows);
  a.weight = m.in(a.weight, weight_bytes(p.desc.weight, p.desc.vocab, p.desc.hidden));
  m.floats(a.position_table, p.desc.positions * p.desc.hidden);
  m.in(a.y);
}
void mirror(Mirror& m, Problem<AddNorm>& p, AddNorm::Args& a) {
  m.in(a.h), m.in(a.branch), m.in(a.y);
  m.floats(a.branch_weight, p.desc.dim), m.floats(a.branch_bias, p.desc.dim);
  m.floats(a.output_weight, p.desc.dim), m.floats(a.output_bias, p.desc.dim);
}
void mirror(Mirror& m, Problem<Activation>&, Activation::Args& a) { m.in(a.x), m.in(a.y); }
void mirror(Mirror& m, Problem<ScaleSoftcap>&, ScaleSoftcap::Args& a) { m.in(a.x); }
void mirror(Mirror& m, Problem<Sample>& p, Sample::Args& a) {
  m.in(a.x);
  a.choices = m.in(a.choices, p.choices.size() * sizeof(Choice));
  a.out = m.in(a.out, p.tokens.size() * sizeof(int32_t));
  a.seen = m.in(a.seen, p.seen.size() * sizeof(Seen));
  a.biases = m.in(a.biases, p.biases.size() * sizeof(Bias));
  a.logprobs = m.in(a.logprobs, p.logprobs.size() * sizeof(Logprobs));
}
void mirror(Mirror& m, Problem<RopeKv>& p, RopeKv::Args& a) {
  a.on_device = m.sequences(a.sequences, p.rows);
  m.in(a.qkv), m.in(a.rope_table), m.in(a.cache, p.cache);
  m.floats(a.q_norm, p.desc.heads * p.desc.d_qk), m.floats(a.k_norm, p.desc.kv_heads * p.desc.d_qk);
}
void mirror(Mirror& m, Problem<Attention>& p, Attention::Args& a) {
  a.on_device = m.sequences(a.sequences, p.rows);
  m.in(a.q), m.in(a.out), m.in(a.cache, p.cache);
  m.floats(a.sinks, p.desc.heads), m.floats(a.alibi_slopes, p.desc.heads);
}

}  // namespace sluice::ops
