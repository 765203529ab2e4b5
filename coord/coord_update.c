/* SPDX-License-Identifier: BSD-3-Clause */
/* Ends of updates and their parts; sorting by id. Thread: whoever holds them. See coord_update.h. */
#include "coord_update.h"

#include <stdlib.h>

void coord_node_body_fini(struct coord_node_body *body)
{
	free(body->data);
	free(body->endpoints);
	free(body->caps);
	*body = (struct coord_node_body){0};
}

static int64_t id_of(const char *item)
{
	int64_t id;

	memcpy(&id, item, sizeof(id));
	return id;
}

/* Two sorted runs behind one another, @n_left and @n_right items, into @to; of equal ids the left one comes first. */
static void runs_merge(char *to, const char *left, size_t n_left, size_t n_right, size_t size)
{
	const char *right = left + n_left * size;

	while (n_left > 0 || n_right > 0) {
		bool is_left = n_right == 0 || (n_left > 0 && id_of(left) <= id_of(right));

		memcpy(to, is_left ? left : right, size);
		to += size;
		if (is_left) {
			left += size;
			n_left--;
		} else {
			right += size;
			n_right--;
		}
	}
}

static int sort(char *items, size_t n, size_t size)
{
	char *spare = malloc(n * size), *from = items, *to = spare, *swap;

	if (!spare)
		return -ENOMEM;
	for (size_t run = 1; run < n; run *= 2) {
		for (size_t i = 0; i < n; i += 2 * run) {
			size_t n_left = n - i < run ? n - i : run;
			size_t n_right = n - i - n_left < run ? n - i - n_left : run;

			runs_merge(to + i * size, from + i * size, n_left, n_right, size);
		}
		swap = from;
		from = to;
		to = swap;
	}
	if (from != items)
		memcpy(items, from, n * size);
	free(spare);
	return 0;
}

ssize_t coord_ids_sort(void *items, size_t n, size_t size, void (*fini)(void *item))
{
	char *item = items;
	bool is_sorted = true, is_unique = true;
	size_t n_kept = 0;

	for (size_t i = 1; i < n; i++) {
		is_sorted &= id_of(item + (i - 1) * size) <= id_of(item + i * size);
		is_unique &= id_of(item + (i - 1) * size) != id_of(item + i * size);
	}
	if (!is_sorted && sort(items, n, size) < 0)
		return -ENOMEM;
	if (is_sorted && is_unique)
		return (ssize_t)n;
	for (size_t i = 0; i < n; i++) {
		bool is_last = i + 1 == n || id_of(item + i * size) != id_of(item + (i + 1) * size);

		if (is_last)
			memmove(item + n_kept++ * size, item + i * size, size);
		else if (fini)
			fini(item + i * size);
	}
	return (ssize_t)n_kept;
}

void coord_map_update_free(struct coord_map_update *update)
{
	if (!update)
		return;
	if (update->self)
		coord_node_body_fini(update->self);
	free(update->self);
	for (size_t i = 0; i < update->n_peers; i++)
		coord_node_body_fini(&update->peers[i]);
	free(update->peers);
	free(update->removed);
	free(update->seen);
	free(update->online);
	for (size_t i = 0; i < update->n_patches; i++) {
		free(update->patches[i].endpoints);
		free(update->patches[i].caps);
	}
	free(update->patches);
	for (size_t i = 0; i < update->n_chunks; i++)
		coord_arena_free(update->chunks[i].arena);
	free(update->chunks);
	coord_arena_free(update->users_arena);
	free(update->users);
	coord_arena_free(update->regions_arena);
	coord_arena_free(update->dns_arena);
	coord_arena_free(update->arena);
	free(update);
}
