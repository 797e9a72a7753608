#!/bin/bash
# build.sh - builds the live test programs, and says in which variants.
#
#   build.sh list SOURCE...                       prints "live NAME VARIANT LIMIT FILE" for every variant of each
#   build.sh make SOURCE VARIANT DIR LIBS DEPS    builds DIR/NAME and DIR/NAME.lib*.so; LIBS is where libhotpatch.so
#                                                 and libhotpatch.a lie, DEPS the make dependency file to write
#   build.sh run DIR NAME                         runs DIR/NAME in DIR; what the variant lacks is said, status 77
#
# A program is tests/live/NAME.c, or NAME.cc in C++17. Shared libraries it needs are NAME.lib*.c, built as NAME.lib*.so beside it. It is run
# with that directory as the current one: 0 passes, 77 skips with the last line of its output as the reason, all else
# fails. Comment lines in a source say what it needs beyond the defaults, each key at most once, a value up to the
# next key:
#
#   // build: cflags=... ldflags=... variants=gcc-O2,clang-O2,gcc-O2-cet quick=gcc-O2 limit=60
#
# A variant is COMPILER-OLEVEL[-SUFFIX]...; a suffix alone stands for gcc-O2-SUFFIX:
#
#   cet       -fcf-protection, prepared functions with the CET prefix; aarch64: -mbranch-protection=standard, its like
#   nocet     -fcf-protection=none; aarch64: -mbranch-protection=none
#   static    -static, with libhotpatch.a (the libraries are built, but nothing can load them)
#   archive   with libhotpatch.a, but otherwise dynamic: libraries and the inspect plugin can be loaded
#   pie       -fpie -pie
#   nopie     -fno-pie -no-pie
#   prepared  every function is prepared, as with the variable prepare_cflags of hotpatch.pc; PREPARED is defined
#   unprepared  no function is prepared, and each is changed with .unprepared; UNPREPARED is defined (check.h)
#   asan      with AddressSanitizer and UndefinedBehaviorSanitizer, tsan with ThreadSanitizer (scripts/check)
#   musl      with musl-gcc; the kernel's headers, which it does not find, are in LIBS/../kernel-headers (scripts/check)
#
# NO_PLUGIN is defined where LIBS has no inspect plugin.
#
# machine=x86_64 says that a program is for that instruction set alone: elsewhere it has no variant.
#
# With HP_WHOLE in the environment all of them are listed, and WHOLE is defined for the programs, which then do all of what
# they can do (OFTEN in check.h). Without it those of the key `quick` are listed, or where there is none all but the
# ones without a suffix that are not gcc-O2 or clang-O0. HP_VARIANTS takes the place of all variants (a program that has
# none but with the archive, or with every function prepared, stays so), HP_RUN is put before the program's name when it
# is run. With HP_TARGET (aarch64-linux-gnu) the compilers are those for that target.
#
# In a NAME.lib*.c only cflags and ldflags count, and for that library alone.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
default_variants=gcc-O0,gcc-O2,clang-O0,clang-O2
default_limit=60

# value KEY SOURCE: the rest of the build line behind KEY=, up to the next key.
value() {
	local line word key='' out=''
	line=$(sed -nE '\@^[[:space:]]*(//|/\*|\*)[[:space:]]*build:@ { s@^[^:]*:@@; s@\*/@@; p }' "$2")
	set -f
	for word in $line; do
		case $word in
		cflags=* | ldflags=* | variants=* | quick=* | limit=* | machine=*)
			key=${word%%=*}
			word=${word#*=}
			;;
		esac
		if [[ $key == "$1" && -n $word ]]; then out+="${out:+ }$word"; fi
	done
	set +f
	echo "$out"
}

