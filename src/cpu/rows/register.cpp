#include "cpu/rows/register.h"

#include <algorithm>

#include "cpu/cost.h"
#include "cpu/cpu_device.h"
#include "cpu/kv_page.h"
#include "cpu/rows/kernels.h"

namespace sluice::cpu {
namespace {

using ops::Activation;
using ops::AddNorm;
using ops::RopeKv;
using ops::ScaleSoftcap;

// Fewer elements than this are done before another thread could have been told of them.
constexpr int64_t kAloneElements = 8192;

/// f(row) for all rows, shared out when it is worth it.
template <typename F>
void for_each_row(const ops::Launch& launch, int64_t rows, int64_t row_elements, const F& f) {
  const int64_t grain = std::max<int64_t>(1, kAloneElements / std::max<int64_t>(row_elements, 1));
  pool_of(launch).parallel_for(rows, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) f(row);
  });
}

void run_activation(const RowFunctions& f, const Activation::Desc& d, const Activation::Args& a,
                    const ops::Launch& launch) {
  for_each_row(launch, a.y.rows, 4 * d.dim,
               [&](int64_t row) { f.activate(d.kind, d.gated, d.dim, a.x.f32(row), a.y.f32(row)); });
}

void run_add_norm(const RowFunctions& f, const AddNorm::Desc& d, const AddNorm::Args& a,
                  const ops::Launch& launch) {
  for_each_row(launch, a.h.rows, d.dim, [&](int64_t row) { f.add_norm(d, a, row); });
}

void run_scale_softcap(const RowFunctions& f, const ScaleSoftcap::Desc& d, const ScaleSoftcap::Args& a,
                       const ops::Launch& launch) {
  // Rows are as long as the vocabulary: pieces of one row are shared out too.
  constexpr int64_t kPiece = 4096;
  const int64_t pieces = (d.dim + kPiece - 1) / kPiece;
  pool_of(launch).parallel_for(a.x.rows * pieces, 1, [&](int64_t item, int64_t, int) {
    const int64_t begin = item % pieces * kPiece;
    ScaleSoftcap::Desc piece = d;
    piece.dim = std::min(kPiece, d.dim - begin);
    f.scale_softcap(piece, a.x.f32(item / pieces) + begin);
  });
}

/// A task is the rows of one sequence that fall into one page, so that no two write the same cache line.
void run_rope_kv(const RowFunctions& f, const RopeKv::Desc& d, const RopeKv::Args& a,
                 const ops::Launch& launch) {
  const auto pages_of = [&](const ops::SequenceRows& s) {
    return s.rows == 0
               ? 0
               : (s.first_position + s.rows - 1) / d.page_tokens - s.first_position / d.page_tokens + 1;
  };
  int64_t tasks = 0;
  for (const ops::SequenceRows& s : a.sequences) tasks += pages_of(s);
  const int64_t grain = a.qkv.rows * a.qkv.cols < kAloneElements ? std::max<int64_t>(tasks, 1) : 1;
  pool_of(launch).parallel_for(tasks, grain, [&](int64_t begin, int64_t end, int) {
    int64_t first_task = 0;
    for (const ops::SequenceRows& s : a.sequences) {
      const int64_t pages = pages_of(s);
      for (int64_t task = std::max(begin, first_task); task < std::min(end, first_task + pages); ++task) {
        const int64_t index = s.first_position / d.page_tokens + task - first_task;
        const int64_t from = std::max<int64_t>(s.first_position, index * d.page_tokens);
        const int64_t to = std::min<int64_t>(s.first_position + s.rows, (index + 1) * d.page_tokens);
        const int64_t row = s.first_row + from - s.first_position;
        for (int64_t i = 0; i < to - from; ++i) {
          const float* table = d.rope == ops::RopeStyle::none ? nullptr : a.rope_table.f32(row + i);
          f.norm_and_rotate(d, a, table, a.qkv.f32(row + i));
        }
        f.write_page(d, a.cache, page_of(a.cache.tables, s.table, index), from % d.page_tokens, to - from,
                     a.qkv.f32(row), a.qkv.stride);
      }
      first_task += pages;
    }
  });
}

