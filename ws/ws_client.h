/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's side of sandd.v1: keeps one registered connection to the controller, for ever
 * (protocols/sandd.md, sections 1 and 3). Dials, registers, beats, notices a dead link, dials again. What the messages ask for is
 * the host's business. Thread: the one that runs the ws_loop.
 */
#ifndef WS_CLIENT_H
#define WS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base_err.h"
#include "ws_loop.h"
#include "ws_messages.h"
#include "ws_url.h"

struct ws_client_host {
	/** The controller took us; @again: on a connection it had forgotten us on. */
	void (*registered)(void *ctx, bool again);
	/** The connection or the attempt at one ended; the next begins in @retry_ms. */
	void (*lost)(void *ctx, const char *why, uint64_t retry_ms);
	/** A command to run (borrowed until return). */
	void (*execute)(void *ctx, const struct ws_execute_command *command);
	/** After ws_client_stop(): the connection is closed. */
	void (*stopped)(void *ctx);
};

struct ws_client_config {
	struct ws_url url;
	struct ws_register identity; /* strings borrowed for the life */
	uint64_t reconnect_ms;       /* the longest pause between attempts */
	uint64_t heartbeat_ms;
};

struct ws_client_stats {
	uint64_t dials, registrations, losses;
	uint64_t rx_msgs, rx_malformed_msgs, rx_unknown_msgs, tx_msgs;
};

struct ws_client;

/** libwebsockets' protocols of the client, for ws_loop_new(). */
extern const struct lws_protocols *const ws_client_protocols;

/** Begins to dial from the loop. NULL with errno. */
struct ws_client *ws_client_new(struct ws_loop *loop, const struct ws_client_config *config,
	const struct ws_client_host *host, void *ctx);
/** Send Close and end; stopped() follows from the loop, at once if there is no connection. */
void ws_client_stop(struct ws_client *client);
/** After stopped(), or to drop everything. Its memory goes when the loop has let go of its handles. NULL is fine. */
void ws_client_free(struct ws_client *client);

/**
 * Counts registered connections; 0 while there is none. An answer belongs to the session that asked: the
 * controller fails what is outstanding when a connection ends.
 */
uint64_t ws_client_session(const struct ws_client *client);
/** Bytes that wait to be sent. */
size_t ws_client_queued_bytes(const struct ws_client *client);
void ws_client_stats(const struct ws_client *client, struct ws_client_stats *ret_stats);
/** Queue a message. Returns 0, -EPIPE (no connection), -EAGAIN (queue full), -EMSGSIZE, -EINVAL, -ENOMEM. */
BASE_MUST_CHECK int ws_client_send(struct ws_client *client, const struct ws_msg *msg);

#endif
