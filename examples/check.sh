#!/bin/sh
# check.sh NAME BUILD_DIR - runs the example NAME where it was built, BUILD_DIR/examples/NAME, and compares what it
# prints with examples/NAME/expected. Exit status: 0 as expected, 1 not, 64 usage.
#
# Where `expected` begins with the line "# patterns", the other lines are extended regular expressions, each of which
# must match a line of the output, in this order; lines between them are free.
set -u

if [ $# -ne 2 ]; then
	echo "usage: $0 NAME BUILD_DIR" >&2
	exit 64
fi
name=$1
expected=$(cd "$(dirname "$0")" && pwd)/$name/expected
output=$(mktemp)
trap 'rm -f "$output"' EXIT

fail() {
	echo "example $name: $*" >&2
	exit 1
}

# The first pattern that finds no line, if any.
missing_pattern() {
	awk '
		NR == FNR { if (FNR > 1) pattern[++n] = $0; next }
		found < n && $0 ~ pattern[found + 1] { found++ }
		END { if (found < n) print pattern[found + 1] }
	' "$expected" "$output"
}

[ -f "$expected" ] || fail "there is no $expected"
cd "$2/examples/$name" 2>/dev/null || fail "it is not built: there is no $2/examples/$name"
timeout 50 "./$name" >"$output"
status=$?

if [ "$(head -n 1 "$expected")" = "# patterns" ]; then
	missing=$(missing_pattern)
	[ -z "$missing" ] || { cat "$output"; fail "no line, or none in its place, matches: $missing"; }
else
	diff -u --label expected --label output "$expected" "$output" || fail "the output differs"
fi
[ $status -eq 0 ] || fail "exit status $status"
