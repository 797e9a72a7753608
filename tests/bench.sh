#!/bin/bash
# bench.sh - the benchmark measures all it is to measure and writes all its forms. It is run as a trial of a few
# milliseconds per measurement (SMOKE=1), so nothing is said here about how long anything takes.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${HP_BUILD_ROOT:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset QUICK ONLY
failed=0

fail() {
	echo "bench: $*"
	failed=1
}

if [[ ! -x $build/bench/hotpatch-bench-trial ]]; then
	echo "the benchmark is not built: jansson or liburcu is not installed"
	exit 77
fi
if [[ ! -x $build/src/hotpatch ]] || ! command -v gcc >/dev/null; then
	echo "built without the command, or there is no gcc: saves are not measured"
	exit 77
fi

if ! SMOKE=1 bench/run "$build" "$work" >"$work/printed" 2>"$work/log"; then
	cat "$work/log"
	fail "bench/run fails"
	exit 1
fi

# -- The figures -----------------------------------------------------------------------------------------------
python3 -m json.tool "$work/report.json" >/dev/null || fail "report.json is not JSON"
python3 - "$work/report.json" <<'END' || failed=1
import json, math, sys

report = json.load(open(sys.argv[1]))
wrong = []
KINDS = ["plain call", "unpatched `HOTPATCHABLE`", "patched by a function", "patched by a library",
         "patched by a closure", "patched, unprepared", "atomic function pointer", "atomic function pointer to a library",
         "liburcu (qsbr) around a pointer", "liburcu (memb) around a pointer", "atomic counter around a pointer",
         "mutex around a pointer", "`pthread_rwlock`, the crate's way"]
TABLES = ["calls", "changes", "sets", "modes", "others", "saves", "footprint"]

for key in ("hotpatch", "date", "machine", "note"):
    if not report.get(key):
        wrong.append(f"'{key}' is missing")
for key in ("cpu", "cpus", "kernel", "compiler"):
    if not report["machine"].get(key):
        wrong.append(f"the machine has no '{key}'")
for table in TABLES:
    if not report["tables"].get(table, {}).get("rows"):
        wrong.append(f"the table '{table}' is empty")

calls = {(row["what"], row["n"]): row for row in report["tables"]["calls"]["rows"]}
for kind in KINDS:
    for threads in (1, 2):
        row = calls.get((kind, threads))
        if row is None:
            wrong.append(f"no figure for '{kind}' with {threads} threads")
        elif "ratio" not in row or row["ratio"]["n"] < 3 or row["value"]["n"] < 3:
            wrong.append(f"'{kind}' with {threads} threads has no ratio, or fewer than 3 runs")

for table in TABLES:
    for row in report["tables"][table]["rows"]:
        name = f"{table}: {row['what']}, {row['with']}"
        if row["value"]["n"] == 0 and "refused" not in row["with"]:
            wrong.append(f"{name}: nothing was measured")
        for summary in filter(None, (row["value"], row.get("ratio"))):
            if not all(math.isfinite(value) for value in summary.values()):
                wrong.append(f"{name}: {summary}")
            # A time cannot be nothing; what is counted or compared can.
            elif row["unit"] in ("ns", "us") and table != "footprint" and summary["n"] and summary["min"] <= 0:
                wrong.append(f"{name}: {summary['min']} {row['unit']}")
            elif sorted(summary[q] for q in ("min", "p25", "p50", "p75", "p99", "max")) != [
                    summary[q] for q in ("min", "p25", "p50", "p75", "p99", "max")]:
                wrong.append(f"{name}: quantiles out of order: {summary}")

if not report["budgets"]:
    wrong.append("there are no budgets")
saves = {(row["what"], row["with"].split(",")[0].split(" of ")[0]) for row in report["tables"]["saves"]["rows"]}
for what in ("save to applied", "save, beyond the compiler", "undo, by its key"):
    if (what, "small file") not in saves:
        wrong.append(f"no figure for '{what}' of a small file")
for what in ("the compiler alone", "save to applied, its function alone", "save to applied, whole"):
    if (what, "file") not in saves:
        wrong.append(f"no figure for '{what}' of a large file")
