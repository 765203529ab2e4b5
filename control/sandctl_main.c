/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandctl, the operator's command line: the table of commands, the options that all share, and the way
 * to one of them. Each command is a function in a cli_*.c; it asks the gateway over its Unix socket.
 */
#include "cli_command.h"

#include "ctl_config.h"

#include <curl/curl.h>
#include <stdlib.h>

static const struct option no_options[] = {{0}};
static const struct option peers_options[] = {
	{"public-key", required_argument, NULL, 'P'},
	{"allowed-ips", required_argument, NULL, 'A'},
	{"endpoint", required_argument, NULL, 'E'},
	{"keepalive", required_argument, NULL, 'K'},
	{"fixed-endpoint", no_argument, NULL, 'F'},
	{"preshared-key", required_argument, NULL, 'p'},
	{"file", required_argument, NULL, 'f'},
	{0},
};
static const struct option ping_options[] = {
	{"count", required_argument, NULL, 'n'},
	{0},
};
static const struct option login_options[] = {
	{"authkey-file", required_argument, NULL, 'k'},
	{0},
};
static const struct option exec_options[] = {
	{"timeout", required_argument, NULL, 't'},
	{"env", required_argument, NULL, 'e'},
	{"cwd", required_argument, NULL, 'C'},
	{0},
};
static const struct option stats_options[] = {
	{"watch", required_argument, NULL, 'w'},
	{"explain", no_argument, NULL, 'e'},
	{0},
};
static const struct option trace_options[] = {
	{"peer", required_argument, NULL, 'p'},
	{"count", required_argument, NULL, 'n'},
	{"seconds", required_argument, NULL, 's'},
	{0},
};
static const struct option capture_options[] = {
	{"side", required_argument, NULL, 'i'},
	{"peer", required_argument, NULL, 'p'},
	{"count", required_argument, NULL, 'n'},
	{"seconds", required_argument, NULL, 's'},
	{"snaplen", required_argument, NULL, 'l'},
	{"out", required_argument, NULL, 'o'},
	{"force", no_argument, NULL, 'f'},
	{0},
};
static const struct option peer_config_options[] = {
	{"endpoint", required_argument, NULL, 'E'},
	{"out", required_argument, NULL, 'o'},
	{"key", required_argument, NULL, 'k'},
	{"preshared-key", required_argument, NULL, 'p'},
	{"address", required_argument, NULL, 'a'},
	{0},
};

