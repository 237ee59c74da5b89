#include "tools/server_figures.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace sluice::tools {
namespace {

// The first sample of a series of this name.
std::optional<double> value_of(std::string_view text, std::string_view name) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (!line.starts_with(name)) continue;
    const std::string_view rest = line.substr(name.size());
    if (!rest.starts_with('{') && !rest.starts_with(' ')) continue;  // a longer name
    const std::string_view number = line.substr(line.rfind(' ') + 1);
    double value = 0;
    if (std::from_chars(number.data(), number.data() + number.size(), value).ec == std::errc()) return value;
  }
  return std::nullopt;
}

std::optional<double> either(std::string_view text, std::string_view vllm, std::string_view trtllm) {
  const auto value = value_of(text, vllm);
  return value ? value : value_of(text, trtllm);
}

}  // namespace

Result<ServerFigures> read_figures(std::string_view text) {
  const auto running = either(text, "vllm:num_requests_running", "trtllm_num_requests_running");
  if (!running)
    return invalid_argument("--url: its /metrics tell of no requests; give the address of a server");
  ServerFigures out{.running = *running};
  out.waiting = either(text, "vllm:num_requests_waiting", "trtllm_num_requests_waiting").value_or(0);
  out.kv_usage = either(text, "vllm:kv_cache_usage_perc", "trtllm_kv_cache_utilization").value_or(0);
  out.prompt_tokens = either(text, "vllm:prompt_tokens_total", "trtllm_prompt_tokens_total").value_or(0);
  out.generation_tokens =
      either(text, "vllm:generation_tokens_total", "trtllm_generation_tokens_total").value_or(0);
  return out;
}

}  // namespace sluice::tools
