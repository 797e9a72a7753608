#!/bin/bash
# sqlite3.bash - SQLite: connections of four threads to one database, over libsqlite3.so.
# shellcheck disable=SC2034,SC2154,SC1091 # common.bash uses and sets them
source "$(dirname "$0")/common.bash"
tree sqlite3
library=$(readlink -f "$tree/.libs/libsqlite3.so.0")
export LD_LIBRARY_PATH=$tree/.libs

change body src/func.c '/^static void upperFunc/,/^}/ s/sqlite3Toupper(z2\[i\])/sqlite3Toupper(z2[n - 1 - i])/' "$library" \
	"SELECT upper('abc')" ABC CBA
change table src/func.c "/^static const char hexdigits/,/};/ s/'A', 'B'/'a', 'b'/" "$library" \
	"SELECT hex('*')" 2A 2a
change static src/status.c 's/\*pCurrent = wsdStat.nowValue\[op\];/*pCurrent = wsdStat.nowValue[op] ? -7 : 0;/' "$library" \
	'~status' positive negative
load sqlite3 4 "$work/db" "${run[@]}"
targets=("$load_pid")
try_all
row body 'func.c: body of an SQL function'
row table 'func.c: static table'
row static 'status.c: use of a static variable'
end_load
ended "${targets[@]}"
