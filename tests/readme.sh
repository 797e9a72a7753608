#!/bin/bash
# readme.sh - README.md tells the truth: each file and each command of the quick start is taken as printed and gives the
# output that is printed, every other command exists, and every name in it is one of hotpatch.h. The quick start is
# marked as printed.bash says.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset MAKEFLAGS MAKELEVEL MFLAGS DESTDIR LD_LIBRARY_PATH
failed=0
. tests/printed.bash

fail() {
	echo "readme: $*"
	failed=1
}

# What was built for the tests, installed as for a package, and used where it lies. tests/install.sh is about the rest.
build=${HP_BUILD_ROOT:-build}
meson install -C "$build" --no-rebuild --destdir "$work/stage" >"$work/log" 2>&1 || {
	tail "$work/log"
	fail "the installation fails"
	exit 1
}
PKG_CONFIG_PATH=$(dirname "$(find "$work/stage" -name hotpatch.pc)")
LD_LIBRARY_PATH=$(dirname "$(find "$work/stage" -name libhotpatch.so)")
export PKG_CONFIG_PATH LD_LIBRARY_PATH
sed -i "s@^prefix=@prefix=$work/stage@" "$PKG_CONFIG_PATH/hotpatch.pc"
mkdir "$work/start" && cd "$work/start" || exit 1

follow "$root/README.md" "quick start" "$work/block"
((done >= 2)) || fail "no quick start was found"

# The first program is the ten-line one.
lines=$(grep -cv '^$' price.c)
((lines <= 10)) || fail "the quick start has $lines lines that are not empty, at most 10"
for cc in gcc clang; do
	command -v $cc >/dev/null || continue
	for file in ./*.c; do
		# shellcheck disable=SC2046
		$cc -std=c11 -Wall -Wextra -Wpedantic -Werror -Wno-missing-prototypes -c -o /dev/null "$file" \
			$(pkg-config --cflags hotpatch) || fail "$cc: $file gives a warning"
	done
done

cd "$root" || exit 1
for target in $(grep -ohE '(^|`)make [a-z]+(-[a-zA-Z0-9]+)*' README.md CONTRIBUTING.md | sed 's/.*make //' | sort -u); do
	grep -qE "^(${target%%-*}-%|$target):" Makefile || fail "'make $target' is no target of the Makefile"
done
for word in $(grep -oE '\b(hotpatch_[a-z_]+|HOTPATCH[A-Z_]*)\b' README.md | sort -u); do
	case $word in
	hotpatch_prepare) grep -q 'function(hotpatch_prepare' packaging/hotpatchConfig.cmake.in || fail "no $word"; continue ;;
	HOTPATCH_E) continue ;;
	HOTPATCH_E*) word=${word#HOTPATCH_} ;;
	esac
	grep -qw -- "$word" include/hotpatch.h || fail "README.md names $word, which hotpatch.h does not"
done
for name in $(sed -nE 's/^#define (hotpatch_[a-z_]*[a-z])\(.*/\1/p; s/^[a-z].*\b(hotpatch_[a-z_]*[a-z])\(.*\);$/\1/p' \
	include/hotpatch.h | grep -vE '_at$|_with$' | sort -u); do
	grep -qw "$name" README.md || fail "$name is not in README.md"
done
for link in $(grep -oE '\]\([^)#:]+\)' README.md | tr -d '])('); do
	[[ -e $link ]] || fail "README.md points to '$link', which is not there"
done
for marker in 'figures:begin' 'figures:end'; do
	grep -qx "<!-- $marker -->" README.md || fail "the marker '$marker' is missing"
done

[[ $failed = 0 ]] && echo "readme: $done commands of the quick start do what is printed"
exit $failed
