/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The paths of all peers: who is asked, who answered, what is due. One peer's candidates and the choice among them
 * are in coord_candidate.c. Thread: one. See coord_path.h.
 *
 * What starts and ends each state of a peer that has a disco key:
 *
 *	state    begins                                      ends
 *	unknown  first seen; nobody answered for 45 s        wanted, or pinged by the peer: probing
 *	probing  wanted without an address that answers      a pong: direct; 45 s unwanted: unknown
 *	direct   a pong from the best address                6.5 s without one while in use: stale
 *	stale    the best address is silent; it is still     a pong from any: direct; 30 s: unknown, and the
 *	         used, all candidates are asked              tunnel holds its packets
 *	idle     direct, and no packet was sent for 45 s     packets: asked every 5 s, then stale or direct
 */
#include "coord_path.h"

#include "base_clock.h"
#include "base_deadlines.h"
#include "cr_noise.h"
#include "coord_candidate.h"
#include "coord_keytable.h"

#include <stdlib.h>

/* nat-traversal.md 5.3, but for what says why not. */
#define IDLE_NS (45 * BASE_NS_PER_S)
#define HEARTBEAT_NS (3 * BASE_NS_PER_S)
#define TRUST_NS (6500 * BASE_NS_PER_MS)
#define UPGRADE_NS (60 * BASE_NS_PER_S)
#define GOOD_RTT_US 5000
#define PING_TIMEOUT_NS (5 * BASE_NS_PER_S)
/* Ours: how long a silent path is better than none, for there may be no relay. */
#define STALE_NS (30 * BASE_NS_PER_S)
/* Ours: how often a peer at rest is asked whether it has woken. */
#define REST_NS (5 * BASE_NS_PER_S)
/* Ours: the first pings are repeated soon, since any packet may be lost, and a firewall opens with the first. */
static const uint64_t hurry_ns[] = {
	200 * BASE_NS_PER_MS, 300 * BASE_NS_PER_MS, 500 * BASE_NS_PER_MS, 1000 * BASE_NS_PER_MS};
/* Then this often: upstream's gap between pings to one address. */
#define DISCOVER_NS (5 * BASE_NS_PER_S)

/* Datagrams that are opened for one disco key: a burst, then so many a second. */
#define RATE_BURST 64
#define RATE_NS (10 * BASE_NS_PER_MS)

/* A disco key and the peers that use it: mostly one. */
struct sender {
	struct coord_keynode by_key; /* first */
	struct cr_key shared;
	bool has_shared, is_low_order;
	struct peer *peers;
	uint64_t rate_ns; /* when the bucket was full, in debt time */
	struct base_endpoint last_ping_from;
	uint8_t last_ping_tx[COORD_DISCO_TX_BYTES];
};

struct peer {
	struct coord_keynode by_key; /* first; the node key */
	struct base_deadline deadline;
	struct coord_paths *paths;
	struct sender *sender; /* NULL: no disco key, so no way to ask */
	struct peer *next_of_sender;
	struct coord_candidates candidates;
	uint64_t wanted_until_ns;
	uint64_t trust_until_ns;  /* of the best candidate */
	uint64_t silent_since_ns; /* 0: not stale */
	uint64_t since_ns;        /* the path is what it is */
	uint64_t last_full_ns;    /* all candidates were asked */
	uint64_t next_round_ns;
	unsigned n_rounds; /* of asking all, since it became urgent */
	enum coord_path_kind kind;
};

struct coord_paths {
	struct cr_key disco_private, disco_public, node_public;
	struct coord_path_host host;
	void *ctx;
	struct coord_keytable peers, senders;
	struct base_deadlines deadlines;
	uint64_t counters[COORD_PATH_COUNTER_COUNT];
};

static void count(struct coord_paths *paths, enum coord_path_counter counter)
{
	paths->counters[counter]++;
}

/* --- life ------------------------------------------------------------------------------------- */

