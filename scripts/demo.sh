#!/usr/bin/env bash
# From nothing to an answer: get a small real model, optimise it into an engine, ask it a question.
set -euo pipefail
cd "$(dirname "$0")/.."

model=build/demo/SmolLM2-135M-Instruct.Q4_1.gguf
engine=build/demo/smollm2-engine
scripts/get_smollm2.sh "$model"
[ -e "$engine" ] || build/release/sluice optimize --model_dir "$model" --output_dir "$engine"
echo
echo "> What is the capital of France?"
build/release/sluice run "$engine" --chat --prompt "What is the capital of France?" --temperature 0 --max_tokens 64
