#!/bin/bash
# redis.bash - a redis server with threads for its connections, under redis-benchmark and six askers.
# shellcheck disable=SC2034,SC2154,SC1091 # common.bash uses and sets them
source "$(dirname "$0")/common.bash"
tree redis
server=$tree/src/redis-server
cli() { "$tree/src/redis-cli" -s "$work/socket" "$@"; }

change body src/server.c '/^void echoCommand/,/^}/ s/addReplyBulk(c,c->argv\[1\])/addReplyBulkCString(c,"patched")/' \
	"$server" 'ECHO hello' hello patched
change table src/bitops.c 's/bitsinbyte\[256\] = {0,/bitsinbyte[256] = {5,/' "$server" 'BITCOUNT zero' 0 5
change static src/lazyfree.c 's/^    return aux;/    return aux + 1000;/' "$server" \
	'INFO memory ~lazyfreed_objects:' 1 1001

"${run[@]}" "$server" --port 0 --unixsocket "$work/socket" --save '' --appendonly no --io-threads 2 >server.log 2>&1 &
targets=($!)
for ((i = 0; i < 600; i++)); do
	cli ping >/dev/null 2>&1 && break
	sleep 0.1
done
# The live value of the static variable: one object freed by another thread.
cli setbit zero 7 0 >/dev/null
cli sadd large {1..1000} >/dev/null
cli unlink large >/dev/null

"$tree/src/redis-benchmark" -s "$work/socket" -t ping,set,get,incr,lpush,rpop,sadd,hset,zadd,mset -n 20000 -q -l \
	>benchmark.log 2>&1 &
benchmark=$!
load redis 6 "$work/socket"
try_all
row body 'server.c: body of a command'
row table 'bitops.c: static table in a function'
row static 'lazyfree.c: use of a static variable'
end_load
if ! kill "$benchmark" 2>/dev/null || grep -qi error benchmark.log; then
	fault benchmark "redis-benchmark: $(tr '\r' '\n' <benchmark.log | grep -i error | tail -3)"
fi
wait "$benchmark" 2>/dev/null

# Of the quiet server, whose executable has more than 5 MB: the middle of 21 whole commands.
for ((i = 0; i < 21; i++)); do
	apply body
	echo "${applied[body]}"
	revert body
done >applies
applied[alone]=$(sort -n applies | sed -n 11p)
if [[ ${faults[body]-} ]]; then fault alone "${faults[body]}"; fi
row alone "apply, the middle of 21, $(($(stat -c %s "$server") >> 20)) MiB, nothing else asked"

if ! cli shutdown nosave || ! wait "${targets[0]}"; then fault benchmark "the server did not end as it should: $(tail -3 server.log)"; fi
row benchmark 'redis-benchmark without an error, the server ends well'
