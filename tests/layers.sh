#!/bin/bash
# layers.sh - holds the sources to design.md section 3: who may include whom and which external headers, the number of
# file pairs in a folder, the length of a file, the words that are not used, and that the build lists every source.
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0

fail() {
	echo "layers: $*"
	failed=1
}

# What a folder may include beside itself: folders, and prefixes of external headers. The numbers of the instruction
# set, machine.h in each folder of src/arch, may be included by all, and include nothing.
declare -A below=(
	[base]="" [arch]="base" [code]="base arch" [live]="base arch code" [agent]="base arch code live" [elf]="base" [types]="base elf"
	[inspect]="base arch elf types" [make]="base elf types" [link]="base arch elf" [remote]="base arch elf link"
	[watch]="base elf types make link remote" [cli]="base arch elf types inspect make link remote watch"
)
declare -A external=(
	[elf]="libelf.h gelf.h" [types]="dwarf.h elfutils/ libelf.h gelf.h" [inspect]="Zydis libelf.h gelf.h dwarf.h elfutils/"
	[make]="libelf.h gelf.h dwarf.h elfutils/ jansson.h Zydis" [cli]="jansson.h Zydis" [remote]="dwarf.h elfutils/"
	[watch]="jansson.h dwarf.h elfutils/"
)
# Headers that are not libc's or the kernel's: only the folders above may include them.
foreign='^(libelf|gelf|dwarf|elfutils/|Zydis|libunwind|capstone|json|jansson|yajl|glib|cmocka)'

check_include() {
	local file=$1 folder=$2 name=$3 form=$4 target prefix
	if [[ $form == '"' ]]; then
		target=${name%%/*}
		[[ $name == hotpatch.h || $name == machine.h ]] && return
		[[ $name == */* ]] || fail "$file: \"$name\" is not relative to src"
		[[ -e src/$name ]] || fail "$file: \"$name\" does not exist in src"
		[[ $target == "$folder" || " ${below[$folder]} " == *" $target "* ]] ||
			fail "$file: '$folder' may not include '$name'"
		return
	fi
	[[ $name =~ $foreign ]] || return
	for prefix in ${external[$folder]-}; do
		[[ $name == "$prefix"* ]] && return
	done
	fail "$file: '$folder' may not include <$name>"
}

for path in src/*/; do
	folder=$(basename "$path")
	if [[ -z ${below[$folder]+x} ]]; then
		fail "src/$folder: no such folder in design.md section 3"
		continue
	fi
	while read -r inner; do
		[[ $folder == arch ]] || fail "$inner: no folder below src/$folder"
	done < <(find "$path" -mindepth 1 -type d)
	while read -r place; do
		pairs=$(find "$place" -maxdepth 1 -type f \( -name '*.[chS]' \) | sed 's/\.[chS]$//' | grep -v '/cmd_' | sort -u | wc -l)
		most=12
		[[ $folder == live ]] && most=25 # ARCHITECTURE.md says why
		[[ $folder == base ]] && most=13
		[[ $folder == agent ]] && most=13
		[[ $folder == remote ]] && most=17
		[[ $folder == make ]] && most=19
		[[ $folder == watch ]] && most=24
		((pairs <= most)) || fail "$place: $pairs file pairs, at most $most"
	done < <(find "$path" -type d)
done

while read -r file form name; do
	folder=${file#src/}
	folder=${folder%%/*}
	[[ $folder == "${file#src/}" || -z ${below[$folder]+x} ]] && continue
	check_include "$file" "$folder" "$name" "$form"
done < <(grep -rE '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]' src --include='*.[chS]' |
	sed -E 's/^([^:]*):[^"<]*(["<])([^">]*)[">].*/\1 \2 \3/')

while read -r lines file; do
	most=600
	[[ $file == include/hotpatch.h ]] && most=750 # the whole public interface
	((lines <= most)) || fail "$file: $lines lines, split at $most"
done < <(find src include tests examples bench -name '*.[chS]' -exec wc -l {} + | grep -v ' total$')

words='hook|inject|trampoline|universe'
found=$(grep -rniE "(^|[^a-zA-Z])[a-z_]*($words)" src include --include='*.[chS]' --include='*.map')
[[ -z $found ]] || fail $'words that are not used here:\n'"$found"

for path in src/arch/*/; do
	[[ -e ${path}machine.h ]] || fail "$path: no machine.h"
	! grep -n '#include "' "${path}machine.h" || fail "${path}machine.h includes something of ours"
done
if grep -rnE '#.*ifn?def.*__(x86_64|aarch64)__|defined\(__(x86_64|aarch64)__\)' src --include='*.[ch]' |
	grep -v '^src/arch/'; then
	fail "an instruction set is named outside src/arch"
fi

listed=$(<src/meson.build)
while read -r file; do
	[[ $listed == *"'${file#src/}'"* ]] || fail "$file: not listed in src/meson.build"
done < <(find src -name '*.[cS]')

[[ $failed = 0 ]] && echo "layers: every include, size and word is as design.md section 3 has it"
exit $failed
