/* SPDX-License-Identifier: BSD-3-Clause */
/* Peers of the configuration file. See ctl_peers.h. */
#include "ctl_peers.h"

#include "cr_noise.h"
#include "ctl_key.h"

#include <stdlib.h>

#define KEY_PATH_LEN 64

/* What one peer's checks need. */
struct load {
	const struct ctl_yaml *yaml; /* NULL: not of the file */
	const struct ctl_config *config;
	void (*warn)(const char *line);
	struct base_error *err;
	unsigned index; /* of the peer in the file */
	char path[KEY_PATH_LEN];
};

static const char *path_of(struct load *load, const char *key)
{
	snprintf(load->path, sizeof(load->path), "peers[%u].%s", load->index, key);
	return load->path;
}

/* What is wrong with @key of the peer in work, and where in the file. */
BASE_PRINTF(3, 4)
static int wrong(struct load *load, const char *key, const char *fmt, ...)
{
	char text[384];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	path_of(load, key);
	if (load->yaml)
		return ctl_yaml_error(load->yaml, load->err, load->path, "%s", text);
	return base_error_set(load->err, -EINVAL, "%s: %s", load->path, text);
}

static int take_name(struct load *load, struct ctl_peer *peer, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (len == 0)
		return wrong(load, "name", "missing; logs and sandctl call the peer by it");
	if (len > CTL_NAME_BYTES_MAX ||
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
			len)
		return wrong(load, "name",
			"'%s' is no name: letters, digits, '.', '_' and '-', at most %d", text,
			CTL_NAME_BYTES_MAX);
	strcpy(peer->name, text);
	return 0;
}

/* Refuse what no handshake can use: our own key, and points of low order. */
static int check_public_key(struct load *load, const struct cr_key *key)
{
	struct cr_key shared CR_KEY_CLEANUP;

	if (cr_key_equal(key, &load->config->public_key))
		return wrong(load, "public_key",
			"the gateway's own key; paste the peer's (on the peer: wg pubkey < its "
			"key)");
	if (!cr_x25519(&shared, &load->config->dp.private_key, key))
		return wrong(load, "public_key",
			"no usable key (a point of low order); paste the peer's public key again");
	return 0;
}

static int take_public_key(struct load *load, struct ctl_peer *peer, const char *text)
{
	if (!text)
		return wrong(load, "public_key",
			"missing; sandctl peer-config %s makes a key pair and prints it",
			peer->name);
	if (strlen(text) != BASE_KEY_TEXT_LEN)
		return wrong(load, "public_key",
			"%zu characters where a key has %d; paste the peer's public key whole",
			strlen(text), BASE_KEY_TEXT_LEN);
	if (!base_key_decode(peer->dp.public_key.bytes, text))
		return wrong(load, "public_key",
			"not base64 of 32 bytes; paste the peer's public key whole");
	return check_public_key(load, &peer->dp.public_key);
}

static int take_preshared_key(struct load *load, struct ctl_peer *peer, const char *file)
{
	struct base_error warning, reason;

	if (!file)
		return 0;
	peer->preshared_key_file = strdup(file);
	if (!peer->preshared_key_file)
		return base_error_set(load->err, -ENOMEM, "configuration: out of memory");
	if (ctl_key_read(&peer->dp.preshared_key, file, &warning, &reason) < 0)
		return wrong(load, "preshared_key_file", "%s", reason.text);
	if (warning.text[0] && load->warn)
		load->warn(warning.text);
	return 0;
}

/* The dataplane, which knows the ports' addresses too, refuses those. */
static int check_endpoint_not_own(struct load *load, const struct base_endpoint *endpoint)
{
	const struct dp_config *dp = &load->config->dp;

	if (endpoint->port != dp->listen_port)
		return 0;
	for (unsigned i = 0; i < dp->n_host_addrs; i++)
		if (base_addr_equal(&dp->host_addrs[i].addr, &endpoint->addr))
			return wrong(load, "endpoint",
				"the gateway's own address (host.addresses[%u]) and listen_port; "
				"give the peer's",
				i);
	return 0;
}

static int take_endpoint(struct load *load, struct ctl_peer *peer, const struct ctl_raw_peer *raw)
{
	peer->dp.endpoint_is_fixed = raw->fixed_endpoint;
	peer->dp.keepalive_s = raw->keepalive;
	if (!raw->endpoint) {
		if (raw->fixed_endpoint)
			return wrong(load, "fixed_endpoint",
				"nothing to hold on to; add the peer's endpoint");
		return 0;
	}
	if (base_endpoint_parse(&peer->dp.endpoint, raw->endpoint) < 0)
		return wrong(load, "endpoint",
			"'%s' is not ADDRESS:PORT, such as 192.0.2.7:51820 or [2001:db8::7]:51820; "
			"names are not resolved",
			raw->endpoint);
	return check_endpoint_not_own(load, &peer->dp.endpoint);
}

