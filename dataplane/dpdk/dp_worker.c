/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker's loop: one round after the other, and sleep when there was nothing for a while. A round reads
 * the clock once, walks the stages, obeys commands, says what it has to say, and passes a quiescent
 * state. Next to read: dp_rx.c.
 */
#include "dp_worker.h"

#include "base_clock.h"
#include "dp_dataplane.h"

#include <stdlib.h>

#include <rte_lcore.h>

/* Spin so long without work before sleeping: longer than the gaps within a busy flow, and short enough that a
 * packet per millisecond costs a twentieth of the core. */
#define SPIN_NS (50 * BASE_NS_PER_US)
/* Nothing but waiting frames needs a timer; they are looked at this often. */
#define SLEEP_WAITING_NS (10 * BASE_NS_PER_MS)
#define SLEEP_MAX_NS BASE_NS_PER_S
/* Flows that a worker remembers for the filter. */
/* More than peers that are likely to be active: each flow pushed out before its time ends an epoch of all. */
#define FLOWS_MAX 262144
/* Receiver indices a table takes at first. */
#define INDEX_FIRST 256
#define COMMANDS_PER_ROUND 64
/* Of a table whose entries move to a larger one: some ten microseconds. */
#define INDEX_SLOTS_PER_ROUND 512

static bool say(struct dp_worker *worker, const struct dp_note *note)
{
	struct dp_note element = *note;

	if (rte_ring_enqueue_elem(worker->note_ring, &element, sizeof(element)) != 0)
		return false;
	worker->handshake_got_work = true;
	return true;
}

void dp_worker_note(struct dp_worker *worker, struct dp_peer *peer, uint8_t bits)
{
	if (peer->is_detached)
		return;
	peer->note_bits |= bits;
	if (peer->is_noted)
		return;
	peer->is_noted = true;
	peer->note_next = NULL;
	*worker->note_end = peer;
	worker->note_end = &peer->note_next;
}

static void want(struct dp_worker *worker, struct dp_peer *peer, uint8_t bit)
{
	if (peer->wanted_ns && worker->now_ns - peer->wanted_ns < DP_WANT_GAP_NS)
		return;
	peer->wanted_ns = worker->now_ns;
	dp_worker_note(worker, peer, bit);
}

void dp_worker_want_handshake(struct dp_worker *worker, struct dp_peer *peer)
{
	want(worker, peer, DP_NOTE_WANT_HANDSHAKE);
}

void dp_worker_want_path(struct dp_worker *worker, struct dp_peer *peer)
{
	want(worker, peer, DP_NOTE_WANT_PATH);
}

/* Packets that are in the batch already leave by the headers that they were measured for. */
static void set_from(struct dp_worker *worker, struct dp_peer *peer, const struct dp_from *from)
{
	dp_encap_flush(worker);
	dp_peer_set_from(peer, from, worker->now_ns);
}

/* The same end asks another address of ours; how many ways there are to it is control's to say. */
static void set_local(struct dp_worker *worker, struct dp_peer *peer, const struct dp_from *from)
{
	struct dp_from local = *from;

	local.is_doubled = peer->from.is_doubled;
	if (memcmp(&peer->from, &local, sizeof(local)) != 0)
		set_from(worker, peer, &local);
}

void dp_worker_heard(struct dp_worker *worker, struct dp_peer *peer, const struct dp_from *from)
{
	struct dp_note note = {
		.peer = peer, .bits = DP_NOTE_HEARD, .where = dp_from_endpoint(from)};

	/* A wish: it takes no room from what becomes of peers, and the next packet tells it again. */
	if (peer->is_detached || worker->now_ns - peer->heard_ns < DP_HEARD_GAP_NS ||
		rte_ring_free_count(worker->note_ring) <= DP_RING_NOTES / 2)
		return;
	peer->heard_ns = worker->now_ns;
	(void)say(worker, &note);
}

void dp_worker_move(struct dp_worker *worker, struct dp_peer *peer, const struct dp_from *from)
{
	bool is_news = !dp_from_same_end(&peer->from, from);

	if (memcmp(&peer->from, from, sizeof(*from)) == 0)
		return;
	/* A fixed end may ask another address of ours, but it stays where it is. One that is not known at all
	 * is fixed by its first word. */
	if (is_news && peer->mover == DP_MOVER_NOBODY && peer->from.family != BASE_FAMILY_NONE)
		return;
	if (peer->mover == DP_MOVER_PROBES) {
		if (is_news)
			dp_worker_heard(worker, peer, from);
		else
			set_local(worker, peer, from);
		return;
	}
	set_from(worker, peer, from);
	if (is_news)
		dp_worker_note(worker, peer, DP_NOTE_MOVED);
}

