/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why a packet ended: the one list of reasons, which makes enum, counter, text, the place of the walk where it
 * happens and the sentence that explains it to an operator. Any thread. Next to read: dp_stats.h,
 * where a packet is dropped.
 */
#ifndef DP_DROP_H
#define DP_DROP_H

#include <assert.h>

#include "dp_api.h"
#include "wg.h"

/**
 * X(name, text, place, meaning). What wg says of a handshake message (enum wg_verdict) follows the list
 * under wg's own names. A reason that falls at several places names the usual one; the others
 * say theirs (dp_drop_at).
 */
#define DP_DROPS(X)                                                                                \
	X(SHORT_FRAME, "short_frame", RX, "a frame that ends inside one of its headers")           \
	X(NOT_IP, "not_ip", RX, "a frame that is neither IPv4 nor IPv6")                           \
	X(BAD_IP_HEADER, "bad_ip_header", RX,                                                      \
		"an outer header whose version, header or total length cannot be")                 \
	X(FRAGMENT, "fragment", RX, "a fragment of an outer packet: never a whole message")        \
	X(NOT_TUNNEL, "not_tunnel", RX, "no UDP to the tunnel's port")                             \
	X(NOT_LOCAL, "not_local", RX, "to an address that is not this machine's")                  \
	X(BAD_UDP_LENGTH, "bad_udp_length", RX, "a UDP length that the packet does not hold")      \
	X(UNKNOWN_TYPE, "unknown_type", RX,                                                        \
		"UDP to the tunnel's port, but neither WireGuard's nor a path probe")              \
	X(RESERVED_BITS, "reserved_bits", RX,                                                      \
		"a WireGuard message whose three zero bytes are not zero")                         \
	X(SHORT_DATA, "short_data", RX, "a data message without room for its header and tag")      \
	X(SOURCE_PORT, "source_port_zero", RX,                                                     \
		"a handshake message from port 0, which nobody could answer")                      \
	X(SOURCE_ADDRESS, "source_address", RX,                                                    \
		"a handshake message from an address that is not one host's, such as a multicast " \
		"one")                                                                             \
	X(HANDSHAKE_FULL, "handshake_queue_full", RX,                                              \
		"a handshake message while too many others wait: a storm, or a slow control CPU")  \
	X(HANDSHAKE_SOURCE, "handshake_source_limit", RX,                                          \
		"handshake messages of one source, more than it may have us look at")              \
	X(PROBE_SOURCE, "probe_source", RX,                                                        \
		"a path probe from an address or port that nobody could answer")                   \
	X(PROBE_LIMIT, "probe_source_limit", RX,                                                   \
		"path probes of one source, more than it may have us look at")                     \
	X(PROBE_FULL, "probe_queue_full", RX,                                                      \
		"a path probe while too many of strangers come, or wait: a flood")                 \
	X(UNKNOWN_INDEX, "unknown_index", DECAP,                                                   \
		"a data message of a session that is not, or no longer, ours; after a restart "    \
		"the peer begins a new one by itself")                                             \
	X(HANDOVER_FULL, "handover_queue_full", STEER,                                             \
		"a packet of another worker's peer while that worker's queue is full")             \
	X(STALE_KEYPAIR, "stale_keypair", DECAP,                                                   \
		"a data message under a key that is older than three minutes, or used up")         \
	X(FORGED, "forged", DECAP,                                                                 \
		"a data message whose tag does not verify: damaged, or made by a stranger")        \
	X(REPLAY, "replay", DECAP,                                                                 \
		"a data message that was seen before, or is too far behind the newest")            \
	X(BAD_INNER, "bad_inner", INNER,                                                           \
		"a peer's decrypted packet that is no IP, or lies about its length")               \
	X(ECN, "ecn_ce_not_capable", INNER,                                                        \
		"the underlay marked congestion, and the inner sender understands nothing but a "  \
		"loss")                                                                            \
	X(WRONG_SOURCE, "wrong_source", INNER,                                                     \
		"a peer's packet from an inner address outside its allowed IPs")                   \
	X(FILTER_NO_RULE, "filter_no_rule", INNER,                                                 \
		"no rule of the filter allows this, and it answers no flow of ours")               \
	X(FILTER_NO_HEADER, "filter_no_header", INNER,                                             \
		"a fragment, or a header that the filter cannot judge")                            \
	X(FILTER_DESTINATION, "filter_destination", INNER,                                         \
		"a peer's packet to an inner address that is not this host's")                     \
	X(TSMP, "tsmp", INNER,                                                                     \
		"a message of the mesh among itself (IP protocol 99), which no host gets")         \
	X(HOST_FULL, "host_queue_full", DELIVER,                                                   \
		"the kernel takes packets off the host interface too slowly, or there is none")    \
	X(OUT_MALFORMED, "out_malformed", ENCAP,                                                   \
		"the host sent something into the tunnel that is no IP packet")                    \
	X(OUT_KEPT, "out_kept", ENCAP,                                                             \
		"the host sent a multicast, link-local or TSMP packet, which no peer gets")        \
	X(NO_PEER, "no_peer", ENCAP, "no peer's allowed IPs hold the destination")                 \
	X(NO_ENDPOINT, "no_endpoint", ENCAP,                                                       \
		"where the peer is reached is not known: it has to speak first")                   \
	X(STAGED_FULL, "staged_full", ENCAP,                                                       \
		"too many packets wait for the peer's handshake; the oldest goes")                 \
	X(STAGED_GIVEN_UP, "staged_given_up", ENCAP,                                               \
		"the peer's handshake never came, so what waited for it goes")                     \
	X(TOO_LARGE, "too_large", ENCAP,                                                           \
		"sealed it would not fit the underlay's MTU; lower the tunnel's mtu")              \
	X(NO_ROUTE, "no_route", ENCAP, "the kernel has no route to the peer's endpoint")           \
	X(OTHER_DEVICE, "route_by_other_device", ENCAP,                                            \
		"the kernel's route to the peer leads over an interface that is no port of ours")  \
	X(NEIGHBOUR_FULL, "neighbour_queue_full", TX,                                              \
		"too many packets wait for a neighbour's link address")                            \
	X(NEIGHBOUR_TIMEOUT, "neighbour_timeout", TX,                                              \
		"the next hop did not tell its link address within a second: is it up?")           \
	X(TX_FULL, "tx_queue_full", TX, "the port did not take the frame: it is full, or down")    \
	X(PORT_GONE, "port_gone", TX, "the port's interface was deleted and is not back yet")      \
	X(RELAY_FULL, "relay_queue_full", TX,                                                      \
		"a sealed packet for the relay while too many waited for control (the oldest "     \
		"goes), or no buffer was free for its copy")                                       \
	X(NO_MBUF, "no_mbuf", HOST, "no packet buffer was free; raise memory_mb")                  \
	X(PEER_GONE, "peer_gone", ENCAP, "its peer was removed while it waited")                   \
	X(HOST_TOO_LARGE, "host_too_large", HOST,                                                  \
		"the kernel sent more than the host interface's MTU")                              \
	X(HOST_BAD_HEADER, "host_bad_header", HOST,                                                \
		"the kernel sent a large packet that cannot be cut into segments")                 \
	X(HOST_WRITE, "host_write", HOST, "the kernel refused a packet on the host interface")

enum dp_drop {
#define DP_DROP_ENUM(name, text, place, meaning) DP_DROP_##name,
	DP_DROPS(DP_DROP_ENUM)
#undef DP_DROP_ENUM
		DP_DROP_HANDSHAKE_FIRST,
	DP_DROP_COUNT = DP_DROP_HANDSHAKE_FIRST + (WG_VERDICT_NO_MEMORY - WG_VERDICT_OK),
};
static_assert((int)DP_DROP_COUNT <= DP_DROPS_MAX, "dp_stats has room for them");

/** The reason for a handshake message that ended with @verdict (not OK). */
static inline enum dp_drop dp_drop_of_verdict(enum wg_verdict verdict)
{
	return (enum dp_drop)(DP_DROP_HANDSHAKE_FIRST + (verdict - WG_VERDICT_MALFORMED));
}

#endif
