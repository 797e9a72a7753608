# common - a program under load, and patches for it. Loaded by the scripts of the programs, which are started as
#
#     tests/real/PROGRAM.bash FOLDER HOW        HOW: prepared or plain; FOLDER has the sources, built in both ways
#
# A row of the table is one change: it is built from a diff, applied while the program is asked, seen, reverted, and seen
# again. `row` prints it; a row that fails prints what the commands said. Times are of whole commands, in milliseconds.

# shellcheck disable=SC2034 # what the scripts use
set -u
here=$(cd "$(dirname "$0")" && pwd)
real=$(cd "$1" && pwd) how=$2
hotpatch=${HP_BUILD_ROOT:?}/src/hotpatch
. "$here/../ended.bash"
# A loaded machine may need longer than one attempt for threads that spin; who waits is the command, not the program.
patience=(--timeout 30000)
# A prepared program is started with the agent; a plain one gets it when the first patch is applied.
run=(env)
[[ $how == prepared ]] && run=("$hotpatch" run)
declare -A built applied reverted faults
questions=() names=() targets=() load_pid=

# tree PACKAGE: $tree is where it was built, $work a folder for patches.
tree() {
	tree=$real/$1-$how
	program=$1
	work=$real/work/$1-$how
	rm -rf "$work"
	mkdir -p "$work"
	cd "$work" || exit 1
}

now() { echo $(($(date +%s%N) / 1000000)); }

fault() { faults[$1]+="    $2"$'\n'; }

# timed ARRAY NAME COMMAND...: runs it, keeps how long it took; a failure is the row's.
timed() {
	local -n times=$1 # one of the arrays below
	local name=$2 begin output
	shift 2
	begin=$(now)
	if ! output=$("$@" 2>&1); then fault "$name" "$(tail -12 <<<"$*: $output")"; fi
	times[$name]=$(($(now) - begin))
}

# change NAME FILE SED IMAGE QUESTION OLD NEW: a diff of FILE in the tree, and what shows it. The patch is built at once.
change() {
	local name=$1 file=$2
	mkdir -p "a/${file%/*}" "b/${file%/*}"
	cp "$tree/$file" "a/$file"
	sed "$3" "a/$file" >"b/$file"
	if diff -u "a/$file" "b/$file" >"$name.diff"; then fault "$name" "the sources of '$program' are others: nothing to change in $file"; fi
	names+=("$name")
	questions+=("$5" "$6" "$7")
	timed built "$name" "$hotpatch" build -C "$tree" --root "$tree" --image "$4" -o "$name.hp" "$name.diff"
}

# load KIND THREADS WHERE [COMMAND...]: asks the questions of all changes; COMMAND is put before it.
load() {
	local kind=$1 threads=$2 where=$3
	shift 3
	rm -f asks answers
	mkfifo asks answers
	"$@" "$real/tools/load_$kind" "$threads" "$where" "${questions[@]}" <asks >answers 2>load.log &
	load_pid=$!
	exec {to}>asks {from}<answers
}

# seen NAME: how the change shows in what is asked from now on: old, new, or both.
seen() {
	local i old new answer=gone
	echo count >&"$to"
	for i in "${!names[@]}"; do
		read -r -t 120 old new <&"$from" || break
		[[ ${names[i]} == "$1" ]] || continue
		answer=both
		if ((new == 0)); then answer=old; elif ((old == 0)); then answer=new; fi
	done
	echo "$answer"
}

expect() {
	local answer
	answer=$(seen "$1")
	if [[ $answer != "$2" ]]; then fault "$1" "$3: answers are '$answer', not '$2': $(tail -3 load.log 2>/dev/null)"; fi
}

apply() { timed applied "$1" "$hotpatch" apply "$1.hp" "${targets[@]}" "${patience[@]}"; }
revert() { timed reverted "$1" "$hotpatch" revert "$1" "${targets[@]}" "${patience[@]}"; }

# try_all: every change is applied and seen, each on top of the others; then all are reverted, in another order.
try_all() {
	local name
	for name in "${names[@]}"; do
		expect "$name" old "before it is applied"
		apply "$name"
		expect "$name" new "when it is applied"
	done
	for name in "${names[@]:1}" "${names[0]}"; do
		revert "$name"
		expect "$name" old "when it is reverted"
	done
}

# end_load: all sessions end; every answer was the old or the new one, or the load says which was not.
end_load() {
	local answers='' status
	exec {to}>&-
	read -r -t 120 answers <&"$from"
	exec {from}<&-
	wait "$load_pid"
	status=$?
	if ((status)) || [[ ! $answers ]]; then faults[load]+="    the load ended with status $status: $(tail -3 load.log)"$'\n'; fi
	row load "${answers:-0} answers, none wrong"
}

# row NAME WHAT: one line of the table.
row() {
	local name=$1 what=$2 result=passed
	if [[ ${faults[$name]-} ]]; then result=FAILED; fi
	printf '%-8s %-9s %-52s %7s %7s %7s  %s\n' "$program" "$how" "$what" "${built[$name]--}" "${applied[$name]--}" \
		"${reverted[$name]--}" "$result"
	printf '%s' "${faults[$name]-}"
}