template <Isa>
struct Rows;
#define SLUICE_ROWS(isa)                                                         \
  template <>                                                                    \
  struct Rows<Isa::isa> {                                                        \
    static constexpr std::string_view kActivation = "cpu.activation." #isa;      \
    static constexpr std::string_view kAddNorm = "cpu.add_norm." #isa;           \
    static constexpr std::string_view kScaleSoftcap = "cpu.scale_softcap." #isa; \
    static constexpr std::string_view kRopeKv = "cpu.rope_kv." #isa;             \
    static const RowFunctions& functions() { return isa##_row_functions(); }     \
  };
SLUICE_ROWS(scalar)
SLUICE_ROWS(avx2)
SLUICE_ROWS(avx512)
#undef SLUICE_ROWS

/// Work on rows is as fast as its lanes are many.
template <Isa I>
constexpr double kRowRate = I == Isa::scalar ? 2e9
                            : I == Isa::avx2 ? 4e9
                                             : 8e9;
template <Isa I>
constexpr Rates kRowRates{kRowRate<I>, kRowRate<I>};

template <Isa I>
void add_kernels(ops::Kernels& kernels) {
  using R = Rows<I>;
  kernels.add(ops::Kernel<Activation>{
      .name = R::kActivation,
      .refuses = [](const Activation::Desc&) { return std::string(); },
      .seconds = [](const Activation::Desc& d,
                    int64_t rows) { return roofline_seconds(Activation::cost(d, rows), kRowRates<I>); },
      .run = [](const Activation::Desc& d, const Activation::Args& a,
                const ops::Launch& launch) { run_activation(R::functions(), d, a, launch); }});
  kernels.add(ops::Kernel<AddNorm>{
      .name = R::kAddNorm,
      .refuses = [](const AddNorm::Desc&) { return std::string(); },
      .seconds = [](const AddNorm::Desc& d,
                    int64_t rows) { return roofline_seconds(AddNorm::cost(d, rows), kRowRates<I>); },
      .run = [](const AddNorm::Desc& d, const AddNorm::Args& a,
                const ops::Launch& launch) { run_add_norm(R::functions(), d, a, launch); }});
  kernels.add(ops::Kernel<ScaleSoftcap>{
      .name = R::kScaleSoftcap,
      .refuses = [](const ScaleSoftcap::Desc&) { return std::string(); },
      .seconds = [](const ScaleSoftcap::Desc& d,
                    int64_t rows) { return roofline_seconds(ScaleSoftcap::cost(d, rows), kRowRates<I>); },
      .run = [](const ScaleSoftcap::Desc& d, const ScaleSoftcap::Args& a,
                const ops::Launch& launch) { run_scale_softcap(R::functions(), d, a, launch); }});
  kernels.add(ops::Kernel<RopeKv>{
      .name = R::kRopeKv,
      .refuses = [](const RopeKv::Desc& d) -> std::string {
        return ops::is_kv_type(d.kv) ? "" : "KV pages hold f32, f16, bf16 or i8";
      },
      .seconds = [](const RopeKv::Desc& d,
                    int64_t rows) { return roofline_seconds(RopeKv::cost(d, rows), kRowRates<I>); },
      .run = [](const RopeKv::Desc& d, const RopeKv::Args& a,
                const ops::Launch& launch) { run_rope_kv(R::functions(), d, a, launch); }});
}

}  // namespace

void register_row_kernels(ops::Kernels& kernels, const CpuFeatures& cpu) {
  if (cpu.has(Isa::avx512)) add_kernels<Isa::avx512>(kernels);
  if (cpu.has(Isa::avx2)) add_kernels<Isa::avx2>(kernels);
  add_kernels<Isa::scalar>(kernels);
}

}  // namespace sluice::cpu
