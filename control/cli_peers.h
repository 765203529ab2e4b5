/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What `sandctl peers` hands over when it is to change something: cli_show.c shows peers, cli_peers.c
 * changes them.
 */
#ifndef CLI_PEERS_H
#define CLI_PEERS_H

#include "cli_command.h"

struct cli_peers_options {
	json_t *peer;     /* what the options say of one; owned */
	const char *file; /* NULL: none */
};

/** Read the options. -1: argv[optind] is the first argument, and @ret_options->peer the caller's; else an exit code. */
int cli_peers_options(
	struct cli *cli, int argc, char **argv, struct cli_peers_options *ret_options);
/** @verb: "add", "set" or "remove"; @names: the arguments after it, up to NULL. Returns the exit code. */
int cli_peers_change(
	struct cli *cli, const char *verb, const struct cli_peers_options *options, char **names);

#endif
