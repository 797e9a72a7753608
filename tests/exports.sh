#!/bin/bash
# exports.sh - the functions hotpatch.h declares, those src/libhotpatch.map names and those libhotpatch.so.0 and
# libhotpatch.a give to a program are the same, and the shared library needs libc alone.
#
#   HP_LIBS   where the libraries lie (default build/src)
set -u
cd "$(dirname "$0")/.." || exit 1
libs=${HP_LIBS:-build/src}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

fail() {
	echo "exports: $*"
	failed=1
}

# same NAME FILE: compares FILE with the header's list.
same() {
	if ! diff -u --label "include/hotpatch.h" --label "$1" "$work/header" "$2"; then fail "$1 differs from hotpatch.h"; fi
}

# Prototypes: what is left of the preprocessed header when bodies and types are gone.
${CC:-gcc} -E -P include/hotpatch.h | tr '\n' ' ' | grep -oE '[^;{}]*\bhotpatch_[a-z_]+ *\([^;{}]*\);|[^;{}]*;' |
	grep -vE '^ *(static|typedef)' | grep -oE '\bhotpatch_[a-z_]+ *\(' | tr -d ' (' |
	grep -vxE 'hotpatch_marks_' | sort -u >"$work/header"
[[ -s $work/header ]] || fail "no prototype found in hotpatch.h"

sed -nE 's/^[[:space:]]+(hotpatch_[a-z_]+);$/\1/p' src/libhotpatch.map | sort -u >"$work/map"
same src/libhotpatch.map "$work/map"

nm -D --defined-only "$libs/libhotpatch.so.0" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/so"
same libhotpatch.so.0 "$work/so"

# In the archive hidden symbols stay global until the last link; what counts is what is visible.
readelf -sW "$libs/libhotpatch.a" 2>/dev/null |
	awk '($5 == "GLOBAL" || $5 == "WEAK" || $5 == "UNIQUE") && $6 == "DEFAULT" && $7 != "UND" { print $8 }' |
	sort -u >"$work/a"
same libhotpatch.a "$work/a"

# And what is hidden there has the project's prefix, so that it meets no name of a program.
readelf -sW "$libs/libhotpatch.a" 2>/dev/null |
	awk '($5 == "GLOBAL" || $5 == "WEAK") && $7 != "UND" && $8 !~ /^(hp_|hotpatch_)/ { print $8 }' | sort -u >"$work/names"
[[ ! -s $work/names ]] || fail "names in libhotpatch.a without the prefix hp_: $(tr '\n' ' ' <"$work/names")"

needed=$(readelf -dW "$libs/libhotpatch.so.0" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p' | grep -vE '^(libc\.so\.6|ld-linux-.*)$')
[[ -z $needed ]] || fail "libhotpatch.so.0 needs more than libc: $needed"
soname=$(readelf -dW "$libs/libhotpatch.so.0" | sed -nE 's/.*\(SONAME\).*\[(.*)\]/\1/p')
[[ $soname == libhotpatch.so.0 ]] || fail "the soname is '$soname'"
if readelf -lW "$libs/libhotpatch.so.0" | grep -qE 'GNU_STACK.*RWE|LOAD.*RWE'; then
	fail "libhotpatch.so.0 has memory that is writable and executable"
fi
if readelf -dW "$libs/libhotpatch.so.0" | grep -q TEXTREL; then fail "libhotpatch.so.0 has text relocations"; fi

if [[ -e $libs/libhotpatch-inspect.so ]]; then
	plugin=$(nm -D --defined-only "$libs/libhotpatch-inspect.so" | awk '$2 != "A" { print $3 }')
	[[ $plugin == hp_inspector ]] || fail "libhotpatch-inspect.so exports more than hp_inspector: $plugin"
fi

[[ $failed = 0 ]] && echo "exports: $(wc -l <"$work/header") functions in header, map, shared and static library"
exit $failed
