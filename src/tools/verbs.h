// All verbs, one file each. To add one: its declaration here and a line in main.cpp's table.
#pragma once

#include "tools/cli.h"

namespace sluice::tools {

Run declare_optimize(CLI::App& app);
Run declare_run(CLI::App& app);
Run declare_serve(CLI::App& app);
Run declare_verify(CLI::App& app);
Run declare_eval(CLI::App& app);
Run declare_bench(CLI::App& app);
Run declare_bench_serve(CLI::App& app);
Run declare_profile(CLI::App& app);
Run declare_monitor(CLI::App& app);
Run declare_inspect(CLI::App& app);
Run declare_tokenize(CLI::App& app);
Run declare_render(CLI::App& app);

}  // namespace sluice::tools