struct coord_paths *coord_paths_new(const struct cr_key *disco_private,
	const struct cr_key *node_public, const struct coord_path_host *host, void *ctx)
{
	struct coord_paths *paths = calloc(1, sizeof(*paths));

	if (!paths)
		return NULL;
	coord_keytable_init(&paths->peers);
	coord_keytable_init(&paths->senders);
	paths->disco_private = *disco_private;
	cr_x25519_public(&paths->disco_public, disco_private);
	paths->node_public = *node_public;
	paths->host = *host;
	paths->ctx = ctx;
	return paths;
}

void coord_paths_node_key(struct coord_paths *paths, const struct cr_key *node_public)
{
	paths->node_public = *node_public;
}

static struct peer *find_peer(const struct coord_paths *paths, const struct cr_key *node_key)
{
	return (struct peer *)coord_keytable_find(&paths->peers, node_key);
}

static void sender_leave(struct peer *peer)
{
	struct sender *sender = peer->sender;
	struct peer **at;

	if (!sender)
		return;
	for (at = &sender->peers; *at != peer; at = &(*at)->next_of_sender)
		;
	*at = peer->next_of_sender;
	peer->sender = NULL;
	if (sender->peers)
		return;
	coord_keytable_remove(&peer->paths->senders, &sender->by_key);
	cr_key_wipe(&sender->shared);
	free(sender);
}

static int sender_join(struct peer *peer, const struct cr_key *disco_key)
{
	struct coord_keytable *senders = &peer->paths->senders;
	struct sender *sender = (struct sender *)coord_keytable_find(senders, disco_key);

	if (!sender) {
		sender = calloc(1, sizeof(*sender));
		if (!sender)
			return -ENOMEM;
		sender->by_key.key = *disco_key;
		if (coord_keytable_add(senders, &sender->by_key) < 0) {
			free(sender);
			return -ENOMEM;
		}
	}
	peer->sender = sender;
	peer->next_of_sender = sender->peers;
	sender->peers = peer;
	return 0;
}

static void peer_free(struct peer *peer)
{
	base_deadlines_set(&peer->paths->deadlines, &peer->deadline, BASE_NEVER_NS);
	coord_candidates_fini(&peer->candidates);
	sender_leave(peer);
	coord_keytable_remove(&peer->paths->peers, &peer->by_key);
	free(peer);
}

void coord_paths_free(struct coord_paths *paths)
{
	struct coord_keynode *node;

	if (!paths)
		return;
	while ((node = coord_keytable_any(&paths->peers)))
		peer_free((struct peer *)node);
	coord_keytable_fini(&paths->peers);
	coord_keytable_fini(&paths->senders);
	base_deadlines_fini(&paths->deadlines);
	cr_key_wipe(&paths->disco_private);
	free(paths);
}

/* --- pings ------------------------------------------------------------------------------------ */

static bool shared_of(struct coord_paths *paths, struct sender *sender)
{
	if (!sender->has_shared) {
		sender->has_shared = true;
		sender->is_low_order = !coord_disco_shared(
			&sender->shared, &paths->disco_private, &sender->by_key.key);
	}
	return !sender->is_low_order;
}

static bool send_message(struct coord_paths *paths, struct sender *sender,
	const struct base_endpoint *to, const struct coord_disco_message *message)
{
	uint8_t datagram[COORD_DISCO_HEAD_BYTES + 64];
	size_t len;

	if (!shared_of(paths, sender))
		return false;
	len = coord_disco_seal(
		datagram, sizeof(datagram), message, 0, &paths->disco_public, &sender->shared);
	if (len > 0)
		paths->host.send(paths->ctx, to, datagram, len);
	return len > 0;
}

static void send_ping(struct peer *peer, struct coord_candidate *candidate, uint64_t now_ns)
{
	struct coord_paths *paths = peer->paths;
	struct coord_disco_message ping = {
		.type = COORD_DISCO_PING, .has_node_key = true, .node_key = paths->node_public};

	cr_random_public(ping.tx, sizeof(ping.tx));
	if (!send_message(paths, peer->sender, &candidate->endpoint, &ping))
		return;
	count(paths, COORD_PATH_PINGS_SENT);
	coord_candidate_pinged(candidate, ping.tx, now_ns);
}

