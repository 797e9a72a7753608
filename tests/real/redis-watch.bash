#!/bin/bash
# redis-watch.bash - a redis server under redis-benchmark and six askers, while its sources are saved under hotpatch watch.
#
# Times: the compiler's of a save, what the save cost beyond it, and undo, in milliseconds; the first save of a unit has the
# first sources compiled, too.
# shellcheck disable=SC2034,SC2154,SC1091,SC2004 # common.bash uses and sets them, and its arrays have names
source "$(dirname "$0")/common.bash"
tree redis
program=redis/w
source "$here/redis_server.bash"
declare -A files edits

# edit NAME FILE SED QUESTION OLD NEW: what will be saved, and what shows it.
edit() {
	names+=("$1")
	files[$1]=$2 edits[$1]=$3
	questions+=("$4" "$5" "$6")
}

# The sources as they were fetched and compiled; a run that was ended may have left others.
put_back() {
	local name
	for name in "${names[@]}"; do cp -p "$real/redis/${files[$name]}" "$tree/${files[$name]}"; done
}

events() { grep -c "\"event\":\"$1\"" events; }

# await EVENT NUMBER: until there are so many; the last one is in $event.
await() {
	local i
	for ((i = 0; i < 1200; i++)); do
		if (($(events "$1") >= $2)); then
			event=$(grep "\"event\":\"$1\"" events | sed -n "$2p")
			return 0
		fi
		kill -0 "$watch" 2>/dev/null || break
		sleep 0.1
	done
	event={}
	return 1
}

# save NAME: as an editor does, into a new file that takes the old one's name.
save() {
	local name=$1 file=$tree/${files[$1]} before
	before=$(events reload)
	sed "${edits[$name]}" "$real/redis/${files[$name]}" >"$file.new"
	if cmp -s "$file" "$file.new"; then fault "$name" "the sources of 'redis' are others: nothing to change in $file"; fi
	mv "$file.new" "$file"
	await reload $((before + 1))
	if [[ $(jq -r .outcome <<<"$event") != applied ]]; then fault "$name" "saved: $event $(tail -3 events)"; fi
	built[$name]=$(jq '.timings.compiler // 0 | round' <<<"$event")
	applied[$name]=$(jq '(.ms // 0) - (.timings.compiler // 0) | round' <<<"$event")
}

undo() {
	local name=$1 before
	before=$(events generation)
	printf u >&"$keys"
	if ! await generation $((before + 1)); then fault "$name" "undo: $(tail -3 events)"; fi
	reverted[$name]=$(jq '(.us // 0) / 10 | round / 100' <<<"$event")
}

for name in body table static; do
	declare -n its=$name
	edit $name "${its[@]}"
done
put_back
trap put_back EXIT

begin_server
begin_benchmark

# Before the load, whose pipes it would hold open otherwise.
: >events
mkfifo pressed
"$hotpatch" watch -C "$tree" -p "${targets[0]}" --json --keys --timings <pressed >events 2>&1 &
watch=$!
exec {keys}>pressed
if ! await watching 1; then fault body "no watch: $(cat events)"; fi
load redis 6 "$work/socket"

# Each save is a whole difference from the program that was started, so that all of those before it stay seen.
for name in "${names[@]}"; do
	expect "$name" old "before it is saved"
	save "$name"
	expect "$name" new "when it is saved"
done
for name in static table body; do
	undo "$name"
	expect "$name" old "when it is undone"
done
row body 'server.c: body of a command, saved'
row table 'bitops.c: static table in a function, saved'
row static 'lazyfree.c: use of a static variable, saved'
end_load

printf q >&"$keys"
exec {keys}>&-
if ! wait "$watch"; then fault benchmark "watch ended with an error: $(tail -3 events)"; fi
end_benchmark
end_server
