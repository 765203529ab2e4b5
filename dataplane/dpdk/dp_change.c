/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Batches of peers that come, change and go (control thread; the handshake thread's half is in
 * dp_handshake.c). A batch is checked whole, then everything that may fail is done where nobody sees it, and
 * then it happens, step by step, each for the whole batch:
 *
 * Coming. Control makes the peers, gives each a number and the worker with the fewest peers, and has the
 * workers' index tables grow to three keypairs more for each. Nobody else knows them yet, so their
 * endpoints are simply written. Then they exist for the handshake thread (a request: wg_peer_set(), which may
 * refuse a key), then by number, last by their prefixes: whoever finds a prefix finds a peer.
 *
 * Changing. What cannot fail: the handshake thread gets keys and times, the owner the endpoint, and
 * prefixes pass from one peer to another in one store. New ones before old ones go: an address that is in
 * both is never without its peer.
 *
 * Leaving, the ladder of coming down. Who may still hold a peer after each step:
 *
 *	1. control unpublishes prefixes    readers of allowed IPs inside a burst; packets on the way
 *	   and the number                  to the owner hold no pointer: the owner looks again
 *	2. control asks the handshake      handshake thread, owner
 *	   thread; that commands DETACH
 *	3. the owner drops what is staged, handshake thread; from here on the owner notes and installs
 *	   gives the keypairs back, says   nothing for it, and sends nothing (it has no endpoint)
 *	   DETACHED as its last note
 *	4. the handshake thread, past all  nobody by wg's tables. The owner's ring may hold commands
 *	   earlier notes, runs             for it from before DETACH was answered, at most a keypair
 *	   wg_peer_remove(); after the     or a message; none can follow
 *	   last one it answers
 *	5. control sends nothing more, waits until the owners' command rings have been drained past those,
 *	   then retires the batch: readers inside a burst finish, and only then is it wiped and freed
 *	   and its numbers may name others
 *
 * Control waits from 2 to 5, which costs two wake-ups; thus a peer of the same key may be added at once. The
 * handshake thread takes a batch in slices, so that handshakes go on.
 */
#include "dp_dataplane.h"

#include <assert.h>
#include <stdlib.h>

/* Each peer's current, previous and next, and one more while a command is on its way. */
#define INDICES_PER_PEER 4
/* Prefixes unlinked between two looks whether the grace period of earlier ones is over. */
#define PREFIXES_PER_POLL 1024

/* Peers that wait for their grace period. */
struct gone {
	struct dp_peers *peers;
	size_t n;
	struct dp_peer *members[];
};

struct change {
	struct dp *dp;
	struct base_error *err;
	struct dp_peer_order *set; /* new peers first */
	size_t n_new, n_set;
	struct dp_peer_order *leaving;
	size_t n_leaving;
	struct gone *gone;
	struct gone *gone_again; /* new ones that have to go before they came */
	struct dp_request request;
	size_t n_prefixes; /* of all in @set */
};

static const char *name_of(char text[BASE_FINGERPRINT_LEN + 1], const struct cr_key *public_key)
{
	base_key_fingerprint(text, public_key->bytes);
	return text;
}

static int out_of_memory(const struct change *change)
{
	return base_error_set(change->err, -ENOMEM, "no memory for the change of peers");
}

static int stuck(const struct change *change)
{
	return base_error_set(change->err, -EIO,
		"the change of peers is not answered: a thread of the dataplane stands still");
}

/* --- checks: nothing is touched ---------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
	const struct cr_key *const *x = a, *const *y = b;

	return memcmp(*x, *y, sizeof(**x)); /* public keys are no secret */
}

