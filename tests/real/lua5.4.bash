#!/bin/bash
# lua5.4.bash - Lua: states in four threads of one process, over liblua5.4.so; then interpreters, one for each thread of
# the load, that are patched all or none.
# shellcheck disable=SC2034,SC2154,SC1091 # common.bash uses and sets them
source "$(dirname "$0")/common.bash"
tree lua5.4
library=$tree/src/.libs/liblua5.4.so.0.0.0
export LD_LIBRARY_PATH=$tree/src/.libs

change body src/lstrlib.c 's/p\[i\] = s\[l - i - 1\];/p[i] = s[i];/' "$library" \
	'return string.reverse("abc")' cba abc
change table src/lbaselib.c 's/"isrunning"/"running"/' "$library" \
	'return pcall(collectgarbage, "running")' false true
# luaV_mod is put into luaV_execute, whose static table holds the addresses of its labels, and in which every state is.
change hot src/lvm.c 's/lua_Integer r = m % n;/lua_Integer r = m % n + 100;/' "$library" \
	'local n = 0 for i = 1, 200 do n = n + i % 7 end return n' 598 20598
load lua 4 '' "${run[@]}"
targets=("$load_pid")
try_all
row body 'lstrlib.c: body of a static function'
row table 'lbaselib.c: static table in a function'
row hot 'lvm.c: in luaV_execute, which all states run'
end_load
ended "${targets[@]}"

names=() questions=() faults=()
interpreter=$tree/src/lua5.4
# In its loop for lines the interpreter has set `progname`, a static variable, to NULL.
change static src/lua.c '/^static int msghandler/,/^}/ s/luaL_traceback(L, L, msg, 1)/luaL_traceback(L, L, progname ? msg : "@unnamed", 1)/' \
	"$interpreter" 'error("@boom", 0)' '@boom' '@unnamed'
load pipe 3 "exec ${run[*]} $interpreter -i 2>&1"
seen static >/dev/null
mapfile -t targets < <(pgrep -P "$load_pid")
apply() { timed applied "$1" "$hotpatch" apply "$1.hp" "${targets[@]}" --all-or-none "${patience[@]}"; }
try_all
row static 'lua.c: use of a static variable, in three processes'
end_load
ended "${targets[@]}"