const struct cli_command cli_commands[] = {
	{"status", "", "what runs, on which ports and CPUs, since when", "", no_options,
		cli_status},
	{"peers",
		"[NAME]\n"
		"       sandctl peers add|set NAME --public-key KEY --allowed-ips PREFIX,...\n"
		"               [--endpoint ADDR:PORT] [--keepalive S] [--fixed-endpoint]\n"
		"               [--preshared-key FILE]\n"
		"       sandctl peers add|set --file FILE\n"
		"       sandctl peers remove NAME...",
		"the tunnel's peers; of one, everything; add, change, remove",
		"  --public-key KEY      base64, as wg pubkey prints it\n"
		"  --allowed-ips LIST    its addresses in the mesh, commas between them\n"
		"  --endpoint ADDR:PORT  where it is; without, it has to speak first\n"
		"  --keepalive S         an empty packet every S seconds (default 0: none)\n"
		"  --fixed-endpoint      it does not roam\n"
		"  --preshared-key FILE  read by the gateway, which must be allowed to\n"
		"  --file FILE           JSON: a peer, a list of peers, or {\"set\": [peers],\n"
		"                        \"remove\": [names]}, done as a whole; - is standard "
		"input\n"
		"\n"
		"add refuses a name that is there already; set adds it or makes it so. These "
		"peers\n"
		"live until they are removed or the gateway ends; those of the configuration file\n"
		"are changed there (sandctl reload).\n",
		peers_options, cli_peers},
	{"ping", "NAME [--count N]", "ask a node of the mesh which way it is reached, and how fast",
		"  --count N   so many, one a second (default 1)\n"
		"\n"
		"A disco ping, outside of the tunnel; NAME may be an address of the mesh. Exit "
		"code: 0 if\n"
		"any was answered.\n",
		ping_options, cli_ping},
	{"ip", "[NAME]", "addresses in the mesh: this gateway's, or a node's", "", no_options,
		cli_ip},
	{"whois", "ADDRESS", "whose address of the mesh it is; a name will do, too", "", no_options,
		cli_whois},
	{"login", "[--authkey-file FILE]", "log this node in, or renew its key",
		"  --authkey-file FILE  a pre-auth key, one line; - is standard input\n"
		"\n"
		"Without a key the server may have one from before, or says which URL to open.\n",
		login_options, cli_login},
	{"logout", "", "end this node on its server and wipe its keys", "", no_options, cli_logout},
	{"up", "", "connect to the mesh's server", "", no_options, cli_up},
	{"down", "", "disconnect from it: peers of the mesh go until the next up", "", no_options,
		cli_down},
	{"filter", "", "the packet filter in force, and what each rule has let in", "", no_options,
		cli_filter},
	{"events", "", "changes as they happen, until interrupted",
		"With --json a line is {\"event\", \"data\"}. Events: mesh_state, key_expiry, "
		"peer,\n"
		"path, daemon.\n",
		no_options, cli_events},
	{"reload", "", "read the configuration file again, change what can be changed",
		"What cannot follow while the gateway runs is named.\n"
		"Exit code: 0 all of it followed, 1 nothing did (the file is wrong), 3 some of it\n"
		"needs a restart.\n",
		no_options, cli_reload},
	{"stats", "[--watch S] [--explain]",
		"traffic, cycles per packet and stage, bursts, queues, drops by reason",
		"  --watch S   again every S seconds: what was counted in them\n"
		"  --explain   every drop reason with what it means\n"
		"\n"
		"GET /metrics on the socket has the same numbers for Prometheus and its like.\n",
		stats_options, cli_stats},
	{"trace", "[--peer NAME] [--count N] [--seconds S]",
		"packets as they pass: where each ended, why, and whose it was",
		"  --peer NAME   of this peer alone\n"
		"  --count N     end after so many (default 1000)\n"
		"  --seconds S   end after so long (default 60)\n"
		"\n"
		"A line is the end of a packet on a thread: time, worker, direction, place of the\n"
		"walk, verdict (sent, delivered, staged..., or the reason of a drop; sandctl "
		"stats\n"
		"--explain tells what they mean), peer, outer addresses, inner ones. No payloads.\n"
		"Interrupt it to end it early.\n",
		trace_options, cli_trace},
	{"capture",
		"--side inner|outer -o FILE\n"
		"               [--peer NAME] [--count N] [--seconds S] [--snaplen BYTES] "
		"[--force]",
		"packets into a file for tcpdump, tshark or Wireshark",
		"  --side SIDE      inner: decrypted packets; outer: Ethernet frames\n"
		"  -o, --out FILE   pcapng, mode 0600; - is standard output\n"
		"  --peer NAME      of this peer alone\n"
		"  --count N        end after so many (default 10000)\n"
		"  --seconds S      end after so long (default 60)\n"
		"  --snaplen BYTES  of each packet (default 2048, the most)\n"
		"  --force          overwrite FILE\n"
		"\n"
		"Inner packets that were dropped are there too; the comment of each says what "
		"became\n"
		"of it. The gateway's log says who captured. Interrupt it to end it early. Live:\n"
		"  sandctl capture --side inner -o - | tcpdump -nr -\n",
		capture_options, cli_capture},
	{"daemons", "", "connected daemons", "", no_options, cli_daemons},
	{"exec",
		"ID [--timeout S]\n"
		"               [--env NAME=VALUE]... [--cwd DIR] -- COMMAND...",
		"run a command on a daemon",
		"  --timeout S        seconds it may take (default 300); it is killed then\n"
		"  --env NAME=VALUE   set a variable for it; may be given again\n"
		"  --cwd DIR          run it in this directory of the daemon's machine\n"
		"\n"
		"One word is a line for the daemon's shell; several are a command and its\n"
		"arguments, each kept whole:\n"
		"  sandctl exec worker-1 -- 'make -j8 2>&1 | tail'\n"
		"  sandctl exec worker-1 -- grep 'two words' file\n"
		"\n"
		"Exit code: the command's own; 124 timeout, 125 sandctl or the gateway, 126 no\n"
		"such daemon, 127 the daemon was lost on the way, 255 the command was killed.\n",
		exec_options, cli_exec},
	{"peer-config",
		"NAME [--endpoint HOST:PORT]\n"
		"               [-o FILE] [--address ADDR] [--key FILE] [--preshared-key FILE]",
		"a configuration for the other end of the tunnel",
		"  --endpoint HOST:PORT  where it reaches this gateway (default: the port's "
		"address)\n"
		"  -o, --out FILE        write it there (mode 0600) instead of standard output\n"
		"  --address ADDR        its address in the mesh (default: a free one)\n"
		"  --key FILE            its private key (default: a new one is made)\n"
		"  --preshared-key FILE  a preshared key (sandd-gw keygen makes one)\n"
		"\n"
		"What to paste into the gateway's configuration goes to standard error.\n",
		peer_config_options, cli_peer_config},
};
const size_t cli_n_commands = BASE_ARRAY_LEN(cli_commands);

enum { OPTION_JSON = 1000, OPTION_SOCKET, OPTION_HELP, OPTION_VERSION };

/* Understood before the command and after it. */
static const struct option common_options[] = {
	{"json", no_argument, NULL, OPTION_JSON},
	{"socket", required_argument, NULL, OPTION_SOCKET},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
};
#define OPTIONS_MAX 16

static void print_help(void)
{
	puts("sandctl: see and use a running sandd-gw\n"
	     "\n"
	     "usage: sandctl [--socket PATH] [--json] COMMAND [ARGUMENTS]\n");
	for (size_t i = 0; i < cli_n_commands; i++)
		printf("  %-12s %s\n", cli_commands[i].name, cli_commands[i].summary);
	puts("\n"
	     "  --socket PATH  the gateway's socket (default $SANDD_GW_SOCKET, or\n"
	     "                 " CTL_SOCKET_DEFAULT ")\n"
	     "  --json         one JSON document on standard output, errors too\n"
	     "  --help         this; after a command, of that command\n"
	     "  --version      version");
}

