#!/usr/bin/env bash
# The native side's own tests on the emulated device: run.sh [--quick]. Builds them in build-cmake, plain, with sanitizers and traced, runs each under many
# seeds and for both architectures, and leaves out each barrier, wait and fence in turn. Prints a line for each part and "N passed, N failed" at the end;
# the whole run takes more than an hour, its lines are kept in test/emulator/last-run.md. --quick is for every push: three seeds, no sanitizers, no mutants.
set -uo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
quick=false
if [ "${1:-}" = --quick ]; then quick=true; fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0
lines=()

# part NAME COMMAND...: runs it, counts it, and prints how it ended: its last line, or all it said.
part() {
  local name=$1 start=$SECONDS result=ok
  shift
  if "$@" > "$scratch/log" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)) result=FAILED; tail -n 60 "$scratch/log"; fi
  lines+=("| $name | $result | $(grep -E '[0-9]+ passed, [0-9]+ failed|[0-9]+ noticed' "$scratch/log" | tail -n 1 | cut -c1-100) | $((SECONDS - start)) s |")
  echo "${lines[-1]}"
}

# behind NAME COMMAND...: the same beside what follows. meet: waits for it, and counts it then.
behind() {
  behind_name=$1
  shift
  "$@" > "$scratch/behind" 2>&1 &
  behind=$!
}
ended() { wait $behind; local status=$?; cat "$scratch/behind"; return $status; }
meet() { part "$behind_name" ended; }

# build FOLDER TARGETS [OPTION...]
build() {
  local folder=build-cmake/$1 targets=$2
  shift 2
  npx cmake-js configure -O "$root/$folder" --CDM2_CUDA=OFF --CDM2_NATIVE_TESTS=ON --CDM2_OUTPUT="$root/$folder/out" "$@" &&
    cmake --build "$folder" --parallel --target $targets
}
# In the build's folder: a compiler's cache may have made the names of sources relative to it.
kernels() { (cd "build-cmake/$1" && test/kernels/kernels_emulated emulated "${@:2}"); }
# Keeps what came of them, and says the first line of it.
mutants() {
  local kept=test/kernels/mutations.txt status
  kernels plain --mutate --seeds 8 > $kept
  status=$?
  head -n 1 $kept
  return $status
}
emulator_tests() { "build-cmake/$1/test/emulator/emulator_tests"; }
failures() { "build-cmake/$1/test/failures/failures_emulated" --every "$2"; }
# Each instruction against the host's truths, under the seeds 0 .. N-1, and against what GPUs have recorded.
conformance() {
  local golden=(test/emulator/conformance/golden/*.txt) seed status=0
  [ -e "${golden[0]}" ] || golden=()
  for ((seed = 0; seed < $2; seed++)); do with_seed $seed "build-cmake/$1/test/emulator/conformance_emulated" ${golden[@]:+--check "${golden[@]}"} || status=1; done
  return $status
}
on() { M2_EMULATED_ARCH=$1 "${@:2}"; }
with_seed() { M2_EMULATOR_SEED=$1 "${@:2}"; }

targets="kernels_emulated emulator_tests failures_emulated conformance_emulated"
part "plain: build" build plain "$targets"
traced="kernels_emulated emulator_tests"
if ! $quick; then traced+=" conformance_emulated"; fi
part "traced: build" build traced "$traced" --CDM2_EMULATOR_TRACED=ON
part "plain: the plans at M2's sizes" diff <(kernels plain --plans) test/kernels/plans.txt
if $quick; then
  behind "traced: kernels" kernels traced
  part "plain: kernels, 3 seeds" kernels plain --seeds 3
  part "plain: the emulator, its planted bugs" emulator_tests plain
  part "plain: conformance, 3 seeds" conformance plain 3
  part "plain: each 7th call fails" failures plain 7
  part "traced: the emulator, its planted bugs" emulator_tests traced
  meet
else
  part "sanitized: build" build sanitized "$targets" --CDM2_SANITIZE=address,undefined
  for architecture in 90 80; do
    part "sm_$architecture, plain: kernels, 8 seeds" on $architecture kernels plain --seeds 8
    part "sm_$architecture, plain: kernels at M2's sizes" on $architecture kernels plain --m2
    part "sm_$architecture, sanitized: kernels, 3 seeds" on $architecture kernels sanitized --seeds 3
    part "sm_$architecture, traced: kernels, 4 seeds" on $architecture kernels traced --seeds 4
    for kind in plain sanitized traced; do part "sm_$architecture, $kind: conformance, 4 seeds" on $architecture conformance $kind 4; done
    part "sm_$architecture: the tests of the ops" on $architecture with_seed $architecture env M2_TEST_DEVICES=emulated npx vitest run test/ops
  done
  for kind in plain sanitized traced; do part "$kind: the emulator, its planted bugs" emulator_tests $kind; done
  part "plain: each call fails" failures plain 1
  part "sanitized: each 25th call fails" failures sanitized 25
  part "plain: mutants, 8 seeds" mutants
  part "traced: mutants" kernels traced --mutate --seeds 3
  {
    echo "# The last full run of \`npm run test:emulator\`"
    echo
    echo "Commit $(git log -1 --format='%h, %cs'), $(uname -m), $(nproc) cores, no GPU: the emulated device."
    echo
    printf '%s\n' '| part | result | counts | time |' '|---|---|---|---|' "${lines[@]}"
  } > test/emulator/last-run.md
fi
echo "$passed passed, $failed failed"
exit $((failed > 0))
