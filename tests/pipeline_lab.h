/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A laboratory for the packet path: one dataplane on a ring port, stepped by the test, and peers played by wg's
 * whole-packet door (another use of the same core, without any of the dataplane's code). No root, no
 * hugepages, no threads (unless asked for), and time is the test's.
 *
 *	peer's wg_output -> frame -> port's rx ring -> worker -> host ring -> lab_host_take()
 *	lab_host_put() -> worker -> port's tx ring -> frame checked, unwrapped -> peer's wg_input -> deliver
 */
#ifndef PIPELINE_LAB_H
#define PIPELINE_LAB_H

#include <stdbool.h>
#include <stdint.h>

#include "base_addr.h"
#include "dp_test.h"
#include "wg.h"

#define LAB_PORT 51820
#define LAB_PKT_MAX 2048
#define LAB_QUEUE_MAX 512

/** A packet that arrived somewhere. */
struct lab_pkt {
	uint32_t len;
	uint8_t data[LAB_PKT_MAX];
};

struct lab_queue {
	struct lab_pkt *pkts;
	unsigned n;
};

struct lab;

struct lab_peer {
	struct lab *lab;
	struct wg_device *device;
	struct wg_peer *gateway;
	struct cr_key public_key;
	struct base_endpoint endpoint; /* where its frames come from */
	struct lab_queue got;          /* inner packets it was delivered */
	unsigned n_sent;               /* messages it sent */
	bool is_relayed;               /* its messages come by the relay */
	bool is_mute;                  /* its messages are not put on the wire, but kept: */
	struct lab_queue kept;
};

#define LAB_PEERS_MAX 64

struct lab {
	struct dp *dp;
	struct rte_ring *host_ring;
	struct cr_key gateway_key;
	struct lab_peer peers[LAB_PEERS_MAX];
	unsigned n_peers;
	uint64_t now_ns;
	unsigned pkts_at_start; /* free in the pool */
	unsigned rx_queue;      /* where frames are put */
	bool is_deaf;           /* frames that the gateway sends are lost */
	uint64_t frames_in;     /* put on the port */
	uint64_t frames_out;    /* taken from the port */
	uint8_t ds_out;         /* DS field of the last of them */
	struct {
		unsigned n;
		uint8_t ds;         /* of the last */
	} out[WG_MESSAGE_DATA + 1]; /* frames that the gateway sent, by their messages' type */
	unsigned n_moved;           /* events */
	unsigned n_handshakes;
	unsigned n_heard;
	struct base_endpoint heard_at; /* of the last of them */
	unsigned n_relayed;            /* messages for the relay */
	uint64_t relayed_counter;      /* of the last data message among them */
	unsigned n_paths_wanted;
	struct base_endpoint wanted_by; /* of the last of them */
	unsigned n_probes;              /* that control got */
	struct lab_probe {
		struct base_endpoint from, to;
		struct lab_pkt pkt;
	} probe; /* the last of them */
};

/** What is not the default. */
struct lab_options {
	unsigned n_workers; /* 0: 1 */
	unsigned n_queues;  /* of the port; 0: one per worker */
	bool has_threads;   /* the dataplane's own: handshake thread, lcores; see lab_poll() */
	bool is_v6;         /* outer addresses of the peers */
	const char *crypto;
};

/**
 * Before the first lab_init(): lcores for that many workers with threads, sharing the CPUs that there are. A
 * process that runs none needs no call.
 */
void lab_eal(unsigned n_workers, unsigned memory_mb);
void lab_init(struct lab *lab, const struct lab_options *options);
void lab_fini(struct lab *lab);

/**
 * Add a peer that both ends know: inner address 10.9.0.(2 + n)/32 and fd00::(2 + n)/128.
 * @knows_endpoint: the gateway may begin; else the peer has to.
 */
struct lab_peer *lab_peer_add(struct lab *lab, bool knows_endpoint, bool has_psk);

/** The private key of the peer that was added after @n others. */
void lab_private_key(unsigned n, struct cr_key *ret_key);
/** The peer forgets the gateway, and is told of the key that it has now. */
void lab_peer_meet_again(struct lab_peer *peer, bool has_psk);

/** Let time pass and messages flow until nothing moves. */
void lab_run(struct lab *lab, uint64_t later_ns);

/** Frames that the gateway sent go to their peers; false: there were none. */
bool lab_take_frames(struct lab *lab);

/** With real threads: take frames, let the peers' timers run, once, by the real clock. */
void lab_poll(struct lab *lab);

/** A UDP packet inside the tunnel, IPv4 or IPv6 by the addresses; @len is that of the whole. */
uint32_t lab_inner(
	uint8_t *ret_packet, const char *src, const char *dst, uint16_t dst_port, uint32_t len);

/**
 * Frames go to another address of the gateway from now on, the one with this last byte (1 at first), and what the
 * gateway sends must come from there.
 */
void lab_ask(uint8_t last);
/** The peer sends an inner packet. */
void lab_peer_send(struct lab_peer *peer, const uint8_t *packet, uint32_t len);
/** A message of the peer's, as it is, to the gateway; from @from. */
void lab_inject(
	struct lab *lab, const struct base_endpoint *from, const void *message, uint32_t len);
/** A whole frame to the gateway's port. */
void lab_inject_frame(struct lab *lab, const void *frame, uint32_t len);
/** Wrap a message in Ethernet, IP, UDP. Returns the frame's length. */
uint32_t lab_frame(
	uint8_t *ret_frame, const struct base_endpoint *from, const void *message, uint32_t len);

/**
 * Seal @len bytes under the peer's session with a counter of the test's choice: what no honest peer would
 * send. Reads the key from the gateway's side. Returns the message's length.
 */
uint32_t lab_seal(struct lab_peer *peer, uint8_t *ret_message, uint64_t counter, const void *inner,
	uint32_t len);
/** The gateway's object for this peer. */
struct dp_peer *lab_dp_peer(const struct lab_peer *peer);

/** The gateway's kernel sends an inner packet. */
void lab_host_put(struct lab *lab, const uint8_t *packet, uint32_t len);
/** The next inner packet that the gateway delivered; false: none. */
bool lab_host_take(struct lab *lab, struct lab_pkt *ret_pkt);

/** The next message that the peer would have sent, while it is mute. */
bool lab_kept_take(struct lab_peer *peer, struct lab_pkt *ret_pkt);
bool lab_got_take(struct lab_peer *peer, struct lab_pkt *ret_pkt);

/**
 * The same with small packets known by a mark: from the gateway's kernel to @to, from the peer's address @from to the
 * gateway's; the next that arrives at the one or the other must be this one.
 */
void lab_host_sends(struct lab *lab, const char *to, uint8_t mark);
void lab_peer_sends(struct lab_peer *peer, const char *from, uint8_t mark);
void lab_expect_at_peer(struct lab_peer *peer, uint8_t mark);
void lab_expect_at_host(struct lab *lab, uint8_t mark);

/** Drops of all threads by this reason. */
uint64_t lab_drops(const struct lab *lab, enum dp_drop reason);
/** Drops of handshake messages with this verdict. */
uint64_t lab_verdicts(const struct lab *lab, enum wg_verdict verdict);
/** Sum over the workers. */
struct dp_worker_stats lab_worker_stats(const struct lab *lab);

#endif