static int check_keys(const struct change *change, const struct dp_peers_change *asked)
{
	const struct cr_key *ours = dp_handshake_public_key(change->dp->handshake);
	size_t n = asked->n_set + asked->n_remove;
	const struct cr_key **keys = calloc(n + 1, sizeof(*keys));
	char name[BASE_FINGERPRINT_LEN + 1];
	int error = 0;

	if (!keys)
		return out_of_memory(change);
	for (size_t i = 0; i < n; i++)
		keys[i] = i < asked->n_set ? &asked->set[i].public_key
					   : &asked->remove[i - asked->n_set];
	qsort(keys, n, sizeof(const struct cr_key *), compare_keys);
	for (size_t i = 0; i < n && !error; i++) {
		if (i > 0 && compare_keys(&keys[i - 1], &keys[i]) == 0)
			error = base_error_set(change->err, -EINVAL,
				"peer %s stands in one change twice", name_of(name, keys[i]));
		else if (memcmp(keys[i], ours, sizeof(*ours)) == 0)
			error = base_error_set(change->err, -EINVAL,
				"peer %s: its public key is our own", name_of(name, keys[i]));
	}
	free(keys);
	return error;
}

static bool prefix_is_valid(const struct base_prefix *prefix)
{
	unsigned bits = 8 * base_family_bytes((enum base_family)prefix->addr.family);

	if (bits == 0 || prefix->bits > bits)
		return false;
	for (unsigned bit = prefix->bits; bit < bits; bit++) {
		if (prefix->addr.bytes[bit / 8] & 0x80 >> bit % 8)
			return false;
	}
	return true;
}

/* Addresses as they are now: what becomes ours later is dropped on the way, and counted. */
const char *dp_change_endpoint_fault(const struct dp *dp, const struct base_endpoint *endpoint)
{
	const struct dp_underlay_view *view =
		atomic_load_explicit(&dp->tables.view, memory_order_relaxed); /* we write it */

	if (view && endpoint->port == dp->config.listen_port &&
		dp_underlay_is_local(view, 0, &endpoint->addr))
		return "our own address and listen_port; give the peer's";
	return dp_endpoint_fault(endpoint, dp->n_ports);
}

static int check_peer(const struct change *change, const struct dp_peer_config *config)
{
	char name[BASE_FINGERPRINT_LEN + 1], text[BASE_ENDPOINT_TEXT_LEN];
	const char *fault = NULL;

	if (config->endpoint.addr.family != BASE_FAMILY_NONE)
		fault = config->is_probed ? "of a peer that is probed; its path tells"
					  : dp_change_endpoint_fault(change->dp, &config->endpoint);
	if (fault)
		return base_error_set(change->err, -EINVAL, "peer %s: endpoint %s: %s",
			name_of(name, &config->public_key),
			base_endpoint_print(text, &config->endpoint), fault);
	for (size_t i = 0; i < config->n_allowed_ips; i++) {
		if (!prefix_is_valid(&config->allowed_ips[i]))
			return base_error_set(change->err, -EINVAL,
				"allowed IP %s of peer %s is no prefix, or has host bits",
				base_prefix_print(text, &config->allowed_ips[i]),
				name_of(name, &config->public_key));
	}
	return 0;
}

static int taken(const struct change *change, const struct base_prefix *prefix,
	const struct cr_key *by, const struct cr_key *holder)
{
	char text[BASE_PREFIX_TEXT_LEN], ours[BASE_FINGERPRINT_LEN + 1],
		theirs[BASE_FINGERPRINT_LEN + 1];

	return base_error_set(change->err, -EEXIST,
		"allowed IP %s of peer %s is peer %s's already; give it to one of them",
		base_prefix_print(text, prefix), name_of(ours, by), name_of(theirs, holder));
}

/* A prefix and who wants it. */
struct mention {
	const struct base_prefix *prefix;
	const struct dp_peer_config *config;
};

static int compare_prefixes(const void *a, const void *b)
{
	const struct base_prefix *x = ((const struct mention *)a)->prefix,
				 *y = ((const struct mention *)b)->prefix;
	int order = memcmp(&x->addr, &y->addr, sizeof(x->addr));

	return order ? order : (int)x->bits - (int)y->bits;
}

