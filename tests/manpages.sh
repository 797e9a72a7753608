#!/bin/bash
# manpages.sh - every public name has a page, every code and option is in one, every page is installed, and pages format
# without a complaint (by mandoc or groff, where one of them is there).
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0

fail() {
	echo "manpages: $*"
	failed=1
}

# Functions and function-like macros of the interface; names that end in '_' or are all capitals with one are internal.
names=$({
	sed -nE 's/^[[:space:]]+(hotpatch_[a-z_]+);$/\1/p' src/libhotpatch.map
	sed -nE 's/^#define (hotpatch_[a-z_]*[a-z])\(.*/\1/p' include/hotpatch.h
	sed -nE 's/^#define (HOTPATCH[A-Z]*(_AS)?)(\(path\))? .*/\1/p' include/hotpatch.h
} | sort -u)
for name in $names; do
	[[ $name == HOTPATCH ]] && name=hotpatch # one page; man looks without regard to case
	page=doc/man/$name.3
	if [[ ! -e $page ]]; then
		fail "$name has no page"
		continue
	fi
	target=$(sed -nE 's@^\.so man3/(.*)$@\1@p' "$page")
	[[ -z $target ]] || page=doc/man/$target
	[[ -e $page ]] || fail "$name: its page '$target' does not exist"
	grep -qE "(^|[^a-z_])$name([^a-z_]|$)" "$page" || fail "$name is not named on its page, $page"
done

# Every command has one, which names the options of its table.
for command in $(sed -nE 's/^\t\.name = "([a-z]+)",/\1/p' src/cli/cmd_*.c); do
	page=doc/man/hotpatch-$command.1
	[[ -e $page ]] || fail "hotpatch $command has no page"
	[[ -e src/cli/cmd_$command.c && -e $page ]] || continue
	for option in $(grep -oE '\{"[a-z-]+", (no|required)_argument' "src/cli/cmd_$command.c" | sed -E 's/\{"([a-z-]+)".*/\1/') json; do
		grep -qF -- "\\-\\-${option//-/\\-}" "$page" || fail "$page does not name --$option"
	done
done

codes=$(sed -nE 's/^[[:space:]]*X\(([A-Z]+), -[0-9]+.*/\1/p' include/hotpatch.h)
[[ -n $codes ]] || fail "no codes found in hotpatch.h"
for code in $codes; do
	grep -q "HOTPATCH_$code\$" doc/man/hotpatch_error.3 || fail "HOTPATCH_$code is not in hotpatch_error.3"
done
for word in $(sed -nE 's/^\t(HOTPATCH_[A-Z]+)( = 0)?,.*/\1/p' include/hotpatch.h) HOTPATCH_PRE_APPLY HOTPATCH_POST_APPLY \
	HOTPATCH_PRE_REVERT HOTPATCH_POST_REVERT HOTPATCH_DISABLE timeout_ms stall_ms unchecked; do
	grep -rq "$word" doc/man || fail "$word is on no page"
done
# And no page names what is not in the header.
for word in $(grep -rohE '\b(hotpatch_[a-z_]+|HOTPATCH[A-Z_]+)\b' doc/man | sort -u); do
	case $word in
	HOTPATCH_E | hotpatch_prepare | HOTPATCH_COMPILE_TIMEOUT) continue ;; # HOTPATCH_E*; the CMake function; the environment
	HOTPATCH_E*) word=${word#HOTPATCH_} ;;
	esac
	grep -qw -- "$word" include/hotpatch.h || fail "a page names $word, which hotpatch.h does not"
done

for page in doc/man/*.[13]; do
	grep -q "'${page#doc/}'" doc/meson.build || fail "$page is not listed in doc/meson.build"
done

if command -v mandoc >/dev/null; then
	formatter="mandoc -T lint -W warning"
	# shellcheck disable=SC2046
	said=$(mandoc -T lint -W warning $(grep -L '^\.so ' doc/man/*.[13]) 2>&1)
elif command -v groff >/dev/null; then
	formatter="groff -ww"
	said=$(cd doc && for page in man/*.[13]; do
		grep -q '^\.so ' "$page" || groff -ww -z -man -Tutf8 "$page" 2>&1 || echo "$page: groff fails"
	done)
else
	formatter=
	said=
	echo "manpages: neither mandoc nor groff is installed: the format is not tried"
fi
[[ -z $said ]] || fail "$formatter says:"$'\n'"$said"

[[ $failed = 0 ]] && echo "manpages: $(wc -w <<<"$names") public names, each with a page"
exit $failed
