#!/bin/bash
# redis.bash - a redis server with threads for its connections, under redis-benchmark and six askers.
# shellcheck disable=SC2034,SC2154,SC1091 # common.bash uses and sets them
source "$(dirname "$0")/common.bash"
tree redis
source "$here/redis_server.bash"
for name in body table static; do
	declare -n its=$name
	change $name "${its[0]}" "${its[1]}" "$server" "${its[@]:2}"
done

begin_server
begin_benchmark
load redis 6 "$work/socket"
try_all
row body 'server.c: body of a command'
row table 'bitops.c: static table in a function'
row static 'lazyfree.c: use of a static variable'
end_load
end_benchmark

# Of the quiet server, whose executable has more than 5 MB: the middle of 21 whole commands.
for ((i = 0; i < 21; i++)); do
	apply body
	echo "${applied[body]}"
	revert body
done >applies
applied[alone]=$(sort -n applies | sed -n 11p)
if [[ ${faults[body]-} ]]; then fault alone "${faults[body]}"; fi
row alone "apply, the middle of 21, $(($(stat -c %s "$server") >> 20)) MiB, nothing else asked"

end_server
