/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake thread (dp_handshake.h). Everything here runs on it but new, free, start, stop,
 * request and the getters, which are control's.
 */
#include "dp_handshake.h"

#include "base_clock.h"
#include "dp_dataplane.h"
#include "dp_ecn.h"
#include "dp_event.h"
#include "dp_worker.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include <rte_lcore.h>

/* Work of one round at most, of each ring: notes and requests never wait behind a flood of messages. */
#define MESSAGES_PER_ROUND 16
#define NOTES_PER_ROUND 256
/* Peers of a request: what takes no longer than the messages of a round, or commands that leave room in a ring. */
#define PEERS_SET_PER_ROUND 1024
#define PEERS_REMOVED_PER_ROUND 64
/* Commands that one message may cause; a message waits while a worker has no room for them. */
#define COMMANDS_PER_MESSAGE 4
/* A round at least so often, so that the watchdog sees one. */
#define SLEEP_MAX_NS BASE_NS_PER_S
/* Control is told at most so often that a peer's path is wanted. */
#define DP_PATH_WANTED_GAP_NS BASE_NS_PER_S

struct dp_handshake {
	struct dp *dp;
	struct wg_device *device;
	struct cr_key public_key;
	struct rte_ring *strangers, *expected, *notes;
	struct dp_idle *idle;
	pthread_t thread;
	bool is_running;
	_Atomic bool must_stop;
	uint64_t now_ns;

	/* The message in work: answers leave from the address that it asked. */
	struct dp_from current_from;

	_Atomic(struct dp_request *) asked; /* control's; NULL: none */
	struct dp_request *request;         /* in work */

	struct dp_counters counters;
	dp_counter sessions;
	dp_counter keypairs; /* set, not added to */
};

static struct dp_worker *owner_of(struct dp_handshake *handshake, const struct dp_peer *peer)
{
	return &handshake->dp->workers[peer->owner];
}

/* Commands are never lost: a worker drains its ring every round, so room comes within microseconds. */
static void command(
	struct dp_handshake *handshake, struct dp_worker *worker, const struct dp_command *cmd)
{
	while (!dp_worker_command(worker, cmd)) {
		if (atomic_load(&handshake->must_stop))
			return;
		if (handshake->dp->is_stepped)
			dp_worker_round(worker, handshake->now_ns);
		else
			sched_yield();
	}
}

static void peer_command(
	struct dp_handshake *handshake, struct wg_peer *wg, enum dp_command_type type, void *object)
{
	struct dp_peer *peer = wg_peer_user(wg);

	command(handshake, owner_of(handshake, peer),
		&(struct dp_command){.type = type, .peer = peer, .object = object});
}

/* A peer that is probed may have no path yet, or a better one, when it knocks. */
static bool is_answer_to_probed(const struct dp_peer *peer, const void *message)
{
	return peer->is_probed && base_load_le32(message) == WG_MESSAGE_RESPONSE;
}

/* Control is to look for a path: once a second at most. @where: NULL, or where the peer was heard from. */
static void want_path(
	struct dp_handshake *handshake, struct dp_peer *peer, const struct base_endpoint *where)
{
	struct dp_event_record event = {
		.kind = DP_EVENT_KIND_PATH_WANTED, .public_key = peer->public_key};

	if (peer->path_wanted_ns &&
		handshake->now_ns - peer->path_wanted_ns < DP_PATH_WANTED_GAP_NS)
		return;
	peer->path_wanted_ns = handshake->now_ns;
	if (where)
		event.endpoint = *where;
	dp_events_push(handshake->dp->events, &event);
}

/* What wg asks of its host. */

