#include "load/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace sluice::load {
namespace {

// In SVG units.
constexpr double kWidth = 640, kHeight = 300, kLeft = 64, kRight = 16, kTop = 34, kBottom = 44;

/// One axis: values to places.
struct Axis {
  double low, high, from, to;
  bool logarithmic = false;

  double at(double value) const {
    const auto scaled = [&](double v) { return logarithmic ? std::log10(v) : v; };
    const double share = (scaled(value) - scaled(low)) / (scaled(high) - scaled(low));
    return from + std::clamp(share, 0.0, 1.0) * (to - from);
  }
  std::vector<double> marks() const {
    if (!logarithmic) return ticks(low, high, 6);
    std::vector<double> out;
    const double first = std::pow(10, std::ceil(std::log10(low) - 1e-9));
    for (double v = first; v <= high * (1 + 1e-9); v *= 10) out.push_back(v);
    return out.size() >= 2 ? out : ticks(low, high, 6);
  }
};

// Smallest and largest of one coordinate; of a logarithmic one, of what it can show.
template <typename Get>
std::pair<double, double> range(const Plot& plot, bool positive, Get get) {
  double low = INFINITY, high = -INFINITY;
  for (const auto& series : plot.series) {
    for (const auto& point : series.points) {
      const double v = get(point);
      if (positive && v <= 0) continue;
      low = std::min(low, v), high = std::max(high, v);
    }
  }
  if (low > high) return {positive ? 1 : 0, 10};
  return {low, high > low ? high : low + (low > 0 ? low : 1)};
}

std::string axes(const Plot& plot, const Axis& x, const Axis& y) {
  std::string out;
  for (const double v : y.marks()) {
    out += fmt::format(
        R"(<line class="grid" x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}"/><text x="{}" y="{:.1f}" text-anchor="end">{:g}</text>)",
        x.from, y.at(v), x.to, y.at(v), x.from - 6, y.at(v) + 4, v);
  }
  for (const double v : x.marks()) {
    out += fmt::format(
        R"(<line class="grid" x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}"/><text x="{:.1f}" y="{}" text-anchor="middle">{:g}</text>)",
        x.at(v), y.from, x.at(v), y.to, x.at(v), y.from + 16, v);
  }
  out += fmt::format(R"(<text class="name" x="{}" y="18">{}</text>)", kLeft, escape_html(plot.title));
  out += fmt::format(R"(<text x="{}" y="{}" text-anchor="middle">{}</text>)", (x.from + x.to) / 2,
                     kHeight - 8, escape_html(plot.x_label));
  out += fmt::format(R"svg(<text transform="translate(14 {}) rotate(-90)" text-anchor="middle">{}</text>)svg",
                     (y.from + y.to) / 2, escape_html(plot.y_label));
  return out;
}

std::string curve(const Plot::Series& series, const Axis& x, const Axis& y, size_t index) {
  std::string out;
  if (series.dots) {
    for (const auto& p : series.points)
      out += fmt::format(R"(<circle class="s{}" cx="{:.1f}" cy="{:.1f}" r="2"/>)", index, x.at(p.first),
                         y.at(p.second));
    return out;
  }
  out = fmt::format(R"(<polyline class="s{}" points=")", index);
  for (const auto& p : series.points) out += fmt::format("{:.1f},{:.1f} ", x.at(p.first), y.at(p.second));
  return out + "\"/>";
}

std::string legend(const Plot& plot) {
  std::string out;
  double right = kWidth - kRight;
  for (size_t i = plot.series.size(); i-- > 0;) {
    const std::string& name = plot.series[i].name;
    if (name.empty()) continue;
    out += fmt::format(R"(<text class="s{}" x="{}" y="18" text-anchor="end">{}</text>)", i, right,
                       escape_html(name));
    right -= 12 + 7 * static_cast<double>(name.size());
  }
  return out;
}

}  // namespace

std::vector<double> ticks(double low, double high, int count) {
  std::vector<double> out;
  if (!(high > low) || count < 1) return out;
  const double raw = (high - low) / count, decade = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * decade;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * decade >= raw * (1 - 1e-9)) step = factor * decade;
  }
  // Adding zero makes a zero of what would print as -0.
  for (double i = std::ceil(low / step - 1e-9) + 0.0; i * step <= high * (1 + 1e-9); ++i)
    out.push_back(i * step);
  return out;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

std::string to_svg(const Plot& plot) {
  const auto xs = range(plot, plot.log_x, [](const auto& p) { return p.first; });
  const auto ys = range(plot, false, [](const auto& p) { return p.second; });
  const Axis x{plot.log_x ? xs.first : std::min(0.0, xs.first), xs.second, kLeft, kWidth - kRight,
               plot.log_x};
  const Axis y{std::min(0.0, ys.first), plot.y_max > 0 ? plot.y_max : ys.second, kHeight - kBottom, kTop};
  std::string out = fmt::format(R"(<svg viewBox="0 0 {} {}" role="img"><title>{}</title>)", kWidth, kHeight,
                                escape_html(plot.title));
  out += axes(plot, x, y);
  for (size_t i = 0; i < plot.series.size(); ++i) out += curve(plot.series[i], x, y, i);
  return out + legend(plot) + "</svg>\n";
}

}  // namespace sluice::load
