/* modes - the options of commands that change something in a process: how, and how long. */
#ifndef HP_CLI_MODES_H
#define HP_CLI_MODES_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"
#include "hotpatch.h"

#define HP_OPTION_MODE 0x1010
#define HP_OPTION_TIMEOUT 0x1011
#define HP_OPTION_STALL 0x1012
#define HP_MODE_OPTIONS                                                                                                \
	{"mode", required_argument, NULL, HP_OPTION_MODE}, {"timeout", required_argument, NULL, HP_OPTION_TIMEOUT},    \
	{                                                                                                              \
		"stall", required_argument, NULL, HP_OPTION_STALL                                                      \
	}
#define HP_MODE_HELP                                                                                                   \
	"  --mode MODE       wait (the default), try, drain or force: hotpatch(3) says what each promises\n"           \
	"  --timeout MS      milliseconds until it gives up; 5000\n"                                                   \
	"  --stall MS        milliseconds callers are held at most in one attempt; 100\n"

struct hp_modes {
	enum hotpatch_mode mode;
	uint32_t timeout_ms, stall_ms; /* 0: the default */
};

/* false: it is none of these. *ret_status is set where its argument is wrong, which has been said. */
bool hp_mode_option(const struct hp_command *command, int option, const char *argument, struct hp_modes *modes,
                    int *ret_status);

#endif
