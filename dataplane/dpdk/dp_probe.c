/* SPDX-License-Identifier: BSD-3-Clause */
/* See dp_probe.h. */
#include "dp_probe.h"

#include "cr_noise.h"
#include "dp_dataplane.h"

#include <stdlib.h>

#include <rte_ring_elem.h>

/* Given to control in one service, of each ring. */
#define PROBES_PER_SERVICE 64
/* Commands that probes leave room for in a worker's ring: handshakes need it. */
#define COMMANDS_LEFT (DP_RING_COMMANDS / 2)
#define TOKEN_NS (BASE_NS_PER_S / DP_PROBE_STRANGERS_PER_S)

int dp_probes_init(struct dp_probes *probes)
{
	probes->strangers = dp_memory_ring_new(
		"dp_probes", sizeof(struct dp_probe), DP_RING_PROBES, RING_F_SC_DEQ);
	probes->expected = dp_memory_ring_new(
		"dp_probes_expected", sizeof(struct dp_probe), DP_RING_PROBES, RING_F_SC_DEQ);
	cr_random(&probes->secret, sizeof(probes->secret));
	return probes->strangers && probes->expected ? 0 : -ENOMEM;
}

void dp_probes_fini(struct dp_probes *probes)
{
	free(probes->strangers);
	free(probes->expected);
	probes->strangers = probes->expected = NULL;
}

/* --- worker ------------------------------------------------------------------------------------ */

/* Disco's magic (1.1) and the least that an envelope has (1.3). */
#define DISCO_BYTES_MIN 38u
/* STUN: a header, its method, and the magic cookie (RFC 8489, 5). */
#define STUN_BYTES_MIN 20u
#define STUN_COOKIE 0x2112a442u

bool dp_probe_is(const uint8_t *payload, uint32_t len)
{
	static const uint8_t magic[] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

	if (len > DP_PROBE_BYTES_MAX)
		return false;
	if (len >= STUN_BYTES_MIN && (payload[0] & 0xc0) == 0 && payload[1] == 0x01 &&
		base_load_be32(payload + 4) == STUN_COOKIE)
		return true;
	return len >= DISCO_BYTES_MIN && memcmp(payload, magic, sizeof(magic)) == 0;
}

static _Atomic uint64_t *place_of(struct dp_probes *probes, const struct base_addr *addr)
{
	return &probes->asked_ns[base_addr_hash(addr, probes->secret) & (DP_PROBE_PLACES - 1)];
}

static bool is_asked(struct dp_probes *probes, const struct dp_from *from, uint64_t now_ns)
{
	struct base_endpoint source = dp_from_endpoint(from);
	uint64_t asked_ns =
		atomic_load_explicit(place_of(probes, &source.addr), memory_order_relaxed);

	/* Control's clock was read a moment before or after ours. */
	return asked_ns != 0 && now_ns < asked_ns + DP_PROBE_ASKED_NS;
}

static bool stranger_may(struct dp_worker *worker)
{
	uint64_t now_ns = worker->now_ns;
	uint64_t full_ns = RTE_MAX(worker->strangers_full_ns, now_ns) + TOKEN_NS;

	if (full_ns > now_ns + DP_PROBE_STRANGERS_BURST * TOKEN_NS)
		return false;
	worker->strangers_full_ns = full_ns;
	return true;
}

static bool put(struct rte_ring *ring, const struct dp_from *from, struct rte_mbuf *m)
{
	const struct dp_pkt *p = dp_pkt(m);
	struct dp_probe probe = {.from = *from, .len = p->payload_len};

	memcpy(probe.data, rte_pktmbuf_mtod_offset(m, const void *, p->payload_off),
		p->payload_len);
	return rte_ring_enqueue_elem(ring, &probe, sizeof(probe)) == 0;
}

