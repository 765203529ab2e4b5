/* SPDX-License-Identifier: BSD-3-Clause */
/* sandctl exec: run a command on a daemon, be its exit code. See cli_command.h for the codes of our own. */
#include "ws_messages.h"
#include "cli_command.h"
#include "cli_table.h"

#include <stdlib.h>

/* What the gateway may take beyond the command's time limit. */
#define GRACE_S 15
#define TIMEOUT_S_MAX (7L * 24 * 3600)

struct call {
	json_t *body, *env;
	long timeout_s;
	const char *daemon_id;
};

static bool take_timeout(struct call *call, const char *text)
{
	char *end;

	errno = 0;
	call->timeout_s = strtol(text, &end, 10);
	return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' &&
		call->timeout_s <= TIMEOUT_S_MAX;
}

static bool take_env(struct call *call, const char *text)
{
	const char *equals = strchr(text, '=');
	char *name;
	bool is_good;

	if (!equals || equals == text)
		return false;
	name = strndup(text, (size_t)(equals - text));
	is_good = name && json_object_set_new(call->env, name, json_string(equals + 1)) == 0;
	free(name);
	return is_good;
}

/* Returns -1 to go on, else an exit code. */
static int take_options(struct cli *cli, struct call *call, int argc, char **argv)
{
	int option;

	while ((option = cli_next_option(cli, argc, argv)) != -1) {
		switch (option) {
		case 't':
			if (!take_timeout(call, optarg))
				return cli_fail(cli, CLI_EXEC_FAILED, "usage",
					"--timeout %s: whole seconds, at most %ld", optarg,
					TIMEOUT_S_MAX);
			break;
		case 'e':
			if (!take_env(call, optarg))
				return cli_fail(cli, CLI_EXEC_FAILED, "usage",
					"--env %s: write it as NAME=VALUE, in UTF-8", optarg);
			break;
		case 'C':
			if (json_object_set_new(call->body, "cwd", json_string(optarg)) < 0)
				return cli_fail(cli, CLI_EXEC_FAILED, "usage",
					"--cwd %s: must be UTF-8", optarg);
			break;
		case CLI_OPTION_HELP:
			return CLI_OK;
		default:
			return CLI_EXEC_FAILED;
		}
	}
	return -1;
}

/* One word is a line for the daemon's shell; several are a command and its arguments, each kept whole. */
static int take_command(struct cli *cli, struct call *call, char **words)
{
	json_t *argv;
	int rc = 0;

	if (!words[0])
		return cli_fail(cli, CLI_EXEC_FAILED, "usage",
			"no command; for example: sandctl exec %s -- uname -a", call->daemon_id);
	if (!words[1]) {
		rc = json_object_set_new(call->body, "command", json_string(words[0]));
	} else {
		argv = json_array();
		for (; *words && rc == 0; words++)
			rc = json_array_append_new(argv, json_string(*words));
		json_object_set_new(call->body, "argv", argv);
	}
	if (rc < 0)
		return cli_fail(cli, CLI_EXEC_FAILED, "usage",
			"the command must be UTF-8; let the shell there make other bytes, "
			"with printf");
	return -1;
}

/* Where it runs: "/v1/daemons/ID/exec", the id percent-encoded (RFC 3986, section 2.1). */
static void make_path(char *path, size_t size, const char *id)
{
	size_t at = (size_t)snprintf(path, size, "/v1/daemons/");

	for (; *id && at + 10 < size; id++) {
		unsigned char c = (unsigned char)*id;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			strchr("-_~", c))
			path[at++] = (char)c;
		else
			at += (size_t)snprintf(path + at, size - at, "%%%02X", c);
	}
	snprintf(path + at, size - at, "/exec");
}

