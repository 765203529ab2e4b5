/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker: one pinned lcore that does all packet work of the peers it owns.
 *
 * Its round (dp_worker_round): receive, sort, open, deliver; take inner packets, seal, send; obey
 * commands; report a quiescent state. A round never waits, allocates, locks or logs. Packets move through
 * two batches of at most DP_BURST, one for opening, one for sealing; a full batch is worked off on the spot.
 *
 * Queues of a worker, all bounded, all fed by others without waiting:
 *	commands  from the handshake thread and control: what to do with a peer (struct dp_command)
 *	handover  frames that another worker received and this one owns
 *	inner     packets from the host interface for peers of this worker
 *	outer     sealed frames of a worker that has no send queue on a port
 * What a worker has to say goes to the handshake thread as notes (struct dp_note). Notes are
 * merged per peer, so a flood of packets cannot become a flood of notes, and none is lost.
 *
 * Next to read: dp_rx.c, then the stages in the order of their names below.
 */
#ifndef DP_WORKER_H
#define DP_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "cr_aead.h"
#include "dp_admit.h"
#include "dp_handshake.h"
#include "dp_idle.h"
#include "dp_init.h"
#include "dp_outer.h"
#include "dp_peer.h"
#include "dp_pkt.h"
#include "dp_stats.h"
#include "dp_tables.h"
#include "in_filter.h"
#include "in_parse.h"
#include "wg_index.h"

#include <rte_ring_elem.h>

/** Entries of each ring. */
#define DP_RING_PKTS 1024
#define DP_RING_COMMANDS 1024
/** Packets that wait for handshakes, of all peers of one worker. */
#define DP_STAGED_PKTS_MAX 2048
/** Frames that wait for a neighbour, and for how long. */
#define DP_NEIGHBOUR_PKTS_MAX 256
#define DP_NEIGHBOUR_WAIT_NS BASE_NS_PER_S
/** Gateways that a worker asks for in one round: as many as a burst to neighbours on link can have. More wait a round. */
#define DP_WANTED_GATEWAYS_MAX DP_BURST
/** Notes "handshake wanted" of one peer are this far apart; wg keeps the protocol's own gaps. */
#define DP_WANT_GAP_NS BASE_NS_PER_S
/** Of what is told of a peer that is heard from elsewhere. */
#define DP_HEARD_GAP_NS (200 * BASE_NS_PER_MS)

enum dp_command_type {
	DP_COMMAND_KEYPAIR_BEGIN, /* object: the keypair */
	DP_COMMAND_KEYPAIRS_CLEAR,
	DP_COMMAND_STAGED_CLEAR,
	DP_COMMAND_KEEPALIVE,
	DP_COMMAND_ENDPOINT_SEEN, /* from: an authenticated handshake message came from there */
	DP_COMMAND_ENDPOINT_SET,  /* from: control says so; mover: from now on */
	DP_COMMAND_PATH,          /* from: control's, of a peer that is probed; NONE: no path */
	DP_COMMAND_SEND,          /* object: mbuf with a message to the peer */
	DP_COMMAND_SEND_TO,       /* object: mbuf with a message to @from */
	DP_COMMAND_INDEX_GROW, /* object: a larger index table; once is_index_moved control frees the old one */
	DP_COMMAND_DETACH, /* forget the peer; answered by DP_NOTE_DETACHED */
};

struct dp_command {
	uint8_t type;  /* enum dp_command_type */
	uint8_t mover; /* enum dp_mover */
	struct dp_peer *peer;
	void *object;
	struct dp_from from;
};
static_assert(sizeof(struct dp_command) <= 64, "one cache line");
static_assert(sizeof(struct dp_command) % 4 == 0, "rte_ring_elem's rule");

/** Worker to handshake thread. Which parts count: bits for a peer, else keypair or gateway. */
struct dp_note {
	struct dp_peer *peer;
	uint32_t bits;              /* enum dp_note_bits */
	uint16_t port;              /* with a gateway */
	struct wg_keypair *keypair; /* dead: give it back */
	struct base_endpoint where; /* MOVED: the new endpoint; else a gateway to resolve */
};
static_assert(sizeof(struct dp_note) % 4 == 0, "rte_ring_elem's rule");

/** How a packet leaves once it is sealed: fixed when its headers are written. */
struct dp_leave {
	uint16_t data_off; /* of the frame, in its mbuf */
	uint16_t len;      /* bytes of the frame */
	uint16_t port;
	bool is_plain; /* else dp_tx_sealed() has more to do */
};

struct dp_batch {
	unsigned n;
	struct rte_mbuf *pkts[DP_BURST];
	struct dp_peer *peers[DP_BURST];
	struct wg_keypair *keypairs[DP_BURST]; /* to open */
	struct dp_leave leaves[DP_BURST];      /* to seal */
	struct cr_aead_job jobs[DP_BURST];
};