/* Ask every candidate that was not asked within @gap_ns. */
static void discover(struct peer *peer, uint64_t gap_ns, uint64_t now_ns)
{
	for (unsigned i = 0; i < peer->candidates.n; i++) {
		struct coord_candidate *candidate = &peer->candidates.list[i];

		if (candidate->last_ping_ns == 0 || now_ns - candidate->last_ping_ns >= gap_ns)
			send_ping(peer, candidate, now_ns);
	}
	peer->last_full_ns = now_ns;
}

static void set_path(struct peer *peer, enum coord_path_kind kind, uint64_t now_ns)
{
	const struct coord_candidate *best = coord_candidates_best(&peer->candidates);

	peer->kind = kind;
	peer->since_ns = now_ns;
	peer->paths->host.path(peer->paths->ctx, &peer->by_key.key, kind,
		kind == COORD_PATH_DIRECT ? &best->endpoint : NULL,
		kind == COORD_PATH_DIRECT ? best->rtt_us : 0);
}

/* --- what is due ------------------------------------------------------------------------------ */

static bool is_in_use(struct peer *peer, uint64_t now_ns)
{
	uint64_t sent_ns;

	if (now_ns < peer->wanted_until_ns)
		return true;
	sent_ns = peer->paths->host.last_sent_ns(peer->paths->ctx, &peer->by_key.key);
	return sent_ns != 0 && now_ns - sent_ns < IDLE_NS;
}

/* One more round of asking everybody, soon after the last while it is young. */
static void probe_round(struct peer *peer, uint64_t now_ns)
{
	unsigned n = peer->n_rounds;
	uint64_t gap_ns = n < BASE_ARRAY_LEN(hurry_ns) ? hurry_ns[n] : DISCOVER_NS;

	if (now_ns < peer->next_round_ns)
		return;
	/* a round that is due asks all, whatever was asked for other reasons a moment ago */
	discover(peer, 1, now_ns);
	peer->n_rounds += n < BASE_ARRAY_LEN(hurry_ns);
	peer->next_round_ns = now_ns + gap_ns;
}

