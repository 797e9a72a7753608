#!/bin/bash
# trust.sh - the table of doc/trust.md cannot rot: each test that it names exists and has the function that it names, says
# how it was seen to fail, and every behaviour is there; and every live test that says which behaviours it holds stands in
# the rows of those.
set -u
cd "$(dirname "$0")/.." || exit 1
table=doc/trust.md
behaviours="B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11 B12 B13 B20 B21 B22 B23 B24 B25 B26 B30 B31 B32 B33 B34 B35 B36 B37 B40 B41
	B42 B43 B44"
failed=0
named=0

fail() {
	echo "trust: $*"
	failed=1
}

# defines FILE FUNCTION: at the beginning of a line stands a definition, or a macro's use, of it.
defines() {
	grep -qE "^[A-Za-z_].*\b$2\(" "$1" && return
	# A test that includes another one has its functions, too.
	local other
	other=$(sed -nE 's/^#include "([a-z_]+\.(c|cc))"$/\1/p' "$1")
	[[ $other ]] && defines "tests/live/$other" "$2"
}

# A live test, else one of the whole or of a part: tests/NAME.bats, tests/test_NAME.c.
check_test() {
	local file=tests/live/${1%%:*} function=''
	[[ -e $file ]] || file=tests/${1%%:*}
	[[ $1 == *:* ]] && function=${1#*:}
	((++named))
	[[ -e $file ]] || {
		fail "$table names $file, which is not there"
		return
	}
	sed -nE '1,/\*\/|^$/p' "$file" | tr -s '\n*# ' ' ' | grep -q 'Seen to fail' || fail "$file does not say how it was seen to fail"
	[[ -z $function ]] || defines "$file" "$function" || fail "$file has no function '$function'"
}

rows=$(grep -E '^\| B[0-9]+ \|' "$table")
while IFS='|' read -r _ behaviour clause tests seen limits; do
	row="the row '${behaviour// /}:$clause'"
	tokens=$(grep -oE '`[a-z_0-9]+\.(c|cc|bats)(:[a-z_0-9]+)?`' <<<"$tests" | tr -d '`')
	[[ $limits ]] || fail "$row has too few cells"
	if [[ $tests == *'not yet'* ]]; then
		[[ -z ${tokens}${seen// /} ]] || fail "$row is not yet held, and claims a test"
		continue
	fi
	[[ $tokens ]] || fail "$row names no test"
	[[ ${seen// /} ]] || fail "$row does not say how the test was seen to fail"
	for token in $tokens; do check_test "$token"; done
done <<<"$rows"

for behaviour in $behaviours; do
	grep -E "^\| $behaviour \|" <<<"$rows" | grep -qv 'not yet' || fail "$table has no test for $behaviour"
done

# "/* name - B20, B23: ..." is how a test says what it holds.
for file in tests/live/*.c tests/live/*.cc; do
	for behaviour in $(sed -nE '1s@^/\* [a-z_0-9]+ - ((B[0-9]+[, ]*(and )?)+).*@\1@p' "$file" | grep -oE 'B[0-9]+'); do
		[[ " $behaviours " == *" $behaviour "* ]] || continue
		grep -E "^\| $behaviour \|" <<<"$rows" | grep -qF "\`$(basename "$file")" ||
			fail "$file says that it holds $behaviour, where $table does not name it"
	done
done

((failed)) || echo "trust: $(wc -l <<<"$rows") clauses, $named tests named"
exit $failed
