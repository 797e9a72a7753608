#!/bin/bash
# fetch.sh FOLDER PACKAGE... - the sources of Debian packages, each in FOLDER/PACKAGE, patched as Debian builds them.
#
# Does nothing for those that are there. Needs neither root nor deb-src entries in the machine's apt sources: a private
# copy of its own entries, turned into deb-src, is made in FOLDER/apt, with lists and a cache of its own; keys, proxies and
# mirrors are the machine's. Nothing outside of FOLDER is written.
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift

# The machine's entries as entries for sources. Those that are disabled stay so.
private_entries() {
	local file
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[[ -r $file ]] && sed -nE 's/^[[:space:]]*deb(-src)?[[:space:]]/deb-src /p' "$file"
	done | sort -u >"$folder/apt/parts/own.list"
	for file in /etc/apt/sources.list.d/*.sources; do
		[[ -r $file ]] && sed -E 's/^Types:.*/Types: deb-src/' "$file" >"$folder/apt/parts/${file##*/}"
	done
	return 0
}

private_apt() {
	mkdir -p "$folder/apt/parts" "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
	rm -f "$folder/apt/parts"/*
	private_entries
	cat >"$folder/apt/apt.conf" <<-END
		Dir::Etc::SourceList "/dev/null";
		Dir::Etc::SourceParts "$folder/apt/parts";
		Dir::State::Lists "$folder/apt/lists";
		Dir::Cache "$folder/apt/cache";
		APT::Sandbox::User "";
	END
	export APT_CONFIG=$folder/apt/apt.conf
	apt-get update -q
}

fetch() {
	rm -rf "$folder/$1.part"
	mkdir "$folder/$1.part"
	(cd "$folder/$1.part" && apt-get source -q "$1")
	local trees=("$folder/$1.part"/*/)
	mv "${trees[0]}" "$folder/$1"
	rm -rf "$folder/$1.part"
}

for package in "$@"; do
	[[ -d $folder/$package ]] && continue
	[[ ${APT_CONFIG-} ]] || private_apt
	fetch "$package"
done