# One awk for all sources: a process for each key of each took longer than most of the tests.
list() {
	awk -v all="$default_variants" -v limit="$default_limit" -v only="${HP_VARIANTS-}" -v whole="${HP_WHOLE-}" \
		-v machine="${HP_TARGET-$(uname -m)}" '
		# What all of them end in, if it is one of these.
		function suffix_of_all(variants,    n, rest) {
			n = split(variants, rest, /[ ,]+/)
			if (gsub(/-archive([ ,]+|$)/, "", variants) == n) return "-archive"
			return gsub(/-prepared([ ,]+|$)/, "", variants) == n ? "-prepared" : ""
		}
		function end(    name, n, i, variant, variants) {
			if (file == "" || value["machine"] != "" && index(machine, value["machine"]) != 1) return
			name = file
			sub(/[.]c+$/, "", name)
			variants = value["variants"] != "" ? value["variants"] : all
			if (only != "") variants = only suffix_of_all(variants)
			else if (whole == "" && value["quick"] != "") variants = value["quick"]
			n = split(variants, variant, /[ ,]+/)
			for (i = 1; i <= n; i++) {
				if (variant[i] ~ /^(cet|nocet|static|pie|nopie|prepared|unprepared|archive)/) variant[i] = "gcc-O2-" variant[i]
				if (variant[i] !~ /^(gcc|clang)-O/) {
					print file ": no such variant: \"" variant[i] "\"" >"/dev/stderr"
					exit status = 1
				}
				if (whole == "" && only == "" && value["quick"] == "" && n > 1 && variant[i] ~ /^(gcc|clang)-O.$/ &&
				    variant[i] != "gcc-O2" && variant[i] != "clang-O0") continue
				print "live", name, variant[i], value["limit"] != "" ? value["limit"] : limit, file
			}
		}
		FNR == 1 {
			end()
			file = FILENAME
			sub(/.*\//, "", file)
			key = value["variants"] = value["quick"] = value["limit"] = value["machine"] = ""
		}
		/^[[:space:]]*(\/\/|\/\*|\*)[[:space:]]*build:/ {
			sub(/^[^:]*:/, "")
			sub(/\*\//, "")
			for (i = 1; i <= NF; i++) {
				word = $i
				if (word ~ /^(cflags|ldflags|variants|quick|limit|machine)=/) {
					key = substr(word, 1, index(word, "=") - 1)
					word = substr(word, index(word, "=") + 1)
				}
				if (word != "") value[key] = value[key] (value[key] == "" ? "" : " ") word
			}
		}
		END { if (!status) end(); exit status }' "$@"
}

# entry_of COMPILER...: the NOPs of a prepared function, which differ where it compiles for CET by itself.
entry_of() {
	if echo __CET__ | "$@" -E -P - 2>/dev/null | grep -q '[13]'; then echo 7,5; else echo 8,6; fi
}

# variant_flags VARIANT: sets cc (a list), cflags, ldflags, shared, static and archive.
variant_flags() {
	local suffix parts protection entry=''
	IFS=- read -r -a parts <<<"$1"
	cc=("${parts[0]}")
	if [[ ${HP_TARGET-} ]]; then
		case ${cc[0]} in
		gcc) cc=("$HP_TARGET-gcc") ;;
		clang) cc=(clang "--target=$HP_TARGET") ;;
		esac
	fi
	cflags=(-std=gnu11 -g -Wall -Wextra "-${parts[1]}" -I "$root/include" -pthread)
	ldflags=()
	shared=(-shared)
	static=
	archive=
	protection=(-fcf-protection -fcf-protection=none)
	if [[ ${HP_WHOLE-} ]]; then cflags+=(-DWHOLE); fi
	if [[ ! -e $libs/libhotpatch-inspect.so ]]; then cflags+=(-DNO_PLUGIN); fi
	if [[ -$1- == *-cet-* ]]; then entry=7,5; fi
	if [[ -$1- == *-nocet-* ]]; then entry=8,6; fi
	if [[ ${HP_TARGET-$(uname -m)} == aarch64* ]]; then
		entry=2
		protection=(-mbranch-protection=standard -mbranch-protection=none)
	fi
	for suffix in "${parts[@]:2}"; do
		case $suffix in
		cet) cflags+=("${protection[0]}") ;;
		nocet) cflags+=("${protection[1]}") ;;
		static) static=1 ;;
		archive) archive=1 ;;
		pie) cflags+=(-fpie) ldflags+=(-pie) ;;
		nopie) cflags+=(-fno-pie) ldflags+=(-no-pie) ;;
		asan)
			cflags+=("-fsanitize=address,undefined" -fno-sanitize-recover=undefined)
			ldflags+=("-fsanitize=address,undefined")
			;;
		tsan) cflags+=(-fsanitize=thread) ldflags+=(-fsanitize=thread) ;;
		musl)
			cc=(musl-gcc)
			# Without the inspect plugin, which cannot be built, split functions cannot be followed.
			cflags+=(-isystem "$libs/../kernel-headers" -fno-reorder-blocks-and-partition)
			ldflags+=("-Wl,--eh-frame-hdr") # which musl-gcc does not ask the linker for
			shared+=("-Wl,--eh-frame-hdr")
			;;
		prepared)
			if [[ ! $entry ]]; then entry=$(entry_of "${cc[@]}"); fi
			cflags+=(-DPREPARED -fno-optimize-sibling-calls "-fpatchable-function-entry=$entry")
			;;
		unprepared) cflags+=(-DUNPREPARED -Wno-override-init -fno-optimize-sibling-calls) ;;
		*)
			echo "build.sh: no such variant: '$1' ('$suffix')" >&2
			exit 1
			;;
		esac
	done
}

