# helpers - a project in a folder of its own, watched while a test edits it.

project_files=(main price tax old)

# begin_watching TOOL...: for setup; skips where there is no command, or one of the tools is missing.
begin_watching() {
	local tool
	hotpatch=$HP_BUILD_ROOT/src/hotpatch
	[[ -x $hotpatch ]] || skip "built without the command"
	for tool; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done
	watcher='' app='' keys='' events=/dev/null
}

setup() {
	begin_watching jq
}

teardown() {
	stop_watching
}

# project [CC [FLAGS]]: copies tests/watch to $work and builds it with its database; and stays there.
project() {
	local cc=${1-gcc} flags=${2--O2 -g} unit
	work=$BATS_TEST_TMPDIR/project
	mkdir -p "$work/src"
	cp "$BATS_TEST_DIRNAME"/watch/*.[ch] "$work/src"
	cd "$work"
	for unit in "${project_files[@]}"; do
		$cc $flags -c "src/$unit.c" -o "$unit.o"
	done
	$cc -o app "${project_files[@]/%/.o}" -pthread
	database "$cc $flags" "${project_files[@]}"
}

# database COMPILER UNIT...: writes compile_commands.json.
database() {
	local compiler=$1 unit comma=''
	shift
	{
		echo '['
		for unit; do
			echo "$comma{\"directory\": \".\", \"file\": \"src/$unit.c\"," \
				"\"command\": \"$compiler -c src/$unit.c -o $unit.o\"}"
			comma=,
		done
		echo ']'
	} >compile_commands.new
	mv compile_commands.new compile_commands.json
}

# watch [OPTION...]: starts the program under hotpatch watch --json; $events is what that says.
watch() {
	watch_with "$@" -- ./app in out
	expect_event 'select(.event == "watching")'
	app=$(jq -r 'select(.event == "watching").pid' "$events")
}

# The same with other arguments behind the options.
watch_with() {
	events=$BATS_TEST_TMPDIR/events
	seen=0
	rm -f in out
	mkfifo in out
	"$hotpatch" watch --json --timings "$@" <"${keys:-/dev/null}" >"$events" 2>"$BATS_TEST_TMPDIR/said" 3>&- &
	watcher=$!
	if [[ ${keys-} ]]; then exec {press}>"$keys"; fi
	exec {to}>in {from}<out
}

# with_keys: what is written to $press are keys of the next watch, which has --keys.
with_keys() {
	keys=$BATS_TEST_TMPDIR/keys
	rm -f "$keys"
	mkfifo "$keys"
}

# press KEYS
press() {
	printf '%s' "$1" >&"$press"
}

# ask NAME NUMBER
ask() {
	local answer
	echo "$1 $2" >&"$to"
	read -r -t 60 -u "$from" answer
	echo "$answer"
}

# expect NAME NUMBER ANSWER
expect() {
	local answer
	answer=$(ask "$1" "$2")
	if [[ $answer != "$3" ]]; then
		echo "$1 $2: '$answer', not '$3'"
		tail -n 5 "$events"
		return 1
	fi
}

# expect_event FILTER [SECONDS]: waits for an event, behind those waited for before, of which the jq filter says
# something that is not false; it is in $event then.
expect_event() {
	local tries=$((${2-20} * 50)) found='' said='' looked_at=''
	while ((tries--)); do
		said=$(cat "$events" 2>/dev/null) || said='' # who makes it may not have come to that
		if [[ $said != "$looked_at" ]]; then # jq takes more of a processor than the watcher does
			looked_at=$said
			found=$(tail -n +$((seen + 1)) "$events" | jq -c --argjson seen "$seen" \
				"[., input_line_number + \$seen] as [\$event, \$line] | \$event | $1 | select(.) | [\$line, \$event]" 2>/dev/null |
				head -n 1)
		fi
		if [[ $found ]]; then
			seen=$(jq '.[0]' <<<"$found")
			event=$(jq -c '.[1]' <<<"$found")
			return 0
		fi
		kill -0 "$watcher" 2>/dev/null || tries=$((tries > 5 ? 5 : tries))
		sleep 0.02
	done
	echo "no event: $1"
	cat "$events" "$BATS_TEST_TMPDIR/said"
	return 1
}

# reloaded OUTCOME [FILTER]: the next reload ended so.
reloaded() {
	expect_event 'select(.event == "reload" or .event == "failed" or .event == "error")'
	if ! jq -e "select(.event == \"reload\" and .outcome == \"$1\") | ${2-true}" <<<"$event" >/dev/null; then
		echo "not $1 ${2-}: $event"
		return 1
	fi
}

# quiet: nothing happens for a while, which is longer than a reload takes.
quiet() {
	sleep 0.7
	if (($(wc -l <"$events") > seen)); then
		echo "more is said:"
		tail -n +$((seen + 1)) "$events"
		return 1
	fi
}

# ends STATUS: the watcher has ended with it, by itself.
ends() {
	local status=0
	wait "$watcher" || status=$?
	watcher=
	[[ $status = "$1" ]] || {
		echo "status $status, not $1"
		cat "$events" "$BATS_TEST_TMPDIR/said"
		return 1
	}
}

stop_watching() {
	exec {to}>&- {from}<&- || true
	if [[ ${watcher-} ]]; then
		kill "$watcher" 2>/dev/null || true
		wait "$watcher" 2>/dev/null || true
	fi
	if [[ ${app-} ]]; then kill "$app" 2>/dev/null || true; fi
}

# keep_project CC FLAGS: the same with tests/watch/keep.
keep_project() {
	local unit
	project_files=(main keep pair a/util b/util)
	work=$BATS_TEST_TMPDIR/project
	mkdir -p "$work/a" "$work/b"
	cp -r "$BATS_TEST_DIRNAME/watch/keep" "$work/src"
	cd "$work"
	for unit in "${project_files[@]}"; do
		# shellcheck disable=SC2086
		$1 $2 -pthread -c "src/$unit.c" -o "$unit.o"
	done
	$1 -o app "${project_files[@]/%/.o}" -pthread
	database "$1 $2 -pthread" "${project_files[@]}"
}
