#!/usr/bin/env bash
# layers.txt is the architecture: an include may go to a lower layer, to its own room, or to a room in brackets.
set -euo pipefail
cd "$(dirname "$0")/.."

awk '
  FILENAME == "layers.txt" {
    if ($1 ~ /^#/ || NF < 2) next
    layer[$2] = $1
    for (i = 3; i <= NF; i++) { peer = $i; gsub(/[\[\],]/, "", peer); allowed[$2, peer] = 1 }
    next
  }
  /^#include "/ {
    split(FILENAME, path, "/"); room = path[2]
    split($2, quoted, "\""); split(quoted[2], target, "/"); to = target[1]
    if (to == "sluice" || to == room) next
    if (!(room in layer)) { print FILENAME ": room " room " is not in layers.txt"; bad = 1; next }
    if (!(to in layer)) { print FILENAME ": includes " quoted[2] ", which is in no room of layers.txt"; bad = 1; next }
    if (layer[to] >= layer[room] && !((room, to) in allowed)) {
      print FILENAME ": " room " (layer " layer[room] ") includes " quoted[2] " (layer " layer[to] ")"; bad = 1
    }
  }
  END { exit bad }
' layers.txt $(git ls-files 'src/*.h' 'src/*.cpp' 'src/*.cu' 'src/*.cuh' | grep -vE '_(test|fuzz)\.cpp$|/testing/') && echo "layers: ok"