/* A peer must not speak as the gateway itself. A wider prefix may hold the gateway's address. */
static int check_not_own(struct load *load, const struct base_prefix *prefix, const char *key)
{
	const struct dp_config *dp = &load->config->dp;

	if (prefix->bits != 8 * base_family_bytes(prefix->addr.family))
		return 0;
	for (unsigned i = 0; i < dp->n_host_addrs; i++)
		if (base_addr_equal(&dp->host_addrs[i].addr, &prefix->addr))
			return wrong(load, key,
				"the gateway's own address (host.addresses[%u]); give the peer's",
				i);
	return 0;
}

static int take_allowed_ips(
	struct load *load, struct ctl_peer *peer, const struct ctl_raw_peer *raw)
{
	char key[32];

	if (raw->allowed_ips_count == 0)
		return wrong(load, "allowed_ips",
			"missing; no packet could pass: give the peer's mesh addresses, such as "
			"[10.9.0.2/32]");
	peer->allowed_ips = calloc(raw->allowed_ips_count, sizeof(*peer->allowed_ips));
	if (!peer->allowed_ips)
		return base_error_set(load->err, -ENOMEM, "configuration: out of memory");
	peer->dp.allowed_ips = peer->allowed_ips;
	peer->dp.n_allowed_ips = raw->allowed_ips_count;
	for (unsigned i = 0; i < raw->allowed_ips_count; i++) {
		int rc;

		snprintf(key, sizeof(key), "allowed_ips[%u]", i);
		if (base_prefix_parse(&peer->allowed_ips[i], raw->allowed_ips[i], true) < 0)
			return wrong(load, key,
				"'%s' is not a prefix without host bits, such as 10.9.0.2/32 or "
				"10.10.0.0/16",
				raw->allowed_ips[i]);
		rc = check_not_own(load, &peer->allowed_ips[i], key);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int take_peer(struct load *load, struct ctl_peer *peer, const struct ctl_raw_peer *raw)
{
	int rc = take_name(load, peer, raw->name);

	if (rc == 0)
		rc = take_public_key(load, peer, raw->public_key);
	if (rc == 0)
		rc = take_preshared_key(load, peer, raw->preshared_key_file);
	if (rc == 0)
		rc = take_endpoint(load, peer, raw);
	if (rc == 0)
		rc = take_allowed_ips(load, peer, raw);
	return rc;
}

/* A value that must be unique among all peers, and where it stands. */
struct mention {
	const void *value;
	unsigned peer, entry;
};

static int compare_position(const struct mention *a, const struct mention *b)
{
	if (a->peer != b->peer)
		return a->peer < b->peer ? -1 : 1;
	return a->entry < b->entry ? -1 : a->entry > b->entry;
}

static int compare_names(const void *a, const void *b)
{
	const struct mention *x = a, *y = b;
	int order = strcmp(x->value, y->value);

	return order ? order : compare_position(x, y);
}

/* Public keys are no secret. */
static int compare_keys(const void *a, const void *b)
{
	const struct mention *x = a, *y = b;
	int order = memcmp(x->value, y->value, CR_KEY_BYTES);

	return order ? order : compare_position(x, y);
}

static int order_prefixes(const struct base_prefix *p, const struct base_prefix *q)
{
	int order = (int)p->addr.family - (int)q->addr.family;

	if (order == 0)
		order = memcmp(p->addr.bytes, q->addr.bytes, sizeof(p->addr.bytes));
	return order ? order : (int)p->bits - (int)q->bits;
}

static int compare_prefixes(const void *a, const void *b)
{
	const struct mention *x = a, *y = b;
	int order = order_prefixes(x->value, y->value);

	return order ? order : compare_position(x, y);
}

/* Sort, so that equal values are neighbours. Returns the later mention of the first pair, or NULL. */
static const struct mention *find_twice(
	struct mention *mentions, size_t n, int (*compare)(const void *, const void *))
{
	qsort(mentions, n, sizeof(*mentions), compare);
	for (size_t i = 1; i < n; i++) {
		struct mention earlier = mentions[i - 1];

		/* Equal but for the position. */
		earlier.peer = mentions[i].peer;
		earlier.entry = mentions[i].entry;
		if (compare(&earlier, &mentions[i]) == 0)
			return &mentions[i];
	}
	return NULL;
}

static int check_names(struct load *load, struct mention *mentions)
{
	const struct ctl_peer *peers = load->config->peers;
	const struct mention *twice;

	for (unsigned i = 0; i < load->config->n_peers; i++)
		mentions[i] = (struct mention){peers[i].name, i, 0};
	twice = find_twice(mentions, load->config->n_peers, compare_names);
	if (!twice)
		return 0;
	load->index = twice->peer;
	return wrong(load, "name", "peers[%u] has the name %s already; choose another",
		twice[-1].peer, (const char *)twice->value);
}

static int check_keys(struct load *load, struct mention *mentions)
{
	const struct ctl_peer *peers = load->config->peers;
	const struct mention *twice;

	for (unsigned i = 0; i < load->config->n_peers; i++)
		mentions[i] = (struct mention){&peers[i].dp.public_key, i, 0};
	twice = find_twice(mentions, load->config->n_peers, compare_keys);
	if (!twice)
		return 0;
	load->index = twice->peer;
	return wrong(load, "public_key",
		"the key of peers[%u] (%s) already; each peer has a key of its own", twice[-1].peer,
		peers[twice[-1].peer].name);
}

static const struct base_prefix *prefix_of(const struct mention *mention)
{
	return mention->value;
}

/* Two mentions of which the first prefix holds the second, or is the same: the later one in the file is wrong. */
static int overlap_error(
	struct load *load, const struct mention *outer, const struct mention *inner)
{
	const struct ctl_peer *peers = load->config->peers;
	bool is_inner_later = compare_position(outer, inner) < 0;
	const struct mention *earlier = is_inner_later ? outer : inner;
	const struct mention *later = is_inner_later ? inner : outer;
	char text[BASE_PREFIX_TEXT_LEN], other[BASE_PREFIX_TEXT_LEN], key[32];
	const char *relation = "overlaps";

	if (order_prefixes(prefix_of(outer), prefix_of(inner)) == 0)
		relation = "is the same as";
	load->index = later->peer;
	snprintf(key, sizeof(key), "allowed_ips[%u]", later->entry);
	return wrong(load, key,
		"%s of %s %s %s, peers[%u].allowed_ips[%u] (%s); an address leads to one peer: "
		"narrow or remove one",
		base_prefix_print(text, prefix_of(later)), peers[later->peer].name, relation,
		base_prefix_print(other, prefix_of(earlier)), earlier->peer, earlier->entry,
		peers[earlier->peer].name);
}

/*
 * In order, a prefix stands before all that lie in it. What lies in the last one that lay in none is its peer's
 * or an overlap.
 */
static int check_prefixes(struct load *load, struct mention *mentions)
{
	const struct ctl_peer *peers = load->config->peers;
	const struct mention *outer = NULL;
	size_t n = 0;

	for (unsigned i = 0; i < load->config->n_peers; i++)
		for (unsigned j = 0; j < peers[i].dp.n_allowed_ips; j++)
			mentions[n++] = (struct mention){&peers[i].allowed_ips[j], i, j};
	qsort(mentions, n, sizeof(*mentions), compare_prefixes);
	for (size_t i = 0; i < n; i++) {
		if (!outer ||
			!base_prefix_contains(prefix_of(outer), &prefix_of(&mentions[i])->addr))
			outer = &mentions[i];
		else if (outer->peer != mentions[i].peer ||
			order_prefixes(prefix_of(outer), prefix_of(&mentions[i])) == 0)
			return overlap_error(load, outer, &mentions[i]);
	}
	return 0;
}

static int check_unique(struct load *load)
{
	const struct ctl_config *config = load->config;
	struct mention *mentions;
	size_t n = config->n_peers;
	int rc;

	for (size_t i = 0; i < config->n_peers; i++)
		n += config->peers[i].dp.n_allowed_ips;
	mentions = calloc(n + 1, sizeof(*mentions));
	if (!mentions)
		return base_error_set(load->err, -ENOMEM, "configuration: out of memory");
	rc = check_names(load, mentions);
	if (rc == 0)
		rc = check_keys(load, mentions);
	if (rc == 0)
		rc = check_prefixes(load, mentions);
	free(mentions);
	return rc;
}

int ctl_peers_load(struct ctl_config *config, const struct ctl_raw *raw,
	const struct ctl_yaml *yaml, void (*warn)(const char *line), struct base_error *ret_error)
{
	struct load load = {.yaml = yaml, .config = config, .warn = warn, .err = ret_error};

	config->peers = calloc((size_t)raw->peers_count + 1, sizeof(*config->peers));
	if (!config->peers)
		return base_error_set(ret_error, -ENOMEM, "configuration: out of memory");
	for (; load.index < raw->peers_count; load.index++) {
		int rc;

		config->n_peers = load.index + 1;
		rc = take_peer(&load, &config->peers[load.index], &raw->peers[load.index]);
		if (rc < 0)
			return rc;
	}
	return check_unique(&load);
}

struct ctl_peer *ctl_peer_new(const struct ctl_config *config, const struct ctl_raw_peer *raw,
	unsigned index, struct base_error *ret_error)
{
	struct ctl_peer *peer = calloc(1, sizeof(*peer));
	struct load load = {.config = config, .err = ret_error, .index = index};
	int rc;

	if (!peer) {
		base_error_set(ret_error, -ENOMEM, "peers: out of memory");
		errno = ENOMEM;
		return NULL;
	}
	rc = take_peer(&load, peer, raw);
	if (rc == 0)
		return peer;
	ctl_peers_free(peer, 1);
	errno = -rc;
	return NULL;
}

void ctl_peers_free(struct ctl_peer *peers, size_t n)
{
	if (!peers)
		return;
	for (size_t i = 0; i < n; i++) {
		free(peers[i].allowed_ips);
		free(peers[i].preshared_key_file);
	}
	base_wipe(peers, n * sizeof(*peers));
	free(peers);
}
