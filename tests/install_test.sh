#!/usr/bin/env bash
# install_test.sh BUILD_DIR SOURCE_DIR [CXX_FLAGS]: an outside project finds the installed library, builds against it
# and runs. A library with sanitizers needs a program with them: CXX_FLAGS.
set -euo pipefail
build=$1 source=$2 flags=${3:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" > "$work/install.log"
cmake -S "$source/examples" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_FLAGS="$flags" > "$work/configure.log"
cmake --build "$work/build" > "$work/build.log" || { cat "$work/build.log"; exit 1; }
"$work/prefix/bin/sluice" --version
# Without a model the example must fail with a sentence, which proves that it runs the library.
if "$work/build/answer" "$work/no-such-model" hello 2> "$work/error"; then
  echo "answer succeeded without a model" >&2
  exit 1
fi
grep -q "no-such-model" "$work/error"
