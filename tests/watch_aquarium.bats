#!/usr/bin/env bats
# watch_aquarium.bats - the session of README.md, Live reload: the edits are made that are told there, in two terminals, and
# what is on them then is what is printed there, but for numbers.
#
# Seen to fail: with another edit printed there.

bats_require_minimum_version 1.5.0

load watch/helpers

setup() {
	begin_watching tmux
	readme=$BATS_TEST_DIRNAME/../README.md
	socket=$BATS_TEST_TMPDIR/tmux
}

teardown() {
	on_tmux kill-server 2>/dev/null || true
	ended "${apps[@]}"
}

on_tmux() {
	tmux -S "$socket" -f /dev/null "$@"
}

# block NAME: that of README.md.
block() {
	sed -n "/<!-- aquarium: $1 -->/,/^\`\`\`\$/p" "$readme" | sed '1,2d;$d'
}

screen() {
	on_tmux capture-pane -p -t "$1"
}

# shows TERMINAL TEXT
shows() {
	local tries=1000
	while ((tries--)); do
		if screen "$1" | grep -qF -- "$2"; then return 0; fi
		sleep 0.02
	done
	echo "not on the screen: $2"
	screen "$1"
	return 1
}

numbers() {
	sed -E 's/[0-9]+(:[0-9]+)*/N/g; s/[[:space:]]+$//' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
}

# fish: the frame that is on the left.
frame() {
	screen tank | sed -n 's/^frame //p'
}

@test "fish that change while they swim" {
	cp -r "$BATS_TEST_DIRNAME/../examples/aquarium" "$BATS_TEST_TMPDIR/aquarium"
	cd "$BATS_TEST_TMPDIR/aquarium"
	PATH=$HP_BUILD_ROOT/src:$PATH
	block build >build.sh
	sed -n 's/^\$ //p' build.sh | bash -e
	on_tmux new-session -d -s tank -x 60 -y 12 -c "$PWD" hotpatch run ./aquarium
	shows tank 'frame '
	shows tank '><>'
	on_tmux new-session -d -s desk -x 100 -y 30 -c "$PWD" 'hotpatch watch --name aquarium'
	shows desk 'watching 2 files'
	watched_in <(screen desk)
	local before
	before=$(frame)
	local n=0 edit
	while IFS= read -r edit; do
		bash -e -c "$edit"
		((++n))
		until [[ $(screen desk | grep -cE 'ms since the save|runs on$') = "$n" ]]; do sleep 0.02; done
	done < <(block edits | sed -n 's/^\$ //p')
	[[ $n = 3 ]]
	diff -u <(block right | numbers) <(screen desk | numbers)
	shows tank '><(((o>'
	[[ $(frame) -gt $before ]]
}