static void bury_one(struct dp_worker *worker, struct wg_keypair *keypair)
{
	keypair->owner_data = worker->dead_first;
	worker->dead_first = keypair;
}

void dp_worker_bury(struct dp_worker *worker, struct wg_keypair **dead, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		wg_index_release(worker->index, dead[i]->local_index);
		bury_one(worker, dead[i]);
	}
}

/* Commands. */

/* Never full, for dp_change.c has the table grow before it adds a peer; and it must not grow here. */
static bool index_add(struct dp_worker *worker, struct wg_keypair *keypair)
{
	return wg_index_count(worker->index) < wg_index_room(worker->index) &&
		wg_index_put(worker->index, keypair->local_index, keypair) == 0;
}

static void keypair_begin(
	struct dp_worker *worker, struct dp_peer *peer, struct wg_keypair *keypair)
{
	struct wg_keypair *dead[WG_KEYPAIRS_DEAD_MAX];
	bool is_initiator = keypair->is_initiator;
	unsigned n;

	keypair->owner_data = peer;
	if (peer->is_detached || !index_add(worker, keypair)) {
		bury_one(worker, keypair);
		return;
	}
	n = wg_keypairs_begin(&peer->keypairs, keypair, dead);
	dp_worker_bury(worker, dead, n);
	wg_activity_session(&peer->activity);
	peer->wanted_ns = 0;
	if (!is_initiator)
		return;
	/* The first data message confirms the session to the other end. */
	if (peer->n_staged)
		dp_encap_staged(worker, peer);
	else
		dp_encap_keepalive(worker, peer);
}

static void keypairs_clear(struct dp_worker *worker, struct dp_peer *peer, enum dp_drop reason)
{
	struct wg_keypair *dead[WG_KEYPAIRS_DEAD_MAX];

	dp_encap_flush(worker);
	dp_worker_bury(worker, dead, wg_keypairs_clear(&peer->keypairs, dead));
	peer->wanted_ns = 0;
	dp_encap_staged_drop(worker, peer, reason);
}

static void send_message(struct dp_worker *worker, const struct dp_command *cmd)
{
	struct dp_outer to = {0}, *outer = cmd->peer ? &cmd->peer->outer : &to;
	const struct dp_from *from = cmd->peer ? &cmd->peer->from : &cmd->from;
	struct rte_mbuf *m = cmd->object;

	if (from->family == BASE_FAMILY_NONE)
		dp_drop_at(&worker->counters, DP_DROP_NO_ENDPOINT, DP_PLACE_ANSWER, m);
	else if (!dp_tx_prepare(worker, outer, from))
		dp_drop_at(&worker->counters, DP_DROP_NO_ROUTE, DP_PLACE_ANSWER, m);
	else if (cmd->peer)
		dp_tx_to_peer(worker, cmd->peer, m);
	else
		dp_tx_payload(worker, outer, m);
}

static bool is_relayed(const struct dp_peer *peer)
{
	struct base_endpoint where = dp_from_endpoint(&peer->from);

	return peer->from.is_doubled || dp_relay_has(&where.addr);
}

static void endpoint(struct dp_worker *worker, const struct dp_command *cmd)
{
	struct dp_peer *peer = cmd->peer;
	bool is_seen = cmd->type == DP_COMMAND_ENDPOINT_SEEN;

	if (!is_seen)
		peer->mover = cmd->mover;
	/* Who is no longer probed has no relay either. */
	if (peer->mover != DP_MOVER_PROBES && is_relayed(peer))
		set_from(worker, peer, &cmd->from);
	if (cmd->from.family == BASE_FAMILY_NONE)
		return;
	if (is_seen)
		dp_worker_move(worker, peer, &cmd->from);
	else if (!dp_from_same_end(&peer->from, &cmd->from))
		set_from(worker, peer, &cmd->from);
}

