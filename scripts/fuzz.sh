#!/usr/bin/env bash
# Builds every libFuzzer target under ASan and UBSan and runs each for SLUICE_FUZZ_SECONDS (default 20) from its seeds.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SLUICE_FUZZ_SECONDS:-20}
cmake --preset fuzz > /dev/null
targets=$(git ls-files 'src/*_fuzz.cpp' | xargs -n1 basename | sed 's/\.cpp$//' | sort)
# shellcheck disable=SC2086
cmake --build --preset fuzz --target $targets
passed=0
for target in $targets; do
  # New finds go to a scratch corpus: the seeds in the repository stay as they are.
  scratch=build/fuzz/corpus/$target
  mkdir -p "$scratch" build/fuzz/crashes
  seeds=()
  [ -d "fuzz/corpus/$target" ] && seeds=("fuzz/corpus/$target")
  if ! "build/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -verbosity=0 \
      -artifact_prefix=build/fuzz/crashes/"$target"- "$scratch" "${seeds[@]}" > "build/fuzz/$target.log" 2>&1; then
    tail -40 "build/fuzz/$target.log"
    echo "fuzz: $target failed; its input is in build/fuzz/crashes" >&2
    exit 1
  fi
  passed=$((passed + 1))
done
echo "fuzz: $passed targets, $seconds s each, nothing found"