static void host_send(void *ctx, struct wg_peer *wg, const struct base_endpoint *to,
	const void *message, size_t len)
{
	struct dp_handshake *handshake = ctx;
	struct rte_mbuf *m = rte_pktmbuf_alloc(handshake->dp->pool);
	struct dp_command cmd = {.type = DP_COMMAND_SEND_TO, .object = m};
	struct dp_peer *peer = wg ? wg_peer_user(wg) : NULL;

	if (!m) {
		dp_counter_add(&handshake->counters.drop_pkts[DP_DROP_NO_MBUF], 1);
		return;
	}
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), message, len);
	dp_pkt(m)->ds = wg ? DP_DS_HANDSHAKE : 0;
	if (wg && base_load_le32(message) == WG_MESSAGE_INITIATION)
		peer->initiated_ns = handshake->now_ns;
	if (wg && !is_answer_to_probed(peer, message)) {
		peer_command(handshake, wg, DP_COMMAND_SEND, m);
		return;
	}
	/* A cookie reply goes back where the message in work came from. */
	cmd.from = handshake->current_from;
	if (cmd.from.family == BASE_FAMILY_NONE)
		cmd.from = dp_from_make(to);
	command(handshake, wg ? owner_of(handshake, peer) : &handshake->dp->workers[0], &cmd);
}

static uint64_t host_unix_ns(void *ctx)
{
	struct dp_handshake *handshake = ctx;

	/* A test that owns the clock owns the calendar too. */
	return handshake->dp->is_stepped ? handshake->now_ns : base_clock_unix_ns();
}

static void host_keypair_begin(void *ctx, struct wg_peer *wg, struct wg_keypair *keypair)
{
	struct dp_handshake *handshake = ctx;
	struct dp_peer *peer = wg_peer_user(wg);

	if (keypair->is_initiator && peer->initiated_ns) {
		atomic_store_explicit(&peer->rtt_us,
			(uint32_t)((handshake->now_ns - peer->initiated_ns) / BASE_NS_PER_US),
			memory_order_relaxed);
		peer->initiated_ns = 0;
	}
	peer_command(handshake, wg, DP_COMMAND_KEYPAIR_BEGIN, keypair);
}

static void host_keypairs_clear(void *ctx, struct wg_peer *wg)
{
	const struct dp_peer *peer = wg_peer_user(wg);

	/* Of a peer that is being removed the owner has given everything back already. */
	if (!peer->is_leaving)
		peer_command(ctx, wg, DP_COMMAND_KEYPAIRS_CLEAR, NULL);
}

static void host_staged_clear(void *ctx, struct wg_peer *wg)
{
	peer_command(ctx, wg, DP_COMMAND_STAGED_CLEAR, NULL);
}

static void host_keepalive(void *ctx, struct wg_peer *wg)
{
	peer_command(ctx, wg, DP_COMMAND_KEEPALIVE, NULL);
}

static void host_endpoint_seen(void *ctx, struct wg_peer *wg, const struct base_endpoint *from)
{
	struct dp_handshake *handshake = ctx;
	struct dp_peer *peer = wg_peer_user(wg);

	command(handshake, owner_of(handshake, peer),
		&(struct dp_command){.type = DP_COMMAND_ENDPOINT_SEEN,
			.peer = peer,
			.from = handshake->current_from});
	if (peer->is_probed && !wg_peer_has_endpoint(wg))
		want_path(handshake, peer, from);
}

static void host_handshake_done(void *ctx, struct wg_peer *wg, uint64_t now_ns)
{
	struct dp_handshake *handshake = ctx;
	struct dp_peer *peer = wg_peer_user(wg);
	struct dp_event_record event = {
		.kind = DP_EVENT_KIND_HANDSHAKE, .public_key = peer->public_key};

	atomic_store_explicit(&peer->last_handshake_ns, now_ns, memory_order_relaxed);
	atomic_fetch_add_explicit(&peer->handshakes, 1, memory_order_relaxed);
	dp_counter_add(&handshake->sessions, 1);
	dp_events_push(handshake->dp->events, &event);
}

static const struct wg_host host_calls = {
	.send = host_send,
	.unix_ns = host_unix_ns,
	.keypair_begin = host_keypair_begin,
	.keypairs_clear = host_keypairs_clear,
	.staged_clear = host_staged_clear,
	.keepalive = host_keepalive,
	.endpoint_seen = host_endpoint_seen,
	.handshake_done = host_handshake_done,
};

