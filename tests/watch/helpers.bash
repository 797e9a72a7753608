# helpers - a project in a folder of its own, watched while a test edits it.

source "${HP_SOURCE_ROOT:?}/tests/ended.bash"

# begin_watching TOOL...: for setup; skips where there is no command, or one of the tools is missing.
begin_watching() {
	local tool
	hotpatch=$HP_BUILD_ROOT/src/hotpatch
	[[ -x $hotpatch ]] || skip "built without the command"
	for tool; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done
	watcher='' app='' apps=() keys='' events=/dev/null
	exec {never}<> <(:)
}

setup() {
	begin_watching jq
}

teardown() {
	stop_watching
}

# pause SECONDS: sleep is a program, and takes as long to start as some pauses are.
pause() {
	read -r -t "$1" -u "$never" || true
}

# project [CC [FLAGS]]: tests/watch in $work, built with its database; and stays there.
project() {
	project_files=(main price tax old)
	make_project "$BATS_TEST_DIRNAME/watch" "${1-gcc} ${2--O2 -g}"
}

# keep_project CC FLAGS: the same with tests/watch/keep.
keep_project() {
	project_files=(main keep pair a/util b/util)
	make_project "$BATS_TEST_DIRNAME/watch/keep" "$1 $2 -pthread"
}

# make_project SOURCES COMPILER: $work is of $project_files in SOURCES. It is built for the first test of a file that asks for it;
# the others get a copy, at the same place, which debug information names.
make_project() {
	local sources=$1 compiler=$2 unit made
	made=$BATS_FILE_TMPDIR/made-${sources##*/}-${compiler//[^a-zA-Z0-9]/_}
	work=$BATS_FILE_TMPDIR/project
	rm -rf "$work"
	if [[ ! -e $made ]]; then
		for unit in "${project_files[@]/#//}"; do mkdir -p "$work${unit%/*}" "$work/src${unit%/*}"; done
		for unit in "${project_files[@]}"; do cp "$sources/$unit.c" "$work/src/$unit.c"; done
		cp "$sources"/*.h "$work/src"
		cd "$work"
		# shellcheck disable=SC2086
		for unit in "${project_files[@]}"; do $compiler -c "src/$unit.c" -o "$unit.o"; done
		${compiler%% *} -o app "${project_files[@]/%/.o}" -pthread
		database "$compiler" "${project_files[@]}"
		cp -a "$work" "$made"
	else
		cp -a "$made" "$work"
	fi
	cd "$work"
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
}

# The same with other arguments behind the options.
watch_with() {
	new_events
	rm -f in out
	mkfifo in out
	"$hotpatch" watch --json --timings "$@" <"${keys:-/dev/null}" >"$events" 2>"$BATS_TEST_TMPDIR/said" 3>&- &
	watcher=$!
	if [[ ${keys-} ]]; then exec {press}>"$keys"; fi
	exec {to}>in {from}<out
}

# new_events: those of the next watch. None of the one before are there while it begins.
new_events() {
	events=$BATS_TEST_TMPDIR/events
	seen=0
	: >"$events"
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

# expect_event FILTER [SECONDS [CHECK]]: waits for an event, behind those waited for before, of which the jq filter says
# something that is not false; it is in $event then, and $holds is true where that is what the jq filter CHECK says of it.
# Only what the filter calls by its name (.event == "NAME") is given to jq, which takes longer to start than a reload does, and
# not where it asks for nothing else.
expect_event() {
	local tries=$((${2-20} * 50)) rest=$1 names='' said=() i=0 found
	while [[ $rest =~ \.event\ ==\ \"([a-z]+)\" ]]; do
		names+="|${BASH_REMATCH[1]}"
		rest=${rest#*"${BASH_REMATCH[0]}"}
	done
	names=${names:-|[a-z]+}
	while ((tries--)); do
		{ mapfile -s "$seen" said <"$events"; } 2>/dev/null || said=() # who makes it may not have come to that
		for (( ; i < ${#said[@]}; i++)); do
			[[ ${said[i]} == *$'\n' ]] || break
			[[ ${said[i]} =~ \"event\":\"(${names#|})\" ]] || continue
			if [[ $1 =~ ^select\(\.event\ ==\ \"[a-z]+\"(\ or\ \.event\ ==\ \"[a-z]+\")*\)$ && ! ${3-} ]]; then
				found=found$'\n'true
			else
				found=$(jq -r ". as \$event | first($1 | select(.)) | \"found\", (\$event | if ${3-true} then true else false end)" \
					<<<"${said[i]}" 2>/dev/null) || true
			fi
			if [[ $found ]]; then
				event=${said[i]%$'\n'} holds=${found#found}
				holds=${holds#$'\n'}
				((seen += i + 1))
				watched
				return 0
			fi
		done
		kill -0 "$watcher" 2>/dev/null || tries=$((tries > 5 ? 5 : tries))
		pause 0.02
	done
	echo "no event: $1"
	cat "$events" "$BATS_TEST_TMPDIR/said"
	return 1
}

# watched: $app is the process that $event says is watched now, if it does.
watched() {
	if [[ $event == *'"event":"watching"'* && $event =~ \"pid\":([0-9]+) ]]; then
		app=${BASH_REMATCH[1]}
		apps+=("$app")
	fi
}

# watched_in FILE: the same where it is said in words, or nowhere there.
watched_in() {
	local pid
	for pid in $(sed -n 's/.*for process \([0-9]*\) .*/\1/p' "$1"); do
		app=$pid
		apps+=("$pid")
	done
}

# reloaded OUTCOME [FILTER]: the next reload ended so.
reloaded() {
	local end='select(.event == "reload" or .event == "failed" or .event == "error")'
	if [[ ${2-} ]]; then
		expect_event "$end" 20 "select(.event == \"reload\" and .outcome == \"$1\") | $2"
	else
		expect_event "$end"
		[[ $event == '{"event":"reload",'*'"outcome":"'"$1"'",'* ]] || holds=false
	fi
	if [[ $holds != true ]]; then
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
	ended "${apps[@]}" ${app-}
}
