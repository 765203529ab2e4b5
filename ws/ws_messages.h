/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandd.v1 as typed values: one struct per message, and one list of types with their direction.
 * Source: protocols/sandd.md, section 2. JSON is ws_codec.[ch]'s business.
 *
 * Strings are NUL-terminated UTF-8 without embedded NUL, with a length where that may be large.
 * A decoded message owns its strings until ws_msg_fini(); a message to encode borrows them.
 */
#ifndef WS_MESSAGES_H
#define WS_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WS_SUBPROTOCOL "sandd.v1"
#define WS_DEFAULT_PORT 8765

/* Limits that outsiders meet; bytes. */
#define WS_ID_BYTES_MAX 256           /* daemon and request ids */
#define WS_NAME_BYTES_MAX 1024        /* host name, platform, architecture, version of a daemon */
#define WS_FRAME_BYTES_MAX (8u << 20) /* one text frame, either way */
#define WS_JSON_DEPTH_MAX 16
#define WS_LABELS_MAX 64 /* of a daemon; environment variables of a command: */
#define WS_ENV_MAX 1024
#define WS_COMMAND_BYTES_MAX (1u << 20)
#define WS_OUTPUT_BYTES_MAX (2u << 20) /* each of stdout and stderr, before JSON */

/* Direction: D from daemon to controller, C from controller to daemon, B both. */
#define WS_TYPES(X)                                                                                \
	X(REGISTER, "register", D)                                                                 \
	X(REGISTER_ACK, "register_ack", C)                                                         \
	X(HEARTBEAT, "heartbeat", D)                                                               \
	X(HEARTBEAT_ACK, "heartbeat_ack", C)                                                       \
	X(PONG, "pong", C)                                                                         \
	X(EXECUTE_COMMAND, "execute_command", C)                                                   \
	X(COMMAND_OUTPUT, "command_output", D)                                                     \
	X(COMMAND_ERROR, "command_error", D)                                                       \
	X(ERROR, "error", B)

enum ws_type {
#define WS_TYPE_ENUM(name, text, direction) WS_##name,
	WS_TYPES(WS_TYPE_ENUM)
#undef WS_TYPE_ENUM
		WS_TYPE_COUNT,
};

/** A name and a value: labels, environment. */
struct ws_pair {
	char *name;
	char *value;
};

struct ws_register {
	char *daemon_id;
	char *hostname;
	char *platform;
	char *arch;
	char *version; /* "" if absent */
	struct ws_pair *labels;
	size_t n_labels;
};

/** register_ack and heartbeat_ack: @text is `message` in one, `reason` in the other. */
struct ws_ack {
	bool success;
	char *text;
};

struct ws_execute_command {
	char *request_id;
	char *command; /* run by sh -c */
	uint64_t timeout_s;
	struct ws_pair *env;
	size_t n_env;
	char *cwd; /* NULL: the daemon's own */
};

struct ws_command_output {
	char *request_id;
	char *out;
	size_t out_len;
	char *err;
	size_t err_len;
	int32_t exit_code; /* -1: killed by a signal */
	uint64_t duration_ms;
	bool is_truncated; /* our extension "truncated": absent means false */
};

struct ws_command_error {
	char *request_id;
	char *error;
};

struct ws_error {
	char *message;
	bool is_recoverable;
};

struct ws_msg {
	enum ws_type type;
	union {
		struct ws_register reg;
		struct ws_ack ack;
		struct ws_execute_command exec;
		struct ws_command_output output;
		struct ws_command_error command_error;
		struct ws_error error;
	};
};

/** What a daemon answers when a command ran out of time: old daemons and new say the same. */
#define WS_TIMEOUT_TEXT "Command timed out"
/** The time limit of an execute_command that names none. */
#define WS_TIMEOUT_S_DEFAULT 300

#endif
