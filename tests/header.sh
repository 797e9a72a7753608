#!/bin/bash
# header.sh - hotpatch.h in C11, C++17 and C++20, with gcc and clang, with and without HOTPATCH_DISABLE: no warning,
# every macro with every number of options, and what must not compile does not, with a message that says why.
set -u
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
done=0
strict=(-Wall -Wextra -Wpedantic -Werror -O2 -I include)

fail() {
	echo "header: $*"
	failed=1
}

# Options in order; the n first of them are used in the n-th call.
options=('.mode = HOTPATCH_TRY' '.timeout_ms = 10' '.stall_ms = 5' '.unchecked = true')

# calls MACRO ARGUMENTS: one call for every number of options.
calls() {
	local n given=
	for n in 0 1 2 3 4; do
		((n == 0)) || given+=", ${options[n - 1]}"
		echo "	r += $1($2$given);"
	done
}

{
	cat <<-'END'
		#include "hotpatch.h"
		#include "hotpatch.h"

		HOTPATCHABLE int add(int a, int b) { return a + b; }
		HOTPATCHABLE_AS("calc::sub") int sub(int a, int b) { return a - b; }
		HOTPATCHABLE void nothing(void) {}
		HOTPATCH int mul(int a, int b) { return a * b; }
		HOTPATCH_AS("calc::div") int divide(int a, int b) { return a / b; }
		static int add2(int a, int b) { return a + b + 1; }
		static void nothing2(void) {}
		static int called(struct hotpatch *p, enum hotpatch_event e, void *a)
		{
			(void)a;
			return e == HOTPATCH_PRE_APPLY ? hotpatch_veto(p, "%d", 1) : 0;
		}
		HOTPATCH_PRE_APPLY(called);
		HOTPATCH_POST_APPLY(called);
		HOTPATCH_PRE_REVERT(called);
		HOTPATCH_POST_REVERT(called);
		HOTPATCH_MIGRATE(hotpatch_info, nothing2, NULL);
		HOTPATCH_MIGRATE(hotpatch_error, nothing2, nothing2);
		static int with_context(int a, int b)
		{
			int *more = (int *)hotpatch_context();
			return a + b + (more ? *more : 0);
		}
		void destroy(void *context);
		void destroy(void *context) { (void)context; }
		static int veto(struct hotpatch *patch, enum hotpatch_event event, void *arg)
		{
			(void)patch, (void)arg;
			return event == HOTPATCH_PRE_APPLY;
		}
		static int each(const struct hotpatch_info *info, void *arg)
		{
			(void)arg;
			return info->current && info->level > 1;
		}
		int use(struct hotpatch *p, int *context, const char *path);
		int use(struct hotpatch *p, int *context, const char *path)
		{
			int r = 0;
	END
	calls hotpatch_fn 'add, add2'
	calls hotpatch_fn '&add, &add2'
	calls hotpatch_fn 'nothing, nothing2'
	calls hotpatch_closure 'add, with_context, context, destroy'
	calls hotpatch_closure 'add, with_context, context, NULL'
	calls hotpatch_lib 'add, path'
	calls hotpatch_restore 'add'
	calls hotpatch_apply 'p'
	calls hotpatch_revert 'p'
	calls hotpatch_load 'path'
	calls hotpatch_unload 'path'
	calls hotpatch_replace_lib 'p, path'
	cat <<-'END'
			r += hotpatch_original(add)(1, 2) + hotpatch_original(&sub)(1, 2);
			hotpatch_original(nothing)();
			r += hotpatch_replace(p, add, add2);
			r += hotpatch_replace(p, add, add2, .unprepared = true);
			r += hotpatch_apply(p, .scan_memory = true);
			r += hotpatch_replace_closure(p, add, with_context, context, destroy);
			r += hotpatch_on(p, HOTPATCH_PRE_APPLY, veto, NULL);
			r += hotpatch_for_each(each, NULL);
			r += hotpatch_stack_add(context, sizeof *context) + hotpatch_stack_remove(context);
			r += hotpatch_set_signal(40) + hotpatch_reclaim();
			r += hotpatch_serve() + hotpatch_serve(.path = path) + hotpatch_serve_with(NULL);
			hotpatch_poll();
			r += hotpatch_error()->code + (hotpatch_code_name(r) != NULL) + hotpatch_free(hotpatch_new("set"));
			return r + mul(1, 2) + divide(1, 1);
		}
	END
} >"$work/use.c"
cp "$work/use.c" "$work/use.cc"

