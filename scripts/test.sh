#!/usr/bin/env bash
# Every test. Those that need more than the repository (reference fixtures, Python packages) say what is missing and skip.
set -euo pipefail
cd "$(dirname "$0")/.."

ctest --preset release
scripts/check_layers.sh
if command -v clang++ > /dev/null; then
  SLUICE_FUZZ_SECONDS=${SLUICE_FUZZ_SECONDS:-5} scripts/fuzz.sh
else
  echo "fuzz: skipped, clang is not installed (make fuzz installs it)"
fi
