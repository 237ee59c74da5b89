// Options that several verbs share, each group declared once.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "model/recipe.h"
#include "ops/ops.h"

namespace sluice::tools {

/// --json, --log_level
struct OutputOptions {
  bool json = false;
  void declare(CLI::App& app);
};

/// --device, --threads, --isa
struct BackendOptions {
  std::string device = "cpu";
  int threads = 0;       // 0: one for each physical core this process may use
  std::string cpu_mask;  // CPUs to run on; empty: all this process may use
  std::string isa;       // empty: the machine's best

  void declare(CLI::App& app);
  /// `populate`: see cpu::CpuOptions.
  Result<ops::Backend> make(bool populate = true) const;
};

/// How the model shall run: what is not given is left to model::complete().
struct RecipeOptions {
  std::string precision = "auto";
  std::string precision_config;  // a file
  std::string activations = "auto";
  std::string kv_dtype = "auto";
  model::Recipe base;  // the numbers

  void declare(CLI::App& app);
  Result<model::Recipe> recipe() const;
};

/// --generation_config
struct GenerationConfigOption {
  std::string source = "auto";
  void declare(CLI::App& app);
  bool read() const { return source == "auto"; }
};

/// "1,2,3" or "[1, 2, 3]". `option` names it in messages.
Result<std::vector<int32_t>> parse_ids(const std::string& text, const std::string& option);

/// The whole of stdin, or one sentence when it is more than `max_bytes`.
Result<std::string> read_stdin(size_t max_bytes);

/// `text` as it is if it is UTF-8; `origin` says where it came from.
Result<std::string> valid_utf8(std::string text, const std::string& origin);

/// One JSON value and a newline on stdout.
void print_json(const Json& value);
/// Bytes as they are on stdout.
void print_raw(std::string_view text);

}  // namespace sluice::tools