/* Among each other, and against those that stay as they are. */
static int check_prefixes(const struct change *change, const struct dp_peers_change *asked)
{
	const struct dp *dp = change->dp;
	struct mention *mentions = calloc(change->n_prefixes + 1, sizeof(*mentions));
	size_t n = 0;
	int error = 0;

	if (!mentions)
		return out_of_memory(change);
	for (size_t i = 0; i < asked->n_set; i++) {
		for (size_t j = 0; j < asked->set[i].n_allowed_ips; j++)
			mentions[n++] =
				(struct mention){&asked->set[i].allowed_ips[j], &asked->set[i]};
	}
	qsort(mentions, n, sizeof(*mentions), compare_prefixes);
	for (size_t i = 0; i < n && !error; i++) {
		const struct mention *mention = &mentions[i];
		uint32_t holder = wg_allowedips_exact(dp->tables.allowed_ips, mention->prefix);
		const struct dp_peer *peer =
			holder == WG_PEER_NONE ? NULL : dp->peers.by_number[holder];

		if (i > 0 && compare_prefixes(mention - 1, mention) == 0 &&
			mention[-1].config != mention->config)
			error = taken(change, mention->prefix, &mention->config->public_key,
				&mention[-1].config->public_key);
		else if (peer && !peer->is_in_change)
			error = taken(change, mention->prefix, &mention->config->public_key,
				&peer->public_key);
	}
	free(mentions);
	return error;
}

/* Who is meant: orders for known peers are filled from the end, for new ones from the beginning. */
static int find_peers(struct change *change, const struct dp_peers_change *asked)
{
	struct dp_peers *peers = &change->dp->peers;
	char name[BASE_FINGERPRINT_LEN + 1];
	size_t known = asked->n_set;

	for (size_t i = 0; i < asked->n_set; i++) {
		const struct dp_peer_config *config = &asked->set[i];
		struct dp_peer *peer = dp_peers_find(peers, &config->public_key);
		size_t at = peer ? --known : change->n_new++;

		change->set[at] = (struct dp_peer_order){.peer = peer, .config = config};
		change->n_prefixes += config->n_allowed_ips;
		if (peer)
			peer->is_in_change = true;
	}
	change->n_set = asked->n_set;
	for (size_t i = 0; i < asked->n_remove; i++) {
		struct dp_peer *peer = dp_peers_find(peers, &asked->remove[i]);

		if (!peer)
			return base_error_set(change->err, -ENOENT,
				"no peer has the key %s that is to be removed",
				name_of(name, &asked->remove[i]));
		change->leaving[change->n_leaving++].peer = peer;
		peer->is_in_change = true;
	}
	return 0;
}

static int check(struct change *change, const struct dp_peers_change *asked)
{
	int error = check_keys(change, asked);

	for (size_t i = 0; i < asked->n_set && !error; i++)
		error = check_peer(change, &asked->set[i]);
	if (!error)
		error = find_peers(change, asked);
	return error ? error : check_prefixes(change, asked);
}

/* --- what may fail: nobody sees it yet --------------------------------------------------------- */

static unsigned owner_choose(const struct dp *dp)
{
	unsigned best = 0;

	for (unsigned i = 1; i < dp->n_workers; i++) {
		if (dp->peers.owned[i] < dp->peers.owned[best])
			best = i;
	}
	return best;
}

static int peer_new(struct dp *dp, struct dp_peer_order *order)
{
	const struct dp_peer_config *config = order->config;
	struct dp_peer *peer = base_slab_take(&dp->peers.slab);
	struct dp_from from = dp_from_make(&config->endpoint);

	if (!peer)
		return -ENOMEM;
	memset(peer, 0, sizeof(*peer));
	peer->public_key = config->public_key;
	peer->number = dp_peers_number_take(&dp->peers);
	peer->owner = (uint8_t)owner_choose(dp);
	peer->mover = (uint8_t)dp_mover_of(config);
	peer->has_probes = config->is_probed;
	dp->peers.owned[peer->owner]++;
	if (from.family != BASE_FAMILY_NONE)
		dp_peer_set_from(peer, &from, dp_now_ns(dp));
	dp_peers_link(&dp->peers, peer);
	order->peer = peer;
	return 0;
}

static void peer_destroy(struct dp_peers *peers, struct dp_peer *peer)
{
	dp_peers_number_give(peers, peer->number);
	free(peer->prefixes);
	base_wipe(peer, sizeof(*peer));
	base_slab_give(&peers->slab, peer);
}

static bool send_command(struct dp *dp, unsigned owner, const struct dp_command *cmd)
{
	while (!dp_worker_command(&dp->workers[owner], cmd)) {
		if (!dp_wait_a_little(dp))
			return false;
	}
	return true;
}

