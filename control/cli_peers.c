/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandctl peers add, set, remove, and reload: what changes the gateway while it runs. See cli_command.h.
 */
#include "cli_peers.h"

#include <stdlib.h>

/* A reload reads the file and may have ten thousand peers to change. */
#define CHANGE_TIMEOUT_S 120

static int usage(const struct cli *cli, const char *what)
{
	return cli_fail(cli, CLI_USAGE, "usage", "%s; sandctl peers --help shows how", what);
}

/* Ask; then print the document, or tell the error. NULL: told already. */
static json_t *ask(const struct cli *cli, const char *path, json_t *body, int *ret_exit)
{
	struct cli_error error = {0};
	struct base_error reason;
	json_t *document = cli_call(cli, path, body, CHANGE_TIMEOUT_S, &error, &reason);

	*ret_exit = CLI_OK;
	if (!document)
		*ret_exit = cli_fail(cli, CLI_FAILED, "unreachable", "%s", reason.text);
	else if (error.code)
		*ret_exit = cli_fail(cli, CLI_FAILED, error.code, "%s", error.message);
	if (*ret_exit == CLI_OK)
		return document;
	json_decref(document);
	return NULL;
}

static unsigned long long count(const json_t *object, const char *key)
{
	return (unsigned long long)json_integer_value(json_object_get(object, key));
}

/* ---- peers ---- */

/* "10.9.0.2/32,fd00::2/128" as a list. */
static json_t *list_of(const char *text)
{
	json_t *list = json_array();

	while (*text) {
		size_t len = strcspn(text, ",");

		if (len > 0)
			json_array_append_new(list, json_stringn(text, len));
		text += len + (text[len] == ',');
	}
	return list;
}

/* The gateway reads the file by its own working directory: name it whole. */
static json_t *file_path(const char *path)
{
	char *whole = realpath(path, NULL);
	json_t *text = json_string(whole ? whole : path);

	free(whole);
	return text;
}

/* The peers that a file describes; "-": standard input. */
static json_t *read_file(const struct cli *cli, const char *path, int *ret_exit)
{
	json_error_t error;
	json_t *body;

	if (strcmp(path, "-") == 0)
		body = json_loadf(stdin, JSON_REJECT_DUPLICATES, &error);
	else
		body = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	if (!body)
		*ret_exit = cli_fail(
			cli, CLI_FAILED, "bad_file", "%s:%d: %s", path, error.line, error.text);
	return body;
}

/* One option of add and set, into the peer. Returns false for a value that cannot be. */
static bool take_option(struct cli_peers_options *options, int option)
{
	char *end = optarg;
	long number;

	switch (option) {
	case 'P':
		json_object_set_new(options->peer, "public_key", json_string(optarg));
		break;
	case 'A':
		json_object_set_new(options->peer, "allowed_ips", list_of(optarg));
		break;
	case 'E':
		json_object_set_new(options->peer, "endpoint", json_string(optarg));
		break;
	case 'K':
		number = strtol(optarg, &end, 10);
		if (end == optarg || *end)
			return false;
		json_object_set_new(options->peer, "keepalive", json_integer(number));
		break;
	case 'F':
		json_object_set_new(options->peer, "fixed_endpoint", json_true());
		break;
	case 'p':
		json_object_set_new(options->peer, "preshared_key_file", file_path(optarg));
		break;
	case 'f':
		options->file = optarg;
		break;
	default:
		return false;
	}
	return true;
}

int cli_peers_options(struct cli *cli, int argc, char **argv, struct cli_peers_options *ret_options)
{
	struct cli_peers_options options = {.peer = json_object()};
	int option;

	while ((option = cli_next_option(cli, argc, argv)) >= 0) {
		if (!take_option(&options, option)) {
			json_decref(options.peer);
			return usage(cli, "--keepalive: a number of seconds");
		}
	}
	*ret_options = options;
	if (option == -1)
		return -1;
	json_decref(options.peer);
	return option == CLI_OPTION_HELP ? CLI_OK : CLI_USAGE;
}

/* The body of add and set: of the file, or the one peer of the options. NULL: told, *ret_exit. */
static json_t *body_of(
	struct cli *cli, const struct cli_peers_options *options, char **names, int *ret_exit)
{
	if (options->file && (names[0] || json_object_size(options->peer))) {
		*ret_exit = usage(cli, "--file brings whole peers: no name and no other option");
		return NULL;
	}
	if (options->file)
		return read_file(cli, options->file, ret_exit);
	if (!names[0] || names[1]) {
		*ret_exit = usage(cli, "one name, or --file FILE");
		return NULL;
	}
	json_object_set_new(options->peer, "name", json_string(names[0]));
	return json_incref(options->peer);
}

static json_t *names_to_remove(char **names)
{
	json_t *list = json_array();

	for (size_t i = 0; names[i]; i++)
		json_array_append_new(list, json_string(names[i]));
	return json_pack("{s:o}", "remove", list);
}

int cli_peers_change(
	struct cli *cli, const char *verb, const struct cli_peers_options *options, char **names)
{
	bool is_removal = strcmp(verb, "remove") == 0;
	json_t *body, *answer;
	int exit_code = CLI_FAILED;

	if (is_removal && (options->file || json_object_size(options->peer) || !names[0]))
		return usage(cli, "remove: names of peers");
	body = is_removal ? names_to_remove(names) : body_of(cli, options, names, &exit_code);
	if (!body)
		return exit_code;
	answer = ask(cli, strcmp(verb, "add") == 0 ? "/v1/peers?new=true" : "/v1/peers", body,
		&exit_code);
	if (!answer)
		return exit_code;
	if (cli->is_json)
		return cli_print_json(answer);
	printf("%llu added, %llu changed, %llu removed, %llu as before; %llu peer(s) now\n",
		count(answer, "added"), count(answer, "changed"), count(answer, "removed"),
		count(answer, "unchanged"), count(answer, "peers"));
	json_decref(answer);
	return cli_flush();
}

/* ---- reload ---- */

int cli_reload(struct cli *cli, int argc, char **argv)
{
	json_t *answer, *peers, *key;
	int exit_code;
	size_t i;

	if (!cli_no_options(cli, argc, argv, &exit_code))
		return exit_code;
	answer = ask(cli, "/v1/reload", json_object(), &exit_code);
	if (!answer)
		return exit_code;
	exit_code = json_array_size(json_object_get(answer, "needs_restart")) ? CLI_NEEDS_RESTART
									      : CLI_OK;
	if (cli->is_json)
		return cli_print_json(answer) == CLI_OK ? exit_code : CLI_FAILED;
	peers = json_object_get(answer, "peers");
	printf("reloaded: peers %llu added, %llu changed, %llu removed, %llu as they were%s%s\n",
		count(peers, "added"), count(peers, "changed"), count(peers, "removed"),
		count(peers, "unchanged"),
		json_is_true(json_object_get(answer, "filter_changed")) ? "; filter changed" : "",
		json_is_true(json_object_get(answer, "log_level_changed")) ? "; log level changed"
									   : "");
	json_array_foreach (json_object_get(answer, "needs_restart"), i, key)
		printf("changed %s needs a restart\n", json_string_value(key));
	json_decref(answer);
	return cli_flush() == CLI_OK ? exit_code : CLI_FAILED;
}