/* A part of it: a worker that moved a million entries in one round would lose packets. */
static void index_move(struct dp_worker *worker)
{
	/* Release: control, which frees the smaller table, finds that nothing of ours comes after. */
	if (!wg_index_move_some(worker->index, INDEX_SLOTS_PER_ROUND))
		atomic_store_explicit(&worker->is_index_moved, true, memory_order_release);
}

/* What waited for a path goes by it; without a session the wish for one is told again, for this attempt at once. */
static void path(struct dp_worker *worker, struct dp_peer *peer, const struct dp_from *from)
{
	if (!dp_from_same_end(&peer->from, from) || peer->from.is_doubled != from->is_doubled)
		set_from(worker, peer, from);
	peer->wanted_ns = 0;
	if (from->family != BASE_FAMILY_NONE)
		dp_encap_staged(worker, peer);
}

static void detach(struct dp_worker *worker, struct dp_peer *peer)
{
	keypairs_clear(worker, peer, DP_DROP_PEER_GONE);
	dp_worker_note(worker, peer, DP_NOTE_DETACHED);
	peer->note_bits = DP_NOTE_DETACHED; /* what else it had to say is void */
	peer->is_detached = true;
}

static void obey(struct dp_worker *worker, const struct dp_command *cmd)
{
	bool is_gone = cmd->peer && cmd->peer->is_detached;

	switch ((enum dp_command_type)cmd->type) {
	case DP_COMMAND_KEYPAIR_BEGIN:
		keypair_begin(worker, cmd->peer, cmd->object);
		break;
	case DP_COMMAND_SEND:
	case DP_COMMAND_SEND_TO:
		send_message(worker, cmd);
		break;
	case DP_COMMAND_INDEX_GROW:
		wg_index_move_begin(cmd->object, worker->index);
		worker->index = cmd->object;
		index_move(worker);
		break;
	case DP_COMMAND_KEYPAIRS_CLEAR:
		keypairs_clear(worker, cmd->peer, DP_DROP_STAGED_GIVEN_UP);
		break;
	case DP_COMMAND_STAGED_CLEAR:
		dp_encap_staged_drop(worker, cmd->peer, DP_DROP_STAGED_GIVEN_UP);
		break;
	case DP_COMMAND_KEEPALIVE:
		if (!is_gone)
			dp_encap_keepalive(worker, cmd->peer);
		break;
	case DP_COMMAND_ENDPOINT_SEEN:
	case DP_COMMAND_ENDPOINT_SET:
		if (!is_gone)
			endpoint(worker, cmd);
		break;
	case DP_COMMAND_PATH:
		if (!is_gone)
			path(worker, cmd->peer, &cmd->from);
		break;
	case DP_COMMAND_DETACH:
		detach(worker, cmd->peer);
		break;
	}
}

static unsigned take_commands(struct dp_worker *worker)
{
	struct dp_command cmd;
	unsigned n;

	dp_queue_seen(&worker->counters, DP_QUEUE_COMMANDS, rte_ring_count(worker->command_ring));
	for (n = 0; n < COMMANDS_PER_ROUND; n++) {
		if (rte_ring_dequeue_elem(worker->command_ring, &cmd, sizeof(cmd)) != 0)
			break;
		obey(worker, &cmd);
	}
	return n;
}

bool dp_worker_command(struct dp_worker *worker, const struct dp_command *cmd)
{
	struct dp_command element = *cmd;
	bool is_queued =
		rte_ring_enqueue_elem(worker->command_ring, &element, sizeof(element)) == 0;

	dp_idle_wake(worker->idle);
	return is_queued;
}

/* Notes: dead keypairs first, so that DETACHED is the last word of a peer. What does not fit stays. */

static bool say_dead(struct dp_worker *worker)
{
	while (worker->dead_first) {
		struct wg_keypair *keypair = worker->dead_first, *next = keypair->owner_data;

		if (!say(worker, &(struct dp_note){.keypair = keypair}))
			return false;
		worker->dead_first = next;
	}
	return true;
}

