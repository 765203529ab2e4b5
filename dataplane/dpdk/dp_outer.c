/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Preparing outer headers (dp_outer.h): IPv4 (RFC 791), IPv6 (RFC 8200), UDP (RFC 768).
 */
#include "dp_outer.h"

#define ETHERTYPE_IP4 0x0800
#define ETHERTYPE_IP6 0x86dd
#define HOP_LIMIT 64

/* Both families: what stands for no host, or for many. */
static bool is_one_host(const struct base_addr *addr)
{
	static const uint8_t zero[16], mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (addr->family == BASE_FAMILY_V4)
		return addr->bytes[0] != 0 && addr->bytes[0] < 224;
	return addr->family == BASE_FAMILY_V6 && addr->bytes[0] != 0xff &&
		memcmp(addr->bytes, zero, sizeof(zero)) != 0 &&
		memcmp(addr->bytes, mapped, sizeof(mapped)) != 0;
}

const char *dp_endpoint_fault(const struct base_endpoint *endpoint, unsigned n_ports)
{
	const uint8_t *bytes = endpoint->addr.bytes;

	if (endpoint->port == 0)
		return "port 0 is no endpoint";
	if (!is_one_host(&endpoint->addr))
		return "not the address of one host";
	if (n_ports > 1 && endpoint->addr.family == BASE_FAMILY_V6 && bytes[0] == 0xfe &&
		(bytes[1] & 0xc0) == 0x80)
		return "a link-local address, and there is more than one port: which link?";
	return NULL;
}

bool dp_from_is_answerable(const struct dp_from *from)
{
	struct base_endpoint endpoint = dp_from_endpoint(from);

	return dp_endpoint_fault(&endpoint, 1) == NULL;
}

struct base_endpoint dp_from_endpoint(const struct dp_from *from)
{
	struct base_endpoint endpoint = {0};

	if (from->family == BASE_FAMILY_NONE)
		return endpoint;
	endpoint.addr = base_addr_from_bytes((enum base_family)from->family, from->addrs);
	endpoint.port = base_load_be16(&from->port_be16);
	return endpoint;
}

struct base_addr dp_from_local(const struct dp_from *from)
{
	static const uint8_t zero[16];
	unsigned len = base_family_bytes((enum base_family)from->family);

	if (len == 0 || memcmp(from->addrs + len, zero, len) == 0)
		return (struct base_addr){0};
	return base_addr_from_bytes((enum base_family)from->family, from->addrs + len);
}

void dp_from_set_local(struct dp_from *from, const struct base_addr *local)
{
	unsigned len = dp_from_len(from->family) / 2;

	memcpy(from->addrs + len, local->bytes, len);
}

struct dp_from dp_from_make(const struct base_endpoint *endpoint)
{
	struct dp_from from = {.family = endpoint->addr.family};

	memcpy(from.addrs, endpoint->addr.bytes,
		base_family_bytes((enum base_family)endpoint->addr.family));
	base_store_be16(&from.port_be16, endpoint->port);
	return from;
}

static void make4(struct dp_outer *outer, const struct dp_nexthop *nexthop,
	const struct dp_from *from, uint16_t listen_port)
{
	uint8_t *ip = outer->header + DP_ETH_BYTES, *udp = ip + DP_IP4_BYTES;
	uint32_t sum = 0;

	base_store_be16(outer->header + 12, ETHERTYPE_IP4);
	ip[0] = 0x45;
	/* Never fragmented, so the identification means nothing and stays zero (RFC 6864, 4.1). */
	base_store_be16(ip + 6, 0x4000);
	ip[8] = HOP_LIMIT;
	ip[9] = IN_PROTO_UDP;
	memcpy(ip + 12, nexthop->src_addr.bytes, 4);
	memcpy(ip + 16, from->addrs, 4);
	for (unsigned i = 0; i < DP_IP4_BYTES; i += 2)
		sum += base_load_be16(ip + i);
	sum = (sum & 0xffff) + (sum >> 16);
	outer->sum = (uint16_t)((sum & 0xffff) + (sum >> 16));
	base_store_be16(udp, listen_port);
	memcpy(udp + 2, &from->port_be16, 2);
	outer->len = DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES;
}

/*
 * A label for the two ends of the tunnel, so that routers spread tunnels over equal paths without
 * looking for ports, and each stays on its own. Not of the inner flows: their packets share one counter, which other
 * paths would put out of order, and their number is nobody's business.
 */
