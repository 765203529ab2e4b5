/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The XDP program: UDP to the tunnel's port goes to the queue's AF_XDP socket, all else to the
 * kernel. Runs in the kernel, in the interface's receive path. Compiled by clang for the bpf
 * target, embedded in the program, loaded by the af_xdp driver; see dp_xdp.h.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <stdbool.h>
#include <stddef.h>

/* Network order; patched in the object before it is loaded (dp_xdp.c finds it by this name). */
const volatile __u16 sandd_port_be16 = 0;

/* The driver looks for this name, and puts the socket of each queue at the queue's number. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} xsks_map SEC(".maps");

/*
 * The verifier lets who has CAP_BPF without CAP_PERFMON move a packet pointer by constants alone. So there is a
 * constant for each place where a UDP header lies; the barrier keeps the compiler from making one sum of them.
 */
static __always_inline bool is_to_tunnel(const struct udphdr *udp, const void *end)
{
	barrier_var(udp);
	return (const void *)(udp + 1) <= end && udp->dest == sandd_port_be16;
}

/* Behind IPv4 options, which tunnels do not send. */
static __always_inline bool is_to_tunnel_at(struct xdp_md *ctx, __u32 offset)
{
	struct udphdr udp;

	return bpf_xdp_load_bytes(ctx, offset, &udp, sizeof(udp)) == 0 &&
		udp.dest == sandd_port_be16;
}

static __always_inline bool is_ours4(struct xdp_md *ctx, const void *l3, const void *end)
{
	const struct iphdr *ip = l3;

	if ((const void *)(ip + 1) > end || ip->version != 4 || ip->protocol != IPPROTO_UDP)
		return false;
	/* Fragments: the kernel puts them together, and its guard socket drops the result. */
	if (ip->frag_off & bpf_htons(0x3fff))
		return false;
	if (ip->ihl == 5)
		return is_to_tunnel((const void *)(ip + 1), end);
	return ip->ihl > 5 && is_to_tunnel_at(ctx, sizeof(struct ethhdr) + ip->ihl * 4);
}

static __always_inline bool is_ours6(const void *l3, const void *end)
{
	const struct ipv6hdr *ip = l3;

	if ((const void *)(ip + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_UDP)
		return false;
	return is_to_tunnel((const void *)(ip + 1), end);
}

/*
 * "frags": the kernel attaches it to interfaces of large MTUs too, where a frame lies in several pages (Linux
 * 5.18). Headers are in the first; a socket takes no frame of several, but the tunnel sends none so large.
 */
SEC("xdp.frags")
int sandd_xdp(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	const struct ethhdr *eth = data;
	bool is_ours = false;

	if ((const void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		is_ours = is_ours4(ctx, eth + 1, end);
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		is_ours = is_ours6(eth + 1, end);
	if (!is_ours)
		return XDP_PASS;
	/* A queue without a socket: to the kernel as well. */
	return (int)bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_PASS);
}

/* Only helpers that ask for no licence are called. */
char sandd_license[] SEC("license") = "BSD-3-Clause";
