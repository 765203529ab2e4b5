/* SPDX-License-Identifier: BSD-3-Clause */
/* The choice of the cipher's provider. Control thread, at start. See dp_aead.h. */
#include "dp_aead.h"

#include "dp_aead_lanes.h"
#include "dp_aead_mb.h"

#include <stdio.h>
#include <string.h>

/* The fastest first. */
static const struct cr_aead_ops *const providers[] = {&dp_aead_lanes, &dp_aead_mb, &cr_aead_sodium};

/* Does it work here? 0, or what new() says. */
static int try_out(const struct cr_aead_ops *ops)
{
	struct cr_aead *aead;

	errno = 0;
	aead = ops->new ();
	if (!aead)
		return -errno;
	ops->free(aead);
	return 0;
}

static const char *reason_of(int error)
{
	switch (error) {
	case -EBADMSG:
		return "wrong answers in its self-test";
	case -ENOTSUP:
		return "this CPU lacks what it needs";
	default:
		return strerror(-error);
	}
}

static const struct cr_aead_ops *choose_auto(
	void (*warn)(const char *line), struct base_error *ret_error)
{
	int error = 0;

	for (unsigned i = 0; i < BASE_ARRAY_LEN(providers); i++) {
		char line[128];

		error = try_out(providers[i]);
		if (error == 0)
			return providers[i];
		/* Other CPUs are nothing to warn of. */
		if (error == -ENOTSUP || !warn)
			continue;
		snprintf(line, sizeof(line), "crypto: %s is not used: %s", providers[i]->name,
			reason_of(error));
		warn(line);
	}
	errno = -base_error_set(
		ret_error, error, "crypto: no provider works here: %s", reason_of(error));
	return NULL;
}

const struct cr_aead_ops *dp_aead_choose(
	const char *name, void (*warn)(const char *line), struct base_error *ret_error)
{
	if (!name || strcmp(name, "auto") == 0)
		return choose_auto(warn, ret_error);
	for (unsigned i = 0; i < BASE_ARRAY_LEN(providers); i++) {
		int error;

		if (strcmp(name, providers[i]->name) != 0)
			continue;
		error = try_out(providers[i]);
		if (error == 0)
			return providers[i];
		errno = -base_error_set(
			ret_error, error, "crypto: %s cannot be used: %s", name, reason_of(error));
		return NULL;
	}
	errno = -base_error_set(
		ret_error, -EINVAL, "crypto: auto, lanes, ipsec-mb or libsodium, not %s", name);
	return NULL;
}
