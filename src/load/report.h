// A run's figures for programs and for browsers.
#pragma once

#include <span>
#include <string>

#include "base/json.h"
#include "load/statistics.h"

namespace sluice::load {

/// Under the keys of vLLM's load tool where there is one: "request_throughput", "p99_ttft_ms", ...
Json report_json(const Summary& summary, std::span<const Measure> measures);

/// One page without outside files: the figures, and plots as SVG. `config` is what the run was asked to do.
std::string report_html(const Summary& summary, std::span<const Outcome> outcomes, const Json& config);

}  // namespace sluice::load