/* What workers say. */

static void request_done(struct dp_handshake *handshake)
{
	struct dp_request *request = handshake->request;

	handshake->request = NULL;
	atomic_store_explicit(&request->is_done, true, memory_order_release);
}

static void finish_removal(struct dp_handshake *handshake, struct dp_peer *peer)
{
	wg_peer_remove(handshake->device, peer->wg);
	peer->wg = NULL;
	if (--handshake->request->n_waiting == 0)
		request_done(handshake);
}

static void peer_note(struct dp_handshake *handshake, const struct dp_note *note)
{
	struct dp_peer *peer = note->peer;

	if (note->bits & DP_NOTE_CONFIRMED)
		wg_peer_confirmed(peer->wg, handshake->now_ns);
	if (note->bits & DP_NOTE_MOVED) {
		struct dp_event_record event = {.kind = DP_EVENT_KIND_MOVED,
			.public_key = peer->public_key,
			.endpoint = note->where};

		wg_peer_set_has_endpoint(peer->wg, true);
		dp_events_push(handshake->dp->events, &event);
	}
	if (note->bits & DP_NOTE_HEARD) {
		struct dp_event_record event = {.kind = DP_EVENT_KIND_HEARD,
			.public_key = peer->public_key,
			.endpoint = note->where};

		dp_events_push(handshake->dp->events, &event);
	}
	if (note->bits & DP_NOTE_WANT_HANDSHAKE)
		wg_peer_want_handshake(peer->wg, handshake->now_ns);
	if ((note->bits & (DP_NOTE_WANT_HANDSHAKE | DP_NOTE_WANT_PATH)) && peer->is_probed &&
		!wg_peer_has_endpoint(peer->wg))
		want_path(handshake, peer, NULL);
	if (note->bits & (DP_NOTE_PATH | DP_NOTE_NO_PATH)) {
		peer->path_wanted_ns = 0;
		wg_peer_path(peer->wg, (note->bits & DP_NOTE_PATH) != 0, handshake->now_ns);
	}
	if (note->bits & DP_NOTE_DETACHED)
		finish_removal(handshake, peer);
}

static unsigned take_notes(struct dp_handshake *handshake)
{
	struct dp_note note;
	unsigned n;

	dp_queue_seen(&handshake->counters, DP_QUEUE_NOTES, rte_ring_count(handshake->notes));
	for (n = 0; n < NOTES_PER_ROUND; n++) {
		if (rte_ring_dequeue_elem(handshake->notes, &note, sizeof(note)) != 0)
			break;
		if (note.peer) {
			peer_note(handshake, &note);
		} else if (note.keypair) {
			wg_keypair_put(handshake->device, note.keypair);
		} else {
			struct dp_event_record event = {.kind = DP_EVENT_KIND_NEIGHBOUR,
				.port = note.port,
				.endpoint = note.where};

			dp_events_push(handshake->dp->events, &event);
		}
	}
	return n;
}

/* What control wants. */

static int peer_set(struct dp_handshake *handshake, const struct dp_peer_order *order)
{
	struct dp_peer *peer = order->peer;
	struct wg_peer_config config = {
		.public_key = order->config->public_key,
		.preshared_key = order->config->preshared_key,
		.endpoint = order->config->endpoint,
		.keepalive_s = order->config->keepalive_s,
		.endpoint_is_fixed = order->config->endpoint_is_fixed,
		.is_probed = order->config->is_probed,
		.owner = peer->owner,
		.user = peer,
		.activity = &peer->activity,
	};
	int error = wg_peer_set(handshake->device, &config, handshake->now_ns, &peer->wg);

	cr_key_wipe(&config.preshared_key);
	peer->is_probed = order->config->is_probed;
	return error;
}