struct dp_tx_buffer {
	unsigned n;
	uint32_t bytes;
	struct rte_mbuf *pkts[DP_BURST]; /* of which the port takes tx_burst at a time */
};

/** What is known of an inner packet's flow. */
enum dp_flow {
	DP_FLOW_NONE, /* needs no note, or has one */
	DP_FLOW_UDP4, /* plain UDP over IPv4, not looked for yet */
	DP_FLOW_ODD,  /* another, the same; its packet is in worker->odd */
	DP_FLOW_NEW,  /* to be noted; its packet is there */
};

/** Where an inner packet goes; between the passes of dp_encap(). */
struct dp_route {
	struct dp_peer *peer;
	uint32_t number;
	uint8_t flow; /* enum dp_flow */
};

/** A receive queue to poll. */
struct dp_rx_queue {
	uint16_t port; /* index into dp->ports */
	uint16_t queue;
};

struct dp_waiting {
	struct rte_mbuf *pkt;
	uint64_t since_ns;
};

struct dp_worker {
	/* Fixed at start. */
	struct dp *dp;
	unsigned id, cpu, lcore;
	unsigned n_workers;
	struct dp_worker *workers; /* all of them */
	struct dp_port *ports;
	unsigned n_ports; /* to send by: the relay is the last */
	struct dp_rx_queue rx_queues[DP_PORTS_MAX * DP_PORT_QUEUES_MAX];
	unsigned n_rx_queues;
	uint16_t listen_port, listen_port_be16;
	uint16_t host_mtu_bytes;
	struct dp_tables *tables;
	struct rte_mempool *pool;
	const struct cr_aead_ops *aead_ops;
	struct cr_aead *aead;
	struct rte_ring *stranger_ring, *expected_ring; /* out: handshake messages */
	struct rte_ring *note_ring;                     /* out */
	struct dp_idle *handshake_idle;
	struct rte_ring *host_ring; /* out: opened packets; NULL: none takes them */
	struct dp_host *host;       /* to wake or to serve; NULL with tests */
	bool serves_host;           /* the host interface has no thread but us */
	struct rte_rcu_qsbr *qsbr;

	/* In. Written by others. */
	struct rte_ring *command_ring, *handover_ring, *inner_ring, *outer_ring;
	struct dp_idle *idle;
	_Atomic bool is_index_moved; /* control says false before INDEX_GROW, the worker true */

	/* This round. */
	uint64_t now_ns;
	uint64_t generation;
	uint64_t round; /* number of it; never 0 */
	struct dp_underlay_view *view;
	uint64_t mark_tsc;
	bool host_got_pkts, handshake_got_work, control_got_work;
	uint64_t woken_workers; /* bit per worker that got something in this round */

	/* This worker's own. */
	struct wg_index_table *index; /* receiver indices of its keypairs */
	struct in_flows *flows;
	struct dp_batch open, seal;
	struct dp_route routes[DP_GROUP];
	struct in_packet odd[DP_GROUP]; /* of those that are no plain IPv4, or whose flow is new */
	struct dp_tx_buffer tx[DP_PORTS_MAX + 1]; /* the last is the relay's */
	struct rte_mbuf *to_host[DP_BURST];
	unsigned n_to_host;
	uint32_t n_staged;
	struct dp_waiting waiting[DP_NEIGHBOUR_PKTS_MAX];
	unsigned n_waiting;
	uint64_t waiting_generation; /* when it was last worked through */
	struct dp_note wanted_gateways[DP_WANTED_GATEWAYS_MAX];
	unsigned n_wanted_gateways;
	struct wg_keypair *dead_first; /* linked by owner_data */
	struct dp_peer *note_first, **note_end;

	struct dp_counters counters;
	struct dp_admit admit; /* large, and of handshakes only */
	struct dp_admit probe_admit;
	uint64_t strangers_full_ns; /* when their share of probes will be whole again */
} __rte_cache_aligned;

/** Rings, tables and AEAD state of a worker whose fixed fields are set. 0 or -Exxx with a line. */
BASE_MUST_CHECK int dp_worker_init(struct dp_worker *worker, struct base_error *ret_error);
/** Frees every packet it still holds. Half-initialised is fine. */
void dp_worker_fini(struct dp_worker *worker);
/** One round at this time; true if there was anything to do. */
bool dp_worker_round(struct dp_worker *worker, uint64_t now_ns);
/** Will it sleep when there is nothing to do? All its queues must have sockets that can wake it. */
bool dp_worker_may_sleep(const struct dp_worker *worker);
/** The lcore's function: rounds, and sleep between them if @arg's dataplane is adaptive. */
int dp_worker_main(void *arg);

