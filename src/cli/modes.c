#include "cli/modes.h"

#include <string.h>

static int read_mode(const struct hp_command *command, const char *argument, enum hotpatch_mode *ret_mode)
{
	static const struct {
		const char *name;
		enum hotpatch_mode mode;
	} modes[] = {{"wait", HOTPATCH_WAIT},
	             {"try", HOTPATCH_TRY},
	             {"drain", HOTPATCH_DRAIN},
	             {"force", HOTPATCH_FORCE}};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(modes[i].name, argument) == 0) {
			*ret_mode = modes[i].mode;
			return HP_EXIT_DONE;
		}
	return hp_usage(command, "'%s' is no mode: wait, try, drain and force are", argument);
}

bool hp_mode_option(const struct hp_command *command, int option, const char *argument, struct hp_modes *modes,
                    int *ret_status)
{
	switch (option) {
	case HP_OPTION_MODE:
		*ret_status = read_mode(command, argument, &modes->mode);
		return true;
	case HP_OPTION_TIMEOUT:
		*ret_status = hp_read_ms(command, argument, &modes->timeout_ms);
		return true;
	case HP_OPTION_STALL:
		*ret_status = hp_read_ms(command, argument, &modes->stall_ms);
		return true;
	default:
		return false;
	}
}
