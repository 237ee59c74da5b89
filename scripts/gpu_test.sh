#!/usr/bin/env bash
# What needs a GPU: every CUDA kernel against the references, then whole models against reference logits, in fp32 and in the
# default mode. scripts/gpu_test.sh [BUILD [FIXTURES]]; without fixtures the second part says so and is left out.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}
fixtures=${2:-../shared/fixtures}

"$build/cuda_test" --gtest_brief=1
if [ ! -d "$fixtures" ]; then
  echo "whole models: skipped, there are no reference fixtures at $fixtures"
  exit 0
fi

passed=0 failed=()
try() {  # NAME ARGUMENTS...
  local name=$1
  shift
  if output=$("$build/sluice" verify --device cuda --max_seq_len 128 --max_num_seqs 2 --log_level error "$@" 2>&1); then
    passed=$((passed + 1))
  else
    failed+=("$name")
    printf -- '--- %s\n%s\n' "$name" "$output"
  fi
}
for directory in "$fixtures"/*/; do
  name=$(basename "$directory")
  reference=$directory/reference.safetensors
  # Architectures that are not there yet are no failure of this backend.
  [ -e "$reference" ] && "$build/sluice" inspect "$directory" > /dev/null 2>&1 || continue
  try "$name" "$directory" --reference "$reference"
  try "$name, default mode" "$directory" --reference "$reference" --activations auto --max_kl 3e-3 --min_top1 0.93
done
echo "whole models: $passed passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ]