/** Any thread: is a command queued? False: its ring is full. Wakes the worker. */
BASE_MUST_CHECK bool dp_worker_command(struct dp_worker *worker, const struct dp_command *command);

/* The stages. Each takes what the one before left and gives on what it made. */

/** dp_rx.c: a burst from one queue; sorted into the open batch, the handshake ring, other workers. */
unsigned dp_rx_poll(struct dp_worker *worker, const struct dp_rx_queue *queue);
/** What a payload is: a drop reason below DP_DROP_COUNT, or one of these. */
#define DP_RX_DATA ((unsigned)DP_DROP_COUNT)
#define DP_RX_HANDSHAKE ((unsigned)DP_DROP_COUNT + 1)
#define DP_RX_PROBE ((unsigned)DP_DROP_COUNT + 2)
/** dp_rx.c: by its first bytes and its length; any thread. */
unsigned dp_rx_message(const uint8_t *payload, uint32_t len);
/** dp_steer.c: data frames that dp_rx.c has checked: ours to dp_decap, others to their owners. */
void dp_steer(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n);
/** dp_steer.c: frames that other workers handed over. */
unsigned dp_steer_poll(struct dp_worker *worker);
/** dp_decap.c: open @n <= DP_BURST data frames of our own peers and deliver them. */
void dp_decap(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n);
/** dp_decap.c: hand what was opened to the host interface. */
void dp_deliver_flush(struct dp_worker *worker);
/** dp_ahead.c: bring into the cache what sealing these @n inner packets will touch. */
void dp_ahead(const struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n);
/** dp_encap.c: inner packets, data at their IP header, n <= DP_BURST. */
void dp_encap(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n);
unsigned dp_encap_poll(struct dp_worker *worker);
/** dp_encap.c: seal one packet for @peer, or stage it. @m may be empty: a keepalive. */
void dp_encap_one(struct dp_worker *worker, struct dp_peer *peer, struct rte_mbuf *m);
/** dp_encap.c: seal the batch and pass it on to dp_tx.c. */
void dp_encap_flush(struct dp_worker *worker);
void dp_encap_keepalive(struct dp_worker *worker, struct dp_peer *peer);
void dp_encap_staged(struct dp_worker *worker, struct dp_peer *peer);
void dp_encap_staged_drop(struct dp_worker *worker, struct dp_peer *peer, enum dp_drop reason);
/** dp_tx.c: is the peer's header good for this round? Makes it anew when the underlay has changed. */
bool dp_tx_prepare(struct dp_worker *worker, struct dp_outer *outer, const struct dp_from *from);
/** dp_tx.c: a UDP payload, with room in front and dp_pkt()->ds set; writes the headers. */
void dp_tx_payload(struct dp_worker *worker, const struct dp_outer *outer, struct rte_mbuf *m);
/** dp_tx.c: the same to a peer whose header is good, by all its paths. */
void dp_tx_to_peer(struct dp_worker *worker, struct dp_peer *peer, struct rte_mbuf *m);
/** dp_tx.c: the batch for sealing, sealed; the headers of its packets are written. */
void dp_tx_sealed(struct dp_worker *worker, const struct dp_batch *batch);
unsigned dp_tx_poll(struct dp_worker *worker);
void dp_tx_flush(struct dp_worker *worker);

/* dp_worker.c: what the stages have to say. */
void dp_worker_note(struct dp_worker *worker, struct dp_peer *peer, uint8_t bits);
/** An authenticated message came from there: answers follow; who else knows is told if the end moved. */
void dp_worker_move(struct dp_worker *worker, struct dp_peer *peer, const struct dp_from *from);
void dp_worker_want_handshake(struct dp_worker *worker, struct dp_peer *peer);
/** A peer that is probed is heard from an address that is not its path. */
void dp_worker_heard(struct dp_worker *worker, struct dp_peer *peer, const struct dp_from *from);
/** A peer that is probed has a session, and packets, but no path. */
void dp_worker_want_path(struct dp_worker *worker, struct dp_peer *peer);
/** Keypairs that a change pushed out: unlink, and give back by way of the handshake thread. */
void dp_worker_bury(struct dp_worker *worker, struct wg_keypair **dead, unsigned n);

/** Account the cycles since the last mark to a stage that handled @n packets. */
static inline void dp_worker_mark(struct dp_worker *worker, enum dp_stage stage, unsigned n)
{
	uint64_t tsc = rte_rdtsc();

	dp_counter_add(&worker->counters.stage_cycles[stage], tsc - worker->mark_tsc);
	dp_counter_add(&worker->counters.stage_pkts[stage], n);
	worker->mark_tsc = tsc;
}

/** What ran since the last mark found nothing to do: no stage pays for it. */
static inline void dp_worker_mark_idle(struct dp_worker *worker)
{
	worker->mark_tsc = rte_rdtsc();
}

#endif
