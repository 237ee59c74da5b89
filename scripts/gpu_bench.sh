#!/usr/bin/env bash
# Speed on a GPU: decode steps and prefills of the 8B shape with random weights, against the GPU's measured limits, and
# both together. scripts/gpu_bench.sh [BUILD]
set -euo pipefail
cd "$(dirname "$0")/.."
bench=("${1:-build/release}/sluice" bench random:llama-8b --device cuda --context 1024)
"${bench[@]}" -p 128,2048,16x1024 -b 1,4,16,64,256 -n 64 --max_num_batched_tokens 16384 --reps 3
"${bench[@]}" -p 0 -b 16,64,256 -n 128 --max_num_batched_tokens 8192 --reps 2 --end_to_end
