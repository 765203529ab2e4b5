/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_early.h. */
#include "coord_early.h"

#include "base_bytes.h"

static const uint8_t magic[5] = {0xff, 0xff, 0xff, 'T', 'S'};

/* The head is whole: is it one, or the head of the first HTTP/2 frame? */
static int judge_head(
	struct coord_early *early, coord_early_pass pass, void *ctx, struct base_error *ret_error)
{
	size_t len;

	if (memcmp(early->head, magic, sizeof(magic)) != 0) {
		early->is_over = true;
		return pass(ctx, early->head, sizeof(early->head));
	}
	len = base_load_be32(early->head + sizeof(magic));
	if (len > COORD_EARLY_BYTES_MAX)
		return base_error_set(ret_error, -EPROTO,
			"the server announces %zu bytes before HTTP/2, more than %u", len,
			COORD_EARLY_BYTES_MAX);
	early->to_skip = len;
	early->is_over = len == 0;
	return 0;
}

int coord_early_input(struct coord_early *early, const uint8_t *data, size_t len,
	coord_early_pass pass, void *ctx, struct base_error *ret_error)
{
	while (len > 0 && !early->is_over) {
		bool in_head = early->head_len < sizeof(early->head);
		size_t take = in_head ? sizeof(early->head) - early->head_len : early->to_skip;
		int rc = 0;

		if (take > len)
			take = len;
		if (in_head) {
			memcpy(early->head + early->head_len, data, take);
			early->head_len += take;
			if (early->head_len == sizeof(early->head))
				rc = judge_head(early, pass, ctx, ret_error);
		} else {
			early->to_skip -= take;
			early->is_over = early->to_skip == 0;
		}
		if (rc != 0)
			return rc;
		data += take;
		len -= take;
	}
	return len > 0 ? pass(ctx, data, len) : 0;
}