static void take(struct dp_worker *worker, struct rte_mbuf *m)
{
	struct dp_probes *probes = &worker->dp->probes;
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	struct rte_ring *ring = probes->expected;
	struct dp_from from;

	dp_from_read(&from, frame, dp_pkt(m));
	if (!dp_from_is_answerable(&from)) {
		dp_drop(&worker->counters, DP_DROP_PROBE_SOURCE, m);
		return;
	}
	if (!dp_admit_source(&worker->probe_admit, frame, dp_pkt(m), worker->now_ns)) {
		dp_drop(&worker->counters, DP_DROP_PROBE_LIMIT, m);
		return;
	}
	if (!is_asked(probes, &from, worker->now_ns))
		ring = stranger_may(worker) ? probes->strangers : NULL;
	if (!ring || !put(ring, &from, m)) {
		dp_drop(&worker->counters, DP_DROP_PROBE_FULL, m);
		return;
	}
	worker->control_got_work = true;
	if (dp_tap_is_on(&worker->counters.tap))
		dp_trace_end(&worker->counters, DP_VERDICT_TO_CONTROL, DP_PLACE_PROBE, m);
	rte_pktmbuf_free(m);
}

void dp_probe_take(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		take(worker, pkts[i]);
}

/* --- control ----------------------------------------------------------------------------------- */

static bool deliver(struct dp *dp, struct rte_ring *ring)
{
	struct base_endpoint from, to;
	struct dp_probe probe;

	if (rte_ring_dequeue_elem(ring, &probe, sizeof(probe)) != 0)
		return false;
	from = dp_from_endpoint(&probe.from);
	to = (struct base_endpoint){
		.addr = dp_from_local(&probe.from), .port = dp->config.listen_port};
	if (dp->callbacks.probe)
		dp->callbacks.probe(dp->ctx, &from, &to, probe.data, probe.len);
	return true;
}

void dp_probe_service(struct dp *dp)
{
	struct dp_probes *probes = &dp->probes;

	dp_queue_seen(&dp->control_counters, DP_QUEUE_PROBES, rte_ring_count(probes->strangers));
	dp_queue_seen(
		&dp->control_counters, DP_QUEUE_PROBES_EXPECTED, rte_ring_count(probes->expected));
	for (unsigned i = 0; i < PROBES_PER_SERVICE; i++) {
		bool has_more = deliver(dp, probes->expected);

		has_more |= deliver(dp, probes->strangers);
		if (!has_more)
			return;
	}
	dp_events_again(dp->events);
}

/* Would the kernel know a way? A worker looks again, with what is so then. */
static int check_way(const struct dp *dp, const struct dp_from *from)
{
	const struct dp_underlay_view *view =
		atomic_load_explicit(&dp->tables.view, memory_order_relaxed); /* we write it */
	struct base_endpoint to = dp_from_endpoint(from);
	struct base_addr local = dp_from_local(from);
	struct dp_nexthop nexthop;

	dp->nexthop_lookup(
		view, &to.addr, local.family == BASE_FAMILY_NONE ? NULL : &local, &nexthop);
	return nexthop.state == DP_NEXTHOP_OK || nexthop.state == DP_NEXTHOP_UNRESOLVED
		? 0
		: -ENETUNREACH;
}

static struct rte_mbuf *datagram_new(struct dp *dp, const void *datagram, size_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(dp->pool);

	if (!m)
		return NULL;
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), datagram, len);
	dp_pkt(m)->ds = 0;
	return m;
}

int dp_probe_send(struct dp *dp, const struct base_endpoint *to, const struct base_addr *from,
	const void *datagram, size_t len)
{
	struct dp_worker *worker = &dp->workers[0];
	struct dp_command cmd = {.type = DP_COMMAND_SEND_TO, .from = dp_from_make(to)};
	int error;

	if (len > DP_PROBE_BYTES_MAX)
		return -EMSGSIZE;
	if (dp_change_endpoint_fault(dp, to) || (from && from->family != to->addr.family))
		return -EINVAL;
	if (from)
		dp_from_set_local(&cmd.from, from);
	error = check_way(dp, &cmd.from);
	if (error)
		return error;
	if (rte_ring_free_count(worker->command_ring) < COMMANDS_LEFT)
		return -EAGAIN;
	cmd.object = datagram_new(dp, datagram, len);
	if (!cmd.object)
		return -EAGAIN;
	if (!dp_worker_command(worker, &cmd)) {
		rte_pktmbuf_free(cmd.object);
		return -EAGAIN;
	}
	atomic_store_explicit(
		place_of(&dp->probes, &to->addr), dp_now_ns(dp), memory_order_relaxed);
	return 0;
}