for begins in ("save, beyond the compiler", "hotpatch apply of one function", "start-up cost of linking"):
    if not [line for line in report["budgets"] if line["quantity"].startswith(begins)]:
        wrong.append(f"no budget for '{begins}'")
for line in report["budgets"]:
    low = line["limit_low"] or float("-inf")
    if line["met"] != (low <= line["measured"] <= line["limit"]):
        wrong.append(f"budget '{line['quantity']}': {line['measured']} is not what is said of it")
if not [h for h in report["histograms"] if h["name"] == "longest_call" and sum(h["bins"]) > 0]:
    wrong.append("the histogram of the longest call is empty")

for line in wrong:
    print("bench: report.json:", line)
sys.exit(bool(wrong))
END

# -- To be read and looked at ------------------------------------------------------------------------------------
for heading in Budgets "What a call costs" "What a change of one function costs" "What a change of a set costs" \
	"What the modes cost" "What others do to stop a program" "What a save costs" "What it takes to have it"; do
	grep -qx "## $heading" "$work/report.md" || fail "report.md has no '$heading'"
done
grep -qE '\*\*(met|missed)\*\*' "$work/report.md" || fail "report.md says of no budget whether it is met"
grep -nwE -- '-?(nan|inf)' "$work/report.md" && fail "report.md has figures that are none"
grep -qxF "$(head -1 "$work/report.md")" "$work/printed" || fail "bench/run does not print the report"
if command -v gnuplot >/dev/null; then
	for chart in calls growth threads longest_call; do
		if [[ ! -s $work/$chart.svg ]]; then
			fail "$chart.svg was not drawn: $(tail -5 "$work/log")"
		elif ! python3 -c 'import sys, xml.dom.minidom as dom; dom.parse(sys.argv[1])' "$work/$chart.svg"; then
			fail "$chart.svg is not well-formed"
		fi
	done
	# The README's part is made of it, and nothing else of the README is touched.
	cp README.md "$work/README.md"
	bench/readme "$work" "$work/README.md" || fail "bench/readme fails"
	text='/figures:begin/,/figures:end/{/figures:/!d}'
	diff <(sed "$text" README.md) <(sed "$text" "$work/README.md") ||
		fail "bench/readme changes more of the README than the figures"
	for figure in calls growth; do
		[[ -s $work/doc/figures/$figure.svg ]] || fail "bench/readme did not copy $figure.svg"
		grep -q "(doc/figures/$figure.svg)" "$work/README.md" || fail "bench/readme does not show $figure.svg"
	done
	grep -qF "| \`pthread_rwlock\`, the crate's way |" "$work/README.md" || fail "bench/readme has no table of calls"
	grep -q "^| save, beyond the compiler, small file.*| 40 ms |$" "$work/README.md" ||
		fail "bench/readme has no table of saves with their budget"
else
	grep -q gnuplot "$work/log" || fail "bench/run does not say that gnuplot is missing"
	echo "bench: the charts were not drawn: gnuplot is not installed"
fi

# -- One part, and nothing left of the run before ----------------------------------------------------------------
SMOKE=1 ONLY=calls bench/run "$build" "$work" >/dev/null 2>&1 || fail "ONLY=calls fails"
[[ ! -e $work/growth.dat && -e $work/calls.dat ]] || fail "with ONLY=calls there is a chart of something else"
SMOKE=1 ONLY=nothing bench/run "$build" "$work" >/dev/null 2>&1 && fail "an unknown part is measured"

# -- Killed while it watches, it leaves nothing ------------------------------------------------------------------
"$build/bench/hotpatch-bench-trial" --smoke --only saves "$work" >/dev/null 2>&1 &
bench=$!
until watch=$(pgrep -P $bench -f 'watch --json'); do
	kill -0 $bench 2>/dev/null || break
	sleep 0.02
done
folder=$(readlink "/proc/$watch/cwd")
kill -KILL $bench
for _ in {1..1000}; do
	[[ -e $folder || -e /proc/$watch ]] || break
	sleep 0.02
done
[[ $folder == /tmp/hotpatch-bench-* && ! -e $folder ]] || fail "what was killed left '$folder'"
[[ ! -e /proc/$watch ]] || fail "the watch of what was killed runs on: $watch"

[[ $failed = 0 ]] && echo "bench: every table, figure and chart is there"
exit $failed