static bool say_peers(struct dp_worker *worker)
{
	while (worker->note_first) {
		struct dp_peer *peer = worker->note_first, *next = peer->note_next;
		struct dp_note note = {.peer = peer, .bits = peer->note_bits};

		if (note.bits & DP_NOTE_MOVED)
			note.where = dp_from_endpoint(&peer->from);
		/* Before it is said: after DETACHED the peer is no longer ours to touch. */
		peer->note_bits = 0;
		peer->is_noted = false;
		if (!say(worker, &note)) {
			peer->note_bits = (uint8_t)note.bits;
			peer->is_noted = true;
			return false;
		}
		worker->note_first = next;
	}
	worker->note_end = &worker->note_first;
	return true;
}

static void say_all(struct dp_worker *worker)
{
	if (!say_dead(worker) || !say_peers(worker))
		return;
	/* Wishes take no more than half of the ring: what becomes of peers has the rest. */
	while (worker->n_wanted_gateways &&
		rte_ring_free_count(worker->note_ring) > DP_RING_NOTES / 2) {
		if (!say(worker, &worker->wanted_gateways[worker->n_wanted_gateways - 1]))
			return;
		worker->n_wanted_gateways--;
	}
}

static void wake_others(struct dp_worker *worker)
{
	if (worker->host_got_pkts && worker->host && !worker->serves_host)
		dp_host_wake(worker->host);
	if (worker->handshake_got_work)
		dp_idle_wake(worker->handshake_idle);
	while (worker->woken_workers) {
		unsigned id = (unsigned)__builtin_ctzll(worker->woken_workers);

		worker->woken_workers &= worker->woken_workers - 1;
		dp_idle_wake(worker->workers[id].idle);
	}
	if (worker->control_got_work)
		dp_events_again(worker->dp->events);
	worker->host_got_pkts = false;
	worker->handshake_got_work = false;
	worker->control_got_work = false;
}

/* What the kernel has is left with it while there is something on our ring: in short turns it stays in the cache. */
static unsigned serve_host(struct dp_worker *worker)
{
	unsigned n = dp_host_serve(worker->host, rte_ring_empty(worker->inner_ring));

	dp_worker_mark(worker, DP_STAGE_DELIVER, 0);
	return n;
}

bool dp_worker_round(struct dp_worker *worker, uint64_t now_ns)
{
	uint64_t start_tsc = rte_rdtsc();
	unsigned n = 0;

	worker->now_ns = now_ns;
	worker->round++;
	worker->mark_tsc = start_tsc;
	/* Generation before view (both acquire): the view is at least as new as the number says. */
	worker->generation =
		atomic_load_explicit(&worker->tables->generation, memory_order_acquire);
	worker->view = atomic_load_explicit(&worker->tables->view, memory_order_acquire);

	n += take_commands(worker);
	if (unlikely(wg_index_is_moving(worker->index))) {
		index_move(worker);
		n++;
	}
	dp_worker_mark_idle(worker);
	for (unsigned i = 0; i < worker->n_rx_queues; i++)
		n += dp_rx_poll(worker, &worker->rx_queues[i]);
	n += dp_steer_poll(worker);
	if (worker->serves_host)
		n += serve_host(worker);
	n += dp_encap_poll(worker);
	dp_encap_flush(worker);
	n += dp_tx_poll(worker);
	dp_tx_flush(worker);
	say_all(worker);
	wake_others(worker);
	dp_counter_add(&worker->counters.rounds, 1);

	dp_counter_add(n ? &worker->counters.busy_cycles : &worker->counters.idle_cycles,
		rte_rdtsc() - start_tsc);
	dp_rcu_quiescent(worker->qsbr, worker->id);
	return n > 0;
}

/* Sleep. */

static bool has_work(const struct dp_worker *worker)
{
	return !rte_ring_empty(worker->command_ring) || !rte_ring_empty(worker->handover_ring) ||
		!rte_ring_empty(worker->inner_ring) ||
		(worker->serves_host && !rte_ring_empty(worker->host_ring)) ||
		!rte_ring_empty(worker->outer_ring) || worker->dead_first || worker->note_first ||
		atomic_load(&worker->dp->must_stop);
}

static void sleep_until_work(struct dp_worker *worker)
{
	dp_idle_prepare(worker->idle);
	if (has_work(worker)) {
		dp_idle_cancel(worker->idle);
		return;
	}
	dp_counter_add(&worker->counters.sleeps, 1);
	dp_rcu_offline(worker->qsbr, worker->id);
	dp_idle_wait(worker->idle, worker->n_waiting ? SLEEP_WAITING_NS : SLEEP_MAX_NS);
	dp_rcu_online(worker->qsbr, worker->id);
}

