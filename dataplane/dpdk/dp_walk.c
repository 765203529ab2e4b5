/* SPDX-License-Identifier: BSD-3-Clause */
/* The picture of the walk (dp_walk.h). No thread of the dataplane runs this. */
#include "dp_walk.h"

#include "base_err.h"

const struct dp_step dp_steps[] = {
#define DP_STEP_ROW(from, to, file, call) {DP_PLACE_##from, DP_PLACE_##to, file, call},
	DP_STEPS(DP_STEP_ROW)
#undef DP_STEP_ROW
};
const unsigned dp_n_steps = BASE_ARRAY_LEN(dp_steps);

/* A place's drops, one to a line, in a box beside it. */
static void draw_drops(FILE *out, enum dp_place place)
{
	unsigned n = 0;

	for (unsigned i = 0; i < dp_drop_count(); i++) {
		if (dp_drop_place(i) != place)
			continue;
		if (n++ == 0)
			fprintf(out, "\t\"%s drops\" [shape=note, fontsize=9, label=\"",
				dp_place_name(place));
		fprintf(out, "%s\\l", dp_drop_name(i));
	}
	if (n > 0)
		fprintf(out, "\"];\n\t\"%s\" -> \"%s drops\" [style=dashed];\n",
			dp_place_name(place), dp_place_name(place));
}

void dp_walk_draw(FILE *out)
{
	fputs("digraph walk {\n\trankdir=LR;\n\tnode [shape=box, fontname=monospace];\n", out);
	for (unsigned i = 0; i < DP_PLACE_COUNT; i++)
		fprintf(out, "\t\"%s\";\n", dp_place_name((enum dp_place)i));
	for (unsigned i = 0; i < dp_n_steps; i++)
		fprintf(out, "\t\"%s\" -> \"%s\";\n", dp_place_name(dp_steps[i].from),
			dp_place_name(dp_steps[i].to));
	for (unsigned i = 0; i < DP_PLACE_COUNT; i++)
		draw_drops(out, (enum dp_place)i);
	fputs("}\n", out);
}
