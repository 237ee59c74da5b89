// The command line of the one binary: verbs, their options, and how every end of a run is reported.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <span>
#include <string_view>

#include "base/error.h"

namespace sluice::tools {

/// Exit codes. A signal gives 128 + its number.
constexpr int kDone = 0;
constexpr int kCheckFailed = 1;     // the thing asked about is not so
constexpr int kBadInput = 2;        // usage, input, or what the machine refuses
constexpr int kInternalError = 70;  // a fault of ours

/// What a verb does once its options are read; gives the exit code.
using Run = std::function<Result<int>()>;

/// One verb of the binary. `declare` adds its options to the app; what it returns runs after they were
/// parsed, and owns whatever they were stored in.
struct Verb {
  std::string_view name;
  std::string_view summary;  // half a sentence
  Run (*declare)(CLI::App& app);
};

/// Parses and runs `argv`. Every option is accepted with `_` and with `-`; an unknown verb or option is
/// refused with the nearest known one. A failure is one line on stderr.
int run_cli(int argc, const char* const* argv, std::span<const Verb> verbs);

/// The release and its version: "sluice 0.1.0".
std::string version_line();

/// "; did you mean X?" with the nearest of `known` when it is near enough to be meant; else nothing.
std::string suggestion(std::string_view given, const std::vector<std::string>& known);

/// The words of a command line as the app knows its options: `-` in an option's name becomes `_`, values are
/// left alone.
std::vector<std::string> normalize_arguments(const CLI::App& app, std::vector<std::string> words);

}  // namespace sluice::tools
