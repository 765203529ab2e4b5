/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file: one case per mistake, with the exact line that a person gets; defaults;
 * and what --check-config prints loads again to the same. "@" in a text stands for the suite's directory.
 */
#include "ctl_config.h"

#include "cr_noise.h"
#include "ctl_schema.c"
#include "ctl_test.h"

#include <netinet/in.h>
#include <sched.h>

/* Three public keys: of 32 bytes 01.., 02.., 03..: any but a low-order point will do. */
#define KEY_1 "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
#define KEY_2 "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
#define KEY_ZERO "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
/* The private key of the suite's gateway, and its public half (RFC 7748, section 6.1, Alice). */
#define PRIVATE_KEY "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="
#define OWN_KEY "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="

/* A tunnel in eight lines; cases add theirs from line 9 on. */
#define TUNNEL                                                                                     \
	"private_key_file: @/private.key\n"                                                        \
	"ports:\n"                                                                                 \
	"  - kind: af_xdp\n"                                                                       \
	"    device: eth0\n"                                                                       \
	"host:\n"                                                                                  \
	"  addresses:\n"                                                                           \
	"    - 10.9.0.1/24\n"                                                                      \
	"\n"
/* A node of a mesh in five; from line 6 on. */
#define MESH                                                                                       \
	"ports:\n"                                                                                 \
	"  - {kind: af_xdp, device: eth0}\n"                                                       \
	"mesh:\n"                                                                                  \
	"  server: http://192.168.7.1:8080\n"                                                      \
	"  hostname: gw1\n"
#define PEER_1 "  - {name: a, public_key: " KEY_1 ", allowed_ips: [10.9.0.2/32]}\n"

struct bad_case {
	const char *name, *text, *line;
};

