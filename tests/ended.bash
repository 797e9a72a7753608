# ended - what processes with an agent leave behind. Loaded by the helpers of the bats files, and by what starts such processes.

# runs PID: it is there, and is not only waiting for somebody to take its status.
runs() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	[[ $stat != *') Z '* ]]
}

# ended PID...: each of these has ended, or does so within ten seconds, and the names that it left for perf (src/agent/debugger.c)
# are removed: nobody will profile it.
ended() {
	local pid tries=500
	for pid; do
		while runs "$pid" && ((tries-- > 0)); do sleep 0.02; done
		rm -f "/tmp/perf-$pid.map"
	done
}