static unsigned set_some(struct dp_handshake *handshake, struct dp_request *request)
{
	unsigned n;

	for (n = 0; n < PEERS_SET_PER_ROUND && request->n_done < request->n; n++) {
		request->result = peer_set(handshake, &request->orders[request->n_done]);
		if (request->result)
			break;
		request->n_done++;
	}
	if (request->result || request->n_done == request->n)
		request_done(handshake);
	return n + 1;
}

/* Each answers with a note, see finish_removal(). */
static unsigned remove_some(struct dp_handshake *handshake, struct dp_request *request)
{
	unsigned n;

	for (n = 0; n < PEERS_REMOVED_PER_ROUND && request->n_done < request->n; n++) {
		struct dp_peer *peer = request->orders[request->n_done++].peer;

		peer->is_leaving = true;
		command(handshake, owner_of(handshake, peer),
			&(struct dp_command){.type = DP_COMMAND_DETACH, .peer = peer});
	}
	return n;
}

static void identity_set(struct dp_handshake *handshake, struct dp_request *request)
{
	request->result = wg_device_set_private_key(handshake->device, &request->private_key);
	if (request->result == 0)
		wg_device_public_key(handshake->device, &handshake->public_key);
	request_done(handshake);
}

static unsigned take_request(struct dp_handshake *handshake)
{
	if (!handshake->request)
		handshake->request =
			atomic_exchange_explicit(&handshake->asked, NULL, memory_order_acquire);
	if (!handshake->request)
		return 0;
	switch (handshake->request->type) {
	case DP_REQUEST_PEERS_SET:
		return set_some(handshake, handshake->request);
	case DP_REQUEST_PEERS_REMOVE:
		return remove_some(handshake, handshake->request);
	case DP_REQUEST_IDENTITY:
		break;
	}
	identity_set(handshake, handshake->request);
	return 1;
}

/* What came from the network. */

static bool workers_have_room(const struct dp_handshake *handshake)
{
	const struct dp *dp = handshake->dp;

	for (unsigned i = 0; i < dp->n_workers; i++) {
		if (rte_ring_free_count(dp->workers[i].command_ring) < COMMANDS_PER_MESSAGE)
			return false;
	}
	return true;
}

/* For who traces: the frame as a packet again, which is freed by the one who looks at it. */
static struct rte_mbuf *frame_again(
	struct dp_handshake *handshake, const struct dp_message *message)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(handshake->dp->pool);

	if (m) {
		memcpy(rte_pktmbuf_append(m, message->len), message->frame, message->len);
		*dp_pkt(m) = message->p;
	}
	return m;
}

static void message_end(
	struct dp_handshake *handshake, const struct dp_message *message, enum wg_verdict verdict)
{
	struct dp_counters *counters = &handshake->counters;
	struct rte_mbuf *m = dp_tap_is_on(&counters->tap) ? frame_again(handshake, message) : NULL;

	if (verdict == WG_VERDICT_OK) {
		if (m)
			dp_trace_end(counters, DP_VERDICT_ACCEPTED, DP_PLACE_HANDSHAKE, m);
		rte_pktmbuf_free(m);
	} else if (m) {
		dp_drop(counters, dp_drop_of_verdict(verdict), m);
	} else {
		dp_counter_add(&counters->drop_pkts[dp_drop_of_verdict(verdict)], 1);
	}
}

static void take_message(struct dp_handshake *handshake, const struct dp_message *message)
{
	const struct dp_pkt *p = &message->p;
	struct base_endpoint from;
	enum wg_verdict verdict;

	dp_from_read(&handshake->current_from, message->frame, p);
	from = dp_from_endpoint(&handshake->current_from);
	verdict = wg_handshake_input(handshake->device, &from, message->frame + p->payload_off,
		p->payload_len, handshake->now_ns);
	handshake->current_from.family = BASE_FAMILY_NONE;
	message_end(handshake, message, verdict);
}

static unsigned take_messages(
	struct dp_handshake *handshake, struct rte_ring *ring, enum dp_queue queue)
{
	unsigned n, waiting = rte_ring_count(ring);
	struct dp_message message;

