#!/usr/bin/env bats
# watch_branch.bats - hotpatch watch: 200 files at once, and folders that go and come back.
#
# Seen to fail: without the watch on a folder that comes back.

bats_require_minimum_version 1.5.0

load watch/helpers

setup() {
	hotpatch=$HP_BUILD_ROOT/src/hotpatch
	[[ -x $hotpatch ]] || skip "built without the command"
	command -v jq >/dev/null || skip "jq is not installed"
	command -v git >/dev/null || skip "git is not installed"
	watcher='' app=''
}

teardown() {
	stop_watching
}

@test "a branch switch of 200 files is one reload, and so is the way back" {
	project
	local i
	mkdir src/many
	for i in {1..200}; do
		echo "int many_$i(int n) { return n + $i; }" >src/many/m$i.c
	done
	mapfile -t -O "${#project_files[@]}" project_files < <(printf 'many/m%d\n' {1..200})
	database "gcc -O0" "${project_files[@]}"
	sed -i '/^int price/,$d' src/price.c
	cat >>src/price.c <<-'E'
		int many_1(int), many_200(int);
		int price(int n) { return many_1(n) * many_200(n); }
		int count(int n) { return asked += n; }
	E
	for i in main price tax old; do gcc -O0 -c src/$i.c -o $i.o; done
	(cd src/many && gcc -O0 -c m*.c)
	gcc -o app main.o price.o tax.o old.o src/many/*.o
	git init -q . && echo '*.o' >.gitignore
	git add src && git -c user.email=t@example.org -c user.name=t commit -q -m one
	git branch one
	for i in {1..200}; do
		echo "int many_$i(int n) { return n + $i + 1000; }" >src/many/m$i.c
	done
	git -c user.email=t@example.org -c user.name=t commit -q -a -m two && git branch two
	git checkout -q one
	watch
	expect price 0 200
	git checkout -q two
	expect_event 'select(.event == "reload")' 100
	jq -e '.outcome == "applied" and (.files | length) == 200 and (.changed | length) == 200' <<<"$event"
	expect price 0 $((1001 * 1200))
	git checkout -q one
	expect_event 'select(.event == "reload")' 100
	jq -e '.outcome == "original" and (.files | length) == 200' <<<"$event"
	expect price 0 200
	# Without the folder, and with it again.
	git checkout -q two
	expect_event 'select(.event == "reload")' 100
	mv src/many away
	sleep 0.3
	mv away src/many
	sed -i 's/1000/2000/' src/many/m200.c
	reloaded applied '.files == ["src/many/m200.c"]'
	expect price 0 $((1001 * 2200))
}