static void print_command_help(const struct cli_command *command)
{
	printf("sandctl %s: %s\n\nusage: sandctl [--socket PATH] [--json] %s%s%s\n", command->name,
		command->summary, command->name, *command->synopsis ? " " : "", command->synopsis);
	if (*command->details)
		printf("\n%s", command->details);
}

/* One of the common options. Returns what cli_next_option() is to return, or 0 to go on. */
static int take_common(struct cli *cli, int option)
{
	switch (option) {
	case OPTION_JSON:
		cli->is_json = true;
		return 0;
	case OPTION_SOCKET:
		cli->socket = optarg;
		return 0;
	case OPTION_HELP:
		if (cli->command)
			print_command_help(cli->command);
		else
			print_help();
		return CLI_OPTION_HELP;
	case OPTION_VERSION:
		puts("sandctl " SANDD_VERSION);
		return CLI_OPTION_HELP;
	default:
		return option;
	}
}

/* getopt's complaint in our form. */
static int wrong_option(const struct cli *cli, int option, char **argv)
{
	const char *name = cli->command ? cli->command->name : "", *space = *name ? " " : "";
	bool is_exec = cli->command && cli->command->run == cli_exec;
	char letter[] = {'-', (char)optopt, '\0'};
	/* An unknown letter may stand inside a word, and be told in optopt only. */
	const char *word = option == '?' && optopt > 0 && optopt < 256 ? letter : argv[optind - 1];

	cli_fail(cli, 0, "usage", "%s%s%s: %s; sandctl %s%s--help tells the options%s", name, space,
		word, option == ':' ? "needs a value" : "no such option, or not with this value",
		name, space, is_exec ? "; the command's own go after --" : "");
	return CLI_OPTION_WRONG;
}

int cli_next_option(struct cli *cli, int argc, char **argv)
{
	const struct option *own = cli->command ? cli->command->options : no_options;
	struct option options[OPTIONS_MAX] = {0};
	/* Before the command the first word ends the options; after it they may be mixed. */
	const char *letters = cli->command ? ":" : "+:";
	int option, verdict;
	size_t n = 0;

	for (; own[n].name; n++)
		options[n] = own[n];
	memcpy(&options[n], common_options, sizeof(common_options));
	/* -o is the one short option that commands have, as it is with other programs that write a file. */
	for (size_t i = 0; i < n; i++)
		if (options[i].val == 'o')
			letters = ":o:";
	do {
		option = getopt_long(argc, argv, letters, options, NULL);
		if (option == '?' || option == ':')
			return wrong_option(cli, option, argv);
		if (option == -1)
			return -1;
		verdict = take_common(cli, option);
	} while (verdict == 0);
	return verdict;
}

bool cli_arguments(struct cli *cli, int argc, char **argv, int min, int max, int *ret_exit)
{
	int option = cli_next_option(cli, argc, argv), n = argc - optind;

	*ret_exit = option == CLI_OPTION_HELP ? CLI_OK : CLI_USAGE;
	if (option != -1)
		return false;
	if (n >= min && n <= max)
		return true;
	if (max == 0)
		cli_fail(cli, 0, "usage", "%s takes no arguments", cli->command->name);
	else
		cli_fail(cli, 0, "usage", "%s needs %s %s", cli->command->name,
			min == max ? "one" : "at most one", cli->command->synopsis);
	return false;
}

bool cli_no_options(struct cli *cli, int argc, char **argv, int *ret_exit)
{
	return cli_arguments(cli, argc, argv, 0, 0, ret_exit);
}

static const struct cli_command *find_command(const char *name)
{
	for (size_t i = 0; i < cli_n_commands; i++)
		if (strcmp(name, cli_commands[i].name) == 0)
			return &cli_commands[i];
	return NULL;
}

/* The arguments after the command's name; getopt starts anew on them. */
static int run_command(struct cli *cli, int argc, char **argv)
{
	int exit_code;

	cli->command = find_command(argv[0]);
	if (!cli->command)
		return cli_fail(cli, CLI_USAGE, "usage", "no command %s; sandctl --help lists them",
			argv[0]);
	/* No TLS on a Unix socket: nothing of it is initialised. */
	if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK)
		return cli_fail(cli, CLI_FAILED, "no_memory", "libcurl does not start");
	optind = 0;
	exit_code = cli->command->run(cli, argc, argv);
	curl_global_cleanup();
	return exit_code;
}

int main(int argc, char *argv[])
{
	const char *from_environment = getenv("SANDD_GW_SOCKET");
	struct cli cli = {.socket = from_environment ? from_environment : CTL_SOCKET_DEFAULT};
	int option = cli_next_option(&cli, argc, argv);

	if (option != -1)
		return option == CLI_OPTION_HELP ? CLI_OK : CLI_USAGE;
	if (!argv[optind]) {
		print_help();
		return CLI_USAGE;
	}
	return run_command(&cli, argc - optind, argv + optind);
}
