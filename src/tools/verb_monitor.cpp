// sluice monitor: the state of the GPUs, and of a server, as a live view or as one sample.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "load/fetch.h"
#include "telemetry/gpu_monitor.h"
#include "tools/measure.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/server_figures.h"
#include "tools/signals.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

using Clock = std::chrono::steady_clock;
using telemetry::GpuMonitor;
using telemetry::GpuSample;

struct MonitorOptions {
  OutputOptions output;
  double interval = 1;  // seconds
  std::string url, api_key;
};

std::string bar(double share) {
  constexpr int kWidth = 20;
  const int filled = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * kWidth));
  return fmt::format("[{:<{}}]", std::string(static_cast<size_t>(filled), '#'), kWidth);
}

template <typename T>
std::string or_dash(const std::optional<T>& value, std::string_view unit) {
  return value ? fmt::format("{:.0f} {}", static_cast<double>(*value), unit) : "-";
}

std::string share_bar(const std::optional<double>& share) {
  return share ? fmt::format("{} {:>4.0f}%", bar(*share), 100 * *share) : "-";
}

std::string gpu_text(const GpuSample& gpu) {
  std::optional<double> memory;
  if (gpu.memory_total_bytes && gpu.memory_used_bytes && *gpu.memory_total_bytes > 0)
    memory = static_cast<double>(*gpu.memory_used_bytes) / static_cast<double>(*gpu.memory_total_bytes);
  std::string out = fmt::format("GPU {}  {}  {}\n", gpu.index, gpu.name, gpu.uuid);
  out += fmt::format("  busy    {}\n  memory  {}", share_bar(gpu.utilization), share_bar(memory));
  if (memory)
    out += fmt::format("  {} of {}", format_bytes(*gpu.memory_used_bytes),
                       format_bytes(*gpu.memory_total_bytes));
  out += fmt::format("\n  {}, {} of {}, SM {}, memory {}\n", or_dash(gpu.temperature_c, "°C"),
                     or_dash(gpu.power_w, "W"), or_dash(gpu.power_limit_w, "W"),
                     or_dash(gpu.sm_clock_mhz, "MHz"), or_dash(gpu.memory_clock_mhz, "MHz"));
  std::string held;
  for (const std::string& reason : gpu.throttling) held += (held.empty() ? "" : ", ") + reason;
  if (!held.empty()) out += fmt::format("  clocks held down by {}\n", held);
  if (gpu.last_xid)
    out += fmt::format("  {} driver errors, the last one Xid {}\n", gpu.xid_count, *gpu.last_xid);
  return out;
}

std::string server_text(const ServerFigures& now, const ServerFigures* before, double seconds) {
  std::string out = fmt::format("running {:.0f}, waiting {:.0f}\n  KV cache {}\n", now.running, now.waiting,
                                share_bar(now.kv_usage));
  if (before == nullptr || seconds <= 0) return out;
  return out + fmt::format("  {:.1f} output tokens/s, {:.1f} prompt tokens/s\n",
                           (now.generation_tokens - before->generation_tokens) / seconds,
                           (now.prompt_tokens - before->prompt_tokens) / seconds);
}

/// What is watched: the GPUs, the server, or both.
class Watch {
 public:
  static Result<Watch> open(const MonitorOptions& o) {
    Watch watch;
    auto gpus = GpuMonitor::open();
    if (gpus.ok()) {
      watch.gpus_ = *std::move(gpus);
    } else if (o.url.empty()) {
      return gpus.status();
    } else {
      watch.no_gpus_ = gpus.status().message();
    }
    if (o.url.empty()) return watch;
    SLUICE_ASSIGN(watch.server_, load::parse_target(o.url));
    if (!o.api_key.empty()) watch.headers_.emplace_back("Authorization", "Bearer " + o.api_key);
    return watch;
  }

  Status look() {
    if (gpus_) samples_ = gpus_->sample();
    if (!server_) return {};
    SLUICE_ASSIGN(const std::string text, load::fetch(*server_, "/metrics", headers_));
    SLUICE_ASSIGN(const ServerFigures figures, read_figures(text));
    const auto now = Clock::now();
    before_ = std::exchange(figures_, figures);
    seconds_ = std::chrono::duration<double>(now - std::exchange(looked_, now)).count();
    return {};
  }

  std::string text() const {
    std::string out;
    for (const GpuSample& gpu : samples_) out += gpu_text(gpu) + "\n";
    if (!no_gpus_.empty()) out += no_gpus_ + "\n\n";
    if (figures_)
      out += fmt::format("{}: ", server_->authority()) +
             server_text(*figures_, before_ ? &*before_ : nullptr, seconds_);
    return out;
  }

  Json json() const {
    Json out = {{"gpus", to_json(samples_)}};
    if (figures_) out["server"] = to_json(*figures_);
    return out;
  }

 private:
  std::optional<GpuMonitor> gpus_;
  std::string no_gpus_;  // why there are none
  std::optional<load::Target> server_;
  load::Headers headers_;
  std::vector<GpuSample> samples_;
  std::optional<ServerFigures> figures_, before_;
  Clock::time_point looked_;
  double seconds_ = 0;  // between the last two looks
};

// Draws over what it drew before, until a signal comes.
Result<int> show_live(Watch& watch, double interval) {
  constexpr std::string_view kHome = "\x1b[H", kEndOfLine = "\x1b[K\n", kEndOfScreen = "\x1b[J";
  constexpr auto kSlice = std::chrono::milliseconds(50);
  print_raw("\x1b[2J");
  while (interrupted() == 0) {
    const auto next = Clock::now() + std::chrono::duration<double>(interval);
    const Status status = watch.look();
    std::string screen(kHome);
    const std::string text = status.ok() ? watch.text() : std::string(status.message()) + "\n";
    for (const char c : text) c == '\n' ? screen += kEndOfLine : screen += c;
    print_raw(screen + std::string(kEndOfScreen));
    std::fflush(stdout);
    while (interrupted() == 0 && Clock::now() < next) std::this_thread::sleep_for(kSlice);
  }
  return kDone;
}

Result<int> monitor(const MonitorOptions& o) {
  SLUICE_ASSIGN(Watch watch, Watch::open(o));
  if (!o.output.json && ::isatty(STDOUT_FILENO) == 1) {
    note_interrupts();
    return show_live(watch, o.interval);
  }
  SLUICE_TRY(watch.look());
  o.output.json ? print_json(watch.json()) : print_raw(watch.text());
  return kDone;
}

}  // namespace

Run declare_monitor(CLI::App& app) {
  auto o = std::make_shared<MonitorOptions>();
  app.add_option("--interval", o->interval, "Seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->type_name("S")
      ->capture_default_str();
  app.add_option("--url", o->url, "A server whose own figures are shown as well")->type_name("URL");
  app.add_option("--api_key", o->api_key, "The server's key, where its /metrics needs one")->type_name("KEY");
  o->output.declare(app);
  return [o] { return monitor(*o); };
}

}  // namespace sluice::tools
