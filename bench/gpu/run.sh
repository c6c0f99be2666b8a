#!/usr/bin/env bash
# Everything that needs a GPU: run.sh OUT [PART...]. Made by `npm run pack:gpu`, with all it needs beside it; wants nothing but bash, tar, xz and a driver,
# and uses compute-sanitizer and PyTorch where they are.
#   facts        the device, the driver
#   kernels      the kernels' cases against the CPU, small and at M2's sizes
#   conformance  every instruction over fixed inputs, recorded in OUT/golden.txt
#   tests        the op, model and engine tests on device cuda
#   sanitizer    the kernels' small cases under memcheck, racecheck, synccheck and initcheck
#   bench        the ops and the whole model, with PyTorch beside; tables and roofline in OUT/results
# A part's output is in OUT/PART.log; one line each is printed, and the exit status is that of the worst.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "${1:?the folder for results}" && cd "$1" && pwd)
shift
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(facts kernels conformance tests sanitizer bench)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C "$work" -xJf "$here/m2.tar.xz" || exit 2
if command -v node > /dev/null && [ "$(node -p 'process.versions.node.split(".")[0] >= 20')" = true ]; then
  node=node
else
  xz -dc "$here/node.xz" > "$work/node" && chmod +x "$work/node" || exit 2
  node=$work/node
fi
export PATH="$(dirname "$(command -v "$node")"):$PATH"
cd "$work" || exit 2

facts() { nvidia-smi -q | grep -E "Product Name|Driver Version|CUDA Version|Total  |Graphics  |SM  " | sort -u; "$node" -e 'require("./build/Release/addon.node").cudaProbe().then(console.log)'; }
kernels() { ./build/kernels_cuda cuda && ./build/kernels_cuda cuda --m2; }
conformance() { ./build/conformance_cuda --record "$out/golden.txt"; }
tests() { M2_TEST_DEVICES=cuda "$node" node_modules/vitest/vitest.mjs run test/ops test/model/random-geometry.test.ts test/model/random-weights.test.ts test/model/bit-identity.test.ts test/model/nano-on-gpu.test.ts test/engine/devices.test.ts; }
sanitizer() {
  local tool status=0 program
  program=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer) || return 1
  for tool in memcheck racecheck synccheck initcheck; do
    echo "== $tool"
    "$program" --tool $tool --error-exitcode 1 ./build/kernels_cuda cuda || status=1
  done
  return $status
}
bench() {
  local status=0
  "$node" -r ./bench/typescript.cjs bench/gpu/main.ts --write || status=1
  mkdir -p "$out/results" && cp bench/results/* "$out/results"
  return $status
}

worst=0
for part in "${parts[@]}"; do
  start=$SECONDS
  if "$part" > "$out/$part.log" 2>&1; then result=ok; else result=FAILED worst=1; fi
  echo "$part: $result ($((SECONDS - start)) s) $(tail -n 1 "$out/$part.log" | cut -c1-120)"
done
exit $worst