cat >"$work/other.c" <<-'END'
	#include "hotpatch.h"
	HOTPATCHABLE int add(int a, int b) { return a + b; }
	static long add2(long a, long b) { return a + b; }
	int use(void *context);
	int use(void *context) { return CALL; }
END
cp "$work/other.c" "$work/other.cc"

cat >"$work/static.c" <<-'END'
	#include "hotpatch.h"
	HOTPATCHABLE static int add(int a, int b) { return a + b; }
	int use(void);
	int use(void) { return add(1, 2); }
END

# Without the library: a program with HOTPATCH_DISABLE links alone and works.
{
	cat "$work/use.c"
	cat <<-'END'
		int main(void)
		{
			int x = 1;
			if (hotpatch_fn(add, add2) != HOTPATCH_EDISABLED || add(1, 2) != 3)
				return 1;
			if (hotpatch_load("nothing.so") != HOTPATCH_EDISABLED || hotpatch_original(add)(1, 2) != 3)
				return 2;
			return use(hotpatch_new("x"), &x, "nothing.so") == 0 || hotpatch_error()->code != HOTPATCH_EDISABLED;
		}
	END
} >"$work/disabled.c"
cp "$work/disabled.c" "$work/disabled.cc"

# refused COMPILER STANDARD FILE MESSAGE FLAG...: does not compile, and says MESSAGE.
refused() {
	local cc=$1 standard=$2 file=$3 message=$4
	shift 4
	if $cc "-std=$standard" -I include "$@" -c -o /dev/null "$file" 2>"$work/log"; then
		fail "$cc -std=$standard $*: $(basename "$file") compiles"
	elif ! grep -qE "$message" "$work/log"; then
		fail "$cc -std=$standard $*: $(basename "$file") is refused without '$message':"$'\n'"$(head -5 "$work/log")"
	fi
	((++done))
}

accepted() {
	if ! "$@" >"$work/log" 2>&1; then fail "$*:"$'\n'"$(head -20 "$work/log")"; fi
	((++done))
}

check() {
	local cc=$1 standard=$2 extension=$3 flag call
	for flag in "" -DHOTPATCH_DISABLE -fcf-protection -O0; do
		accepted "$cc" "-std=$standard" "${strict[@]}" ${flag:+"$flag"} -c -o "$work/use.o" "$work/use.$extension"
	done
	accepted "$cc" "-std=$standard" "${strict[@]}" -DHOTPATCH_DISABLE -o "$work/disabled" "$work/disabled.$extension"
	accepted "$work/disabled"
	for call in 'hotpatch_fn(add, add2)' 'hotpatch_fn(add, add2, .mode = HOTPATCH_TRY)' \
		'hotpatch_closure(add, add2, context, NULL)' 'hotpatch_replace((struct hotpatch *)context, add, add2)' \
		'hotpatch_replace_closure((struct hotpatch *)context, add, add2, context, NULL)'; do
		refused "$cc" "$standard" "$work/other.$extension" 'another type|the_same_type' "-DCALL=$call"
	done
}

compilers=0
for set in gcc:g++ clang:clang++; do
	c=${set%:*} cxx=${set#*:}
	if command -v "$c" >/dev/null; then
		check "$c" c11 c
		check "$c" gnu17 c
		((++compilers))
	else
		echo "header: $c is not installed: not tried"
	fi
	if command -v "$cxx" >/dev/null; then
		check "$cxx" c++17 cc
		check "$cxx" c++20 cc
	else
		echo "header: $cxx is not installed: not tried"
	fi
done
((compilers)) || fail "no compiler"

if command -v gcc >/dev/null; then accepted gcc -std=c11 "${strict[@]}" -c -o /dev/null "$work/static.c"; fi
if command -v clang >/dev/null; then
	refused clang c11 "$work/static.c" 'weak declaration cannot have internal linkage'
fi

[[ $failed = 0 ]] && echo "header: $done compilations as they should be"
exit $failed