static uint32_t flow_label(
	const struct dp_nexthop *nexthop, const struct dp_from *from, uint64_t flow_seed)
{
	struct base_endpoint to = dp_from_endpoint(from);
	uint64_t hash = base_endpoint_hash(&to, base_addr_hash(&nexthop->src_addr, flow_seed));
	uint32_t label = (uint32_t)(hash & 0xfffff);

	return label ? label : 1; /* zero: "not labelled" */
}

static void make6(struct dp_outer *outer, const struct dp_nexthop *nexthop,
	const struct dp_from *from, uint16_t listen_port, uint64_t flow_seed)
{
	uint8_t *ip = outer->header + DP_ETH_BYTES, *udp = ip + DP_IP6_BYTES;

	base_store_be16(outer->header + 12, ETHERTYPE_IP6);
	base_store_be32(ip, 6u << 28 | flow_label(nexthop, from, flow_seed));
	ip[6] = IN_PROTO_UDP;
	ip[7] = HOP_LIMIT;
	memcpy(ip + 8, nexthop->src_addr.bytes, 16);
	memcpy(ip + 24, from->addrs, 16);
	base_store_be16(udp, listen_port);
	memcpy(udp + 2, &from->port_be16, 2);
	outer->len = DP_ETH_BYTES + DP_IP6_BYTES + DP_UDP_BYTES;
}

void dp_outer_make(struct dp_outer *outer, const struct dp_nexthop *nexthop,
	const struct dp_from *from, uint16_t listen_port, uint64_t flow_seed)
{
	memset(outer, 0, sizeof(*outer));
	outer->state = (uint8_t)nexthop->state;
	outer->port = nexthop->port;
	if (nexthop->state != DP_NEXTHOP_OK && nexthop->state != DP_NEXTHOP_UNRESOLVED)
		return;
	if (nexthop->state == DP_NEXTHOP_OK)
		dp_outer_set_macs(outer->header, nexthop);
	if (from->family == BASE_FAMILY_V4)
		make4(outer, nexthop, from, listen_port);
	else
		make6(outer, nexthop, from, listen_port, flow_seed);
	outer->is_doubled = from->is_doubled;
	outer->is_plain =
		dp_outer_is4(outer) && nexthop->state == DP_NEXTHOP_OK && !from->is_doubled;
	if (nexthop->mtu_bytes + DP_ETH_BYTES > outer->len)
		outer->room_bytes = (uint16_t)RTE_MIN(
			nexthop->mtu_bytes + DP_ETH_BYTES - outer->len, UINT16_MAX);
}

void dp_outer_write6(const struct dp_outer *outer, uint8_t *frame, uint32_t payload_len, uint8_t ds)
{
	uint8_t *ip = frame + DP_ETH_BYTES, *udp = ip + DP_IP6_BYTES;
	uint32_t udp_len = DP_UDP_BYTES + payload_len;

	memcpy(frame, outer->header, DP_ETH_BYTES + DP_IP6_BYTES + DP_UDP_BYTES);
	ip[0] |= (uint8_t)(ds >> 4);
	ip[1] |= (uint8_t)(ds << 4);
	base_store_be16(ip + 4, (uint16_t)udp_len);
	base_store_be16(udp + 4, (uint16_t)udp_len);
}

void dp_outer_sum6(uint8_t *frame, uint32_t payload_len)
{
	uint8_t *ip = frame + DP_ETH_BYTES, *udp = ip + DP_IP6_BYTES;
	uint32_t udp_len = DP_UDP_BYTES + payload_len;
	/* The pseudo-header's fixed words besides the addresses: upper-layer length, next header. */
	uint8_t pseudo[8] = {0, 0, 0, 0, 0, 0, 0, IN_PROTO_UDP};
	uint16_t check;
	uint64_t sum;

	base_store_be32(pseudo, udp_len);
	sum = in_csum_add(0, pseudo, sizeof(pseudo));
	sum = in_csum_add(sum, ip + 8, 32);
	sum = in_csum_add(sum, udp, udp_len);
	check = in_csum_finish(sum);
	if (check == 0)
		check = 0xffff; /* zero would mean "none" (RFC 768) */
	memcpy(udp + 6, &check, 2);
}
