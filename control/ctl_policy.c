/* SPDX-License-Identifier: BSD-3-Clause */
/* The policy of a star. See ctl_policy.h; its form: protocols/headscale-control.md, 11.4. */
#include "ctl_policy.h"

#include "ws_messages.h"

#include <ctype.h>

#define USER_BYTES_MAX 128

static const char text[] =
	"// Daemons (tag:sandd) reach the controller of gateways (tag:gateway), and nothing else; "
	"nobody\n"
	"// reaches them. They do not see each other: a map of one daemon holds the gateways "
	"alone.\n"
	"//\n"
	"// Load it (policy.mode: database in Headscale's configuration), or name it in "
	"policy.path:\n"
	"//   headscale policy set -f policy.hujson\n"
	"// A key for a gateway, for one use:\n"
	"//   headscale preauthkeys create --tags tag:gateway --expiration 1h\n"
	"// A key for daemons, for as many as start within a day; with --ephemeral they are "
	"forgotten when\n"
	"// they have been gone for a while:\n"
	"//   headscale preauthkeys create --tags tag:sandd --reusable --expiration 24h\n"
	"{\n"
	"  \"tagOwners\": {\n"
	"    \"tag:gateway\": [\"%s%s\"],\n"
	"    \"tag:sandd\": [\"%s%s\"],\n"
	"  },\n"
	"  \"acls\": [\n"
	"    {\"action\": \"accept\", \"proto\": \"tcp\", \"src\": [\"tag:sandd\"], \"dst\": "
	"[\"tag:gateway:%d\"]},\n"
	"  ],\n"
	"}\n";

int ctl_policy_print(FILE *out, const char *user, struct base_error *ret_error)
{
	size_t len = strlen(user);
	/* A user of a policy has an @; a plain name has it at its end. */
	const char *at = strchr(user, '@') ? "" : "@";

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)user[i]) && !strchr("@._+-", user[i]))
			len = USER_BYTES_MAX + 1;
	if (len == 0 || len > USER_BYTES_MAX)
		return base_error_set(ret_error, -EINVAL,
			"--user: '%.100s' is no user of a Headscale; headscale users list shows "
			"them",
			user);
	fprintf(out, text, user, at, user, at, WS_DEFAULT_PORT);
	return 0;
}