static const struct bad_case bad_cases[] = {
	{"empty", "", "1: the file is empty; sandd-gw.example.yaml shows every key"},
	{"only comments", "# nothing\n\n",
		"1: the file is empty; sandd-gw.example.yaml shows every key"},
	{"a list", "- a\n",
		"1: not a list of \"key: value\" lines; sandd-gw.example.yaml shows every key"},
	{"tab", "listen_port: 1\n\tx: 2\n",
		"2: not YAML: while scanning a plain scalar, found a tab character that violates "
		"indentation; indent with spaces, put \": \" between key and value"},
	{"two documents", "listen_port: 1\n---\nidle: poll\n",
		"2: a second document (\"---\"); put everything into one"},
	{"alias", "listen_port: &a 1\nmemory_mb: *a\n",
		"2: memory_mb: aliases (*name) are not supported; write the value out"},
	{"nothing to do", "log_level: info\n",
		"1: neither ports (a tunnel) nor controller.direct (without one): nothing to do; "
		"sandd-gw.example.yaml shows both"},

	{"unknown key", TUNNEL "listen_prot: 1\n",
		"9: listen_prot: unknown key; known here: listen_port, private_key_file, ports, "
		"workers, "
		"control_cpu, idle, crypto, memory_mb, telemetry, host, mesh, controller, api, "
		"filter, peers, log_level"},
	{"unknown key in a group", TUNNEL "api:\n\n  sock: /x\n",
		"11: api.sock: unknown key; known here: socket, group"},
	{"unknown key in a list", TUNNEL "peers:\n" PEER_1 "  - name: b\n    pubkey: x\n",
		"12: peers[1].pubkey: unknown key; known here: name, public_key, "
		"preshared_key_file, "
		"endpoint, allowed_ips, keepalive, fixed_endpoint"},
	{"odd unknown key", TUNNEL "a.b[3]: 1\nidle: poll\n",
		"9: a.b[3]: unknown key; known here: listen_port, private_key_file, ports, "
		"workers, "
		"control_cpu, idle, crypto, memory_mb, telemetry, host, mesh, controller, api, "
		"filter, peers, log_level"},
	{"key given twice", TUNNEL "idle: poll\nlog_level: info\nidle: poll\n",
		"11: idle: given twice in one group; remove one"},

	{"word for a number", TUNNEL "listen_port: many\n",
		"9: listen_port: 'many' is not a whole number from 0 to 65535"},
	{"number too large", TUNNEL "listen_port: 65536\n",
		"9: listen_port: '65536' is not a whole number from 0 to 65535"},
	{"negative number", TUNNEL "memory_mb: -1\n",
		"9: memory_mb: '-1' is not a whole number from 0 to 4294967295"},
	{"fraction", TUNNEL "listen_port: 51820.5\n",
		"9: listen_port: '51820.5' is not a whole number from 0 to 65535"},
	{"number with a tail", TUNNEL "peers:\n  - {name: a, keepalive: 25s}\n",
		"10: peers[0].keepalive: '25s' is not a whole number from 0 to 65535"},
	{"octal", TUNNEL "workers:\n  cpus: [1, 010]\n",
		"10: workers.cpus[1]: '010' is not a whole number from 0 to 4294967295"},
	{"control character", TUNNEL "log_level: \x1b[31m\n",
		"9: not text: control characters are not allowed; write the file in UTF-8"},
	{"list for a number", TUNNEL "listen_port: [1]\n",
		"9: listen_port: wrong type; it must be a whole number from 0 to 65535"},
	{"number for a list", TUNNEL "peers: 5\n",
		"9: peers: wrong type; it must be a list (\"- entry\" lines or [a, b])"},
	{"word for a group", TUNNEL "controller: yes\n",
		"9: controller: wrong type; it must be a group of \"key: value\" lines"},
	{"group for a text", TUNNEL "peers:\n  - name: {a: b}\n",
		"10: peers[0].name: wrong type; it must be a text of at most 4096 bytes"},
	{"no such choice", TUNNEL "idle: sleepy\n",
		"9: idle: sleepy is not one of: poll, adaptive"},
	{"word for true or false", TUNNEL "peers:\n  - name: a\n    fixed_endpoint: maybe\n",
		"11: peers[0].fixed_endpoint: maybe is not one of: false, true"},
	{"list in a list", TUNNEL "peers:\n  - name: a\n    allowed_ips: [[a]]\n",
		"11: peers[0].allowed_ips[0]: wrong type; it must be a text of at most 4096 bytes"},

	{"ports without a key", "ports: [{kind: af_xdp, device: eth0}]\n",
		"1: private_key_file: missing; ports need a key: sandd-gw keygen "
		"/etc/sandd-gw/private.key"},
	{"ports without host addresses",
		"private_key_file: @/private.key\nports: [{kind: af_xdp, device: eth0}]\n",
		"1: host.addresses: missing; ports need an address of this gateway in the mesh: "
		"[10.9.0.1/24]"},
	{"peers without ports", "peers:\n" PEER_1,
		"1: peers: is of a tunnel, but there are no ports; add ports: [{kind: af_xdp, "
		"device: "
		"eth0}]"},
	{"key without ports", "controller:\n  direct: 127.0.0.1:1\nprivate_key_file: x\n",
		"3: private_key_file: is of a tunnel, but there are no ports; add ports: [{kind: "
		"af_xdp, "
		"device: eth0}]"},
	{"no ports in the list", "ports: []\n",
		"1: ports: empty; a tunnel needs one, such as - {kind: af_xdp, device: eth0}"},
	{"port without kind", "ports: [{device: eth0}]\n",
		"1: ports[0].kind: missing; af_xdp, or af_packet where the kernel lacks it"},
	{"port without device", "ports:\n  - kind: af_xdp\n",
		"2: ports[0].device: missing; name a network interface (ip link lists them)"},
	{"device name too long", "ports:\n  - kind: af_xdp\n    device: abcdefghijklmnop\n",
		"3: ports[0].device: 'abcdefghijklmnop' is no interface name: at most 15 "
		"characters, no "
		"spaces or slashes"},
	{"one device twice",
		"ports:\n  - {kind: af_xdp, device: e}\n  - {kind: af_packet, device: e}\n",
		"3: ports[1].device: e is the device of ports[0] already"},
	{"listen port 0", TUNNEL "listen_port: 0\n",
		"9: listen_port: 0 is no port; peers must know it: 1 to 65535, 51820 by custom"},

	{"key file missing", "private_key_file: @/none\nports: [{kind: af_xdp, device: eth0}]\n",
		"1: private_key_file: key file @/none does not exist; make it: sandd-gw keygen "
		"@/none"},
	{"key file too short",
		"private_key_file: @/short.key\nports: [{kind: af_xdp, device: e}]\n",
		"1: private_key_file: key file @/short.key: 43 characters that are no key; it must "
		"be one "
		"line of 44 base64 characters, as sandd-gw keygen writes"},

	{"CPU that is not there", TUNNEL "workers:\n  cpus:\n    - 4000\n",
		"11: workers.cpus[0]: CPU 4000 is not there, or not for this process; see: taskset "
		"-cp "
		"$$"},
	{"no worker", TUNNEL "workers: {cpus: []}\n",
		"9: workers.cpus: give 1 to 64 CPU numbers, or leave workers out"},
	{"control CPU that is not there", TUNNEL "control_cpu: 4000\n",
		"9: control_cpu: CPU 4000 is not there, or not for this process; see: taskset -cp "
		"$$"},
	{"too much memory", TUNNEL "memory_mb: 2000000\n",
		"9: memory_mb: 2000000 MB is more than 1048576; leave it out to reserve what the "
		"ports "
		"need"},

	{"controller off the mesh", TUNNEL "controller: {listen: 10.9.0.7:8765}\n",
		"9: controller.listen: '10.9.0.7:8765' is none of host.addresses; to listen "
		"outside of "
		"the mesh use controller.direct"},
	{"direct without a port", "controller:\n  direct: 127.0.0.1\n",
		"2: controller.direct: '127.0.0.1' is not ADDRESS:PORT, such as 10.9.0.1:8765 or "
		"[fd00::1]:8765"},
	{"a line break in a value", "controller:\n  direct: \"127.0.0.1\\x07\"\n",
		"2: controller.direct: '127.0.0.1?' is not ADDRESS:PORT, such as 10.9.0.1:8765 or "
		"[fd00::1]:8765"},
	{"group that is not there",
		"controller: {direct: 127.0.0.1:1}\napi: {group: no-such-group}\n",
		"2: api.group: no group 'no-such-group' on this machine; make it: groupadd "
		"--system "
		"no-such-group"},
	{"relative socket", "controller: {direct: 127.0.0.1:1}\napi: {socket: api.sock}\n",
		"2: api.socket: 'api.sock' is not an absolute path of at most 107 characters"},

	{"rule with host bits", TUNNEL "filter:\n  - {from: 10.9.0.1/24}\n",
		"10: filter[0].from: '10.9.0.1/24' is not an address or a prefix without host "
		"bits, such "
		"as 10.9.0.0/24"},
	{"rule across families", TUNNEL "filter:\n  - {from: 10.9.0.0/24, to: fd00::1}\n",
		"10: filter[0].to: from and to are of different families; write one rule for each"},
	{"rule for no protocol", TUNNEL "filter:\n  - {}\n  - {proto: sctp}\n",
		"11: filter[1].proto: 'sctp' is none of: any, tcp, udp, icmp, or a protocol number "
		"from 1 "
		"to 255"},
	{"ports without protocol", TUNNEL "filter:\n  - {ports: 80}\n",
		"10: filter[0].ports: ports are of tcp or udp; add proto: tcp to this rule"},
	{"ports the wrong way round", TUNNEL "filter:\n  - {proto: tcp, ports: 90-80}\n",
		"10: filter[0].ports: '90-80' is not a port or a range, such as 8765 or 8000-8999"},
	{"port above the range", TUNNEL "filter:\n  - {proto: tcp, ports: 65536}\n",
		"10: filter[0].ports: '65536' is not a port or a range, such as 8765 or 8000-8999"},

	{"peer without a name", TUNNEL "peers:\n  - public_key: " KEY_1 "\n",
		"10: peers[0].name: missing; logs and sandctl call the peer by it"},
	{"peer with an odd name", TUNNEL "peers:\n  - name: \"a b\"\n",
		"10: peers[0].name: 'a b' is no name: letters, digits, '.', '_' and '-', at most "
		"63"},
	{"peer without a key", TUNNEL "peers:\n" PEER_1 "  - name: b\n",
		"11: peers[1].public_key: missing; sandctl peer-config b makes a key pair and "
		"prints it"},
	{"key too short", TUNNEL "peers:\n  - name: a\n    public_key: AQEB\n",
		"11: peers[0].public_key: 4 characters where a key has 44; paste the peer's public "
		"key "
		"whole"},
	{"key that is not base64",
		TUNNEL "peers:\n  - name: a\n    public_key: "
		       "?QEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n",
		"11: peers[0].public_key: not base64 of 32 bytes; paste the peer's public key "
		"whole"},
	{"own key", TUNNEL "peers:\n  - {name: a, public_key: " OWN_KEY "}\n",
		"10: peers[0].public_key: the gateway's own key; paste the peer's (on the peer: wg "
		"pubkey "
		"< its key)"},
	{"low-order key", TUNNEL "peers:\n  - {name: a, public_key: " KEY_ZERO "}\n",
		"10: peers[0].public_key: no usable key (a point of low order); paste the peer's "
		"public "
		"key again"},
	{"preshared key missing",
		TUNNEL "peers:\n  - name: a\n    public_key: " KEY_1
		       "\n    preshared_key_file: @/psk\n",
		"12: peers[0].preshared_key_file: key file @/psk does not exist; make it: sandd-gw "
		"keygen "
		"@/psk"},
	{"endpoint by name",
		TUNNEL "peers:\n  - {name: a, public_key: " KEY_1
		       ", endpoint: \"a.example:51820\"}\n",
		"10: peers[0].endpoint: 'a.example:51820' is not ADDRESS:PORT, such as "
		"192.0.2.7:51820 or "
		"[2001:db8::7]:51820; names are not resolved"},
	{"endpoint with port 0",
		TUNNEL "peers:\n  - {name: a, public_key: " KEY_1 ", endpoint: \"192.0.2.7:0\"}\n",
		"10: peers[0].endpoint: '192.0.2.7:0' is not ADDRESS:PORT, such as 192.0.2.7:51820 "
		"or "
		"[2001:db8::7]:51820; names are not resolved"},
	{"endpoint that is the gateway's own",
		TUNNEL "peers:\n  - {name: a, public_key: " KEY_1
		       ", endpoint: \"10.9.0.1:51820\"}\n",
		"10: peers[0].endpoint: the gateway's own address (host.addresses[0]) and "
		"listen_port; give the peer's"},
	{"fixed endpoint without one",
		TUNNEL "peers:\n  - {name: a, public_key: " KEY_1 ", fixed_endpoint: true}\n",
		"10: peers[0].fixed_endpoint: nothing to hold on to; add the peer's endpoint"},
	{"peer without allowed IPs", TUNNEL "peers:\n  - {name: a, public_key: " KEY_1 "}\n",
		"10: peers[0].allowed_ips: missing; no packet could pass: give the peer's mesh "
		"addresses, "
		"such as [10.9.0.2/32]"},
	{"allowed IP with host bits",
		TUNNEL "peers:\n  - name: a\n    public_key: " KEY_1
		       "\n    allowed_ips:\n      - 10.9.0.2/32\n      - 10.9.1.2/24\n",
		"14: peers[0].allowed_ips[1]: '10.9.1.2/24' is not a prefix without host bits, "
		"such as "
		"10.9.0.2/32 or 10.10.0.0/16"},
	{"allowed IP of the gateway",
		TUNNEL "peers:\n  - {name: a, public_key: " KEY_1 ", allowed_ips: [10.9.0.1]}\n",
		"10: peers[0].allowed_ips[0]: the gateway's own address (host.addresses[0]); give "
		"the "
		"peer's"},
	{"two peers of one name",
		TUNNEL "peers:\n" PEER_1 "  - {name: a, public_key: " KEY_2
		       ", allowed_ips: [10.9.0.3]}\n",
		"11: peers[1].name: peers[0] has the name a already; choose another"},
	{"two peers of one key",
		TUNNEL "peers:\n" PEER_1 "  - {name: b, public_key: " KEY_1
		       ", allowed_ips: [10.9.0.3]}\n",
		"11: peers[1].public_key: the key of peers[0] (a) already; each peer has a key of "
		"its "
		"own"},
	{"overlapping allowed IPs",
		TUNNEL "peers:\n" PEER_1 "  - {name: b, public_key: " KEY_2
		       ", allowed_ips: [10.9.0.3, 10.9.0.2]}\n",
		"11: peers[1].allowed_ips[1]: 10.9.0.2/32 of b is the same as 10.9.0.2/32, "
		"peers[0].allowed_ips[0] (a); an address leads to one peer: narrow or remove one"},
	{"allowed IPs around another peer's",
		TUNNEL "peers:\n" PEER_1 "  - {name: b, public_key: " KEY_2
		       ", allowed_ips: [10.8.0.0/16, 10.9.0.0/24]}\n",
		"11: peers[1].allowed_ips[1]: 10.9.0.0/24 of b overlaps 10.9.0.2/32, "
		"peers[0].allowed_ips[0] (a); an address leads to one peer: narrow or remove one"},
	{"allowed IPs inside another peer's, behind one of its own",
		TUNNEL "peers:\n"
		       "  - {name: a, public_key: " KEY_1
		       ", allowed_ips: [\"fd00::/16\", \"fd00:1::/32\"]}\n"
		       "  - {name: b, public_key: " KEY_2 ", allowed_ips: [\"fd00:2::/32\"]}\n",
		"11: peers[1].allowed_ips[0]: fd00:2::/32 of b overlaps fd00::/16, "
		"peers[0].allowed_ips[0] (a); an address leads to one peer: narrow or remove one"},
	{"bad host address",
		"private_key_file: @/private.key\nports: [{kind: af_xdp, device: e}]\n"
		"host:\n  addresses: [10.9.0.1/33]\n",
		"4: host.addresses[0]: '10.9.0.1/33' is not ADDRESS/BITS, such as 10.9.0.1/24 or "
		"fd00:9::1/64"},
	{"small MTU with IPv6",
		"private_key_file: @/private.key\nports: [{kind: af_xdp, device: e}]\n"
		"host:\n  addresses: [\"fd00::1/64\"]\n  mtu: 1279\n",
		"5: host.mtu: 1279 is out of range: 1280 (the least that IPv6 takes) to 1792"},
	{"MTU of a jumbo frame",
		"private_key_file: @/private.key\nports: [{kind: af_xdp, device: e}]\n"
		"host:\n  addresses: [10.9.0.1/24]\n  mtu: 1793\n",
		"5: host.mtu: 1793 is out of range: 576 to 1792"},

	{"mesh without a server",
		"ports: [{kind: af_xdp, device: e}]\nmesh:\n  accept_routes: true\n",
		"2: mesh.server: missing; the Headscale server, such as "
		"https://headscale.example.org"},
	{"mesh without ports", "controller: {direct: 127.0.0.1:1}\nmesh: {server: http://h}\n",
		"2: mesh: is of a tunnel, but there are no ports; add ports: [{kind: af_xdp, "
		"device: "
		"eth0}]"},
	{"server without a scheme",
		"ports: [{kind: af_xdp, device: e}]\nmesh: {server: headscale:8080}\n",
		"2: mesh.server: 'headscale:8080' is not http://HOST[:PORT] or "
		"https://HOST[:PORT]"},
	{"server with a path", "ports: [{kind: af_xdp, device: e}]\nmesh: {server: http://h/p}\n",
		"2: mesh.server: 'http://h/p' is not http://HOST[:PORT] or https://HOST[:PORT]"},
	{"server with a port too many",
		"ports: [{kind: af_xdp, device: e}]\nmesh: {server: http://h:65536}\n",
		"2: mesh.server: 'http://h:65536' is not http://HOST[:PORT] or "
		"https://HOST[:PORT]"},
	{"secret in the file", MESH "  authkey: hskey-auth-1\n",
		"6: mesh.authkey: a secret does not belong in here; put it into a file of mode "
		"0600 "
		"and name that in mesh.authkey_file"},
	{"secret in the file and beside it",
		MESH "  authkey: hskey-auth-1\n  authkey_file: @/short.key\n",
		"6: mesh.authkey: a secret does not belong in here, and there is an authkey_file "
		"already; put it into a file of mode 0600 and name that in mesh.authkey_file"},
	{"auth key that others read", MESH "  authkey_file: @/open.key\n",
		"6: mesh.authkey_file: auth key file @/open.key may be read by others (mode 0644); "
		"chmod 600 it, and have the server expire the key if others did"},
	{"empty auth key", MESH "  authkey_file: @/empty.key\n",
		"6: mesh.authkey_file: auth key file @/empty.key does not hold one line with a "
		"key; "
		"make one: headscale preauthkeys create"},
	{"short server key", MESH "  server_key: mkey:12\n",
		"6: mesh.server_key: not mkey: and 64 hex digits; curl SERVER/key?v=138 shows it "
		"as "
		"publicKey"},
	{"host name",
		"ports: [{kind: af_xdp, device: e}]\nmesh: {server: http://h, hostname: a_b}\n",
		"2: mesh.hostname: 'a_b' is no host name: letters, digits and hyphens, at most 63"},
	{"route with host bits", MESH "  advertise_routes: [10.1.0.0/16, 10.2.0.1/16]\n",
		"6: mesh.advertise_routes[1]: '10.2.0.1/16' is not a prefix without host bits, "
		"such "
		"as 10.1.0.0/16"},
	{"route given twice", MESH "  advertise_routes: [10.1.0.0/16, 10.1.0.0/16]\n",
		"6: mesh.advertise_routes[1]: given twice; remove one"},
	{"state here", MESH "  state_dir: state\n",
		"6: mesh.state_dir: 'state' is not an absolute path"},
	{"no map", MESH "  map_limit_mb: 0\n",
		"6: mesh.map_limit_mb: 0 is out of range: 1 to 1024, for a map as it travels"},
	{"key of its own", MESH "private_key_file: @/private.key\n",
		"6: private_key_file: a node of a mesh makes its key itself, in mesh.state_dir; "
		"remove this line"},
	{"addresses of its own", MESH "host: {addresses: [10.9.0.1/24]}\n",
		"6: host.addresses: the mesh's server gives the addresses; remove this line"},
	{"place to listen", MESH "controller: {listen: 10.9.0.1:8765}\n",
		"6: controller.listen: in a mesh the controller listens on the addresses that the "
		"server gives, port 8765; remove this line"},
};

