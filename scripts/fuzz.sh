#!/usr/bin/env bash
# Runs every fuzz target of the module in the working directory for FUZZTIME (default 30s),
# one after the other, and stops at the first that finds something.
#
#   scripts/fuzz.sh [PATTERN]   only the targets whose "package name" matches
set -euo pipefail

# go test -list prints the targets of a package, then "ok <package>".
targets=$(go test -list '^Fuzz' ./... | awk '
	/^Fuzz/ { names[n++] = $1 }
	/^ok/   { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }' | grep -E -- "${1:-.}") || true
[ -n "$targets" ] || {
	echo "fuzz: no targets here" >&2
	exit 1
}
said=$(mktemp)
trap 'rm -f "$said"' EXIT

# Where its time is over in the wrong moment, Go calls that a failure (golang.org/issue/75804):
# nothing was found if no input is named.
while read -r package target; do
	echo "== $package $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" "$package" </dev/null 2>&1 | tee "$said" ||
		{ grep -q '^ *context deadline exceeded$' "$said" && ! grep -q 'Failing input written' "$said"; } || exit 1
done <<<"$targets"
