/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandctl inside: what its commands share. A command is a row of cli_commands[] (sandctl_main.c) and a
 * function that reads its options with cli_next_option(), asks the gateway with cli_call(), and prints.
 * With --json a command prints one document on standard output, errors too.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base_err.h"

/** Exit codes, next to those of a command that ran. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,         /* all commands but exec */
	CLI_USAGE = 2,          /* all commands but exec */
	CLI_NEEDS_RESTART = 3,  /* reload: done, but for keys that need a restart */
	CLI_EXEC_TIMEOUT = 124, /* exec, as timeout(1) */
	CLI_EXEC_FAILED = 125,  /* sandctl, its usage, or the gateway */
	CLI_EXEC_UNKNOWN = 126, /* no such daemon */
	CLI_EXEC_LOST = 127,    /* the daemon went away before the command ended */
	CLI_EXEC_KILLED = 255,  /* the command was killed by a signal */
};

struct cli_command;

/** One run of sandctl. */
struct cli {
	const char *socket;
	bool is_json;
	const struct cli_command *command;
};

struct cli_command {
	const char *name;
	const char *synopsis;         /* after the name */
	const char *summary;          /* one line */
	const char *details;          /* lines of options and examples */
	const struct option *options; /* its own; --json, --socket, --help are everybody's */
	int (*run)(struct cli *cli, int argc, char **argv);
};
extern const struct cli_command cli_commands[];
extern const size_t cli_n_commands;

int cli_status(struct cli *cli, int argc, char **argv);
int cli_peers(struct cli *cli, int argc, char **argv);
int cli_reload(struct cli *cli, int argc, char **argv);
int cli_stats(struct cli *cli, int argc, char **argv);
int cli_trace(struct cli *cli, int argc, char **argv);
int cli_capture(struct cli *cli, int argc, char **argv);
int cli_daemons(struct cli *cli, int argc, char **argv);
int cli_exec(struct cli *cli, int argc, char **argv);
int cli_peer_config(struct cli *cli, int argc, char **argv);
int cli_ping(struct cli *cli, int argc, char **argv);
int cli_ip(struct cli *cli, int argc, char **argv);
int cli_whois(struct cli *cli, int argc, char **argv);
int cli_login(struct cli *cli, int argc, char **argv);
int cli_logout(struct cli *cli, int argc, char **argv);
int cli_up(struct cli *cli, int argc, char **argv);
int cli_down(struct cli *cli, int argc, char **argv);
int cli_filter(struct cli *cli, int argc, char **argv);
int cli_events(struct cli *cli, int argc, char **argv);

/** What cli_next_option() returns when there is nothing more to do: --help was printed, or usage was wrong. */
#define CLI_OPTION_HELP (-2)
#define CLI_OPTION_WRONG (-3)

/**
 * The next option of the command: its `val`, its argument in optarg; -1 at the end, where argv[optind]
 * is the first argument; CLI_OPTION_x.
 */
int cli_next_option(struct cli *cli, int argc, char **argv);
/** For a command without options of its own: read them all. True if it may go on, else *ret_exit. */
bool cli_no_options(struct cli *cli, int argc, char **argv, int *ret_exit);

/** The same, for a command with @min to @max arguments, which begin at argv[optind]. */
bool cli_arguments(struct cli *cli, int argc, char **argv, int min, int max, int *ret_exit);

/** Tell an error, as text or as a document, and pass @exit_code through. */
BASE_PRINTF(4, 5)
int cli_fail(const struct cli *cli, int exit_code, const char *code, const char *fmt, ...);

/** A reply that is an error: its code and its words; borrowed from the document. */
struct cli_error {
	const char *code, *message;
};

/**
 * Ask the gateway. @body: given up to the call, NULL for GET. @timeout_s: 0 for the usual. Returns the document
 * (the caller's) with @ret_error->code NULL on success, else naming the error that it holds; or NULL when
 * the gateway could not be asked, and the reason and remedy are in @ret_reason.
 */
json_t *cli_call(const struct cli *cli, const char *path, json_t *body, long timeout_s,
	struct cli_error *ret_error, struct base_error *ret_reason);

/** GET for a command: the document, or NULL after telling the error. */
json_t *cli_get(const struct cli *cli, const char *path);
/** POST and DELETE for a command, the same way; @body is given up to the call. */
json_t *cli_post(const struct cli *cli, const char *path, json_t *body);
json_t *cli_delete(const struct cli *cli, const char *path);
/**
 * GET what goes on, a line after the other, until the gateway ends it or this is interrupted. Returns an exit code,
 * CLI_FAILED after telling the error.
 */
int cli_stream(const struct cli *cli, const char *path,
	void (*on_line)(void *user, const char *line), void *user);
/** The end of what a command prints: CLI_OK, or CLI_FAILED after telling that it could not be written. */
int cli_flush(void);
/** Print a document on one line and free it; returns as cli_flush(). */
int cli_print_json(json_t *document);

#endif