	dp_queue_seen(&handshake->counters, queue, waiting);
	/* wg counts from an eighth on. */
	wg_device_note_queue(handshake->device, waiting, 8 * DP_HANDSHAKES_LOAD, handshake->now_ns);
	for (n = 0; n < MESSAGES_PER_ROUND && workers_have_room(handshake); n++) {
		if (rte_ring_dequeue_elem(ring, &message, sizeof(message)) != 0)
			break;
		take_message(handshake, &message);
	}
	return n;
}

bool dp_handshake_round(struct dp_handshake *handshake, uint64_t now_ns)
{
	unsigned n;
	size_t keypairs, bytes;

	handshake->now_ns = now_ns;
	dp_counter_add(&handshake->counters.rounds, 1);
	n = take_notes(handshake) + take_request(handshake);
	n += take_messages(handshake, handshake->expected, DP_QUEUE_EXPECTED);
	n += take_messages(handshake, handshake->strangers, DP_QUEUE_HANDSHAKES);
	if (wg_next_deadline_ns(handshake->device) <= now_ns) {
		wg_tick(handshake->device, now_ns);
		n++;
	}
	if (n == 0 && wg_device_prepare(handshake->device))
		n = 1;
	if (n) {
		wg_device_usage(handshake->device, &keypairs, &bytes);
		atomic_store_explicit(&handshake->keypairs, keypairs, memory_order_relaxed);
	}
	return n > 0;
}

static bool has_request_work(const struct dp_handshake *handshake)
{
	return handshake->request && handshake->request->n_done < handshake->request->n;
}

static bool has_work(struct dp_handshake *handshake)
{
	return !rte_ring_empty(handshake->strangers) || !rte_ring_empty(handshake->expected) ||
		!rte_ring_empty(handshake->notes) || atomic_load(&handshake->asked) ||
		has_request_work(handshake) || atomic_load(&handshake->must_stop);
}

static void sleep_until_work(struct dp_handshake *handshake)
{
	uint64_t now_ns = base_clock_now_ns();
	uint64_t deadline_ns = wg_next_deadline_ns(handshake->device);
	uint64_t wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;

	dp_idle_prepare(handshake->idle);
	if (has_work(handshake) || wait_ns == 0)
		dp_idle_cancel(handshake->idle);
	else
		dp_idle_wait(handshake->idle, RTE_MIN(wait_ns, SLEEP_MAX_NS));
}

static void *thread_main(void *arg)
{
	struct dp_handshake *handshake = arg;
	/* An lcore number gives the packet pool's per-thread cache; without one it works as well. */
	bool is_registered = rte_thread_register() == 0;

	pthread_setname_np(pthread_self(), "dp-handshake");
	while (!atomic_load_explicit(&handshake->must_stop, memory_order_relaxed)) {
		if (!dp_handshake_round(handshake, base_clock_now_ns()))
			sleep_until_work(handshake);
	}
	if (is_registered)
		rte_thread_unregister();
	return NULL;
}

/* Control's side. */

struct rte_ring *dp_memory_ring_new(
	const char *name, unsigned element_bytes, unsigned count, unsigned flags)
{
	ssize_t bytes = rte_ring_get_memsize_elem(element_bytes, count);
	struct rte_ring *ring = bytes > 0
		? aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_CACHE_LINE_ROUNDUP((size_t)bytes))
		: NULL;

	if (ring && rte_ring_init(ring, name, count, flags) != 0) {
		free(ring);
		return NULL;
	}
	return ring;
}

struct dp_handshake *dp_handshake_new(struct dp *dp, const struct cr_key *private_key)
{
	struct dp_handshake *handshake = calloc(1, sizeof(*handshake));

