/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which daemons are there. A session is one connection; a daemon is one registration on a session.
 * A daemon leaves when its session closes, when it falls silent, when another session registers its
 * id, or when its session registers under another id; never for another reason, so the end of an old
 * connection cannot take a newer registration with it.
 *
 *	session open --register--> registered --silent 30 s--> reaped --register--> registered ...
 *	     |                         |                          |
 *	     +-- 30 s --> hung up      +-- replaced --> hung up   +-- 30 s --> hung up
 *
 * Connections are opaque here, time is an argument. Thread: the loop's.
 */
#ifndef CTL_REGISTRY_H
#define CTL_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_clock.h"
#include "base_err.h"
#include "cr_secret.h"
#include "ws_messages.h"
#include "ctl_request.h"

/** A daemon without a heartbeat for this long leaves; protocols/sandd.md, section 3. */
#define CTL_SILENCE_NS (30 * BASE_NS_PER_S)
/** How often ctl_registry_sweep() looks. */
#define CTL_SWEEP_NS (5 * BASE_NS_PER_S)
/** Longer texts of a daemon about itself are cut; bytes. */
#define CTL_METADATA_BYTES_MAX 256

struct ctl_session;

/** The node of the mesh that a connection comes from. */
struct ctl_node {
	int64_t id; /* the server's, never reused */
	struct cr_key key;
	char name[256];
	char tags[256]; /* "tag:sandd, tag:lab"; "" */
};

/** One registration. Read by others; changed by this module and, the requests, by ctl_request. */
struct ctl_daemon {
	char *id;
	char *hostname, *platform, *arch, *version;
	struct ws_pair *labels;
	size_t n_labels;
	struct ctl_session *session;
	uint64_t registered_ns, heartbeat_ns;
	struct ctl_request_owner requests;
};

struct ctl_registry_host {
	/** @daemon was just taken out of the registry and is freed after this. */
	void (*left)(void *ctx, struct ctl_daemon *daemon, const char *why);
	/** This connection is of no more use. It ends with ctl_session_close() as any other. */
	void (*hang_up)(void *ctx, void *conn, const char *why);
};

struct ctl_registry;

/** NULL with errno. */
struct ctl_registry *ctl_registry_new(const struct ctl_registry_host *host, void *ctx);
/** All sessions must be closed. NULL is fine. */
void ctl_registry_free(struct ctl_registry *registry);

/** A connection: @conn is for hang_up(). NULL with errno. */
struct ctl_session *ctl_session_open(struct ctl_registry *registry, void *conn, uint64_t now_ns);
/**
 * It comes from this node (copied). Ids that it registers are the node's from then on, connected or not, until
 * ctl_registry_release(): others are refused. 0 or -ENOMEM.
 */
BASE_MUST_CHECK int ctl_session_set_node(struct ctl_session *session, const struct ctl_node *node);
/** NULL: of no node. */
const struct ctl_node *ctl_session_node(const struct ctl_session *session);
/** The node left the mesh: its ids are free. */
void ctl_registry_release(struct ctl_registry *registry, int64_t node_id);

/** It is gone, and with it the daemon that is registered on it, if any. NULL is fine. */
void ctl_session_close(struct ctl_session *session);
/** The daemon that is registered on it now, or NULL. */
struct ctl_daemon *ctl_session_daemon(const struct ctl_session *session);
void *ctl_session_conn(const struct ctl_session *session);

/**
 * A register message. Returns 0, or -Exxx and, in @ret_refusal, the words for register_ack.
 * A session that registers again under its id updates what it said; its requests go on.
 */
BASE_MUST_CHECK int ctl_session_register(struct ctl_session *session,
	const struct ws_register *message, uint64_t now_ns, const char **ret_refusal);

enum ctl_beat {
	CTL_BEAT_KNOWN,     /* acknowledge */
	CTL_BEAT_FORGOTTEN, /* it was registered and is no more: say so, it will register again */
	CTL_BEAT_STRANGER,  /* it never was: no answer (protocols/sandd.md, section 2) */
};
enum ctl_beat ctl_session_heartbeat(struct ctl_session *session, uint64_t now_ns);

/** Take out the silent, hang up on sessions that stay without a registration. */
void ctl_registry_sweep(struct ctl_registry *registry, uint64_t now_ns);

/** By id, or NULL. */
struct ctl_daemon *ctl_registry_find(const struct ctl_registry *registry, const char *id);
/** All, ordered by id: 0 to count - 1. */
size_t ctl_registry_count(const struct ctl_registry *registry);
const struct ctl_daemon *ctl_registry_at(const struct ctl_registry *registry, size_t i);

#endif