static int fail_reply(const struct cli *cli, const struct call *call, const struct cli_error *error)
{
	static const struct {
		const char *code, *advice;
		int exit_code;
	} known[] = {
		{"timeout", "; --timeout gives it longer", CLI_EXEC_TIMEOUT},
		{"unknown_daemon", "; sandctl daemons lists those that are", CLI_EXEC_UNKNOWN},
		{"daemon_lost", "", CLI_EXEC_LOST},
		{"busy", "; try again when some have ended", CLI_EXEC_FAILED},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(known); i++)
		if (strcmp(error->code, known[i].code) == 0)
			return cli_fail(cli, known[i].exit_code, error->code, "%s%s",
				error->message, known[i].advice);
	return cli_fail(
		cli, CLI_EXEC_FAILED, error->code, "%s: %s", call->daemon_id, error->message);
}

static int write_text(const json_t *text, FILE *out)
{
	size_t len = json_string_length(text);

	if (len > 0 && fwrite(json_string_value(text), 1, len, out) != len)
		return -EIO;
	return fflush(out) == 0 ? 0 : -EIO;
}

/* The command ran: its output is ours, and its exit code. */
static int show_result(const struct cli *cli, json_t *document)
{
	json_int_t exit_code = json_integer_value(json_object_get(document, "exit_code"));
	bool is_cut = json_is_true(json_object_get(document, "truncated"));
	int rc;

	if (cli->is_json) {
		if (cli_print_json(document) != CLI_OK)
			return CLI_EXEC_FAILED;
		return exit_code < 0 ? CLI_EXEC_KILLED : (int)(exit_code & 0xff);
	}
	rc = write_text(json_object_get(document, "stdout"), stdout);
	write_text(json_object_get(document, "stderr"), stderr);
	if (is_cut)
		fputs("sandctl: the output was longer than the daemon sends; its end is cut\n",
			stderr);
	json_decref(document);
	if (rc < 0)
		return cli_fail(
			cli, CLI_EXEC_FAILED, "output", "standard output cannot be written");
	return exit_code < 0 ? CLI_EXEC_KILLED : (int)(exit_code & 0xff);
}

static int run_call(const struct cli *cli, struct call *call)
{
	char path[4 * WS_ID_BYTES_MAX + 64];
	struct cli_error error = {0};
	struct base_error reason;
	json_t *document;
	int exit_code;

	json_object_set_new(call->body, "timeout_s", json_integer(call->timeout_s));
	make_path(path, sizeof(path), call->daemon_id);
	document = cli_call(
		cli, path, json_incref(call->body), call->timeout_s + GRACE_S, &error, &reason);
	if (!document)
		return cli_fail(cli, CLI_EXEC_FAILED, "unreachable", "%s", reason.text);
	if (!error.code)
		return show_result(cli, document);
	exit_code = fail_reply(cli, call, &error);
	json_decref(document);
	return exit_code;
}

/* No daemon has another one (ctl_registry.c), and some would lead to another path. */
static bool is_id(const char *id)
{
	return *id && strlen(id) <= WS_ID_BYTES_MAX && !strchr(id, '/') && strcmp(id, ".") != 0 &&
		strcmp(id, "..") != 0;
}

int cli_exec(struct cli *cli, int argc, char **argv)
{
	struct call call = {
		.body = json_object(),
		.env = json_object(),
		.timeout_s = WS_TIMEOUT_S_DEFAULT,
	};
	int exit_code = take_options(cli, &call, argc, argv);

	if (exit_code < 0) {
		call.daemon_id = argv[optind];
		if (!call.daemon_id)
			exit_code = cli_fail(cli, CLI_EXEC_FAILED, "usage",
				"name a daemon; sandctl daemons lists them");
		else if (!is_id(call.daemon_id))
			exit_code = cli_fail(cli, CLI_EXEC_UNKNOWN, "unknown_daemon",
				"no daemon can have the id \"%.64s\"; sandctl daemons lists those "
				"that are",
				call.daemon_id);
	}
	if (exit_code < 0)
		exit_code = take_command(cli, &call, argv + optind + 1);
	if (exit_code < 0) {
		json_object_set(call.body, "env", call.env);
		exit_code = run_call(cli, &call);
	}
	json_decref(call.env);
	json_decref(call.body);
	return exit_code;
}
