/* load_lua.c - Lua states in this process, one for each thread: a question is a chunk, the answer its first result. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

#include "load.h"

/* where: a chunk that every state begins with. */
void *load_open(const char *where)
{
	lua_State *state = luaL_newstate();

	if (!state)
		return NULL;
	luaL_openlibs(state);
	if (luaL_dostring(state, where) == LUA_OK)
		return state;
	fprintf(stderr, "load: %s\n", lua_tostring(state, -1));
	lua_close(state);
	return NULL;
}

bool load_ask(void *session, const char *question, char *answer, size_t room)
{
	lua_State *state = session;
	size_t length;

	if (luaL_loadstring(state, question) == LUA_OK)
		(void)lua_pcall(state, 0, 1, 0);
	const char *text = luaL_tolstring(state, -1, &length);
	load_answer(answer, room, text, length);
	lua_settop(state, 0);
	return true;
}

void load_close(void *session)
{
	lua_close(session);
}
