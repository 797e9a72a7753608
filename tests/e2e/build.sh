#!/bin/bash
# build.sh CC OPT CODE OUT - builds the program of tests/apply.bats: OUT/shop and OUT/libshop.so, and old and new objects
# of those of its units that patches are made of, OUT/old and OUT/new.
#
# HP_SANITIZE is of -fsanitize=.
# CODE is pie, nopie, stripped (pie, with its symbols in OUT/shop.debug) or plain (pie, and not prepared).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cc=$1 opt=$2 code=$3 out=$4
mkdir -p "$out"/{old,new}/b
flags=(-std=gnu11 -g "-$opt" -w)
[[ $code == plain ]] || flags+=(-fno-optimize-sibling-calls -fpatchable-function-entry="${HP_PREPARE_ENTRY:-8,6}")
position=(-fPIE)
link=(-pie)
if [[ ${HP_SANITIZE-} ]]; then
	flags+=("-fsanitize=$HP_SANITIZE")
	link+=("-fsanitize=$HP_SANITIZE")
fi
if [[ $code == nopie ]]; then
	position=(-fno-pic -fno-pie)
	link=(-no-pie)
fi
cd "$here"
for unit in main shop a/util b/util; do
	"$cc" "${flags[@]}" "${position[@]}" -c -o "$out/${unit/\//_}.o" $unit.c
done
for unit in shop b/util; do
	for age in old new; do
		define=()
		[[ $age == old ]] || define=(-DNEW=1)
		"$cc" "${flags[@]}" "${position[@]}" "${define[@]}" -ffunction-sections -fdata-sections -c -o "$out/$age/$unit.o" $unit.c
	done
done
for age in old new; do
	define=()
	[[ $age == old ]] || define=(-DNEW=1)
	"$cc" "${flags[@]}" -fPIC "${define[@]}" -ffunction-sections -fdata-sections -c -o "$out/$age/libshop.o" libshop.c
done
"$cc" "${flags[@]}" -fPIC -shared -Wl,--build-id -o "$out/libshop.so" libshop.c
"$cc" "${link[@]}" -Wl,--build-id -o "$out/shop" "$out"/{main,shop,a_util,b_util}.o -L"$out" -lshop \
	-Wl,-rpath,'$ORIGIN' -pthread
if [[ $code == stripped ]]; then
	objcopy --only-keep-debug "$out/shop" "$out/shop.debug"
	objcopy --strip-all "$out/shop"
	(cd "$out" && objcopy --add-gnu-debuglink=shop.debug shop)
fi
