#!/usr/bin/env bash
# check_isa_symbols.sh LIBRARY: files compiled for an instruction set must define no weak function (of an inline
# function or template of a shared header): the linker keeps one copy of those for everybody, and a machine without
# that instruction set would run it.
set -euo pipefail
nm --defined-only "$1" | awk '
  /\.o:$/ { file = $1; checked += special = file ~ /_(avx2|avxvnni|avx512|avx512vnni|avx512bf16|amx)\.cpp\.o:$/; next }
  special && $2 ~ /^[WVu]$/ && $3 !~ /^DW\.ref\./ { print file " " $3 " is weak"; bad = 1 }
  END { if (!checked) print "no file of an instruction set found"; exit bad || !checked }
' && echo "isa symbols: ok"
