// Plots as SVG: a few lines or dots on axes. Colours and fonts are the page's.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace sluice::load {

struct Plot {
  struct Series {
    std::string name;  // for the legend; empty: none
    std::vector<std::pair<double, double>> points;
    bool dots = false;  // instead of a line
  };
  std::string title, x_label, y_label;
  bool log_x = false;
  double y_max = 0;  // 0: by the data
  std::vector<Series> series;
};

/// "<svg ...>"; text for screen readers is in its title.
std::string to_svg(const Plot& plot);

/// Round values between `low` and `high`, at most `count` or so.
std::vector<double> ticks(double low, double high, int count);

/// `text` as it stands in HTML.
std::string escape_html(std::string_view text);

}  // namespace sluice::load
