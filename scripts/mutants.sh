#!/usr/bin/env bash
# Shows that the simulator can fail: every patch in tests/mutants removes one protection, and
# some seed must notice. Each mutant is built in a scratch folder; the work tree is not touched.
#
#   scripts/mutants.sh [--quick] [--record] [NAME...]
#
#   --quick   begin with the seed that is recorded in the patch; search SEEDS only where that
#             does not kill any more
#   --record  write the seed that killed a mutant into its patch
#   NAME      only these (the patch's name without .patch)
#   SEEDS     how many seeds a mutant may survive: 5000, with --quick 500
#
# A kill counts only if the same seed passes without the mutant. The exit status is 1 if any
# mutant survives, does not apply or does not build.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
GO=${GO:-go}

quick=false
record=false
names=()
for arg; do
	case $arg in
	--quick) quick=true ;;
	--record) record=true ;;
	-*)
		echo "mutants: unknown option $arg" >&2
		exit 2
		;;
	*) names+=("$arg") ;;
	esac
done
if $quick; then seeds=${SEEDS:-500}; else seeds=${SEEDS:-5000}; fi
block=100 # seeds a run of the simulator: it stops at the first block that fails

if [ ${#names[@]} -eq 0 ]; then
	for patch in tests/mutants/*.patch; do names+=("$(basename "$patch" .patch)"); done
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# tree FOLDER: a copy of what the simulator is built from.
tree() {
	local dir
	mkdir -p "$1"
	cp go.mod go.sum "$1"
	"$GO" list -deps -f '{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}' ./internal/sim | while read -r dir; do
		dir=${dir#"$root"/}
		mkdir -p "$1/$dir"
		find "$dir" -maxdepth 1 \( -name '*.go' -o -name '*.s' \) -exec cp -t "$1/$dir" {} +
	done
}

# build FOLDER: its simulator, as FOLDER/sim.
build() { (cd "$1" && "$GO" test -buildvcs=false -ldflags '-s -w' -c -o sim ./internal/sim); }

# simulate FOLDER FIRST COUNT: true if these seeds pass. What the run printed is in FOLDER/out.
simulate() {
	"$1/sim" -test.run '^TestSeeds$' -test.timeout 5m -first "$2" -seeds "$3" >"$1/out" 2>&1
}

# failure FOLDER: "SEED WHAT" of the lowest seed that failed in the last run. A run that ends
# with neither (it hung, or died) is reported as its first line.
failure() {
	local line
	line=$(sed -n 's/^.*seed \([0-9]*\): at \([^ ]*\): /\1 /p' "$1/out" | sort -n | head -n 1)
	[ -n "$line" ] || line="- $(grep -m 1 -E '^(panic|fatal error|runtime)' "$1/out" || head -n 1 "$1/out")"
	printf '%s\n' "$line"
}

header() { sed -n "s/^$2: //p" "tests/mutants/$1.patch" | head -n 1; }

# hunt NAME FOLDER: looks for a seed that kills; prints what became of the mutant.
hunt() {
	local name=$1 dir=$2 known first count
	known=$(header "$name" Seed)
	if $quick && [ -n "$known" ]; then
		simulate "$dir" "$known" 1 || {
			killed "$name" "$dir" 1
			return
		}
		echo "  (seed $known does not kill it any more)"
	fi
	for ((first = 1; first <= seeds; first += block)); do
		count=$((seeds - first + 1 < block ? seeds - first + 1 : block))
		simulate "$dir" "$first" "$count" || {
			killed "$name" "$dir" $((first + count - 1))
			return
		}
	done
	echo "  SURVIVED $seeds seeds"
	return 1
}

# killed NAME FOLDER TRIED: the kill, if the seed passes without the mutant.
killed() {
	local seed what
	read -r seed what <<<"$(failure "$2")"
	if [ "$seed" != - ]; then
		cp "$scratch/base/sim" "$2/sim"
		if ! simulate "$2" "$seed" 1; then
			echo "  seed $seed fails WITHOUT the mutant too: $(failure "$2")"
			return 1
		fi
	fi
	echo "  killed by seed $seed ($3 tried): ${what:0:200}"
	if $record && [ "$seed" != - ]; then
		sed -i "s/^Seed:.*/Seed: $seed/" "tests/mutants/$1.patch"
	fi
}

# judge NAME: applies, builds and hunts one mutant.
judge() {
	local dir=$scratch/$1 began=$SECONDS
	echo "== $1: $(header "$1" Without)"
	cp -r "$scratch/base" "$dir"
	if ! (cd "$dir" && GIT_CEILING_DIRECTORIES=$(dirname "$scratch") git apply "$root/tests/mutants/$1.patch"); then
		echo "  mutant DOES NOT APPLY: the code has moved; make the patch anew"
		return 1
	fi
	if ! build "$dir"; then
		echo "  mutant DOES NOT BUILD"
		return 1
	fi
	hunt "$1" "$dir" || return 1
	echo "  $((SECONDS - began)) s"
}

# start NAME: judges it, and leaves FOLDER.log, and FOLDER.failed if it was not killed.
start() {
	judge "$1" >"$scratch/$1.log" 2>&1 || touch "$scratch/$1.failed"
	rm -rf "${scratch:?}/$1"
	cat "$scratch/$1.log"
}

tree "$scratch/base"
build "$scratch/base"
for name in "${names[@]}"; do
	while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
	start "$name" &
done
wait
failed=()
for name in "${names[@]}"; do
	[ ! -e "$scratch/$name.failed" ] || failed+=("$name")
done
if [ ${#failed[@]} -gt 0 ]; then
	echo "mutants: ${#failed[@]} of ${#names[@]} were not killed: ${failed[*]}"
	exit 1
fi
echo "mutants: all ${#names[@]} were killed in $SECONDS s"