/* Past this the workers have obeyed all that they were sent so far, or do so in the round that they are in. */
static bool wait_for_commands(struct dp *dp)
{
	for (unsigned i = 0; i < dp->n_workers; i++) {
		while (!rte_ring_empty(dp->workers[i].command_ring)) {
			if (!dp_wait_a_little(dp))
				return false;
		}
	}
	return true;
}

/* False: the worker stands still. */
static bool index_hand_over(struct dp *dp, unsigned owner, struct wg_index_table *larger)
{
	struct dp_worker *worker = &dp->workers[owner];

	/* Relaxed: the ring orders it before the command. */
	atomic_store_explicit(&worker->is_index_moved, false, memory_order_relaxed);
	if (!send_command(dp, owner,
		    &(struct dp_command){.type = DP_COMMAND_INDEX_GROW, .object = larger}))
		return false;
	/* Acquire pairs with the release in index_move(): the smaller table is not touched any more. */
	while (!atomic_load_explicit(&worker->is_index_moved, memory_order_acquire)) {
		if (!dp_wait_a_little(dp))
			return false;
	}
	return true;
}

static void destroy_index(void *table)
{
	wg_index_table_free(table);
}

/* The owner's index table must take all its peers, the new ones as well. */
static int index_reserve(struct dp *dp, unsigned owner)
{
	uint32_t need = dp->peers.owned[owner] * INDICES_PER_PEER;
	struct wg_index_table *larger, *now = dp->peers.index[owner];

	/* The first table is still the one that the worker was born with: nobody else changes it. */
	if (!now)
		now = dp->workers[owner].index;
	if (need <= wg_index_room(now))
		return 0;
	/* It rounds up to a power of two, so it does not grow with every peer. */
	larger = wg_index_table_new(need);
	if (!larger)
		return -ENOMEM;
	wg_index_populate(larger);
	if (!index_hand_over(dp, owner, larger))
		return -EIO;
	dp->peers.index[owner] = larger;
	dp_rcu_retire(dp->rcu, destroy_index, now);
	return 0;
}

static int copy_prefixes(struct dp_peer_order *order)
{
	const struct dp_peer_config *config = order->config;

	order->prefixes = calloc(config->n_allowed_ips + 1, sizeof(*order->prefixes));
	if (!order->prefixes)
		return -ENOMEM;
	if (config->n_allowed_ips)
		memcpy(order->prefixes, config->allowed_ips,
			config->n_allowed_ips * sizeof(*order->prefixes));
	return 0;
}

static int prepare(struct change *change)
{
	struct dp *dp = change->dp;
	int error = dp_peers_reserve(&dp->peers, change->n_new);

	if (!error && change->n_new)
		error = dp_tables_reserve(&dp->tables, dp->rcu, dp->peers.capacity);
	for (size_t i = 0; i < change->n_new && !error; i++)
		error = peer_new(dp, &change->set[i]);
	for (size_t i = 0; i < change->n_set && !error; i++)
		error = copy_prefixes(&change->set[i]);
	for (unsigned i = 0; i < dp->n_workers && !error; i++)
		error = index_reserve(dp, i);
	return error == -EIO ? stuck(change) : error ? out_of_memory(change) : 0;
}

/* New ones that nobody has seen: undo prepare(). */
static void forget(struct change *change)
{
	for (size_t i = 0; i < change->n_new; i++) {
		struct dp_peer *peer = change->set[i].peer;

		if (!peer)
			continue;
		change->dp->peers.owned[peer->owner]--;
		dp_peers_unlink(&change->dp->peers, peer);
		peer_destroy(&change->dp->peers, peer);
		change->set[i].peer = NULL;
	}
}

/* --- leaving ----------------------------------------------------------------------------------- */

static void destroy_gone(void *object)
{
	struct gone *gone = object;

	for (size_t i = 0; i < gone->n; i++)
		peer_destroy(gone->peers, gone->members[i]);
	free(gone);
}

static bool is_among(const struct base_prefix *prefix, const struct base_prefix *set, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (base_prefix_equal(prefix, &set[i]))
			return true;
	}
	return false;
}

