#!/bin/bash
# install.sh - what a stranger gets from `make install`: a program builds and runs with what pkg-config says, with
# CMake, and statically; the man pages are there; and nothing installed knows where it was built.
#
# The installation is made twice, from one build: into PREFIX itself, and into DESTDIR.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
unset MAKEFLAGS MAKELEVEL MFLAGS DESTDIR PKG_CONFIG_PATH LD_LIBRARY_PATH
failed=0
done=0

fail() {
	echo "install: $*"
	failed=1
}

# passes SENTENCE COMMAND...: the command succeeds.
passes() {
	local sentence=$1
	shift
	if "$@" >"$work/log" 2>&1; then
		((++done))
	else
		fail "$sentence (status $?): $*"$'\n'"$(tail -20 "$work/log")"
		return 1
	fi
}

cat >"$work/marked.c" <<'END'
#include <hotpatch.h>
#include <stdio.h>
HOTPATCHABLE int answer(void) { return 1; }
static int answer2(void) { return 2; }
int main(void)
{
	if (hotpatch_fn(answer, answer2) || answer() != 2 || hotpatch_original(answer)() != 1) {
		puts(hotpatch_error()->message);
		return 1;
	}
	if (hotpatch_restore(answer) || answer() != 1) {
		puts(hotpatch_error()->message);
		return 2;
	}
	return 0;
}
END
# The function is in a file of its own, so that the compiler cannot put it into its caller.
cat >"$work/unmarked.c" <<'END'
#include <hotpatch.h>
#include <stdio.h>
int answer(void);
static int answer2(void) { return 2; }
int main(void)
{
	if (hotpatch_fn(answer, answer2) || answer() != 2) {
		puts(hotpatch_error()->message);
		return 1;
	}
	return 0;
}
END
echo 'int answer(void) { return 1; }' >"$work/answer.c"
cat >"$work/library.c" <<'END'
#include <hotpatch.h>
HOTPATCH int answer(void) { return 3; }
END
cat >"$work/typed.c" <<'END'
#include <hotpatch.h>
#include <stdio.h>
HOTPATCHABLE int answer(void) { return 1; }
int main(int argc, char **argv)
{
	if (argc < 2 || hotpatch_lib(answer, argv[1]) || answer() != 3) {
		puts(hotpatch_error()->message);
		return 1;
	}
	return 0;
}
END

# Not optimised: this is about what lies where, and takes a fourth of the time.
export CFLAGS="-O0 -g1"
passes "make install" make install PREFIX="$prefix" BUILD="$work/build" || exit 1
passes "make install with DESTDIR" make install PREFIX="$prefix" BUILD="$work/build" DESTDIR="$work/stage" || exit 1
unset CFLAGS
libdir=$prefix/lib

for file in include/hotpatch.h lib/libhotpatch.so.0 lib/libhotpatch.so lib/libhotpatch.a lib/libhotpatch-inspect.so \
	lib/pkgconfig/hotpatch.pc lib/cmake/hotpatch/hotpatchConfig.cmake lib/cmake/hotpatch/hotpatchConfigVersion.cmake \
	share/man/man3/hotpatch.3; do
	[[ -e $prefix/$file ]] || fail "PREFIX/$file is missing"
	[[ -e $work/stage$prefix/$file ]] || fail "DESTDIR PREFIX/$file is missing"
done
[[ ! -e $prefix/bin/hotpatch || -e $prefix/share/bash-completion/completions/hotpatch ]] ||
	fail "the completion for bash is missing"
