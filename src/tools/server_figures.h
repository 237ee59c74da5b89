// What a server's /metrics say that a human wants to see at once.
#pragma once

#include <string_view>

#include "base/error.h"
#include "base/fields.h"

namespace sluice::tools {

struct ServerFigures {
  double running = 0, waiting = 0;  // requests
  double kv_usage = 0;              // 0 to 1
  double prompt_tokens = 0, generation_tokens = 0;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("running", s.running), v("waiting", s.waiting), v("kv_usage", s.kv_usage);
    v("prompt_tokens", s.prompt_tokens), v("generation_tokens", s.generation_tokens);
  }
};

/// From Prometheus text, under either of the servers' names.
Result<ServerFigures> read_figures(std::string_view text);

}  // namespace sluice::tools
