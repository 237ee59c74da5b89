#!/usr/bin/env bash
# Shows that optimize's memory does not grow with the model: makes a checkpoint of about 1.5 GB, whose largest tensor
# is 134 MB, and prints the peak resident memory of building engines from it. Needs 5 GB of disk; run by hand:
# [SLUICE=build/release/sluice] tests/optimize_memory.sh [DIRECTORY]
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/optimize_memory.XXXXXX")
trap 'rm -rf "$work"' EXIT

python3 - "$work/checkpoint" <<'PY'
import json, os, random, struct, sys

hidden, width, layers, vocab = 2048, 8192, 10, 32768
root = sys.argv[1]
os.makedirs(root)
json.dump({"model_type": "llama", "vocab_size": vocab, "hidden_size": hidden, "intermediate_size": width,
           "num_hidden_layers": layers, "num_attention_heads": 16, "num_key_value_heads": 16, "hidden_act": "silu",
           "max_position_embeddings": 4096, "rms_norm_eps": 1e-6}, open(f"{root}/config.json", "w"))
random.seed(1)
# bf16 around +-0.01: sign and mantissa at random.
pattern = b"".join(struct.pack("<H", random.getrandbits(1) << 15 | 0x3C00 | random.getrandbits(7)) for _ in range(1 << 20))

def shard(name, tensors):
    header, offset = {}, 0
    for tensor, shape in tensors:
        size = 2
        for extent in shape: size *= extent
        header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with open(f"{root}/{name}", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while offset > 0:
            file.write(pattern[:offset])
            offset -= len(pattern)
    return {tensor: name for tensor, _ in tensors}

weights = shard("outer.safetensors", [("model.embed_tokens.weight", [vocab, hidden]), ("model.norm.weight", [hidden]),
                                      ("lm_head.weight", [vocab, hidden])])
for i in range(layers):
    at = f"model.layers.{i}."
    weights |= shard(f"layer{i}.safetensors",
        [(at + f"self_attn.{p}_proj.weight", [hidden, hidden]) for p in "qkvo"]
        + [(at + f"mlp.{p}_proj.weight", [width, hidden]) for p in ("gate", "up")]
        + [(at + "mlp.down_proj.weight", [hidden, width])]
        + [(at + f"{p}_layernorm.weight", [hidden]) for p in ("input", "post_attention")])
json.dump({"weight_map": weights}, open(f"{root}/model.safetensors.index.json", "w"))
PY
du -sh "$work/checkpoint"
for precision in auto fp32 q8_0 q4_0; do
  "${SLUICE:-build/release/sluice}" optimize --model_dir "$work/checkpoint" --output_dir "$work/engine" --precision $precision \
    --log_level off --json |
    python3 -c "import json, sys; s = json.load(sys.stdin)
print('$precision: %.0f MB of weights, peak memory %.0f MB, %.1f s' % (s['weight_bytes'] / 1e6, s['peak_rss_bytes'] / 1e6, s['seconds']))"
done