bool dp_worker_may_sleep(const struct dp_worker *worker)
{
	if (worker->dp->config.idle != DP_IDLE_ADAPTIVE)
		return false;
	for (unsigned i = 0; i < worker->n_rx_queues; i++) {
		/* A queue without a socket cannot wake anybody. */
		if (worker->ports[worker->rx_queues[i].port].n_fds == 0)
			return false;
	}
	return true;
}

int dp_worker_main(void *arg)
{
	struct dp_worker *worker = arg;
	bool is_adaptive = dp_worker_may_sleep(worker);
	uint64_t busy_ns = base_clock_now_ns();

	dp_rcu_online(worker->qsbr, worker->id);
	while (!atomic_load_explicit(&worker->dp->must_stop, memory_order_relaxed)) {
		uint64_t now_ns = base_clock_now_ns();

		if (dp_worker_round(worker, now_ns)) {
			busy_ns = now_ns;
		} else if (is_adaptive && now_ns - busy_ns >= SPIN_NS) {
			sleep_until_work(worker);
			busy_ns = base_clock_now_ns();
		} else {
			rte_pause();
		}
	}
	dp_rcu_offline(worker->qsbr, worker->id);
	return 0;
}

/* Set-up. */

static struct rte_ring *ring_new(const char *what, unsigned id, unsigned element, unsigned count)
{
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof(name), "dp_%s_%u", what, id);
	return rte_ring_create_elem(name, element, count, SOCKET_ID_ANY, RING_F_SC_DEQ);
}

static int aead_init(struct dp_worker *worker, struct base_error *ret_error)
{
	errno = 0;
	worker->aead = worker->aead_ops->new ();
	if (!worker->aead)
		return base_error_set(ret_error, errno ? -errno : -ENOMEM,
			"cipher %s does not work on this machine; set crypto: auto",
			worker->aead_ops->name);
	return 0;
}

int dp_worker_init(struct dp_worker *worker, struct base_error *ret_error)
{
	worker->note_end = &worker->note_first;
	worker->command_ring =
		ring_new("commands", worker->id, sizeof(struct dp_command), DP_RING_COMMANDS);
	worker->handover_ring = ring_new("handover", worker->id, sizeof(void *), DP_RING_PKTS);
	worker->inner_ring = ring_new("inner", worker->id, sizeof(void *), DP_RING_PKTS);
	worker->outer_ring = ring_new("outer", worker->id, sizeof(void *), DP_RING_PKTS);
	worker->idle = dp_idle_new();
	dp_admit_init(&worker->admit);
	dp_admit_init(&worker->probe_admit);
	worker->index = wg_index_table_new(INDEX_FIRST);
	worker->flows = in_flows_new(FLOWS_MAX, worker->id);
	if (!worker->command_ring || !worker->handover_ring || !worker->inner_ring ||
		!worker->outer_ring || !worker->idle || !worker->index || !worker->flows)
		return base_error_set(ret_error, -ENOMEM,
			"worker %u: no memory for its rings and tables; raise memory_mb",
			worker->id);
	return aead_init(worker, ret_error);
}

static void ring_free(struct rte_ring *ring)
{
	void *m;

	while (ring && rte_ring_dequeue(ring, &m) == 0)
		rte_pktmbuf_free(m);
	rte_ring_free(ring);
}

static void commands_free(struct rte_ring *ring)
{
	struct dp_command cmd;

	while (ring && rte_ring_dequeue_elem(ring, &cmd, sizeof(cmd)) == 0) {
		if (cmd.type == DP_COMMAND_SEND || cmd.type == DP_COMMAND_SEND_TO)
			rte_pktmbuf_free(cmd.object);
	}
	rte_ring_free(ring);
}

void dp_worker_fini(struct dp_worker *worker)
{
	for (unsigned i = 0; i < worker->n_waiting; i++)
		rte_pktmbuf_free(worker->waiting[i].pkt);
	commands_free(worker->command_ring);
	ring_free(worker->handover_ring);
	ring_free(worker->inner_ring);
	ring_free(worker->outer_ring);
	dp_idle_free(worker->idle);
	wg_index_table_free(worker->index);
	in_flows_free(worker->flows);
	if (worker->aead)
		worker->aead_ops->free(worker->aead);
}
