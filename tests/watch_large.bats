#!/usr/bin/env bats
# watch_large.bats - a generated project of 2,000 functions in 40 files: one of them reloads alone, and all of them at once
# when a header of all changes; their 2,000 static variables stay what they are. Without HP_WHOLE in the environment the files
# are 10, of 500 functions.
#
# Seen to fail: with units compiled whose files did not change (files is not one).

bats_require_minimum_version 1.5.0

load watch/helpers

@test "2,000 functions: one, all, and one again" {
	local i k files=10
	[[ ! ${HP_WHOLE-} ]] || files=40
	project
	for ((i = 0; i < files; i++)); do
		{
			echo '#include "all.h"'
			for k in {0..49}; do
				echo "int f_${i}_$k(int n) { static int calls; calls += n; return calls * FACTOR + $k; }"
			done
		} >src/many$i.c
		project_files+=("many$i")
	done
	echo '#define FACTOR 1' >src/all.h
	{
		echo '#include "shop.h"'
		for ((i = 0; i < files; i++)); do for k in {0..49}; do echo "int f_${i}_$k(int n);"; done; done
		echo 'int count(int n) { return n; }'
		echo 'int price(int n) { long sum = 0;'
		for ((i = 0; i < files; i++)); do for k in {0..49}; do echo "sum += f_${i}_$k(n);"; done; done
		echo 'return sum; }'
	} >src/price.c
	for i in "${project_files[@]}"; do gcc -O1 -c src/$i.c -o $i.o; done
	gcc -o app "${project_files[@]/%/.o}"
	database "gcc -O1" "${project_files[@]}"
	watch
	expect price 1 $((files * 50 + files * 1225))
	sed -i 's/f_7_7(int n) { static int calls; calls += n;/f_7_7(int n) { static int calls; calls += n + 1000;/' src/many7.c
	reloaded applied '.changed == ["f_7_7"] and .files == ["src/many7.c"]'
	expect price 1 $((files * 100 + files * 1225 + 1000))
	sed -i 's/FACTOR 1/FACTOR 10/' src/all.h
	expect_event 'select(.event == "reload")' 120
	jq -c '[.outcome, (.changed | length), (.files | length), .error, .timings]' <<<"$event"
	jq -e --argjson files $files '.outcome == "applied" and (.changed | length) == $files * 50 and (.files | length) == $files' \
		<<<"$event" >/dev/null
	jq .timings <<<"$event"
	expect price 0 $((files * 1000 + files * 1225 + 20000))
	sed -i '1i/* so many functions, and none changes */' src/all.h
	expect_event 'select(.event == "reload")' 120
	jq -e --argjson files $files '.outcome == "nothing" and (.files | length) == $files' <<<"$event" >/dev/null
	sed -i 's/n + 1000;/n + 2000;/' src/many7.c
	reloaded applied '.changed == ["f_7_7"] and .files == ["src/many7.c"]'
	jq .timings <<<"$event"
	expect price 0 $((files * 1000 + files * 1225 + 40000))
}
