#!/usr/bin/env bash
# Installs what a build needs on Debian and Ubuntu, and only what is missing: without a network it succeeds where
# everything is there. Asks for root only to install. --fuzz adds clang for the libFuzzer targets.
set -euo pipefail

packages=(
  g++ cmake ninja-build git python3 python3-pip
  nlohmann-json3-dev libcli11-dev libfmt-dev libpcre2-dev libutf8proc-dev libxxhash-dev
  libboost-dev
  libgtest-dev libgmock-dev
)
for argument in "$@"; do
  case "$argument" in
    --fuzz) packages+=(clang llvm libclang-rt-dev) ;;
    *) echo "usage: $0 [--fuzz]" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
# A compiler or Python from elsewhere serves as well as the distribution's.
have() { command -v "$1" > /dev/null; }
needed=()
for package in "${missing[@]}"; do
  case "$package" in
    g++) have g++ && continue ;;
    cmake) have cmake && continue ;;
    git) have git && continue ;;
    python3) have python3 && continue ;;
    python3-pip) python3 -m pip --version > /dev/null 2>&1 && continue ;;
    clang) have clang++ && continue ;;
  esac
  # Older releases have no such split.
  needed+=("$package")
done
[ ${#needed[@]} -eq 0 ] && exit 0

if ! have apt-get; then
  echo "error: please install these packages with your system's package manager: ${needed[*]}" >&2
  exit 2
fi
run=()
if [ "$(id -u)" -ne 0 ]; then
  have sudo || { echo "error: run as root, or install sudo, to install: ${needed[*]}" >&2; exit 2; }
  run=(sudo)
fi
echo "installing: ${needed[*]}" >&2
"${run[@]}" apt-get update -qq
"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${needed[@]}" > /dev/null
