#!/usr/bin/env bats
# watch_branch.bats - hotpatch watch: many files at once, and folders that go and come back. They are 30, and with HP_WHOLE
# in the environment 200.
#
# Seen to fail: without the watch on a folder that comes back: the second save in it is lost. The first is seen without.

bats_require_minimum_version 1.5.0

load watch/helpers

setup() {
	begin_watching jq git
}

@test "a branch switch of many files is one reload, and so is the way back" {
	project
	local i files=30
	[[ ! ${HP_WHOLE-} ]] || files=200
	mkdir src/many
	for ((i = 1; i <= files; i++)); do
		echo "int many_$i(int n) { return n + $i; }" >src/many/m$i.c
	done
	mapfile -t -O "${#project_files[@]}" project_files < <(seq -f 'many/m%g' $files)
	database "gcc -O0" "${project_files[@]}"
	sed -i '/^int price/,$d' src/price.c
	cat >>src/price.c <<-E
		int many_1(int), many_$files(int);
		int price(int n) { return many_1(n) * many_$files(n); }
		int count(int n) { return asked += n; }
	E
	for i in main price tax old; do gcc -O0 -c src/$i.c -o $i.o; done
	(cd src/many && gcc -O0 -c m*.c)
	gcc -o app main.o price.o tax.o old.o src/many/*.o
	git init -q . && echo '*.o' >.gitignore
	git add src && git -c user.email=t@example.org -c user.name=t commit -q -m one
	git branch one
	for ((i = 1; i <= files; i++)); do
		echo "int many_$i(int n) { return n + $i + 1000; }" >src/many/m$i.c
	done
	git -c user.email=t@example.org -c user.name=t commit -q -a -m two && git branch two
	git checkout -q one
	watch
	expect price 0 $files
	git checkout -q two
	expect_event 'select(.event == "reload")' 100
	jq -e --argjson n $files '.outcome == "applied" and (.files | length) == $n and (.changed | length) == $n' <<<"$event"
	expect price 0 $((1001 * (files + 1000)))
	git checkout -q one
	expect_event 'select(.event == "reload")' 100
	jq -e --argjson n $files '.outcome == "original" and (.files | length) == $n' <<<"$event"
	expect price 0 $files
	# Without the folder, and with it again.
	git checkout -q two
	expect_event 'select(.event == "reload")' 100
	mv src/many away
	sleep 0.3
	mv away src/many
	sed -i 's/1000/2000/' src/many/m$files.c
	reloaded applied ".files == [\"src/many/m$files.c\"]"
	expect price 0 $((1001 * (files + 2000)))
	# That was seen when the folder was found again; this is by its watch.
	sed -i 's/2000/3000/' src/many/m$files.c
	reloaded applied ".files == [\"src/many/m$files.c\"]"
	expect price 0 $((1001 * (files + 3000)))
}
