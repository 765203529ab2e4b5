/* SPDX-License-Identifier: BSD-3-Clause */
/* Words for states and counters, as status, logs and the API show them. See coord.h, coord_path.h. */
#include "coord.h"
#include "coord_path.h"

#define TEXT(name, text) text,

const char *coord_state_name(enum coord_state_kind state)
{
	static const char *const texts[] = {COORD_STATES(TEXT)};

	return state < BASE_ARRAY_LEN(texts) ? texts[state] : "unknown";
}

const char *coord_path_counter_name(enum coord_path_counter counter)
{
	static const char *const texts[] = {COORD_PATH_COUNTERS(TEXT)};

	return counter < BASE_ARRAY_LEN(texts) ? texts[counter] : "unknown";
}

const char *coord_netmap_counter_name(enum coord_netmap_counter counter)
{
	static const char *const texts[] = {COORD_NETMAP_COUNTERS(TEXT)};

	return counter < BASE_ARRAY_LEN(texts) ? texts[counter] : "unknown";
}
