/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inner headers, length before cast. No state, any thread. See in_parse.h; in_filter.c decides on
 * what is found here.
 */
#include "in_parse.h"

/* IPv6 extension headers (IANA). */
enum extension {
	EXTENSION_HOP_BY_HOP = 0,
	EXTENSION_ROUTING = 43,
	EXTENSION_FRAGMENT = 44,
	EXTENSION_AUTH = 51,
	EXTENSION_DESTINATION = 60,
};

const char *in_error_name(enum in_error error)
{
	static const char *const names[] = {
#define IN_ERROR_NAME(name, text) [IN_ERROR_##name] = text,
		IN_ERRORS(IN_ERROR_NAME)
#undef IN_ERROR_NAME
	};

	return error < IN_ERROR_COUNT ? names[error] : "unknown";
}

/* The whole fixed header must be there: half a header could hide what a rule looks for. */
static void read_transport(struct in_packet *packet, const uint8_t *data)
{
	const uint8_t *l4 = data + packet->l4_off;
	uint32_t len = packet->total_len - packet->l4_off;

	switch (packet->proto) {
	case IN_PROTO_TCP:
		if (len < 20)
			return;
		packet->tcp_flags = l4[13];
		break;
	case IN_PROTO_UDP:
		if (len < 8)
			return;
		break;
	case IN_PROTO_SCTP:
		if (len < 12)
			return;
		break;
	case IN_PROTO_ICMP4:
	case IN_PROTO_ICMP6:
		if (len < 4)
			return;
		packet->icmp_type = l4[0];
		packet->has_l4 = true;
		return;
	default:
		return;
	}
	packet->src_port = base_load_be16(l4);
	packet->dst_port = base_load_be16(l4 + 2);
	packet->has_l4 = true;
}

/* The 13 bits of offset in units of eight bytes, and whether more fragments follow. */
static void set_fragment(struct in_packet *packet, uint32_t offset_bytes, bool has_more)
{
	packet->fragment_off = (uint16_t)offset_bytes;
	packet->is_later_fragment = offset_bytes != 0;
	packet->is_first_fragment = offset_bytes == 0 && has_more;
}

static void parse4(struct in_packet *packet, const uint8_t *data)
{
	uint16_t fragment = base_load_be16(data + 6);

	packet->src = data + 12;
	packet->dst = data + 16;
	packet->proto = data[9];
	packet->l4_off = (uint16_t)((data[0] & 15u) * 4u);
	set_fragment(packet, (fragment & 0x1fffu) * 8u, (fragment & 0x2000) != 0);
}

/*
 * One extension header at @off: its length in bytes, or 0 if it cannot be. @left is what remains
 * of the packet from there.
 */
static uint32_t extension_len(
	struct in_packet *packet, uint8_t type, const uint8_t *header, uint32_t left)
{
	uint32_t len;

	if (left < 8)
		return 0;
	if (type == EXTENSION_FRAGMENT) {
		uint16_t fragment = base_load_be16(header + 2);

		set_fragment(packet, fragment & 0xfff8u, (fragment & 1) != 0);
		return 8;
	}
	/* Segments left: this host would be a stop on the way (RFC 5095, RFC 8754). */
	if (type == EXTENSION_ROUTING && header[3] != 0)
		return 0;
	if (type == EXTENSION_AUTH)
		len = (header[1] + 2u) * 4u;
	else
		len = (header[1] + 1u) * 8u;
	return len <= left ? len : 0;
}

static bool is_extension(uint8_t type)
{
	return type == EXTENSION_HOP_BY_HOP || type == EXTENSION_ROUTING ||
		type == EXTENSION_FRAGMENT || type == EXTENSION_AUTH ||
		type == EXTENSION_DESTINATION;
}

static enum in_error parse6(struct in_packet *packet, const uint8_t *data)
{
	uint32_t off = 40;
	uint8_t type = data[6];
	unsigned n = 0;

	packet->src = data + 8;
	packet->dst = data + 24;
	/* Behind the header of a later fragment there is payload, whatever the type says. */
	while (is_extension(type) && !packet->is_later_fragment) {
		uint32_t len = extension_len(packet, type, data + off, packet->total_len - off);

		/* Hop-by-hop options stand first or nowhere (RFC 8200, 4.1). */
		if (len == 0 || ++n > IN_EXTENSIONS_MAX || (type == 0 && off != 40))
			return IN_ERROR_HEADER;
		if (!packet->has_extension && (type != EXTENSION_FRAGMENT || off != 40)) {
			packet->has_extension = true;
			packet->extension = type;
		}
		type = data[off];
		off += len;
	}
	packet->proto = type;
	packet->l4_off = (uint16_t)off;
	return IN_ERROR_OK;
}

enum in_error in_parse_any(struct in_packet *ret_packet, const uint8_t *data, uint32_t len)
{
	struct in_packet packet = {0};
	enum in_error error = in_check_length(data, len, &packet.version, &packet.total_len);

	if (error != IN_ERROR_OK)
		return error;
	if (packet.version == BASE_FAMILY_V4)
		parse4(&packet, data);
	else
		error = parse6(&packet, data);
	if (error != IN_ERROR_OK)
		return error;
	if (!packet.is_later_fragment)
		read_transport(&packet, data);
	*ret_packet = packet;
	return IN_ERROR_OK;
}