static void prefix_remove(struct dp *dp, struct dp_peer *peer, const struct base_prefix *prefix)
{
	/* -ENOENT: it has passed to another, and its route with it. */
	if (wg_allowedips_remove(dp->tables.allowed_ips, prefix, peer->number) == 0)
		dp_nets_peer_remove(dp, prefix);
}

/* Ask, and wait. False: a thread stands still, which may look at the request at any time later. */
static bool ask(struct change *change, enum dp_request_type type, struct dp_peer_order *orders,
	size_t n, int *ret_result)
{
	change->request =
		(struct dp_request){.type = type, .orders = orders, .n = n, .n_waiting = n};
	if (n && !dp_handshake_request(change->dp->handshake, &change->request))
		return false;
	*ret_result = change->request.result;
	return true;
}

/* Steps 1 to 5. The peers are @gone's from then on. */
static int take_leave(
	struct change *change, struct dp_peer_order *leaving, size_t n, struct gone *gone)
{
	struct dp *dp = change->dp;
	size_t n_prefixes = 0;
	int result;

	for (size_t i = 0; i < n; i++) {
		struct dp_peer *peer = leaving[i].peer;

		for (size_t j = 0; j < peer->n_prefixes; j++) {
			prefix_remove(dp, peer, &peer->prefixes[j]);
			if (++n_prefixes % PREFIXES_PER_POLL == 0)
				dp_rcu_poll(dp->rcu);
		}
		dp_tables_set_peer(&dp->tables, peer->number, NULL);
		dp_taps_peer_gone(dp, peer->number);
	}
	if (!ask(change, DP_REQUEST_PEERS_REMOVE, leaving, n, &result) || !wait_for_commands(dp))
		return stuck(change);
	for (size_t i = 0; i < n; i++) {
		dp->peers.owned[leaving[i].peer->owner]--;
		dp_peers_unlink(&dp->peers, leaving[i].peer);
		gone->members[gone->n++] = leaving[i].peer;
	}
	return 0;
}

/* --- coming and changing ----------------------------------------------------------------------- */

/* The handshake thread refused one; those before it are known there already. */
static int refused(struct change *change, int result)
{
	size_t n_taken = change->request.n_done;
	char name[BASE_FINGERPRINT_LEN + 1];
	int error;

	error = take_leave(change, change->set, n_taken, change->gone_again);
	if (error)
		return error;
	for (size_t i = 0; i < n_taken; i++)
		change->set[i].peer = NULL;
	if (result == -ENOMEM)
		return out_of_memory(change);
	return base_error_set(change->err, result,
		"peer %s: its public key is one that no peer can have (of low order)",
		name_of(name, &change->set[n_taken].config->public_key));
}

/* New peers, for the handshake thread and then for workers. */
static int come(struct change *change)
{
	int result;

	if (!ask(change, DP_REQUEST_PEERS_SET, change->set, change->n_new, &result))
		return stuck(change);
	if (result)
		return refused(change, result);
	for (size_t i = 0; i < change->n_new; i++)
		dp_tables_set_peer(
			&change->dp->tables, change->set[i].peer->number, change->set[i].peer);
	return 0;
}

/* Prefixes that nobody holds: what needs memory. Without it they go again, and the new peers too. */
static int prefixes_claim(struct change *change)
{
	struct dp *dp = change->dp;
	struct wg_allowedips *table = dp->tables.allowed_ips;
	size_t n = 0, i, j;

	for (i = 0; i < change->n_set; i++) {
		const struct dp_peer_order *order = &change->set[i];

		for (j = 0; j < order->config->n_allowed_ips; j++) {
			if (wg_allowedips_exact(table, &order->prefixes[j]) != WG_PEER_NONE)
				continue;
			if (wg_allowedips_set(
				    table, &order->prefixes[j], order->peer->number, NULL) != 0)
				goto err_undo;
			dp_nets_peer_add(dp, &order->prefixes[j]);
			if (++n % PREFIXES_PER_POLL == 0)
				dp_rcu_poll(dp->rcu);
		}
	}
	return 0;
err_undo:
	for (size_t k = 0; k <= i; k++) {
		struct dp_peer_order *order = &change->set[k];
		size_t end = k < i ? order->config->n_allowed_ips : j;

		for (size_t l = 0; l < end; l++) {
			if (!is_among(&order->prefixes[l], order->peer->prefixes,
				    order->peer->n_prefixes))
				prefix_remove(dp, order->peer, &order->prefixes[l]);
		}
	}
	return refused(change, -ENOMEM);
}

