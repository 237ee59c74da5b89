#!/usr/bin/env bash
# Speed on a GPU: decode steps and prefills of the 8B shape with random weights, against the GPU's measured limits.
# scripts/gpu_bench.sh [BUILD]
set -euo pipefail
cd "$(dirname "$0")/.."
"${1:-build/release}/sluice" bench random:llama-8b --device cuda \
  -p 128,2048 -b 1,4,16,64 -n 64 --context 1024 --max_num_batched_tokens 2048 --reps 3