static char warning[512];

static void on_warning(const char *line)
{
	snprintf(warning, sizeof(warning), "%s", line);
}

/* Copy with "@" as the suite's directory. */
static char *expand(const char *text)
{
	char *out = calloc(1, 16384), *at = out;

	assert_non_null(out);
	for (; *text; text++) {
		if (*text == '@')
			at += sprintf(at, "%s", test_dir);
		else
			*at++ = *text;
	}
	return out;
}

static struct ctl_config *load_text(const char *text, struct base_error *ret_error)
{
	char *expanded = expand(text), path[128];
	struct ctl_config *config;

	warning[0] = '\0';
	test_write("gw.yaml", expanded, strlen(expanded), 0644);
	free(expanded);
	config = ctl_config_load(test_path(path, "gw.yaml"), on_warning, ret_error);
	return config;
}

static struct ctl_config *load_good(const char *text)
{
	struct base_error err;
	struct ctl_config *config = load_text(text, &err);

	if (!config)
		fail_msg("%s", err.text);
	return config;
}

static void bad_input_is_told_in_one_line(void **state)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < BASE_ARRAY_LEN(bad_cases); i++) {
		struct base_error err = {""};
		char *wanted_line = expand(bad_cases[i].line), wanted[1024];
		struct ctl_config *config = load_text(bad_cases[i].text, &err);

		snprintf(wanted, sizeof(wanted), "%s/gw.yaml:%s", test_dir, wanted_line);
		free(wanted_line);
		if (!config && errno == EINVAL && strcmp(err.text, wanted) == 0)
			continue;
		print_error("case '%s':\n  got    %s\n  wanted %s\n", bad_cases[i].name,
			config ? "no error" : err.text, wanted);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void missing_file_is_told(void **state)
{
	struct base_error err;

	assert_null(ctl_config_load("/nonexistent/gw.yaml", NULL, &err));
	assert_int_equal(errno, ENOENT);
	assert_string_equal(err.text,
		"/nonexistent/gw.yaml: no such file; copy sandd-gw.example.yaml there, or name "
		"another "
		"with --config FILE");
	assert_null(ctl_config_load("/", NULL, &err));
	assert_string_equal(
		err.text, "/: Is a directory; --config needs a file that this user may read");
}

static void defaults_are_filled_in(void **state)
{
	struct ctl_config *config = load_good(TUNNEL);
	struct base_addr own;

	assert_true(config->has_tunnel);
	assert_int_equal(config->dp.listen_port, 51820);
	assert_int_equal(config->dp.n_workers, 1);
	assert_int_equal(config->dp.idle, DP_IDLE_ADAPTIVE);
	assert_string_equal(config->dp.crypto, "auto");
	assert_string_equal(config->dp.host_device, "sandd0");
	assert_int_equal(config->dp.host_mtu, 1280);
	assert_string_equal(config->socket, "/run/sandd-gw/api.sock");
	assert_int_equal(config->log_level, BASE_LOG_INFO);
	assert_int_equal(config->direct.addr.family, BASE_FAMILY_NONE);
	assert_int_equal(base_addr_parse(&own, "10.9.0.1"), 0);
	assert_true(base_addr_equal(&config->listen.addr, &own));
	assert_int_equal(config->listen.port, 8765);
	assert_string_equal(warning, "");
	ctl_config_free(config);
}

/* Default deny but for ping and the controller's port, to the gateway's own addresses. */
static void default_filter_lets_ping_and_controller_in(void **state)
{
	struct ctl_config *config = load_good(TUNNEL);

	assert_true(config->has_default_filter);
	assert_int_equal(config->dp.n_rules, 2);
	assert_int_equal(config->rules[0].proto, IPPROTO_ICMP);
	assert_int_equal(config->rules[0].dst.prefix.bits, 32);
	assert_true(base_addr_equal(&config->rules[0].dst.prefix.addr, &config->listen.addr));
	assert_int_equal(config->rules[1].proto, IPPROTO_TCP);
	assert_int_equal(config->rules[1].dst.port_first, 8765);
	assert_int_equal(config->rules[1].dst.port_last, 8765);
	ctl_config_free(config);

	config = load_good(TUNNEL "filter: []\n");
	assert_false(config->has_default_filter);
	assert_int_equal(config->dp.n_rules, 0);
	ctl_config_free(config);
}

static void icmp_is_both_kinds_without_a_family(void **state)
{
	struct ctl_config *config =
		load_good(TUNNEL "filter:\n  - {proto: icmp}\n  - {proto: icmp, from: fd00::/8}\n"
				 "  - {proto: 47}\n  - {proto: udp, ports: 5-9}\n  - {}\n");
	static const uint8_t wanted[] = {
		IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_ICMPV6, 47, IPPROTO_UDP, 0};

	assert_int_equal(config->dp.n_rules, BASE_ARRAY_LEN(wanted));
	for (size_t i = 0; i < BASE_ARRAY_LEN(wanted); i++)
		assert_int_equal(config->rules[i].proto, wanted[i]);
	assert_int_equal(config->rules[4].dst.port_first, 5);
	assert_int_equal(config->rules[4].dst.port_last, 9);
	ctl_config_free(config);
}

static void direct_mode_needs_no_tunnel(void **state)
{
	struct ctl_config *config = load_good("controller: {direct: \"[::1]:9000\"}\n");

	assert_false(config->has_tunnel);
	assert_int_equal(config->listen.addr.family, BASE_FAMILY_NONE);
	assert_int_equal(config->direct.port, 9000);
	ctl_config_free(config);
}

static void open_key_file_is_warned_of(void **state)
{
	char path[128], wanted[512];
	struct ctl_config *config;

	assert_int_equal(chmod(test_path(path, "private.key"), 0644), 0);
	config = load_good(TUNNEL);
	assert_int_equal(chmod(path, 0600), 0);
	snprintf(wanted, sizeof(wanted),
		"key file %s is open to every user of this machine (mode 0644); run: chmod 600 %s",
		path, path);
	assert_string_equal(warning, wanted);
	ctl_config_free(config);
}

static char *print_text(const struct ctl_config *config)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	ctl_config_print(config, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void printed_configuration_loads_again(void **state)
{
	static const char text[] =
		TUNNEL "peers:\n" PEER_1 "  - name: b\n    public_key: " KEY_2
		       "\n    preshared_key_file: @/psk.key\n"
		       "    endpoint: \"[2001:db8::7]:51820\"\n    allowed_ips: [10.9.0.3, "
		       "\"fd00::/64\"]\n"
		       "    keepalive: 25\n    fixed_endpoint: true\n"
		       "controller: {direct: 127.0.0.1:9000}\n"
		       "api: {group: root}\n"
		       "filter:\n  - {from: 10.9.0.2, to: 10.9.0.1, proto: tcp, ports: 22}\n"
		       "  - {proto: icmp}\n  - {}\n";
	struct ctl_config *first, *second;
	char *once, *twice;

	test_write("psk.key", KEY_1 "\n", 45, 0600);
	first = load_good(text);
	once = print_text(first);
	second = load_good(once);
	twice = print_text(second);
	assert_string_equal(once, twice);
	assert_int_equal(second->n_peers, 2);
	assert_int_equal(second->peers[1].dp.keepalive_s, 25);
	assert_true(second->peers[1].dp.endpoint_is_fixed);
	assert_int_equal(second->peers[1].dp.n_allowed_ips, 2);
	assert_false(cr_key_is_zero(&second->peers[1].dp.preshared_key));
	assert_non_null(strstr(once, OWN_KEY));
	/* No secret is shown. */
	assert_null(strstr(once, PRIVATE_KEY));
	free(once);
	free(twice);
	ctl_config_free(first);
	ctl_config_free(second);
}

/* A text's own signs are not the file's: a quote ends no quoted text, a line break makes no line. */
static void printed_text_keeps_every_character(void **state)
{
	static const char *const texts[] = {"/a\\\"b", "/a\\\\n", "/a\\tb\\nc: d\\x07\\x7f",
		"/\\x85\\u2028\\uFEFF", "/\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80",
		"/a # the default"};

	for (size_t i = 0; i < BASE_ARRAY_LEN(texts); i++) {
		struct ctl_config *first, *second;
		char text[256], *once;

		snprintf(text, sizeof(text),
			"controller: {direct: 127.0.0.1:9000}\napi: {socket: \"%s\"}\n", texts[i]);
		first = load_good(text);
		once = print_text(first);
		second = load_good(once);
		assert_string_equal(first->socket, second->socket);
		free(once);
		ctl_config_free(first);
		ctl_config_free(second);
	}
}

/* "#key: value", "#  key: value" and "#  - {key: value}", but not "# words: more". */
static bool shows_key(const char *line)
{
	size_t spaces = strspn(line + 1, " ");
	const char *word = line + 1 + spaces;

	word += strspn(word, "- {");
	return line[0] == '#' && spaces != 1 &&
		word[strspn(word, "abcdefghijklmnopqrstuvwxyz_")] == ':';
}

/* Read an example; with @uncomment, what it shows in comments counts. */
static char *read_example(const char *path, bool uncomment)
{
	char *text = calloc(1, 32768), line[512], *etc;
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		bool is_key = shows_key(line);

		/* Key files are those of the suite. */
		etc = strstr(line, "/etc/sandd-gw/");
		if (etc)
			memmove(etc + 2, etc + 14, strlen(etc + 14) + 1), memcpy(etc, "@/", 2);
		strcat(text, line + (uncomment && is_key));
	}
	fclose(file);
	return text;
}

static void assert_documented(const struct ctl_yaml *yaml, const cyaml_schema_field_t *fields,
	const char *parent, const char *without)
{
	for (; fields->key; fields++) {
		const cyaml_schema_value_t *value = &fields->value;
		char path[128];

		snprintf(path, sizeof(path), "%s%s", parent, fields->key);
		if (strcmp(path, without) == 0)
			continue;
		if (!ctl_yaml_has(yaml, path))
			fail_msg("the example does not show %s", path);
		if (value->type == CYAML_SEQUENCE && value->sequence.entry->type == CYAML_MAPPING) {
			strcat(path, "[0].");
			assert_documented(
				yaml, value->sequence.entry->mapping.fields, path, without);
		} else if (value->type == CYAML_MAPPING) {
			strcat(path, ".");
			assert_documented(yaml, value->mapping.fields, path, without);
		}
	}
}

/* The example loads as it is, and with every commented key switched on; returns the latter. */
static struct ctl_yaml *load_example(const char *file)
{
	struct base_error err;
	struct ctl_yaml *yaml;
	char *text = read_example(file, false), *expanded;
	cpu_set_t cpus;

	ctl_config_free(load_good(text));
	free(text);
	text = read_example(file, true);
	expanded = expand(text);
	free(text);
	/* It may name CPU 1. */
	assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	if (CPU_ISSET(1, &cpus))
		ctl_config_free(load_good(expanded));
	yaml = ctl_yaml_new("example", expanded, strlen(expanded), &err);
	assert_non_null(yaml);
	free(expanded);
	return yaml;
}

/* No key is missing in the examples, but for the one that is there to be refused. */
static void examples_show_every_key(void **state)
{
	struct ctl_yaml *yaml = load_example(EXAMPLES "/sandd-gw.example.yaml");

	assert_documented(yaml, top_fields, "", "mesh");
	ctl_yaml_free(yaml);
	yaml = load_example(EXAMPLES "/sandd-gw.mesh.example.yaml");
	assert_documented(yaml, mesh_fields, "mesh.", "mesh.authkey");
	ctl_yaml_free(yaml);
}

static void mesh_defaults(void **state)
{
	struct ctl_config *config = load_good(MESH);
	struct coord_identity identity = {.n_addresses = 2};

	assert_true(config->has_tunnel && config->has_mesh);
	assert_string_equal(config->mesh.server, "http://192.168.7.1:8080");
	assert_string_equal(config->mesh.state_dir, "/var/lib/sandd-gw");
	assert_int_equal(config->mesh.on_removed, COORD_REMOVED_STOP);
	assert_false(config->mesh.accept_routes);
	assert_false(config->mesh.has_dns);
	assert_null(config->mesh.authkey);
	assert_int_equal(config->dp.n_rules, 0);
	assert_int_equal(config->dp.n_host_addrs, 0);
	assert_int_equal(config->listen.addr.family, BASE_FAMILY_NONE);
	assert_string_equal(warning, "");

	memset(identity.node_private.bytes, 7, CR_KEY_BYTES);
	assert_int_equal(base_addr_parse(&identity.addresses[0], "100.64.0.1"), 0);
	assert_int_equal(base_addr_parse(&identity.addresses[1], "fd7a:115c:a1e0::1"), 0);
	ctl_config_adopt(config, &identity);
	assert_true(cr_key_equal(&config->dp.private_key, &identity.node_private));
	assert_int_equal(config->dp.n_host_addrs, 2);
	assert_int_equal(config->dp.host_addrs[0].bits, 32);
	assert_int_equal(config->dp.host_addrs[1].bits, 128);
	ctl_config_free(config);
}

/* From a file, or from the environment, where it is gone afterwards; from both is an error. */
static void authkey_is_read_once(void **state)
{
	struct ctl_config *config = load_good(MESH "  authkey_file: @/auth.key\n");
	struct base_error err;

	assert_string_equal(config->mesh.authkey, "hskey-auth-abc_d-e");
	ctl_config_free(config);
	config = load_good(MESH "  authkey_file: @/missing.key\n");
	assert_null(config->mesh.authkey);
	ctl_config_free(config);

	assert_int_equal(setenv("SANDD_AUTHKEY", "hskey-auth-env", 1), 0);
	assert_null(load_text(MESH "  authkey_file: @/auth.key\n", &err));
	assert_non_null(strstr(err.text,
		"mesh.authkey_file: SANDD_AUTHKEY is in the environment "
		"too; leave out one of them"));
	config = load_good(MESH);
	assert_string_equal(config->mesh.authkey, "hskey-auth-env");
	assert_null(getenv("SANDD_AUTHKEY"));
	ctl_config_free(config);
}

static void plain_http_far_away_is_warned_of(void **state)
{
	static const struct {
		const char *server;
		bool is_far;
	} cases[] = {
		{"http://headscale:8080", false},
		{"http://10.1.2.3", false},
		{"http://[fd00::1]:80", false},
		{"http://headscale.lan", false},
		{"https://headscale.example.org", false},
		{"http://headscale.example.org", true},
		{"http://8.8.8.8:8080/", true},
		{"http://[2606:4700::1]", true},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		char text[256];

		snprintf(text, sizeof(text),
			"ports: [{kind: af_xdp, device: e}]\nmesh: {server: \"%s\"}\n",
			cases[i].server);
		ctl_config_free(load_good(text));
		if ((strstr(warning, "is not encrypted") != NULL) != cases[i].is_far)
			fail_msg("%s: '%s'", cases[i].server, warning);
	}
}

static void printed_mesh_loads_again(void **state)
{
	struct ctl_config
		*first = load_good(MESH
			"  authkey_file: @/auth.key\n  ca_file: /ca.pem\n  on_removed: rejoin\n"
			"  advertise_routes: [10.1.0.0/16, \"fd00:7::/32\"]\n  accept_routes: "
			"true\n  dns: on\n"
			"  map_limit_mb: 5\nfilter:\n  - {proto: icmp}\n"),
		*second;
	char *once = print_text(first), *twice;

	second = load_good(once);
	twice = print_text(second);
	assert_string_equal(once, twice);
	assert_int_equal(second->mesh.n_advertise_routes, 2);
	assert_true(second->mesh.has_dns);
	assert_int_equal(second->mesh.map_decoded_max, 20 << 20);
	assert_null(strstr(once, "abc_d-e")); /* no secret is shown */
	free(once);
	free(twice);
	ctl_config_free(first);
	ctl_config_free(second);
}

static int setup(void **state)
{
	if (cr_init() < 0 || test_dir_make(state) < 0)
		return -1;
	test_write("private.key", PRIVATE_KEY "\n", 45, 0600);
	test_write("worker-1.psk", PRIVATE_KEY "\n", 45, 0600);
	test_write("short.key", PRIVATE_KEY, 43, 0600);
	test_write("auth.key", "hskey-auth-abc_d-e\n", 19, 0600);
	test_write("open.key", "hskey-auth-abc_d-e\n", 19, 0644);
	test_write("empty.key", "\n", 1, 0600);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_input_is_told_in_one_line),
		cmocka_unit_test(missing_file_is_told),
		cmocka_unit_test(defaults_are_filled_in),
		cmocka_unit_test(default_filter_lets_ping_and_controller_in),
		cmocka_unit_test(icmp_is_both_kinds_without_a_family),
		cmocka_unit_test(direct_mode_needs_no_tunnel),
		cmocka_unit_test(open_key_file_is_warned_of),
		cmocka_unit_test(printed_configuration_loads_again),
		cmocka_unit_test(printed_text_keeps_every_character),
		cmocka_unit_test(mesh_defaults),
		cmocka_unit_test(authkey_is_read_once),
		cmocka_unit_test(plain_http_far_away_is_warned_of),
		cmocka_unit_test(printed_mesh_loads_again),
		cmocka_unit_test(examples_show_every_key),
	};

	return cmocka_run_group_tests(tests, setup, test_dir_remove);
}
