/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dataplane as the control plane sees it; the only header of this library that control
 * includes, and it includes nothing of DPDK.
 *
 * Life: dp_new() brings up EAL, ports, the host interface, the handshake thread and the workers,
 * or nothing, with one line that says why. From then on the caller polls dp_fd() and
 * calls dp_service() when it is readable; every callback comes from inside dp_service(). dp_free()
 * stops everything in reverse and leaves no interface, XDP program or socket behind.
 *
 * Thread: all calls from the thread that called dp_new() (the EAL main lcore). No call waits for
 * a packet. Those that change peers wait for the handshake thread and for one grace period of the workers,
 * for a batch as a whole: well below a millisecond and some 50 us per added peer (its key's X25519). They
 * give up when the watchdog finds a thread that stands still.
 */
#ifndef DP_API_H
#define DP_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "cr_secret.h"

struct dp;

enum dp_port_kind {
	DP_PORT_AF_XDP, /* our XDP program takes UDP to the tunnel's port; the kernel keeps the rest */
	DP_PORT_AF_PACKET, /* packet sockets; up to 64 KiB of UDP per message (dp_packet.h) */
	DP_PORT_RING, /* in memory, for tests and benchmarks: what is sent comes back to the test */
	DP_PORT_NULL, /* receives empty packets at once, swallows what is sent */
};
/** "af_xdp", ...; NULL for a number that is none. */
const char *dp_port_kind_name(enum dp_port_kind kind);

#define DP_PORTS_MAX 4
#define DP_WORKERS_MAX 64
#define DP_HOST_ADDRS_MAX 8
#define DP_DEVICE_NAME_LEN 16 /* with the NUL, as the kernel's IFNAMSIZ */

struct dp_port_config {
	enum dp_port_kind kind;
	char device[DP_DEVICE_NAME_LEN]; /* kernel interface, or a label for ring and null ports */
	uint16_t n_queues; /* ring and null: each way; 0: one per worker. Others: the device's */
};

enum dp_idle_mode {
	DP_IDLE_POLL,     /* workers never sleep */
	DP_IDLE_ADAPTIVE, /* a worker with nothing to do sleeps on its ports' sockets */
};

struct dp_filter_dst {
	struct base_prefix prefix;      /* family NONE: any, of both families */
	uint16_t port_first, port_last; /* 0-65535: any; a protocol without ports needs that */
};

/**
 * Default deny; a decrypted packet to this host needs a rule or must answer a flow of ours. A rule accepts packets from
 * any of its sources to any of its destinations by any of its protocols. No sources, or no destinations, match
 * nothing: a list of which everything had to be left out opens nothing.
 */
struct dp_filter_rule {
	const struct base_prefix *srcs; /* family NONE: any, of both families */
	size_t n_srcs;
	const struct dp_filter_dst *dsts;
	size_t n_dsts;
	const uint8_t *protos; /* IP protocol numbers; none: TCP, UDP, ICMP and ICMPv6 */
	size_t n_protos;
};

enum dp_port_state {
	DP_PORT_UP,
	DP_PORT_DOWN, /* the link is */
	DP_PORT_GONE, /* its interface was deleted, or cannot be opened again; frames are dropped */
};
/** "up", ... */
const char *dp_port_state_name(enum dp_port_state state);

/** The host interface's MTU: what a mesh address needs, and what a packet buffer holds with outer headers. */
#define DP_HOST_MTU_MIN 576
#define DP_HOST_MTU_MAX 1792

struct dp_config {
	struct dp_port_config ports[DP_PORTS_MAX];
	unsigned n_ports;
	uint16_t listen_port; /* UDP, host order; the tunnel's */

	unsigned worker_cpus[DP_WORKERS_MAX]; /* one worker each, pinned */
	unsigned n_workers;
	unsigned control_cpu; /* the calling thread, the host and the handshake thread */
	enum dp_idle_mode idle;
	unsigned memory_mb; /* for packets and rings; 0: what the ports and workers need */
	bool has_telemetry; /* DPDK's socket for operators (dp_telemetry.h) */
	const char *crypto; /* NULL or "auto", "lanes", "ipsec-mb", "libsodium" */

	struct cr_key private_key; /* copied, and wiped in the copy when it ends */

	char host_device[DP_DEVICE_NAME_LEN]; /* "sandd0"; "" for none (tests, benchmarks) */
	struct base_prefix host_addrs[DP_HOST_ADDRS_MAX]; /* with host bits: 10.9.0.1/24 */
	unsigned n_host_addrs;                            /* 0: they come by dp_host_set() */
	uint16_t host_mtu; /* inner MTU in bytes, DP_HOST_MTU_MIN to DP_HOST_MTU_MAX */

	const struct dp_filter_rule *rules; /* copied */
	size_t n_rules;
};

enum dp_event_type {
	DP_EVENT_HANDSHAKE,      /* a session with the peer was confirmed */
	DP_EVENT_ENDPOINT_MOVED, /* authenticated packets come from elsewhere now */
	DP_EVENT_PORT, /* of a port or the host interface: up, down, what it lacks; text says which */
	/* Packets, or a handshake, wait for a peer that is probed and has no path; at most once a second and peer */
	DP_EVENT_PATH_WANTED,
	/* Authenticated packets of a peer that is probed come from an address that is not its path: a NAT gave it another. At most
	 * five a second and peer. */
	DP_EVENT_HEARD,
	DP_EVENT_ADDRESSES, /* dp_local_addrs() says something else now */
	DP_EVENT_DEAD,      /* a thread of the dataplane died: text says why; stop the process */
};

struct dp_event {
	enum dp_event_type type;
	struct cr_key public_key; /* of the peer, where there is one */
	/* ENDPOINT_MOVED, HEARD: the new one; PATH_WANTED: where a handshake of the peer's came from, authenticated; family
	 * NONE if there was none */
	struct base_endpoint endpoint;
	const char *text; /* borrowed; NULL without one */
};

struct dp_callbacks {
	/** Something happened; from inside dp_service(). */
	void (*event)(void *ctx, const struct dp_event *event);
	/**
	 * A datagram on the tunnel's port that is no WireGuard message but looks like disco or STUN
	 * (protocols/nat-traversal.md, 1.3), from @from to our @to; borrowed. Nothing of it is proved. From inside
	 * dp_service(). May be NULL.
	 */
	void (*probe)(void *ctx, const struct base_endpoint *from, const struct base_endpoint *to,
		const void *datagram, size_t len);
	/**
	 * A sealed message, or one of a handshake, for a peer whose path is the relay; borrowed. From inside dp_service(), in
	 * bursts. May be NULL: they are dropped then.
	 */
	void (*relay)(void *ctx, const struct cr_key *peer, const void *message, size_t len);
};

/**
 * Before dp_new(): take away what a gateway that was killed left on the ports of @config (XDP programs of ours that
 * nobody holds). It alone may need CAP_SYS_ADMIN; dp_new() does with CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF, and with
 * CAP_IPC_LOCK where the limit of locked memory (RLIMIT_MEMLOCK) is finite. Returns 0 or -Exxx with a line, e.g. -EBUSY: the program
 * is somebody else's, or of a gateway that runs. Any thread.
 */
BASE_MUST_CHECK int dp_clean(const struct dp_config *config, struct base_error *ret_error);

/**
 * Start. Returns NULL with errno and a line in @ret_error. errno tells mains the exit code:
 * EINVAL configuration (2), all else run time (1). Cautions that do not stop the start (no
 * hugepages) go to @warn, one line each, which may be NULL.
 */
struct dp *dp_new(const struct dp_config *config, const struct dp_callbacks *callbacks, void *ctx,
	void (*warn)(const char *line), struct base_error *ret_error);
/**
 * Stop and clean up; NULL is fine. After a thread was found to stand still (DP_EVENT_DEAD) only what would
 * outlive the process is cleaned up, and nobody is waited for: end the process.
 */
void dp_free(struct dp *dp);

/** Readable (epoll) when dp_service() has something to do; owned by @dp. */
int dp_fd(const struct dp *dp);
/** Follow the kernel's routes and neighbours, deliver events. Bounded work per call. */
void dp_service(struct dp *dp);

struct dp_peer_config {
	struct cr_key public_key;
	struct cr_key preshared_key;   /* zero: none */
	struct base_endpoint endpoint; /* family NONE: unknown, the peer speaks first */
	uint16_t keepalive_s;          /* 0: off */
	bool endpoint_is_fixed;        /* no roaming */
	/**
	 * Where it is reached follows dp_peer_path() alone, never roaming; @endpoint is none. Its handshakes are
	 * answered where they came from; without a path its packets wait (few, and 90 s at most).
	 */
	bool is_probed;
	const struct base_prefix *allowed_ips; /* copied */
	size_t n_allowed_ips;
};

/** What to change about the peers. Borrowed; in any order. */
struct dp_peers_change {
	const struct dp_peer_config *set; /* to add, or to change to this */
	size_t n_set;
	const struct cr_key *remove; /* by public key */
	size_t n_remove;
};

/**
 * Add, change and remove peers, one or ten thousand, with one publication and one grace period. Checked as a
 * whole first; other peers and their packets do not notice. A changed peer keeps its session, its
 * counters, and where it is unless the configuration says another endpoint; a new preshared key counts
 * from the next handshake. A prefix may pass from a peer that is changed or removed to another: its
 * addresses always have the one or the other. Keys of removed peers are wiped after the grace period.
 *
 * Returns 0; or, with nothing changed and a line that names the peers by their fingerprints, -EINVAL (our own
 * key, a low-order key, port 0, a prefix that is none, a key that stands in the change twice), -EEXIST (an allowed
 * prefix is another peer's), -ENOENT (a key to remove is nobody's), -ENOMEM. -EIO: a thread
 * stands still; dp_service() tells which, and the process has to end.
 */
BASE_MUST_CHECK int dp_peers_change(
	struct dp *dp, const struct dp_peers_change *change, struct base_error *ret_error);
/** The same for one peer. */
BASE_MUST_CHECK int dp_peer_set(
	struct dp *dp, const struct dp_peer_config *config, struct base_error *ret_error);
/** The same for one peer. */
int dp_peer_remove(struct dp *dp, const struct cr_key *public_key);

/** How packets reach a peer that is probed: directly, by relay, both (a direct path that may be dead), or not at all: they wait. */
struct dp_way {
	struct base_endpoint direct; /* family NONE: no direct path */
	bool is_relayed;
};

/**
 * Where packets for a peer that is probed go from now on. If a handshake with it is on or wanted, its initiation goes by a
 * new path at once, also where one was sent just before. Waits for nobody. Returns 0, -ENOENT, -EINVAL (the peer is not
 * probed; nothing can be sent there), -EIO as above.
 */
int dp_peer_path(struct dp *dp, const struct cr_key *public_key, const struct dp_way *way);

/**
 * A WireGuard message that a relay brought from @source, as the relay says: it is authenticated like any other. Copied. Returns
 * 0; -ENOENT (no such peer, or not probed), -EINVAL (no WireGuard message), -ENOBUFS (dropped for want of room); all counted.
 */
int dp_relay_input(struct dp *dp, const struct cr_key *source, const void *message, size_t len);

#define DP_PROBE_BYTES_MAX 1280
/**
 * Send a datagram from the tunnel's port, by the kernel's routes; from @from, an address of ours (an answer leaves from the one
 * that was asked), or NULL: the route's. Its destination may answer past strangers for a while (dp_probe.h). Returns
 * 0; -EAGAIN (too many wait to be sent), -EMSGSIZE (more than DP_PROBE_BYTES_MAX), -EINVAL (nobody can be there), -ENETUNREACH (no
 * route, or by no port of ours).
 */
BASE_MUST_CHECK int dp_probe_send(struct dp *dp, const struct base_endpoint *to,
	const struct base_addr *from, const void *datagram, size_t len);
/**
 * Addresses of the ports as the kernel has them, without those of the link: with listen_port our own endpoints. At most @max are
 * written. Returns how many there are.
 */
size_t dp_local_addrs(const struct dp *dp, struct base_addr *ret_addrs, size_t max);

/**
 * Another node key: all sessions end and begin anew under it; peers, their prefixes and their counters stay. Returns 0; -EINVAL: a peer has this key; -EIO as above; with a line.
 */
BASE_MUST_CHECK int dp_identity_set(
	struct dp *dp, const struct cr_key *private_key, struct base_error *ret_error);

/**
 * Filter by these rules (copied) from now on; replies of flows that this host opened pass as before. Returns 0, -EINVAL (a
 * rule that cannot be), -E2BIG (more than 65,536 port ranges, or beyond all measure of sources), -ENOMEM; the old
 * rules stay then.
 */
BASE_MUST_CHECK int dp_filter_set(struct dp *dp, const struct dp_filter_rule *rules, size_t n_rules,
	struct base_error *ret_error);
/**
 * Packets that each rule in force accepted, by its number (at most @max of them); TCP counts with its opening packet alone,
 * and a packet that several rules accept counts for the first. Counts begin anew with dp_filter_set() and
 * dp_host_set(). Returns how many rules there are.
 */
size_t dp_filter_hits(const struct dp *dp, uint64_t *ret_pkts, size_t max);
/** Packets that no rule accepted and that answered no flow. */
uint64_t dp_filter_misses(const struct dp *dp);

/** What the host interface has and what is sent to it. Borrowed. */
struct dp_host_set {
	const struct base_prefix
		*addrs; /* of the interface, with host bits; at most DP_HOST_ADDRS_MAX */
	size_t n_addrs;
	/* The kernel's (table main), to the interface: the mesh's ranges, subnets behind peers. A peer's prefix within
	 * them has no route of its own. */
	const struct base_prefix *routes;
	size_t n_routes;
	/* Behind this gateway: packets to them pass as if they were to this host, if a rule accepts them, and the
	 * kernel forwards them. */
	const struct base_prefix *offers;
	size_t n_offers;
};

/**
 * Replace what was set before, with dp_new() too; what stays the same is not touched. What the kernel lacks for forwarding, and
 * routes that it has to elsewhere, are told as DP_EVENT_PORT. Returns 0; -EINVAL (an address or prefix
 * that is none; one for the whole Internet), -ENOMEM, or what the kernel said to an address, with a line; nothing
 * has changed then.
 */
BASE_MUST_CHECK int dp_host_set(
	struct dp *dp, const struct dp_host_set *set, struct base_error *ret_error);

/** @port: index into dp_config.ports. */
enum dp_port_state dp_port_state(const struct dp *dp, unsigned port);

/** How packets reach a peer now. */
enum dp_path { DP_PATH_NONE, DP_PATH_DIRECT4, DP_PATH_DIRECT6, DP_PATH_RELAY };
/** "none", "direct4", "direct6", "relay". */
const char *dp_path_name(enum dp_path path);

struct dp_peer_status {
	struct base_endpoint endpoint;
	enum dp_path path;
	uint64_t path_since_ns;     /* monotonic; 0: never had one */
	uint64_t last_handshake_ns; /* monotonic; 0: never */
	uint64_t handshakes;
	uint64_t rx_bytes, tx_bytes; /* of authenticated messages, WireGuard headers included */
	uint64_t rx_pkts, tx_pkts;
	uint64_t last_rx_ns,
		last_tx_ns; /* of a data message, empty ones too; monotonic; 0: never */
	uint32_t rtt_us;    /* of the last handshake that we began; 0: unknown */
	unsigned lcore;     /* the owner */
};
/** Returns 0 or -ENOENT. */
BASE_MUST_CHECK int dp_peer_status(
	const struct dp *dp, const struct cr_key *public_key, struct dp_peer_status *ret_status);

/** Where a worker's cycles go, in the order of a packet's walk. */
#define DP_STAGES(X)                                                                               \
	X(RX, "rx")                                                                                \
	X(DECAP, "decap")                                                                          \
	X(OPEN, "open") X(DELIVER, "deliver") X(ENCAP, "encap") X(SEAL, "seal") X(TX, "tx")
enum dp_stage {
#define DP_STAGE_ENUM(name, text) DP_STAGE_##name,
	DP_STAGES(DP_STAGE_ENUM)
#undef DP_STAGE_ENUM
		DP_STAGE_COUNT,
};
const char *dp_stage_name(enum dp_stage stage);

/** Where in its walk a packet is, in the order of the walk; what traces show. */
#define DP_PLACES(X)                                                                               \
	X(RX, "rx")           /* a frame as it came */                                             \
	X(HANDSHAKE, "hs-in") /* a handshake message on its own thread */                          \
	X(PROBE, "probe")     /* a path probe, to control */                                       \
	X(STEER, "steer")     /* to the worker that owns its peer */                               \
	X(DECAP, "decap")     /* a data message of one of our sessions */                          \
	X(INNER, "inner")     /* what was in it: source, filter */                                 \
	X(DELIVER, "deliver") /* to the host interface */                                          \
	X(HOST, "host")       /* from the host interface */                                        \
	X(ENCAP, "encap")     /* to a peer */                                                      \
	X(ANSWER, "hs-out")   /* a handshake message of ours */                                    \
	X(TX, "tx")           /* a frame on its way out */
enum dp_place {
#define DP_PLACE_ENUM(name, text) DP_PLACE_##name,
	DP_PLACES(DP_PLACE_ENUM)
#undef DP_PLACE_ENUM
		DP_PLACE_COUNT,
};
const char *dp_place_name(enum dp_place place);

/** Room for drop reasons; how many there are is dp_drop_count(). */
#define DP_DROPS_MAX 64
unsigned dp_drop_count(void);
/** "replay", "no_route", ...: the reason as counters, traces and sandctl show it. */
const char *dp_drop_name(unsigned reason);
/** One sentence for an operator, without a full stop. */
const char *dp_drop_meaning(unsigned reason);
/** Where packets usually end for this reason. */
enum dp_place dp_drop_place(unsigned reason);

/** What a worker does in bursts. */
#define DP_BURSTS(X) X(RX, "rx") X(OPEN, "open") X(SEAL, "seal") X(TX, "tx")
enum dp_burst_kind {
#define DP_BURST_ENUM(name, text) DP_BURST_##name,
	DP_BURSTS(DP_BURST_ENUM)
#undef DP_BURST_ENUM
		DP_BURST_KINDS,
};
const char *dp_burst_name(enum dp_burst_kind kind);
/** Bursts of 1, 2-3, 4-7, 8-15, 16-31, 32-63 and 64 packets. */
#define DP_BURST_BUCKETS 7

struct dp_burst_stats {
	uint64_t pkts;
	uint64_t bursts[DP_BURST_BUCKETS];
};

/** Queues between threads; the first four are each worker's. */
#define DP_QUEUES(X)                                                                               \
	X(COMMANDS, "commands")                                                                    \
	X(HANDOVER, "handover")                                                                    \
	X(INNER, "inner")                                                                          \
	X(OUTER, "outer")                                                                          \
	X(HOST, "host")                                                                            \
	X(HANDSHAKES, "handshakes")                                                                \
	X(EXPECTED, "handshakes_expected")                                                         \
	X(NOTES, "notes")                                                                          \
	X(PROBES, "probes") X(PROBES_EXPECTED, "probes_expected") X(RELAY, "relay")
enum dp_queue {
#define DP_QUEUE_ENUM(name, text) DP_QUEUE_##name,
	DP_QUEUES(DP_QUEUE_ENUM)
#undef DP_QUEUE_ENUM
		DP_QUEUE_COUNT,
};
const char *dp_queue_name(enum dp_queue queue);

struct dp_queue_stats {
	uint32_t now;  /* entries that wait */
	uint32_t high; /* the most that its reader ever found */
	uint32_t size; /* 0: this thread has no such queue */
};

struct dp_worker_stats {
	unsigned lcore, cpu;
	uint64_t rx_pkts, rx_bytes;    /* frames from ports */
	uint64_t tx_pkts, tx_bytes;    /* frames to ports */
	uint64_t rx_bursts, tx_bursts; /* calls to ports that moved any of them */
	uint64_t sealed_pkts,
		sealed_bytes; /* inner bytes; keepalives are counted as packets of 0 */
	uint64_t opened_pkts, opened_bytes;
	uint64_t handed_over_pkts;           /* came in here, owned elsewhere */
	uint64_t host_rx_pkts, host_tx_pkts; /* from, to the host interface */
	uint64_t sleeps;
	uint64_t busy_cycles, idle_cycles; /* TSC */
	uint64_t stage_pkts[DP_STAGE_COUNT], stage_cycles[DP_STAGE_COUNT];
	uint64_t drop_pkts[DP_DROPS_MAX];
	struct dp_burst_stats bursts[DP_BURST_KINDS];
	struct dp_queue_stats queues[DP_QUEUE_COUNT];
};

/** The host interface; packets per read or write are what large segments bring. */
struct dp_host_io_stats {
	uint64_t rx_pkts, rx_bytes, rx_reads;  /* from the kernel */
	uint64_t tx_pkts, tx_bytes, tx_writes; /* to the kernel */
};

struct dp_stats {
	uint64_t tsc_hz;
	unsigned n_workers;
	struct dp_worker_stats workers[DP_WORKERS_MAX];
	uint64_t host_drop_pkts[DP_DROPS_MAX]; /* of the host, handshake and control threads */
	uint64_t handshakes;                   /* sessions confirmed */
	uint64_t handshake_queue_full_pkts;
	uint64_t events_lost;
	uint32_t n_peers;
	uint64_t keypairs;          /* live */
	uint64_t memory_bytes;      /* reserved for packets and rings */
	uint32_t mbufs, mbufs_free; /* packet buffers */
	struct dp_host_io_stats host_io;
	struct dp_queue_stats queues[DP_QUEUE_COUNT]; /* those of no worker */
	bool has_hugepages;
	char crypto[16];
};
/** A snapshot; counters of different workers may be a burst apart. Large: allocate it. */
void dp_stats_get(const struct dp *dp, struct dp_stats *ret_stats);

/*
 * Taps: a look at packets while they pass, opened by an operator. Every thread writes what matches into a
 * bounded ring of the tap's own; what the reader is too slow for is counted, never waited for.
 * Without a tap a thread pays a load and a predicted branch per burst.
 */

/** Taps at the same time. */
#define DP_TAPS_MAX 4

enum dp_tap_kind {
	DP_TAP_TRACE, /* one record for each end of a packet: sent, delivered, dropped and why */
	DP_TAP_INNER, /* decrypted packets, both ways, those that were dropped as well */
	DP_TAP_OUTER, /* Ethernet frames of the ports, both ways */
};

/** How a packet ended here, where it was not dropped; numbers follow the drop reasons. */
#define DP_VERDICTS(X)                                                                             \
	X(SENT, "sent")               /* by a port */                                              \
	X(DELIVERED, "delivered")     /* to the host interface's queue */                          \
	X(KEEPALIVE, "keepalive")     /* an authenticated empty message: nothing to deliver */     \
	X(HANDED_OVER, "handed_over") /* to another worker, whose record follows */                \
	X(STAGED, "staged")           /* waits for a handshake */                                  \
	X(WAITING, "waits_for_neighbour")                                                          \
	X(ACCEPTED, "accepted")     /* a handshake message that was right */                       \
	X(PASSED, "passed")         /* captures: seen on its way */                                \
	X(TO_CONTROL, "to_control") /* a path probe */
enum dp_verdict {
	DP_VERDICT_FIRST = DP_DROPS_MAX - 1,
#define DP_VERDICT_ENUM(name, text) DP_VERDICT_##name,
	DP_VERDICTS(DP_VERDICT_ENUM)
#undef DP_VERDICT_ENUM
		DP_VERDICT_COUNT,
};
/** Of a record's verdict: that of a drop is the reason's name. */
const char *dp_verdict_name(unsigned verdict);
static inline bool dp_verdict_is_drop(unsigned verdict)
{
	return verdict <= DP_VERDICT_FIRST;
}

#define DP_TAP_SNAPLEN_MAX 2048
#define DP_TAP_NO_WORKER UINT16_MAX

struct dp_tap_config {
	enum dp_tap_kind kind;
	uint16_t snaplen; /* bytes of each packet; captures only; 0: DP_TAP_SNAPLEN_MAX */
	bool has_peer;    /* only packets of this peer, by session, inner address or endpoint */
	struct cr_key peer;
};

/** What is not known is zero. Never a payload in a trace, never a key but the peer's public one. */
struct dp_tap_record {
	uint64_t time_ns; /* monotonic */
	uint8_t kind;     /* enum dp_tap_kind */
	uint8_t place;    /* enum dp_place */
	uint8_t verdict;  /* a drop reason, or enum dp_verdict */
	bool is_out;      /* towards a peer */
	uint16_t worker;  /* number; DP_TAP_NO_WORKER: the host or a handshake thread */
	uint16_t port;    /* captures of frames: number in the configuration */
	bool has_peer;
	struct cr_key peer;

	struct base_endpoint outer_src, outer_dst;
	uint8_t message_type;     /* of WireGuard, 1 to 4 */
	uint32_t message_index;   /* receiver, or the sender of an initiation */
	uint64_t message_counter; /* of data */

	struct base_addr inner_src, inner_dst;
	uint16_t inner_src_port, inner_dst_port;
	uint8_t inner_proto, inner_icmp_type, inner_tcp_flags;

	uint32_t len; /* of the frame, or of the inner packet */
	uint32_t inner_len;
	uint32_t data_len; /* captures: bytes that follow */
};

struct dp_tap;

/** Start; NULL with errno (EBUSY: DP_TAPS_MAX are there, ENOENT: no such peer) and a line. */
struct dp_tap *dp_tap_start(
	struct dp *dp, const struct dp_tap_config *config, struct base_error *ret_error);
/**
 * The oldest record that waits; its bytes in @ret_data (DP_TAP_SNAPLEN_MAX of room; NULL for traces). False:
 * none now. Records of different threads come in the order of their times as far as they have
 * been written.
 */
bool dp_tap_read(struct dp_tap *tap, struct dp_tap_record *ret_record, uint8_t *ret_data);
/** Records that the reader was too slow for. */
uint64_t dp_tap_lost(const struct dp_tap *tap);
/** Its peer was removed: no more will come. */
bool dp_tap_is_over(const struct dp_tap *tap);
/** Waits until no thread writes any more: microseconds. NULL is fine. */
void dp_tap_stop(struct dp_tap *tap);

#endif
