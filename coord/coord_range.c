/* SPDX-License-Identifier: BSD-3-Clause */
/* "a-b" to prefixes. Any thread. See coord_range.h. */
#include "coord_range.h"

#include <stdint.h>

__extension__ typedef unsigned __int128 number;

static number number_of(const struct base_addr *addr)
{
	number n = 0;

	for (unsigned i = 0; i < base_family_bytes(addr->family); i++)
		n = n << 8 | addr->bytes[i];
	return n;
}

static struct base_addr addr_of(number n, uint8_t family)
{
	struct base_addr addr = {.family = family};

	for (unsigned i = base_family_bytes(family); i-- > 0; n >>= 8)
		addr.bytes[i] = (uint8_t)n;
	return addr;
}

/* The largest block that begins at @first and does not pass @last: its size is 2 to this. */
static unsigned block_log2(number first, number last, unsigned width)
{
	unsigned k = 0;

	while (k < width) {
		number rest = ((number)2 << k) - 1; /* of twice the block; all ones at the top */

		if ((first & rest) != 0 || last - first < rest)
			break;
		k++;
	}
	return k;
}

static int split(struct base_prefix *ret_prefixes, number first, number last, uint8_t family)
{
	unsigned width = 8 * base_family_bytes(family);
	int n = 0;

	for (;;) {
		unsigned k = block_log2(first, last, width);
		number rest = k == 128 ? ~(number)0 : ((number)1 << k) - 1;

		ret_prefixes[n++] =
			(struct base_prefix){addr_of(first, family), (uint8_t)(width - k)};
		if (last - first == rest)
			return n;
		first += rest + 1;
	}
}

int coord_range_parse(struct base_prefix ret_prefixes[COORD_RANGE_PREFIXES_MAX], const char *text)
{
	char copy[2 * BASE_ADDR_TEXT_LEN];
	size_t len = strlen(text);
	struct base_addr first, last;
	char *dash;

	if (strcmp(text, "*") == 0) {
		ret_prefixes[0] = (struct base_prefix){.addr.family = BASE_FAMILY_V4};
		ret_prefixes[1] = (struct base_prefix){.addr.family = BASE_FAMILY_V6};
		return 2;
	}
	if (len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, len + 1);
	dash = strchr(copy, '-');
	if (!dash)
		return base_prefix_parse(ret_prefixes, text, true) < 0 ? -EINVAL : 1;
	*dash = '\0';
	if (base_addr_parse(&first, copy) < 0 || base_addr_parse(&last, dash + 1) < 0 ||
		first.family != last.family || number_of(&first) > number_of(&last))
		return -EINVAL;
	return split(ret_prefixes, number_of(&first), number_of(&last), first.family);
}
