#!/bin/bash
# tutorial.sh - doc/tutorial.md tells the truth: each file and each command of it is taken as printed and gives the output
# that is printed; numbers that differ from run to run (process ids, milliseconds) may. Blocks are marked as printed.bash
# says. Seen to fail: with another fare printed, with answer always in use.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
work=$(mktemp -d)
failed=0
. tests/printed.bash
. tests/ended.bash

clean_up() {
	local file
	for file in visitors.pid desk.pid; do
		[[ -s $work/start/$file ]] || continue
		kill "$(<"$work/start/$file")" 2>/dev/null
		ended "$(<"$work/start/$file")"
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
plain() {
	sed -E '/ ms$/ s/[0-9]+(\.[0-9]+)?/N/g' "$1"
}

follow "$root/doc/tutorial.md" tutorial "$work/block"
((done >= 15)) || fail "only $done commands were found"

[[ $failed = 0 ]] && echo "tutorial: $done commands do what is printed"
exit $failed
