#!/usr/bin/env bash
# From nothing to an answer: get a small real model, optimise it into an engine, ask it a question.
set -euo pipefail
cd "$(dirname "$0")/.."

model=build/demo/SmolLM2-135M-Instruct.Q4_1.gguf
engine=build/demo/smollm2-engine
scripts/get_smollm2.sh "$model"
[ -e "$engine" ] || build/release/sluice optimize --model_dir "$model" --output_dir "$engine"
echo
echo "> Why is the sky blue?"
build/release/sluice run "$engine" --chat --prompt "Why is the sky blue?" --temperature 0 --max_tokens 64
