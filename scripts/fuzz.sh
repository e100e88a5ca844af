#!/bin/sh
# Runs every fuzz target of the module in the working directory for FUZZTIME (default 30s),
# one after the other, and stops at the first that finds something.
set -eu

# go test -list prints the targets of a package, then "ok <package>".
targets=$(go test -list '^Fuzz' ./... | awk '
	/^Fuzz/ { names[n++] = $1 }
	/^ok/   { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }')
[ -n "$targets" ] || { echo "fuzz: no targets here" >&2; exit 1; }

printf '%s\n' "$targets" | while read -r package target; do
	echo "== $package $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-30s}" "$package" </dev/null
done
