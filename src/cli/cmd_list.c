/* list - what is changed in running processes: each patch, each function, from the lowest layer up.
 *
 *     71 (server)
 *       fix-1  since 2026-11-25 23:40:12
 *         serve (server): fix-1 above hotpatch_fn
 */
#include <stdlib.h>
#include <string.h>

#include "cli/survey.h"
#include "remote/view.h"

static void tell_patch(struct hp_output *output, const struct hp_view *view, size_t i, json_t *list)
{
	const struct hp_remote_patch *patch = &view->patches.v[i];
	const struct hp_notes *notes = view->notes[i];
	char since[64];

	if (!patch->live)
		return;
	hp_survey_time(patch->since_s, since, sizeof(since));
	hp_output_text(output, "  patch '%s' since %s, %u function%s%s%s", patch->name, since, patch->n_changes,
	               patch->n_changes == 1 ? "" : "s", notes && notes->description[0] ? ": " : "",
	               notes ? notes->description : "");
	json_t *one = json_pack("{s:s, s:I, s:I, s:i}", "name", patch->name, "id", (json_int_t)patch->id, "since",
	                        (json_int_t)patch->since_s, "functions", (int)patch->n_changes);
	json_object_set_new(one, "description", json_string(notes ? notes->description : ""));
	json_object_set_new(one, "file", json_string(notes ? notes->file : ""));
	json_t *requires = json_array();
	for (size_t k = 0; notes && k < notes->n_requires; k++)
		json_array_append_new(requires, json_string(notes->requires[k]));
	json_object_set_new(one, "requires", requires);
	json_array_append_new(list, one);
}

/* Where the patch's notes know more than the process does: the unit of a static function, and its image. */
static const struct hp_note_change *find_note(const struct hp_view *view, const struct hp_remote_layer *layer)
{
	for (size_t i = 0; i < view->patches.n; i++)
		for (size_t k = 0; view->notes[i] && k < view->notes[i]->n_changes; k++)
			if (view->patches.v[i].id == layer->patch_id &&
			    view->notes[i]->changes[k].entry == layer->entry)
				return &view->notes[i]->changes[k];
	return NULL;
}

static void tell_layer(struct hp_output *output, const struct hp_view *view, const struct hp_remote_layer *layer,
                       json_t *list)
{
	const struct hp_note_change *note = find_note(view, layer);
	const char *unit = note ? note->unit : "", *image = note ? note->image : "";

	hp_output_text(output, "    %s%s%s%s%s at %#llx: %s%s%s%s%s", layer->function, unit[0] ? " of " : "", unit,
	               image[0] ? " in " : "", image, (unsigned long long)layer->entry,
	               layer->patch[0] ? "patch '" : layer->definition, layer->patch, layer->patch[0] ? "'" : "",
	               layer->patch_id ? "" : ", by the program itself",
	               layer->current ? "" : ", covered by a later one");
	json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:b, s:I}", "entry",
	                                      (json_int_t)layer->entry, "function", layer->function, "unit", unit,
	                                      "image", image, "definition", layer->definition, "patch", layer->patch,
	                                      "body", (json_int_t)layer->body, "level", (int)layer->level, "current",
	                                      (int)layer->current, "since", (json_int_t)layer->since_s));
}

static int tell(struct hp_output *output, struct hp_target *target, struct hp_err *err)
{
	struct hp_view *view = NULL;
	struct hp_remote_layers layers = {0};
	json_t *patches = json_array(), *changes = json_array();
	int r;

	json_object_set_new(target->json, "patches", patches);
	json_object_set_new(target->json, "changes", changes);
	if ((r = hp_view_open(target->remote, NULL, &view, err)) < 0 ||
	    (r = hp_remote_changes(target->remote, &layers, err)) < 0)
		goto out;
	hp_output_text(output, "%d%s%s%s%s", (int)target->pid, target->name[0] ? " (" : "", target->name,
	               target->name[0] ? ")" : "", layers.n ? "" : ": nothing is changed");
	for (size_t i = 0; i < view->patches.n; i++)
		tell_patch(output, view, i, patches);
	for (size_t i = 0; i < layers.n; i++)
		tell_layer(output, view, &layers.v[i], changes);
out:
	hp_remote_layers_free(&layers);
	hp_view_close(view);
	return r;
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	return hp_survey_run(command, argc, argv, tell);
}

const struct hp_command hp_cmd_list = {
	.name = "list",
	.summary = "list what is changed in running processes",
	.arguments = "[PID... | --name NAME | --all] [OPTION...]",
	.help = "  --name NAME       all processes whose program is called NAME\n"
		"  --all             all processes that have an agent; what is meant where none is named\n",
	.run = run,
};
