// Options that come from the environment or a file instead of the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"

namespace sluice::tools {

/// A command line that has been completed.
struct Settings {
  std::vector<std::string> words;
  std::map<std::string, std::string> sources;  // where options that were added come from, by option name
};

/// Declares --config, which is what makes a verb's options settable from outside.
void declare_config(CLI::App& app, std::string& path);

/// Adds to the normalised `words` each option that is not among them: from the environment (--max_num_seqs is
/// SLUICE_MAX_NUM_SEQS), else from the JSON object in --config's file (max_num_seqs). A key that is no option
/// is refused; a SLUICE_PORT that is Kubernetes' is passed over. Leaves apps without --config alone.
Result<Settings> complete_settings(const CLI::App& app, std::vector<std::string> words);

}  // namespace sluice::tools