make_program() {
	local source=$1 variant=$2 dir=$3 libs=$4 deps=$5 stamp=${5%.d} name lib own_cflags own_ldflags lib_cflags lib_ldflags
	name=$(basename "${source%.c*}")
	touch "$deps"
	rm -rf "$dir"
	mkdir -p "$dir"
	variant_flags "${variant}"
	if ! command -v "${cc[0]}" >/dev/null; then
		echo "${cc[0]} is not installed" >"$dir/skip"
		echo "$stamp: $source" >"$deps"
		return
	fi
	read -r -a own_cflags <<<"$(value cflags "$source")"
	read -r -a own_ldflags <<<"$(value ldflags "$source")"
	if [[ $static ]]; then
		# glibc warns about dlopen in static programs, which the runtime does not rely on there.
		ldflags+=(-static "$libs/libhotpatch.a" "-Wl,--no-warnings")
	elif [[ $archive ]]; then
		ldflags+=("$libs/libhotpatch.a" "-Wl,-rpath,$libs" -rdynamic)
	else
		ldflags+=("-L$libs" "-Wl,-rpath,$libs" -lhotpatch -rdynamic)
	fi
	source=$(realpath "$source")
	deps=$(realpath "$deps")
	cd "$dir"
	: >deps
	# The libraries first: a program may be linked with them (ldflags=./NAME.lib1.so).
	for lib in "${source%.c*}".lib*.c; do
		[[ -e $lib ]] || continue
		read -r -a lib_cflags <<<"$(value cflags "$lib")"
		read -r -a lib_ldflags <<<"$(value ldflags "$lib")"
		"${cc[@]}" "${cflags[@]}" "${lib_cflags[@]}" -fPIC -MMD -MF deps.lib -MT target "${shared[@]}" \
			-o "$(basename "$lib" .c).so" "$lib" "${lib_ldflags[@]}"
		cat deps.lib >>deps
	done
	if [[ $source == *.cc ]]; then
		cflags=("${cflags[@]/-std=gnu11/-std=gnu++17}")
		case ${cc[0]} in
		*gcc) cc[0]=${cc[0]%gcc}g++ ;;
		clang) cc[0]=clang++ ;;
		esac
	fi
	"${cc[@]}" "${cflags[@]}" "${own_cflags[@]}" -MMD -MF deps.lib -MT target -o "$name" "$source" \
		"${own_ldflags[@]}" "${ldflags[@]}"
	cat deps.lib >>deps
	# One rule for ninja: the stamp that meson knows depends on all of it.
	{
		printf '%s:' "$stamp"
		sed -e 's/^target://' -e 's/\\$//' deps | tr '\n' ' '
		echo
	} >"$deps"
	rm -f deps deps.lib
}

run_program() {
	cd "$1"
	if [[ -e skip ]]; then
		cat skip
		exit 77
	fi
	# shellcheck disable=SC2086 # words
	exec ${HP_RUN-} "./$2"
}

case ${1-} in
list)
	shift
	list "$@"
	;;
make)
	(make_program "$2" "$3" "$4" "$5" "$6")
	touch "${6%.d}"
	;;
run) run_program "$2" "$3" ;;
*)
	sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2
	exit 64
	;;
esac
