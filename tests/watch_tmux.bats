#!/usr/bin/env bats
# watch_tmux.bats - hotpatch watch as somebody sees it who sits at a terminal: a session in tmux that starts a program, edits,
# breaks, mends and undoes, and reads the screen.
#
# Seen to fail: without colours, without the spinner, with the terminal left as it was (keys need a newline).

bats_require_minimum_version 1.5.0

load watch/helpers

setup() {
	begin_watching tmux
	socket=$BATS_TEST_TMPDIR/tmux
}

teardown() {
	on_tmux kill-server 2>/dev/null || true
	stop_watching
}

on_tmux() {
	tmux -S "$socket" -f /dev/null "$@"
}

# screen: what is on it, as text.
screen() {
	on_tmux capture-pane -p -t session
}

# shows TEXT: it comes onto the screen.
shows() {
	local tries=1000
	while ((tries--)); do
		if screen | grep -qE -- "$1"; then return 0; fi
		sleep 0.02
	done
	echo "not on the screen: $1"
	screen
	return 1
}

key() {
	on_tmux send-keys -t session "$@"
}

@test "a session: start, edit, break, mend, undo, redo, status, leave" {
	project
	printf '#!/bin/sh\nsleep 0.6\nexec gcc "$@"\n' >slow
	chmod +x slow
	rm -f in out
	mkfifo in out
	NO_COLOR='' on_tmux new-session -d -s session -x 110 -y 40 -c "$work" 'PS1="prompt> " exec bash --norc'
	shows 'prompt>'
	key "$hotpatch watch -- ./app in out" Enter
	exec {to}>in {from}<out
	shows 'watching 4 files of compile_commands.json for process [0-9]+ .app.'
	watched_in <(screen)
	expect price 1 101

	sed -i 's/100 + n/200 + n/' src/price.c
	shows 'reload 1: src/price.c'
	shows '^  changed      price$'
	shows 'ms since the save, compiler [0-9]+ ms'
	expect price 1 201
	# Colours, and in the block alone.
	on_tmux capture-pane -e -p -t session | grep -q $'\033\[1mreload 1: src/price.c'

	sed -i 's/return 200/retrun 200/' src/price.c
	shows 'src/price.c:8:9: error:'
	shows 'src/price.c could not be compiled; the process runs on'
	expect price 1 201

	sed -i 's/retrun 200/return 300/' src/price.c
	shows 'reload 2: src/price.c'
	expect price 1 301

	key u
	shows 'generation 1 is in force, in [0-9]+ us'
	expect price 1 201
	key u
	shows 'the program is as it was started, in [0-9]+ us'
	expect price 1 101
	key U
	key U
	shows 'generation 2 is in force'
	expect price 1 301
	key s
	shows 'has generation 2 of 0 1 2; mode auto'
	key x
	shows 'r reload, u undo, U redo, m mode, s status, q leave'

	# Something slow: the stage is shown, and goes.
	sed -i 's/"gcc /".\/slow /' compile_commands.json
	shows 'compiling, [0-9]+ to go'
	shows 'no function changed'
	! screen | grep -q 'compiling, '

	# What is left: the program, and a terminal as it was.
	key q
	shows 'left; process [0-9]+ .app. runs on'
	key 'echo the terminal is back' Enter
	shows '^prompt> echo the terminal is back'
	shows '^the terminal is back'
	expect price 1 301
	kill -0 "$app"
}

@test "Ctrl-C ends the program and the watch" {
	project
	rm -f in out
	mkfifo in out
	on_tmux new-session -d -s session -x 110 -y 40 -c "$work" 'PS1="prompt> " exec bash --norc'
	shows 'prompt>'
	key "$hotpatch watch -- ./app in out; echo status \$?" Enter
	exec {to}>in {from}<out
	shows 'watching 4 files'
	watched_in <(screen)
	key C-c
	shows 'has ended with status 130'
	shows '^status 0'
	! kill -0 "$app" 2>/dev/null
}