static void go_silent(struct peer *peer, uint64_t now_ns)
{
	if (peer->silent_since_ns == 0) {
		peer->silent_since_ns = now_ns;
		peer->n_rounds = 0;
		peer->next_round_ns = now_ns;
	}
	if (now_ns - peer->silent_since_ns < STALE_NS)
		return;
	coord_candidates_forget_best(&peer->candidates);
	set_path(peer, COORD_PATH_NONE, now_ns);
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

/* A direct path: a heartbeat while it is used, a look at the others now and then. Returns when to come again. */
static uint64_t tend_direct(struct peer *peer, uint64_t now_ns)
{
	struct coord_candidate *best;

	if (!is_in_use(peer, now_ns)) {
		peer->silent_since_ns = 0;
		return now_ns + REST_NS;
	}
	if (now_ns >= peer->trust_until_ns)
		go_silent(peer, now_ns);
	if (peer->kind != COORD_PATH_DIRECT || peer->silent_since_ns) {
		probe_round(peer, now_ns);
		return peer->next_round_ns;
	}
	best = coord_candidates_best(&peer->candidates);
	if (now_ns - best->last_ping_ns >= HEARTBEAT_NS)
		send_ping(peer, best, now_ns);
	if (best->rtt_us > GOOD_RTT_US && now_ns - peer->last_full_ns >= UPGRADE_NS)
		discover(peer, DISCOVER_NS, now_ns);
	return earlier(best->last_ping_ns + HEARTBEAT_NS, peer->trust_until_ns);
}

static void schedule(struct peer *peer, uint64_t at_ns)
{
	base_deadlines_set(&peer->paths->deadlines, &peer->deadline, at_ns);
}

static void tend(struct peer *peer, uint64_t now_ns)
{
	uint64_t next_ns = BASE_NEVER_NS;

	coord_candidates_expire(&peer->candidates, now_ns);
	if (peer->sender && peer->kind == COORD_PATH_DIRECT &&
		!coord_candidates_best(&peer->candidates))
		set_path(peer, COORD_PATH_NONE, now_ns);
	if (peer->sender && peer->kind == COORD_PATH_DIRECT) {
		next_ns = tend_direct(peer, now_ns);
	} else if (peer->sender && is_in_use(peer, now_ns)) {
		probe_round(peer, now_ns);
		next_ns = peer->next_round_ns;
	}
	next_ns = earlier(next_ns, coord_candidates_next_ns(&peer->candidates));
	/* whatever the reasons, not in a circle */
	schedule(peer, next_ns > now_ns ? next_ns : now_ns + BASE_NS_PER_MS);
}

void coord_paths_tick(struct coord_paths *paths, uint64_t now_ns)
{
	struct base_deadline *first;

	while ((first = base_deadlines_first(&paths->deadlines)) && first->at_ns <= now_ns)
		tend((struct peer *)((char *)first - offsetof(struct peer, deadline)), now_ns);
}

uint64_t coord_paths_next_ns(const struct coord_paths *paths)
{
	const struct base_deadline *first = base_deadlines_first(&paths->deadlines);

	return first ? first->at_ns : BASE_NEVER_NS;
}

/* --- peers ------------------------------------------------------------------------------------ */

static struct peer *peer_new(struct coord_paths *paths, const struct cr_key *node_key)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	peer->paths = paths;
	peer->by_key.key = *node_key;
	if (base_deadlines_reserve(&paths->deadlines, coord_keytable_n(&paths->peers) + 1) < 0 ||
		coord_keytable_add(&paths->peers, &peer->by_key) < 0) {
		free(peer);
		return NULL;
	}
	return peer;
}

/* Another disco key is another process of the peer: nothing measured counts. */
static int follow_disco_key(struct peer *peer, const struct cr_key *disco_key, uint64_t now_ns)
{
	if (peer->sender && cr_key_equal(&peer->sender->by_key.key, disco_key))
		return 0;
	sender_leave(peer);
	peer->trust_until_ns = 0;
	peer->n_rounds = 0;
	peer->next_round_ns = now_ns;
	return cr_key_is_zero(disco_key) ? 0 : sender_join(peer, disco_key);
}

int coord_paths_peer_set(struct coord_paths *paths, const struct cr_key *node_key,
	const struct cr_key *disco_key, const struct base_endpoint *endpoints, size_t n_endpoints,
	uint64_t now_ns)
{
	struct peer *peer = find_peer(paths, node_key);
	bool is_new = !peer;
	int rc;

	if (is_new)
		peer = peer_new(paths, node_key);
	if (!peer)
		return -ENOMEM;
	rc = follow_disco_key(peer, disco_key, now_ns);
	if (rc == 0)
		rc = coord_candidates_follow_map(&peer->candidates, endpoints, n_endpoints);
	if (rc < 0) {
		if (is_new)
			peer_free(peer);
		return rc;
	}
	/* A peer that is waited for, or whose path may be gone, is looked after now. */
	if (peer->kind == COORD_PATH_DIRECT || now_ns < peer->wanted_until_ns) {
		peer->next_round_ns = now_ns;
		schedule(peer, now_ns);
	}
	return 0;
}

void coord_paths_peer_remove(struct coord_paths *paths, const struct cr_key *node_key)
{
	struct peer *peer = find_peer(paths, node_key);

	if (peer)
		peer_free(peer);
}

/* Somebody needs this peer: ask now what was not asked just now. */
static void want(struct peer *peer, uint64_t now_ns)
{
	if (now_ns >= peer->wanted_until_ns) {
		peer->n_rounds = 0;
		peer->next_round_ns = now_ns;
	}
	peer->wanted_until_ns = now_ns + IDLE_NS;
	schedule(peer, now_ns);
}

