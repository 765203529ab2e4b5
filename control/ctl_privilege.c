/* SPDX-License-Identifier: BSD-3-Clause */
/* Capabilities, locked memory, no core files. Main thread, at start. See ctl_privilege.h. */
#include "ctl_privilege.h"

#include "base_log.h"

#include <grp.h>
#include <stdlib.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

BASE_LOG_CATEGORY("privilege");

#define KEPT_MAX 5
#define PRIVILEGED_PORTS 1024

struct kept {
	cap_value_t values[KEPT_MAX];
	int n;
};

void ctl_privilege_forbid_core_files(void)
{
	const struct rlimit none = {0, 0};

	if (setrlimit(RLIMIT_CORE, &none) < 0)
		base_log_warn("core files stay on: %s", strerror(errno));
}

void ctl_privilege_forbid_tracing(void)
{
	/* A crash handler that core files are piped to asks for no limit: this stops it, too. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		base_log_warn("memory stays readable for this user: %s", strerror(errno));
}

/* True if no limit is left. Socket buffers of AF_XDP are charged to it, and mlockall(). */
static bool lift_memlock_limit(void)
{
	const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
	struct rlimit limit;

	if (setrlimit(RLIMIT_MEMLOCK, &none) == 0)
		return true;
	return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY;
}

static bool may(cap_value_t value)
{
	cap_t now = cap_get_proc();
	cap_flag_value_t is_set = CAP_CLEAR;

	if (now)
		cap_get_flag(now, value, CAP_EFFECTIVE, &is_set);
	cap_free(now);
	return is_set == CAP_SET;
}

/*
 * Keys lie in many places, their copies on stacks: none of it goes to a swap device. Pages are
 * locked as they come to be used, so that address space which is only reserved costs nothing.
 */
static void lock_memory(bool is_limited)
{
	struct rlimit limit = {0, 0};

	if (is_limited && !may(CAP_IPC_LOCK)) {
		getrlimit(RLIMIT_MEMLOCK, &limit);
		base_log_warn(
			"keys may be swapped to disk: only %llu KiB of memory may be locked; set "
			"LimitMEMLOCK=infinity, or ulimit -l unlimited",
			(unsigned long long)limit.rlim_cur / 1024);
		return;
	}
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		base_log_warn("keys may be swapped to disk: %s", strerror(errno));
}

static bool is_privileged(const struct base_endpoint *endpoint)
{
	return endpoint->addr.family != BASE_FAMILY_NONE && endpoint->port != 0 &&
		endpoint->port < PRIVILEGED_PORTS;
}

static void keep(struct kept *kept, cap_value_t value)
{
	if (may(value))
		kept->values[kept->n++] = value;
}

static void choose(struct kept *kept, const struct ctl_config *config, bool is_limited)
{
	kept->n = 0;
	if (config->has_tunnel) {
		keep(kept, CAP_NET_ADMIN);
		keep(kept, CAP_NET_RAW);
		keep(kept, CAP_BPF);
	}
	if (is_privileged(&config->listen) || is_privileged(&config->direct) ||
		(config->has_tunnel && config->dp.listen_port < PRIVILEGED_PORTS) ||
		(config->has_mesh && config->mesh.has_dns))
		keep(kept, CAP_NET_BIND_SERVICE);
	/* Without it, memory that is locked from now on would soon be refused. */
	if (is_limited)
		keep(kept, CAP_IPC_LOCK);
}

/* Who may not change the bounding set (no CAP_SETPCAP) has none to lose that it could gain: no_new_privs is set. */
static void drop_bounding_set(const struct kept *kept)
{
	for (cap_value_t value = 0; value < cap_max_bits(); value++) {
		bool is_kept = false;

		for (int i = 0; i < kept->n; i++)
			is_kept |= kept->values[i] == value;
		if (!is_kept && cap_drop_bound(value) < 0)
			return;
	}
}

static int set_capabilities(const struct kept *kept)
{
	cap_t wanted = cap_init();
	int rc = -1;

	if (!wanted)
		return -ENOMEM;
	if ((kept->n == 0 ||
		    (cap_set_flag(wanted, CAP_PERMITTED, kept->n, kept->values, CAP_SET) == 0 &&
			    cap_set_flag(wanted, CAP_EFFECTIVE, kept->n, kept->values, CAP_SET) ==
				    0)) &&
		cap_set_proc(wanted) == 0)
		rc = 0;
	else
		rc = -errno;
	cap_free(wanted);
	return rc;
}

/* To give the API's socket to its group one must be in it, once CAP_CHOWN is gone. */
static int join_group(gid_t gid)
{
	int n = getgroups(0, NULL), rc = 0;
	gid_t *groups;

	if (gid == (gid_t)-1 || gid == getegid())
		return 0;
	groups = calloc((size_t)(n < 0 ? 0 : n) + 1, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	n = getgroups(n, groups);
	for (int i = 0; i < n; i++) {
		if (groups[i] == gid)
			goto out;
	}
	groups[n < 0 ? 0 : n] = gid;
	if (setgroups((size_t)(n < 0 ? 0 : n) + 1, groups) < 0)
		rc = -errno;
out:
	free(groups);
	return rc;
}

static void log_kept(const struct kept *kept)
{
	char text[128] = "";

	for (int i = 0; i < kept->n; i++) {
		size_t at = strlen(text);
		char *name = cap_to_name(kept->values[i]);

		snprintf(text + at, sizeof(text) - at, "%s%s", i ? ", " : "", name ? name : "?");
		cap_free(name);
	}
	base_log_info("capabilities: %s", kept->n ? text : "none");
}

int ctl_privilege_drop(const struct ctl_config *config, struct base_error *ret_error)
{
	bool is_limited = !lift_memlock_limit();
	struct kept kept;
	int rc = join_group(config->socket_gid);

	if (rc < 0)
		return base_error_set(ret_error, rc,
			"api.group: not a member of %s, and not allowed to become one: %s",
			config->socket_group, strerror(-rc));
	lock_memory(is_limited);
	choose(&kept, config, is_limited);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return base_error_set(ret_error, -errno, "no_new_privs: %s", strerror(errno));
	drop_bounding_set(&kept);
	rc = set_capabilities(&kept);
	if (rc < 0)
		return base_error_set(
			ret_error, rc, "capabilities cannot be given up: %s", strerror(-rc));
	log_kept(&kept);
	return 0;
}