/* From here on nothing fails. */

static void prefixes_pass(struct change *change, struct dp_peer_order *order)
{
	struct dp *dp = change->dp;
	struct dp_peer *peer = order->peer;
	size_t n = order->config->n_allowed_ips;
	struct base_prefix *old = peer->prefixes;

	for (size_t j = 0; j < n; j++) {
		if (wg_allowedips_exact(dp->tables.allowed_ips, &order->prefixes[j]) ==
			peer->number)
			continue;
		/* Another's, which is in this change too: a prefix only changes hands. */
		if (wg_allowedips_set(
			    dp->tables.allowed_ips, &order->prefixes[j], peer->number, NULL) != 0)
			assert(!"a prefix that is there needs no memory");
	}
	for (size_t j = 0; j < peer->n_prefixes; j++) {
		if (!is_among(&old[j], order->prefixes, n))
			prefix_remove(dp, peer, &old[j]);
	}
	peer->prefixes = order->prefixes;
	peer->n_prefixes = (uint32_t)n;
	order->prefixes = NULL;
	free(old);
}

static int change_known(struct change *change)
{
	struct dp_peer_order *known = change->set + change->n_new;
	size_t n = change->n_set - change->n_new;
	int result;

	if (!ask(change, DP_REQUEST_PEERS_SET, known, n, &result))
		return stuck(change);
	assert(result == 0); /* what wg refuses was checked, and known peers need no memory */
	for (size_t i = 0; i < n; i++) {
		const struct dp_peer_config *config = known[i].config;
		struct dp_command cmd = {.type = DP_COMMAND_ENDPOINT_SET,
			.peer = known[i].peer,
			.mover = (uint8_t)dp_mover_of(config),
			.from = dp_from_make(&config->endpoint)};

		if (!send_command(change->dp, known[i].peer->owner, &cmd))
			return stuck(change);
		/* It stays where it is until a path says otherwise. */
		if (config->is_probed && !known[i].peer->has_probes) {
			struct dp_from from = dp_peer_from(known[i].peer);

			known[i].peer->way = (struct dp_way){.direct = dp_from_endpoint(&from)};
		}
		known[i].peer->has_probes = config->is_probed;
	}
	return 0;
}

static int carry_out(struct change *change)
{
	int error = prepare(change);

	if (!error)
		error = come(change);
	if (!error)
		error = prefixes_claim(change);
	if (!error)
		error = change_known(change);
	if (error)
		return error;
	for (size_t i = 0; i < change->n_set; i++)
		prefixes_pass(change, &change->set[i]);
	return take_leave(change, change->leaving, change->n_leaving, change->gone);
}

/* --- life of a change -------------------------------------------------------------------------- */

static struct gone *gone_new(struct dp *dp, size_t n)
{
	struct gone *gone = calloc(1, sizeof(*gone) + n * sizeof(struct dp_peer *));

	if (gone)
		gone->peers = &dp->peers;
	return gone;
}

static void gone_retire(struct dp *dp, struct gone *gone)
{
	if (gone && gone->n)
		dp_rcu_retire(dp->rcu, destroy_gone, gone);
	else
		free(gone);
}

static void change_free(struct change *change)
{
	for (size_t i = 0; change->set && i < change->n_set; i++) {
		if (change->set[i].peer)
			change->set[i].peer->is_in_change = false;
		free(change->set[i].prefixes);
	}
	for (size_t i = 0; i < change->n_leaving; i++)
		change->leaving[i].peer->is_in_change = false;
	gone_retire(change->dp, change->gone);
	gone_retire(change->dp, change->gone_again);
	free(change->set);
	free(change->leaving);
	free(change);
}

static struct change *change_new(
	struct dp *dp, size_t n_set, size_t n_leaving, struct base_error *ret_error)
{
	struct change *change = calloc(1, sizeof(*change));