/* It was heard from there, and we do not know the way: ask there at once. */
static void ask_back(struct peer *peer, const struct base_endpoint *from, uint64_t now_ns)
{
	struct coord_candidate *candidate = coord_candidates_learn(&peer->candidates, from, now_ns);

	if (candidate && peer->kind != COORD_PATH_DIRECT &&
		(candidate->last_ping_ns == 0 || now_ns - candidate->last_ping_ns >= hurry_ns[0]))
		send_ping(peer, candidate, now_ns);
}

void coord_paths_wanted(struct coord_paths *paths, const struct cr_key *node_key,
	const struct base_endpoint *from, uint64_t now_ns)
{
	struct peer *peer = find_peer(paths, node_key);

	if (!peer)
		return;
	if (from && peer->sender)
		ask_back(peer, from, now_ns);
	want(peer, now_ns);
}

void coord_paths_network_changed(struct coord_paths *paths, uint64_t now_ns)
{
	struct coord_keyiter iter = {0};
	struct coord_keynode *node;

	while ((node = coord_keytable_next(&paths->peers, &iter))) {
		struct peer *peer = (struct peer *)node;

		peer->trust_until_ns = 0;
		peer->n_rounds = 0;
		peer->next_round_ns = now_ns;
		if (peer->kind == COORD_PATH_DIRECT || now_ns < peer->wanted_until_ns)
			schedule(peer, now_ns);
	}
}

/* --- datagrams -------------------------------------------------------------------------------- */

/* A bucket of RATE_BURST that fills with one each RATE_NS. */
static bool is_allowed(struct sender *sender, uint64_t now_ns)
{
	uint64_t full_ns = RATE_BURST * RATE_NS;

	if (sender->rate_ns + full_ns < now_ns)
		sender->rate_ns = now_ns > full_ns ? now_ns - full_ns : 0;
	if (sender->rate_ns + RATE_NS > now_ns)
		return false;
	sender->rate_ns += RATE_NS;
	return true;
}

/* Whose ping is it? (1.4) The node that it names, if that has this disco key; else the only one that has. */
static struct peer *peer_of_ping(
	struct coord_paths *paths, struct sender *sender, const struct coord_disco_message *ping)
{
	struct peer *named = ping->has_node_key ? find_peer(paths, &ping->node_key) : NULL;

	if (named && named->sender == sender)
		return named;
	return sender->peers->next_of_sender ? NULL : sender->peers;
}

static void on_ping(struct coord_paths *paths, struct sender *sender,
	const struct coord_disco_message *ping, const struct base_endpoint *from, uint64_t now_ns)
{
	struct coord_disco_message pong = {.type = COORD_DISCO_PONG, .observed = *from};
	struct peer *peer = peer_of_ping(paths, sender, ping);
	bool is_repeated = base_endpoint_equal(&sender->last_ping_from, from) &&
		memcmp(sender->last_ping_tx, ping->tx, sizeof(ping->tx)) == 0;

	if (is_repeated)
		return;
	sender->last_ping_from = *from;
	memcpy(sender->last_ping_tx, ping->tx, sizeof(ping->tx));
	memcpy(pong.tx, ping->tx, sizeof(ping->tx));
	if (send_message(paths, sender, from, &pong))
		count(paths, COORD_PATH_PONGS_SENT);
	for (struct peer *other = sender->peers; other; other = other->next_of_sender)
		if (other != peer)
			coord_candidates_learn(&other->candidates, from, now_ns);
	if (!peer)
		return;
	/*
	 * Upstream waits until it has packets itself. Who pings is about to send: asking back now saves our first answer
	 * a round trip, at a ping for a ping.
	 */
	ask_back(peer, from, now_ns);
	if (peer->kind != COORD_PATH_DIRECT)
		want(peer, now_ns);
}

