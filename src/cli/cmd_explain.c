/* explain - what an error code means and what to do about it. */
#include "cli/output.h"

#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct explanation {
	int code;
	const char *name, *text;
};

static const struct explanation explanations[] = {
#define ROW(name, value, text) {(value), #name, (text)},
	HOTPATCH_ERROR_LIST(ROW)
#undef ROW
};

enum { N_EXPLANATIONS = sizeof(explanations) / sizeof(explanations[0]) };

/* What to do, where the text of the code leaves that open. */
static const char *advice(int code)
{
	switch (code) {
	case HOTPATCH_ENOTPREPARED:
		return "Mark it HOTPATCHABLE, or compile its file with the prepare_cflags of hotpatch.pc.";
	case HOTPATCH_ECODE:
		return "Something else has written there (a debugger's breakpoint, another patcher), or the patch was made "
		       "from other sources or with another compiler than the program: build it again from the sources of "
		       "what runs.";
	case HOTPATCH_ETEXT:
		return "The sentence of the error says which policy: a seccomp filter, SELinux, PR_SET_MDWE, a /proc that is "
		       "not there.";
	case HOTPATCH_ENOFILE:
		return "The sentence of the error has the system's reason. A program's file that was replaced on disk is still "
		       "that of the running one under /proc/PID/exe.";
	case HOTPATCH_ENOTELF:
		return "Give a shared library (cc -shared -fPIC), or a patch file that hotpatch build made, for this machine.";
	case HOTPATCH_ENOSYM:
		return "It may have another name (nm tells), have been put into its callers by the compiler, or the program be "
		       "stripped without a debug file to be found.";
	case HOTPATCH_EAMBIGUOUS:
		return "The sentence of the error lists the candidates; give a namespace path (HOTPATCHABLE_AS).";
	case HOTPATCH_ETYPE:
		return "The first difference is named. Callers would pass or expect other bytes than the function does: change "
		       "all of them together, or keep the layout and put new fields elsewhere.";
	case HOTPATCH_ENOTYPE:
		return "Compile with -g, or install the separate debug file.";
	case HOTPATCH_EDEADLK:
		return "Call from a thread or a place that is not inside the function, or use HOTPATCH_FORCE.";
	case HOTPATCH_EBUSY:
	case HOTPATCH_ETIMEDOUT:
		return "The error names the threads and where they are. Try again, give a longer deadline, or use mode DRAIN, "
		       "which lets new calls take the new definition at once.";
	case HOTPATCH_EINPROGRESS:
		return "Nothing need be done: the threads it names run the old body until they return from it.";
	case HOTPATCH_ESIGNAL:
		return "Choose another signal with hotpatch_set_signal().";
	case HOTPATCH_EREFUSED:
		return "The sentence of the error names what it is and what to do instead; hotpatch-build(1) has the table.";
	case HOTPATCH_EBUILD:
		return "What the compiler said stands above the error, untouched.";
	default:
		return NULL;
	}
}

/* EBUSY, HOTPATCH_EBUSY, ebusy, -16 and 16 are one code. */
static const struct explanation *find_explanation(const char *word)
{
	char *end;
	long number = strtol(word, &end, 10);
	bool is_number = *word && !*end;

	if (strncasecmp(word, "HOTPATCH_", 9) == 0)
		word += 9;
	for (size_t i = 0; i < N_EXPLANATIONS; i++) {
		const struct explanation *e = &explanations[i];
		if (is_number ? labs(number) == -e->code : strcasecmp(word, e->name) == 0)
			return e;
	}
	return NULL;
}

static void explain(struct hp_output *output, const struct explanation *e)
{
	const char *todo = advice(e->code);

	hp_output_text(output, "HOTPATCH_%s (%d): %s.%s%s", e->name, e->code, e->text, todo ? "\n" : "",
	               todo ? todo : "");
	json_object_set_new(output->root, "code", json_string(hotpatch_code_name(e->code)));
	json_object_set_new(output->root, "value", json_integer(e->code));
	json_object_set_new(output->root, "text", json_string(e->text));
	if (todo)
		json_object_set_new(output->root, "advice", json_string(todo));
}

static void list_codes(struct hp_output *output)
{
	json_t *codes = json_array();

	for (size_t i = 0; i < N_EXPLANATIONS; i++) {
		const struct explanation *e = &explanations[i];
		hp_output_text(output, "%4d  HOTPATCH_%-13s %s", e->code, e->name, e->text);
		json_array_append_new(codes, json_pack("{s:s, s:i, s:s}", "code", hotpatch_code_name(e->code), "value",
		                                       e->code, "text", e->text));
	}
	json_object_set_new(output->root, "codes", codes);
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	static const struct option options[] = {HP_COMMON_OPTIONS};
	struct hp_output output;
	int option, status = HP_EXIT_DONE;

	hp_output_begin(&output, command);
	for (int i = 1; i < argc; i++)
		if (argv[i][0] == '-' && isdigit((unsigned char)argv[i][1]))
			argv[i]++; /* a code, and no options: -16 and 16 are one */
	while ((option = hp_next_option(argc, argv, "h", options)) != -1)
		if (!hp_common_option(command, &output, option, &status))
			goto out;
	if (argc - optind > 1) {
		status = hp_usage(command, "one code at a time");
		goto out;
	}
	if (optind == argc) {
		list_codes(&output);
		return hp_output_end(&output, status);
	}
	const struct explanation *e = find_explanation(argv[optind]);
	if (!e) {
		status = hp_usage(command, "there is no code '%s'; without an argument all are listed", argv[optind]);
		goto out;
	}
	explain(&output, e);
	return hp_output_end(&output, status);
out:
	output.json = false;
	return hp_output_end(&output, status);
}

const struct hp_command hp_cmd_explain = {
	.name = "explain",
	.summary = "say what an error code means and what to do about it",
	.arguments = "[CODE]",
	.help = "  CODE              HOTPATCH_EBUSY, EBUSY or -16; all codes are listed without one\n",
	.run = run,
};
