// Registers what reads and writes KV pages.
#include "cuda/cuda_device.h"
#include "cuda/kernels/kernels.h"
#include "cuda/register.h"

namespace sluice::cuda {
namespace {

using ops::Attention;
using ops::RopeKv;

template <typename Desc>
KvShape shape_of(const Desc& d) {
  return {d.heads, d.kv_heads, d.d_qk, d.d_v, d.page_tokens, d.kv};
}

template <typename Desc>
std::string refuses_pages(const Desc& d) {
  return is_plain_float(d.kv) ? "" : "KV pages hold f32, f16 or bf16";
}

std::string exact_refuses(const Attention::Desc& d) {
  if (d.kv_heads < 1 || d.heads % d.kv_heads != 0) return "heads are not a multiple of kv_heads";
  if (d.d_qk + d.d_v > 8192) return "heads are larger than shared memory";
  return refuses_pages(d);
}

std::string tiles_refuse(const Attention::Desc& d) {
  if (std::string why = exact_refuses(d); !why.empty()) return why;
  if (!d.rounded) return "rounds queries and weights to the type of the cache";
  return attention_tiles_fit(shape_of(d)) ? ""
                                          : "f16 or bf16 heads of 64, 80, 96, 128 or 256, at most 16 to a KV "
                                            "head, and pages of 16 tokens or a "
                                            "larger power of two are needed";
}

AttentionCall call_of(const Attention::Desc& d, const Attention::Args& a) {
  return {.shape = shape_of(d),
          .scale = d.scale,
          .softcap = d.softcap,
          .window = d.window,
          .rounded = d.rounded,
          .sinks = d.sinks ? a.sinks : nullptr,
          .slopes = d.alibi ? a.alibi_slopes : nullptr,
          .q = a.q,
          .out = a.out,
          .cache = a.cache,
          .sequences = a.on_device};
}

void run_tiles(const Attention::Desc& d, const Attention::Args& a, const ops::Launch& launch) {
  const AttentionCall call = call_of(d, a);
  int64_t most = 0;
  bool single = false;
  for (const ops::SequenceRows& s : a.sequences) {
    most = std::max<int64_t>(most, s.rows);
    single |= s.rows == 1;
  }
  const auto sequences = static_cast<int64_t>(a.sequences.size());
  if (single) attention_decode(queue_of(launch), call, most > 1 ? sequences : call.q.rows);
  if (most > 1) attention_prefill(queue_of(launch), call, sequences, most);
}

void run_segments(const Attention::Desc& d, const Attention::Args& a, const ops::Launch& launch) {
  int64_t most = 0;
  for (const ops::SequenceRows& s : a.sequences) most = std::max<int64_t>(most, s.rows);
  attention_segments(queue_of(launch), call_of(d, a), static_cast<int64_t>(a.sequences.size()), most,
                     launch.workspace, counters_of(launch));
}

void run_rope_kv(const RopeKv::Desc& d, const RopeKv::Args& a, const ops::Launch& launch) {
  rope_kv(queue_of(launch), {.shape = shape_of(d),
                             .rope = d.rope,
                             .rope_dims = d.rope_dims,
                             .norm = d.qk_norm,
                             .norm_kind = d.qk_norm_kind,
                             .norm_after_rope = d.norm_after_rope,
                             .eps = d.eps,
                             .qkv = a.qkv,
                             .table = a.rope_table,
                             .q_norm = a.q_norm,
                             .k_norm = a.k_norm,
                             .cache = a.cache,
                             .sequences = a.on_device});
}

template <int kSlower>
double seconds(const Attention::Desc& d, int64_t rows) {
  return kSlower * roofline_seconds(Attention::cost(d, rows, rows), {2.5e12, 300e12});
}

}  // namespace

void register_attention_kernels(ops::Kernels& kernels) {
  kernels.add(ops::Kernel<RopeKv>{.name = "cuda.rope_kv",
                                  .refuses = refuses_pages<RopeKv::Desc>,
                                  .seconds = seconds_of_rows<RopeKv>,
                                  .run = run_rope_kv});
  kernels.add(ops::Kernel<Attention>{
      .name = "cuda.attention.exact",
      .refuses = exact_refuses,
      .seconds = seconds<20>,
      .run = [](const Attention::Desc& d, const Attention::Args& a, const ops::Launch& launch) {
        attention_exact(queue_of(launch), call_of(d, a));
      }});
  kernels.add(ops::Kernel<Attention>{.name = "cuda.attention.tiles",
                                     .refuses = tiles_refuse,
                                     .seconds = seconds<1>,
                                     .run = run_tiles,
                                     .batch_invariant = false});
  kernels.add(ops::Kernel<Attention>{
      .name = "cuda.attention.segments",
      .refuses = tiles_refuse,
      .seconds = seconds<2>,
      .run = run_segments,
      .workspace_bytes = [](const Attention::Desc& d, int64_t max_rows, int multiprocessors) {
        return attention_segments_workspace(shape_of(d), max_rows, multiprocessors);
      }});
}

}  // namespace sluice::cuda