for page in doc/man/*.3; do
	[[ -e $prefix/share/man/man3/$(basename "$page") ]] || fail "$(basename "$page") is not installed"
done
(cd "$prefix" && find . | sort) >"$work/plain"
(cd "$work/stage$prefix" && find . | sort) >"$work/staged"
cmp -s "$work/plain" "$work/staged" || fail "DESTDIR holds other files than PREFIX: $(diff "$work/plain" "$work/staged")"
if grep -rlF -e "$root" -e "$work/build" "$prefix"; then fail "installed files above know where they were built"; fi
if grep -rlF "$work/stage" "$work/stage"; then fail "installed files above know DESTDIR"; fi

# -- pkg-config ------------------------------------------------------------------------------------------------
export PKG_CONFIG_PATH=$libdir/pkgconfig
cflags=$(pkg-config --cflags hotpatch)
libs=$(pkg-config --libs hotpatch)
prepare=$(pkg-config --variable=prepare_cflags hotpatch)
passes "pkg-config knows the version" pkg-config --exact-version=0.1.0 hotpatch
case $(echo __CET__ | gcc -E -P -) in
1 | 3) [[ $prepare == "-g -fno-optimize-sibling-calls -fpatchable-function-entry=7,5" ]] || fail "prepare_cflags with CET: '$prepare'" ;;
*) [[ $prepare == "-g -fno-optimize-sibling-calls -fpatchable-function-entry=8,6" ]] || fail "prepare_cflags: '$prepare'" ;;
esac

cd "$work" || exit 1
for cc in gcc clang; do
	if ! command -v $cc >/dev/null; then
		echo "install: $cc is not installed: not tried"
		continue
	fi
	# shellcheck disable=SC2046,SC2086
	{
		passes "$cc, pkg-config" $cc -O2 -o marked marked.c $cflags $libs && passes "$cc, pkg-config: runs" ./marked
		passes "$cc, prepare_cflags" $cc -O2 $prepare -o unmarked unmarked.c answer.c $cflags $libs &&
			passes "$cc, prepare_cflags: runs" ./unmarked
		passes "$cc, static" $cc -O2 -static -o static marked.c $cflags "$libdir/libhotpatch.a" &&
			passes "$cc, static: runs" ./static
		passes "$cc, pkg-config --static" $cc -O2 -static -o static marked.c $cflags $(pkg-config --static --libs hotpatch) &&
			passes "$cc, pkg-config --static: runs" ./static
		passes "$cc, a library" $cc -g -shared -fPIC -o library.so library.c $cflags &&
			passes "$cc, typed" $cc -g -O2 -o typed typed.c $cflags $libs &&
			passes "$cc, typed: the installed libhotpatch-inspect is found" ./typed ./library.so
	}
done
if command -v g++ >/dev/null; then
	# shellcheck disable=SC2086
	passes "g++, pkg-config" g++ -std=c++17 -x c++ -o cxx marked.c -x none $cflags $libs && passes "g++: runs" ./cxx
fi

# Where PREFIX is not, the program still runs once the loader is told where the library is.
mkdir moved && cp -r "$prefix/lib/." moved/
passes "moved libraries" env LD_LIBRARY_PATH="$work/moved" ./typed ./library.so

# -- CMake -----------------------------------------------------------------------------------------------------
if command -v cmake >/dev/null; then
	cat >CMakeLists.txt <<-'END'
		cmake_minimum_required(VERSION 3.13)
		project(user C)
		find_package(hotpatch 0.1 REQUIRED)
		add_executable(marked marked.c)
		target_link_libraries(marked PRIVATE hotpatch::hotpatch)
		add_executable(unmarked unmarked.c answer.c)
		hotpatch_prepare(unmarked)
		target_link_libraries(unmarked hotpatch::hotpatch)
		add_executable(static marked.c)
		target_link_libraries(static PRIVATE hotpatch::static)
		target_link_options(static PRIVATE -static)
	END
	unset PKG_CONFIG_PATH
	if passes "cmake" cmake -S . -B cmake -DCMAKE_PREFIX_PATH="$prefix" && passes "cmake --build" cmake --build cmake; then
		for program in marked unmarked static; do passes "cmake: $program runs" "cmake/$program"; done
	fi
	sed -i 's/hotpatch 0.1 REQUIRED/hotpatch 0.2 REQUIRED/' CMakeLists.txt
	if cmake -S . -B cmake2 -DCMAKE_PREFIX_PATH="$prefix" >/dev/null 2>&1; then fail "CMake takes 0.1.0 for 0.2"; fi
else
	echo "install: cmake is not installed: not tried"
fi

[[ $failed = 0 ]] && echo "install: $done steps of a stranger's work succeeded"
exit $failed
