#include <algorithm>
#include <cmath>

#include "base/fields.h"
#include "load/plot.h"
#include "load/report.h"

namespace sluice::load {
namespace {

constexpr size_t kMaxDots = 2000;  // of a plot with one for each request
constexpr size_t kCurvePoints = 200;

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --ink: #1a1c20; --soft: #667; --paper: #fff; --line: #dde; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --soft: #99a; --paper: #16181c; --line: #334; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 84rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: normal; border-bottom: 1px solid var(--line); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1rem; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg text.name { fill: var(--ink); font-size: 14px; } svg .grid { stroke: var(--line); }
polyline { fill: none; stroke-width: 1.8; }
.s0 { stroke: #2f6fde; } .s1 { stroke: #d9662c; } .s2 { stroke: #1d9a6c; }
circle.s0 { fill: #2f6fde; fill-opacity: .5; stroke: none; }
svg text.s0 { fill: #2f6fde; stroke: none; } svg text.s1 { fill: #d9662c; stroke: none; }
svg text.s2 { fill: #1d9a6c; stroke: none; }
)";

std::string row(std::string_view tag, const std::vector<std::string>& cells) {
  std::string out = "<tr>";
  for (const std::string& cell : cells) out += fmt::format("<{0}>{1}</{0}>", tag, escape_html(cell));
  return out + "</tr>\n";
}

std::string totals(const Summary& s) {
  std::string out = "<table>\n" + row("th", {"", "total", "a second"});
  const auto line = [&](const char* name, double count) {
    out += row("td", {name, fmt::format("{:.0f}", count), fmt::format("{:.2f}", s.per_second(count))});
  };
  line("Requests completed", s.completed);
  if (s.good) line("of which kept the objectives", *s.good);
  if (s.failed > 0) line("Requests failed", s.failed);
  line("Input tokens", static_cast<double>(s.input_tokens));
  line("of which cached", static_cast<double>(s.cached_tokens));
  line("Output tokens", static_cast<double>(s.output_tokens));
  return out + "</table>\n";
}

std::string latencies(const Summary& s) {
  std::vector<std::string> head = {"ms", "mean", "median", "std"};
  for (const auto& [which, value] : s.of(Measure::ttft).percentiles)
    head.push_back(fmt::format("p{}", which));
  std::string out = "<table>\n" + row("th", head);
  for (const Measure m : kMeasures) {
    const Distribution& d = s.of(m);
    std::vector<std::string> cells = {std::string(title(m))};
    for (const double v : {d.mean, d.median, d.stddev}) cells.push_back(fmt::format("{:.2f}", v));
    for (const auto& [which, value] : d.percentiles) cells.push_back(fmt::format("{:.2f}", value));
    out += row("td", cells);
  }
  return out + "</table>\n";
}

std::string failures(const Summary& s) {
  if (s.failures.empty()) return "";
  std::string out = "<table>\n" + row("th", {"failure", "requests", "for example"});
  for (const auto& [kind, failure] : s.failures)
    out += row("td", {kind, fmt::format("{}", failure.count), failure.example});
  return out + "</table>\n";
}

Plot over_time(const Timeline& timeline, const std::vector<double>& values, std::string title,
               std::string label) {
  Plot plot{.title = std::move(title), .x_label = "seconds", .y_label = std::move(label)};
  Plot::Series& series = plot.series.emplace_back();
  for (size_t i = 0; i < values.size(); ++i)
    series.points.emplace_back((static_cast<double>(i) + 0.5) * timeline.bucket, values[i]);
  return plot;
}

// The share of values that are at most x.
Plot shares(std::span<const Outcome> outcomes, std::span<const Measure> measures, std::string title) {
  Plot plot{
      .title = std::move(title), .x_label = "ms", .y_label = "% of values", .log_x = true, .y_max = 100};
  for (const Measure m : measures) {
    const std::vector<float> values = values_of(outcomes, m);
    Plot::Series& series = plot.series.emplace_back();
    series.name = enum_name(m);
    for (size_t i = 0; !values.empty() && i <= kCurvePoints; ++i) {
      const double percent = 100.0 * static_cast<double>(i) / kCurvePoints;
      series.points.emplace_back(std::max(percentile(values, percent), 1e-3), percent);
    }
  }
  return plot;
}

Plot first_tokens(std::span<const Outcome> outcomes) {
  Plot plot{.title = "Time to first token of each request",
            .x_label = "seconds, when it was sent",
            .y_label = "ms"};
  Plot::Series& series = plot.series.emplace_back();
  series.dots = true;
  const size_t stride = std::max<size_t>(1, outcomes.size() / kMaxDots);
  for (size_t i = 0; i < outcomes.size(); i += stride) {
    if (outcomes[i].ok()) series.points.emplace_back(outcomes[i].sent, 1e3 * outcomes[i].first);
  }
  return plot;
}

std::string settings(const Json& config) {
  std::string out = "<table>\n";
  for (const auto& [key, value] : config.items())
    out += row("td", {key, value.is_string() ? value.get<std::string>() : dump_json(value)});
  return out + "</table>\n";
}

}  // namespace

std::string report_html(const Summary& s, std::span<const Outcome> outcomes, const Json& config) {
  constexpr std::array kTokens = {Measure::ttft, Measure::tpot, Measure::itl};
  constexpr std::array kWhole = {Measure::e2el};
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>Load test</title>\n<style>{}</style>\n<h1>Load test</h1>\n"
      "<p>{} requests in {:.2f} s, at most {} at once.</p>\n",
      kStyle, s.completed + s.failed, s.duration, s.max_concurrent);
  out += totals(s) + latencies(s) + failures(s) + "<div class=\"plots\">\n";
  const Timeline& t = s.timeline;
  out += to_svg(over_time(t, t.tokens_per_second, "Output tokens", "tokens a second"));
  out += to_svg(over_time(t, t.concurrent_requests, "Requests under way", "requests"));
  out += to_svg(shares(outcomes, kTokens, "Latencies of tokens"));
  out += to_svg(shares(outcomes, kWhole, "Latency of requests"));
  out += to_svg(first_tokens(outcomes));
  return out + "</div>\n<h2>Settings</h2>\n" + settings(config) + "</html>\n";
}

}  // namespace sluice::load
