/* SPDX-License-Identifier: BSD-3-Clause */
/* Values as the API writes them: times as seconds since 1970, what is not known as null. Any thread. */
#ifndef CTL_API_JSON_H
#define CTL_API_JSON_H

#include <jansson.h>

#include "base_addr.h"
#include "base_clock.h"
#include "cr_secret.h"

/** A monotonic time as seconds since 1970; null for never. */
static inline json_t *json_unix_time(uint64_t then_ns, uint64_t now_ns)
{
	/* it may lie ahead */
	uint64_t unix_ns = base_clock_unix_ns() + (then_ns - now_ns);

	return then_ns == 0 ? json_null() : json_integer((json_int_t)(unix_ns / BASE_NS_PER_S));
}

static inline json_t *json_endpoint(const struct base_endpoint *endpoint)
{
	char text[BASE_ENDPOINT_TEXT_LEN];

	if (endpoint->addr.family == BASE_FAMILY_NONE)
		return json_null();
	return json_string(base_endpoint_print(text, endpoint));
}

static inline json_t *json_key(const struct cr_key *public_key)
{
	char text[BASE_KEY_TEXT_LEN + 1];

	base_key_encode(text, public_key->bytes);
	return json_string(text);
}

static inline json_t *json_text_or_null(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

#endif
