#!/bin/bash
# printed - for tests of pages: files and commands are taken as printed, and what commands give is compared with what is
# printed. To be sourced; whoever does has a function `fail`, and may have a `plain` of its own.
#
#     <!-- MARK: FILE -->      stands above the block that is FILE
#     <!-- MARK: run -->       above a block of lines that begin with "$ " (commands) and others (what they print)

done=0 # commands that were followed

# plain FILE: its text as it is compared.
plain() { cat "$1"; }

# follow_block FILE LABEL: executes the block in FILE.
follow_block() {
	local line
	: >said
	while IFS= read -r line; do
		[[ $line == '$ '* ]] || continue
		printf '%s\n' "$line" >>said
		bash -c "${line#\$ }" >>said 2>&1
		((++done))
	done <"$1"
	diff -u --label "$2" --label "what happens" <(plain "$1") <(plain said) || fail "$2: something else happens"
}

# follow PAGE MARK BLOCK: all of the page, in this folder; BLOCK is a file for the block at hand.
follow() {
	local line take='' inside=''
	while IFS= read -r line; do
		if [[ $inside && $line == '```' ]]; then
			inside=
			if [[ $take == run ]]; then follow_block "$3" "${1##*/}"; else cp "$3" "$take"; fi
			take=
		elif [[ $inside ]]; then
			printf '%s\n' "$line" >>"$3"
		elif [[ $line == "<!-- $2: "*' -->' ]]; then
			take=${line#"<!-- $2: "}
			take=${take%' -->'}
		elif [[ $line == '```'* && $take ]]; then
			inside=1
			: >"$3"
		fi
	done <"$1"
}
