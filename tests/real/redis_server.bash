# redis_server - a redis server with threads for its connections, redis-benchmark, and six askers. Loaded behind common.bash.
# shellcheck disable=SC2034,SC2154 # common.bash uses and sets them
server=$tree/src/redis-server

cli() { "$tree/src/redis-cli" -s "$work/socket" "$@"; }

# Begun with what the questions ask for: a bitmap, and of the static variable a live value, one object freed by another thread.
begin_server() {
	local i
	"${run[@]}" "$server" --port 0 --unixsocket "$work/socket" --save '' --appendonly no --io-threads 2 >server.log 2>&1 &
	targets=($!)
	for ((i = 0; i < 600; i++)); do
		cli ping >/dev/null 2>&1 && break
		sleep 0.1
	done
	cli setbit zero 7 0 >/dev/null
	cli sadd large {1..1000} >/dev/null
	cli unlink large >/dev/null
}

begin_benchmark() {
	"$tree/src/redis-benchmark" -s "$work/socket" -t ping,set,get,incr,lpush,rpop,sadd,hset,zadd,mset -n 20000 -q -l \
		>benchmark.log 2>&1 &
	benchmark=$!
}

end_benchmark() {
	if ! kill "$benchmark" 2>/dev/null || grep -qi error benchmark.log; then
		fault benchmark "redis-benchmark: $(tr '\r' '\n' <benchmark.log | grep -i error | tail -3)"
	fi
	wait "$benchmark" 2>/dev/null
}

end_server() {
	if ! cli shutdown nosave || ! wait "${targets[0]}"; then
		fault benchmark "the server did not end as it should: $(tail -3 server.log)"
	fi
	ended "${targets[@]}"
	row benchmark 'redis-benchmark without an error, the server ends well'
}

# body, table and static: FILE SED QUESTION OLD NEW each.
body=(src/server.c '/^void echoCommand/,/^}/ s/addReplyBulk(c,c->argv\[1\])/addReplyBulkCString(c,"patched")/'
	'ECHO hello' hello patched)
table=(src/bitops.c 's/bitsinbyte\[256\] = {0,/bitsinbyte[256] = {5,/' 'BITCOUNT zero' 0 5)
static=(src/lazyfree.c 's/^    return aux;/    return aux + 1000;/' 'INFO memory ~lazyfreed_objects:' 1 1001)