	if (!change)
		return NULL;
	change->dp = dp;
	change->err = ret_error;
	change->set = calloc(n_set + 1, sizeof(*change->set));
	change->leaving = calloc(n_leaving + 1, sizeof(*change->leaving));
	change->gone = gone_new(dp, n_leaving);
	change->gone_again = gone_new(dp, n_set);
	if (change->set && change->leaving && change->gone && change->gone_again)
		return change;
	change_free(change);
	return NULL;
}

int dp_peers_change(
	struct dp *dp, const struct dp_peers_change *asked, struct base_error *ret_error)
{
	struct change *change = change_new(dp, asked->n_set, asked->n_remove, ret_error);
	int error;

	if (!change)
		return base_error_set(ret_error, -ENOMEM, "no memory for the change of peers");
	error = check(change, asked);
	if (!error) {
		error = carry_out(change);
		/* A thread that stands still may come back to all of this: it stays. */
		if (error == -EIO)
			return error;
		if (error)
			forget(change);
	}
	change_free(change);
	dp_rcu_poll(dp->rcu);
	return error;
}

int dp_peer_set(struct dp *dp, const struct dp_peer_config *config, struct base_error *ret_error)
{
	return dp_peers_change(dp, &(struct dp_peers_change){.set = config, .n_set = 1}, ret_error);
}

int dp_peer_remove(struct dp *dp, const struct cr_key *public_key)
{
	struct base_error error;

	return dp_peers_change(
		dp, &(struct dp_peers_change){.remove = public_key, .n_remove = 1}, &error);
}

static bool same_way(const struct dp_way *a, const struct dp_way *b)
{
	return base_endpoint_equal(&a->direct, &b->direct) && a->is_relayed == b->is_relayed;
}

static struct dp_from from_way(const struct dp_peer *peer, const struct dp_way *way)
{
	bool is_direct = way->direct.addr.family != BASE_FAMILY_NONE;
	struct base_endpoint relay = dp_relay_endpoint(peer->number);
	struct dp_from from = dp_from_make(is_direct || !way->is_relayed ? &way->direct : &relay);

	from.is_doubled = is_direct && way->is_relayed;
	return from;
}

/* The owner first: its ring gives it the path before the initiation that the handshake thread sends then. */
int dp_peer_path(struct dp *dp, const struct cr_key *public_key, const struct dp_way *way)
{
	bool is_direct = way->direct.addr.family != BASE_FAMILY_NONE;
	struct dp_peer *peer = dp_peers_find(&dp->peers, public_key);
	struct dp_command cmd = {.type = DP_COMMAND_PATH, .peer = peer};

	if (!peer)
		return -ENOENT;
	if (!peer->has_probes || (is_direct && dp_change_endpoint_fault(dp, &way->direct)))
		return -EINVAL;
	if (same_way(&peer->way, way))
		return 0;
	peer->way = *way;
	cmd.from = from_way(peer, way);
	if (!send_command(dp, peer->owner, &cmd) ||
		!dp_handshake_path(dp->handshake, peer, is_direct || way->is_relayed))
		return -EIO;
	return 0;
}

int dp_identity_set(struct dp *dp, const struct cr_key *private_key, struct base_error *ret_error)
{
	struct dp_request *request = calloc(1, sizeof(*request));
	int error;

	if (!request)
		return base_error_set(ret_error, -ENOMEM, "no memory for another key");
	*request = (struct dp_request){.type = DP_REQUEST_IDENTITY, .private_key = *private_key};
	/* A thread that stands still may look at the request later: it stays. */
	if (!dp_handshake_request(dp->handshake, request))
		return base_error_set(ret_error, -EIO,
			"another key is not taken: a thread of the dataplane stands still");
	error = request->result;
	cr_key_wipe(&request->private_key);
	free(request);
	return error ? base_error_set(ret_error, error, "private key: a peer has it") : 0;
}

void dp_peers_fini(struct dp *dp)
{
	struct change *change = change_new(dp, 0, dp->peers.count, NULL);

	for (uint32_t i = 0; change && i < dp->peers.n_numbers; i++) {
		if (dp->peers.by_number[i])
			change->leaving[change->n_leaving++].peer = dp->peers.by_number[i];
	}
	if (change && take_leave(change, change->leaving, change->n_leaving, change->gone) == 0)
		change_free(change);
}
