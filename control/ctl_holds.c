/* SPDX-License-Identifier: BSD-3-Clause */
/* A search tree by id, and a list of those at rest, the latest first. Loop's thread. See ctl_holds.h. */
#include "ctl_holds.h"

#include <search.h>
#include <stdlib.h>
#include <sys/queue.h>

struct hold {
	TAILQ_ENTRY(hold) link; /* in `resting` or in `active` */
	int64_t node;
	bool is_active;
	const char *id; /* in `text`, but for one that is only searched for */
	char text[];
};

TAILQ_HEAD(hold_list, hold);

struct ctl_holds {
	void *tree;
	struct hold_list active, resting;
	size_t n;
};

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct hold *)a)->id, ((const struct hold *)b)->id);
}

static struct hold *hold_new(const char *id)
{
	size_t len = strlen(id) + 1;
	struct hold *hold = calloc(1, sizeof(*hold) + len);

	if (!hold)
		return NULL;
	memcpy(hold->text, id, len);
	hold->id = hold->text;
	return hold;
}

static struct hold *find(const struct ctl_holds *holds, const char *id)
{
	const struct hold wanted = {.id = id};
	struct hold **found = tfind(&wanted, &holds->tree, compare);

	return found ? *found : NULL;
}

struct ctl_holds *ctl_holds_new(void)
{
	struct ctl_holds *holds = calloc(1, sizeof(*holds));

	if (!holds)
		return NULL;
	TAILQ_INIT(&holds->active);
	TAILQ_INIT(&holds->resting);
	return holds;
}

static void drop(struct ctl_holds *holds, struct hold *hold)
{
	tdelete(hold, &holds->tree, compare);
	TAILQ_REMOVE(hold->is_active ? &holds->active : &holds->resting, hold, link);
	holds->n--;
	free(hold);
}

void ctl_holds_free(struct ctl_holds *holds)
{
	struct hold *hold;

	if (!holds)
		return;
	while ((hold = TAILQ_FIRST(&holds->active)) || (hold = TAILQ_FIRST(&holds->resting)))
		drop(holds, hold);
	free(holds);
}

int64_t ctl_holds_find(const struct ctl_holds *holds, const char *daemon_id)
{
	const struct hold *hold = find(holds, daemon_id);

	return hold ? hold->node : 0;
}

/* Room for one more: who rests longest goes. */
static int make_room(struct ctl_holds *holds)
{
	struct hold *last = TAILQ_LAST(&holds->resting, hold_list);

	if (holds->n < CTL_HOLDS_MAX)
		return 0;
	if (!last)
		return -ENOSPC;
	drop(holds, last);
	return 0;
}

static int add(struct ctl_holds *holds, const char *id, int64_t node)
{
	struct hold *hold;
	int rc = make_room(holds);

	if (rc < 0)
		return rc;
	hold = hold_new(id);
	if (!hold || !tsearch(hold, &holds->tree, compare)) {
		free(hold);
		return -ENOMEM;
	}
	hold->node = node;
	hold->is_active = true;
	TAILQ_INSERT_HEAD(&holds->active, hold, link);
	holds->n++;
	return 0;
}

int ctl_holds_take(struct ctl_holds *holds, const char *daemon_id, int64_t node)
{
	struct hold *hold = find(holds, daemon_id);

	if (!hold)
		return add(holds, daemon_id, node);
	if (!hold->is_active) {
		TAILQ_REMOVE(&holds->resting, hold, link);
		TAILQ_INSERT_HEAD(&holds->active, hold, link);
		hold->is_active = true;
	}
	return 0;
}

void ctl_holds_rest(struct ctl_holds *holds, const char *daemon_id)
{
	struct hold *hold = find(holds, daemon_id);

	if (!hold || !hold->is_active)
		return;
	TAILQ_REMOVE(&holds->active, hold, link);
	TAILQ_INSERT_HEAD(&holds->resting, hold, link);
	hold->is_active = false;
}

static void release_of(struct ctl_holds *holds, struct hold_list *list, int64_t node)
{
	struct hold *hold = TAILQ_FIRST(list), *next;

	for (; hold; hold = next) {
		next = TAILQ_NEXT(hold, link);
		if (hold->node == node)
			drop(holds, hold);
	}
}

void ctl_holds_release(struct ctl_holds *holds, int64_t node)
{
	release_of(holds, &holds->active, node);
	release_of(holds, &holds->resting, node);
}

size_t ctl_holds_count(const struct ctl_holds *holds)
{
	return holds->n;
}
