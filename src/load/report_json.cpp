#include "load/report.h"

#include "base/fields.h"

namespace sluice::load {
namespace {

void add(Json& out, Measure measure, const Distribution& d) {
  const std::string_view name = enum_name(measure);
  out[fmt::format("mean_{}_ms", name)] = d.mean;
  out[fmt::format("median_{}_ms", name)] = d.median;
  out[fmt::format("std_{}_ms", name)] = d.stddev;
  for (const auto& [which, value] : d.percentiles) out[fmt::format("p{}_{}_ms", which, name)] = value;
}

}  // namespace

Json report_json(const Summary& s, std::span<const Measure> measures) {
  Json out = {{"duration", s.duration},
              {"completed", s.completed},
              {"failed", s.failed},
              {"max_concurrent_requests", s.max_concurrent},
              {"total_input_tokens", s.input_tokens},
              {"total_cached_tokens", s.cached_tokens},
              {"total_output_tokens", s.output_tokens},
              {"request_throughput", s.per_second(s.completed)}};
  if (s.good) out["request_goodput"] = s.per_second(*s.good);
  out["output_throughput"] = s.per_second(static_cast<double>(s.output_tokens));
  out["total_token_throughput"] = s.per_second(static_cast<double>(s.input_tokens + s.output_tokens));
  for (const Measure m : measures) add(out, m, s.of(m));
  Json failures = Json::object();
  for (const auto& [kind, failure] : s.failures)
    failures[kind] = {{"count", failure.count}, {"example", failure.example}};
  out["failures"] = std::move(failures);
  return out;
}

}  // namespace sluice::load