static void on_pong(struct coord_paths *paths, struct sender *sender,
	const struct coord_disco_message *pong, uint64_t now_ns)
{
	for (struct peer *peer = sender->peers; peer; peer = peer->next_of_sender) {
		struct coord_candidate *candidate =
			coord_candidates_answered(&peer->candidates, pong->tx, now_ns);
		bool is_trusted = now_ns < peer->trust_until_ns && !peer->silent_since_ns;
		const struct coord_candidate *best = coord_candidates_best(&peer->candidates);

		if (!candidate)
			continue;
		count(paths, COORD_PATH_PONGS_RECEIVED);
		if (candidate != best && is_trusted && best &&
			!coord_candidate_is_better(candidate, best))
			return;
		peer->trust_until_ns = now_ns + TRUST_NS;
		peer->silent_since_ns = 0;
		peer->n_rounds = 0;
		if (candidate != best || peer->kind != COORD_PATH_DIRECT) {
			coord_candidates_choose(&peer->candidates, candidate);
			set_path(peer, COORD_PATH_DIRECT, now_ns);
		}
		schedule(peer, now_ns + HEARTBEAT_NS);
		return;
	}
	count(paths, COORD_PATH_UNASKED_PONG);
}

void coord_paths_input(struct coord_paths *paths, const struct base_endpoint *from,
	const void *datagram, size_t len, uint64_t now_ns)
{
	struct coord_disco_message message;
	struct cr_key key;
	struct sender *sender;
	int rc;

	if (!coord_disco_looks(datagram, len, &key)) {
		count(paths, COORD_PATH_MALFORMED);
		return;
	}
	sender = (struct sender *)coord_keytable_find(&paths->senders, &key);
	if (!sender) {
		count(paths, COORD_PATH_UNKNOWN_SENDER);
		return;
	}
	if (!is_allowed(sender, now_ns)) {
		count(paths, COORD_PATH_RATE_LIMITED);
		return;
	}
	rc = shared_of(paths, sender) ? coord_disco_open(&message, datagram, len, &sender->shared)
				      : -EBADMSG;
	if (rc < 0)
		count(paths, rc == -EBADMSG ? COORD_PATH_FORGED : COORD_PATH_MALFORMED);
	else if (message.type == COORD_DISCO_PING)
		on_ping(paths, sender, &message, from, now_ns);
	else if (message.type == COORD_DISCO_PONG)
		on_pong(paths, sender, &message, now_ns);
	else /* a call-me-maybe counts only from a relay (1.4) */
		count(paths, COORD_PATH_UNKNOWN_TYPE);
}

/* --- operators -------------------------------------------------------------------------------- */

int coord_paths_ping(struct coord_paths *paths, const struct cr_key *node_key, uint64_t now_ns,
	void (*done)(void *user, const struct base_endpoint *from, uint32_t rtt_us), void *user)
{
	struct peer *peer = find_peer(paths, node_key);

	if (!peer)
		return -ENOENT;
	if (!peer->sender || peer->candidates.n == 0)
		return -EHOSTUNREACH;
	if (coord_candidates_wait(&peer->candidates, done, user, now_ns + PING_TIMEOUT_NS) < 0)
		return -EBUSY;
	peer->next_round_ns = now_ns;
	want(peer, now_ns);
	discover(peer, 1, now_ns);
	return 0;
}

int coord_paths_status(const struct coord_paths *paths, const struct cr_key *node_key,
	struct coord_path_status *ret_status)
{
	const struct peer *peer = find_peer(paths, node_key);
	const struct coord_candidate *best;

	if (!peer)
		return -ENOENT;
	best = coord_candidates_best(&peer->candidates);
	*ret_status = (struct coord_path_status){
		.kind = peer->kind,
		.since_ns = peer->since_ns,
		.n_candidates = peer->candidates.n,
	};
	if (peer->kind == COORD_PATH_DIRECT && best) {
		ret_status->endpoint = best->endpoint;
		ret_status->rtt_us = best->rtt_us;
	}
	return 0;
}

uint64_t coord_paths_counter(const struct coord_paths *paths, enum coord_path_counter counter)
{
	return paths->counters[counter];
}
