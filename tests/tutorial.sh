#!/bin/bash
# tutorial.sh - doc/tutorial.md tells the truth: each file and each command of it is taken as printed and gives the output
# that is printed; numbers that differ from run to run (process ids, milliseconds) may.
#
# <!-- tutorial: FILE --> stands above the block that is FILE, and <!-- tutorial: run --> above a block of lines that begin
# with "$ " (commands) and others (what they print). Seen to fail: with another fare printed, with answer always in use.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
work=$(mktemp -d)
failed=0
done=0

clean_up() {
	local file
	for file in visitors.pid desk.pid; do
		if [[ -s $work/start/$file ]]; then kill "$(<"$work/start/$file")" 2>/dev/null; fi
	done
	rm -rf "$work"
}
trap clean_up EXIT

fail() {
	echo "tutorial: $*"
	failed=1
}

[[ -x ${HP_BUILD_ROOT:-}/src/hotpatch ]] || {
	echo "built without the command hotpatch"
	exit 77
}
export PATH=$HP_BUILD_ROOT/src:$PATH
mkdir "$work/start" && cd "$work/start" || exit 1

# Of lines that tell processes and times, numbers are as good as any other.
same_numbers() {
	sed -E '/ ms$/ s/[0-9]+(\.[0-9]+)?/N/g' "$1"
}

run() {
	local line
	: >said
	while IFS= read -r line; do
		[[ $line == '$ '* ]] || continue
		printf '%s\n' "$line" >>said
		bash -c "${line#\$ }" >>said 2>&1
		((++done))
	done <"$1"
	diff -u --label doc/tutorial.md --label "what happens" <(same_numbers "$1") <(same_numbers said) ||
		fail "something else happens"
}

take='' block='' inside=''
while IFS= read -r line; do
	if [[ $inside ]]; then
		if [[ $line == '```' ]]; then
			inside=
			if [[ $take == run ]]; then run "$block"; else cp "$block" "$take"; fi
			take=
		else
			printf '%s\n' "$line" >>"$block"
		fi
	elif [[ $line =~ ^\<!--\ tutorial:\ (.*)\ --\>$ ]]; then
		take=${BASH_REMATCH[1]}
	elif [[ $line == '```'* && $take ]]; then
		inside=1
		block=$work/block
		: >"$block"
	fi
done <"$root/doc/tutorial.md"
((done >= 15)) || fail "only $done commands were found"

[[ $failed = 0 ]] && echo "tutorial: $done commands do what is printed"
exit $failed