	if (!handshake)
		return NULL;
	handshake->dp = dp;
	handshake->strangers = dp_memory_ring_new(
		"dp_strangers", sizeof(struct dp_message), DP_RING_STRANGERS, RING_F_SC_DEQ);
	handshake->expected = dp_memory_ring_new(
		"dp_expected", sizeof(struct dp_message), DP_RING_EXPECTED, RING_F_SC_DEQ);
	handshake->notes = rte_ring_create_elem(
		"dp_notes", sizeof(struct dp_note), DP_RING_NOTES, SOCKET_ID_ANY, RING_F_SC_DEQ);
	handshake->idle = dp_idle_new();
	handshake->device = wg_device_new(private_key, &host_calls, handshake);
	if (!handshake->strangers || !handshake->expected || !handshake->notes ||
		!handshake->idle || !handshake->device) {
		int error = errno ? errno : ENOMEM;

		dp_handshake_free(handshake);
		errno = error;
		return NULL;
	}
	wg_device_public_key(handshake->device, &handshake->public_key);
	return handshake;
}

int dp_handshake_start(struct dp_handshake *handshake, unsigned cpu)
{
	pthread_attr_t attr;
	cpu_set_t cpus;
	int error;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	error = pthread_create(&handshake->thread, &attr, thread_main, handshake);
	pthread_attr_destroy(&attr);
	handshake->is_running = error == 0;
	return -error;
}

void dp_handshake_stop(struct dp_handshake *handshake)
{
	if (!handshake || !handshake->is_running)
		return;
	atomic_store(&handshake->must_stop, true);
	dp_idle_wake(handshake->idle);
	pthread_join(handshake->thread, NULL);
	handshake->is_running = false;
}

void dp_handshake_free(struct dp_handshake *handshake)
{
	if (!handshake)
		return;
	dp_handshake_stop(handshake);
	wg_device_free(handshake->device);
	dp_idle_free(handshake->idle);
	free(handshake->strangers);
	free(handshake->expected);
	rte_ring_free(handshake->notes);
	free(handshake);
}

struct rte_ring *dp_handshake_stranger_ring(struct dp_handshake *handshake)
{
	return handshake->strangers;
}

struct rte_ring *dp_handshake_expected_ring(struct dp_handshake *handshake)
{
	return handshake->expected;
}

struct rte_ring *dp_handshake_note_ring(struct dp_handshake *handshake)
{
	return handshake->notes;
}

struct dp_idle *dp_handshake_idle(struct dp_handshake *handshake)
{
	return handshake->idle;
}

bool dp_handshake_request(struct dp_handshake *handshake, struct dp_request *request)
{
	atomic_store(&request->is_done, false);
	atomic_store(&handshake->asked, request);
	dp_idle_wake(handshake->idle);
	while (!atomic_load_explicit(&request->is_done, memory_order_acquire)) {
		if (!dp_wait_a_little(handshake->dp))
			return false;
	}
	return true;
}

bool dp_handshake_path(struct dp_handshake *handshake, struct dp_peer *peer, bool has_path)
{
	struct dp_note note = {.peer = peer, .bits = has_path ? DP_NOTE_PATH : DP_NOTE_NO_PATH};

	while (rte_ring_enqueue_elem(handshake->notes, &note, sizeof(note)) != 0) {
		if (!dp_wait_a_little(handshake->dp))
			return false;
	}
	dp_idle_wake(handshake->idle);
	return true;
}

const struct wg_device *dp_handshake_device(const struct dp_handshake *handshake)
{
	return handshake->device;
}

const struct cr_key *dp_handshake_public_key(const struct dp_handshake *handshake)
{
	return &handshake->public_key;
}

const struct dp_counters *dp_handshake_counters(const struct dp_handshake *handshake)
{
	return &handshake->counters;
}

struct dp_tap_point *dp_handshake_tap(struct dp_handshake *handshake)
{
	return &handshake->counters.tap;
}

uint64_t dp_handshake_keypairs(const struct dp_handshake *handshake)
{
	return dp_counter_get(&handshake->keypairs);
}

uint64_t dp_handshake_sessions(const struct dp_handshake *handshake)
{
	return dp_counter_get(&handshake->sessions);
}
