/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disco's envelope and messages. NaCl's box with its key computed before, tag in front, is what nat-traversal.md 1.1
 * describes byte for byte. Any thread. See coord_disco.h.
 */
#include "coord_disco.h"

#include "base_bytes.h"

#include <sodium.h>

/* nat-traversal.md 1.1 and 1.2. */
static const uint8_t magic[COORD_DISCO_MAGIC_BYTES] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

enum {
	SENDER_AT = COORD_DISCO_MAGIC_BYTES,
	NONCE_AT = SENDER_AT + CR_KEY_BYTES,
	BOX_AT = NONCE_AT + COORD_DISCO_NONCE_BYTES,
	INNER_HEAD_BYTES = 2, /* type, version */
	ENDPOINT_BYTES = 18,  /* address as IPv6, port */
	PONG_BYTES = COORD_DISCO_TX_BYTES + ENDPOINT_BYTES,
};

_Static_assert(BOX_AT + COORD_DISCO_TAG_BYTES == COORD_DISCO_HEAD_BYTES, "the envelope of 1.1");
_Static_assert(COORD_DISCO_NONCE_BYTES == crypto_box_NONCEBYTES, "NaCl's nonce");
_Static_assert(COORD_DISCO_TAG_BYTES == crypto_box_MACBYTES, "NaCl's tag");

bool coord_disco_shared(
	struct cr_key *ret_shared, const struct cr_key *ours, const struct cr_key *theirs)
{
	return crypto_box_beforenm(ret_shared->bytes, theirs->bytes, ours->bytes) == 0;
}

bool coord_disco_looks(const void *datagram, size_t len, struct cr_key *ret_sender)
{
	if (len < COORD_DISCO_HEAD_BYTES + INNER_HEAD_BYTES ||
		memcmp(datagram, magic, sizeof(magic)) != 0)
		return false;
	memcpy(ret_sender->bytes, (const uint8_t *)datagram + SENDER_AT, CR_KEY_BYTES);
	return true;
}

/* --- endpoints on the wire ------------------------------------------------------------------- */

/* The first 12 bytes of an IPv4 address written as IPv6 (RFC 4291, 2.5.5.2). */
static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static void store_endpoint(uint8_t out[ENDPOINT_BYTES], const struct base_endpoint *endpoint)
{
	if (endpoint->addr.family == BASE_FAMILY_V4) {
		memcpy(out, mapped, sizeof(mapped));
		memcpy(out + sizeof(mapped), endpoint->addr.bytes, 4);
	} else {
		memcpy(out, endpoint->addr.bytes, 16);
	}
	base_store_be16(out + 16, endpoint->port);
}

static struct base_endpoint load_endpoint(const uint8_t in[ENDPOINT_BYTES])
{
	bool is_v4 = memcmp(in, mapped, sizeof(mapped)) == 0;

	return (struct base_endpoint){
		.addr = is_v4 ? base_addr_from_bytes(BASE_FAMILY_V4, in + sizeof(mapped))
			      : base_addr_from_bytes(BASE_FAMILY_V6, in),
		.port = base_load_be16(in + 16),
	};
}

/* --- out ------------------------------------------------------------------------------------- */

/* Type, version and fields; @inner is zeroed and has room. Returns their length. */
static size_t write_inner(uint8_t *inner, const struct coord_disco_message *message)
{
	uint8_t *at = inner + INNER_HEAD_BYTES;

	inner[0] = message->type;
	switch (message->type) {
	case COORD_DISCO_PING:
		memcpy(at, message->tx, COORD_DISCO_TX_BYTES);
		at += COORD_DISCO_TX_BYTES;
		if (message->has_node_key) {
			memcpy(at, message->node_key.bytes, CR_KEY_BYTES);
			at += CR_KEY_BYTES;
		}
		break;
	case COORD_DISCO_PONG:
		memcpy(at, message->tx, COORD_DISCO_TX_BYTES);
		store_endpoint(at + COORD_DISCO_TX_BYTES, &message->observed);
		at += PONG_BYTES;
		break;
	default: /* COORD_DISCO_CALL_ME_MAYBE */
		for (unsigned i = 0; i < message->n_endpoints; i++, at += ENDPOINT_BYTES)
			store_endpoint(at, &message->endpoints[i]);
	}
	return (size_t)(at - inner);
}

size_t coord_disco_seal(uint8_t *out, size_t size, const struct coord_disco_message *message,
	size_t padding, const struct cr_key *our_public, const struct cr_key *shared)
{
	uint8_t inner[INNER_HEAD_BYTES + COORD_DISCO_ENDPOINTS_MAX * ENDPOINT_BYTES +
		COORD_DISCO_BYTES_MAX] = {0};
	size_t len;

	if (padding > COORD_DISCO_BYTES_MAX || message->n_endpoints > COORD_DISCO_ENDPOINTS_MAX)
		return 0;
	len = write_inner(inner, message) + padding;
	if (COORD_DISCO_HEAD_BYTES + len > size)
		return 0;
	memcpy(out, magic, sizeof(magic));
	memcpy(out + SENDER_AT, our_public->bytes, CR_KEY_BYTES);
	randombytes_buf(out + NONCE_AT, COORD_DISCO_NONCE_BYTES);
	if (crypto_box_easy_afternm(out + BOX_AT, inner, len, out + NONCE_AT, shared->bytes) != 0)
		return 0;
	return COORD_DISCO_HEAD_BYTES + len;
}

/* --- in -------------------------------------------------------------------------------------- */

static int read_ping(struct coord_disco_message *ret_message, const uint8_t *at, size_t len)
{
	if (len < COORD_DISCO_TX_BYTES)
		return -EPROTO;
	memcpy(ret_message->tx, at, COORD_DISCO_TX_BYTES);
	ret_message->has_node_key = len >= COORD_DISCO_TX_BYTES + CR_KEY_BYTES;
	if (ret_message->has_node_key)
		memcpy(ret_message->node_key.bytes, at + COORD_DISCO_TX_BYTES, CR_KEY_BYTES);
	return 0;
}

static int read_pong(struct coord_disco_message *ret_message, const uint8_t *at, size_t len)
{
	if (len < PONG_BYTES)
		return -EPROTO;
	memcpy(ret_message->tx, at, COORD_DISCO_TX_BYTES);
	ret_message->observed = load_endpoint(at + COORD_DISCO_TX_BYTES);
	return 0;
}

/* A list of another version, or of no whole endpoints, is an empty one (1.2). */
static void read_endpoints(
	struct coord_disco_message *ret_message, uint8_t version, const uint8_t *at, size_t len)
{
	if (version != 0 || len % ENDPOINT_BYTES != 0)
		return;
	for (; len > 0 && ret_message->n_endpoints < COORD_DISCO_ENDPOINTS_MAX;
		len -= ENDPOINT_BYTES, at += ENDPOINT_BYTES)
		ret_message->endpoints[ret_message->n_endpoints++] = load_endpoint(at);
}

int coord_disco_open(struct coord_disco_message *ret_message, const void *datagram, size_t len,
	const struct cr_key *shared)
{
	const uint8_t *bytes = datagram;
	uint8_t inner[COORD_DISCO_BYTES_MAX];
	size_t n;
	int rc = 0;

	if (len < COORD_DISCO_HEAD_BYTES + INNER_HEAD_BYTES || len > COORD_DISCO_BYTES_MAX)
		return -EPROTO;
	if (crypto_box_open_easy_afternm(
		    inner, bytes + BOX_AT, len - BOX_AT, bytes + NONCE_AT, shared->bytes) != 0)
		return -EBADMSG;
	n = len - COORD_DISCO_HEAD_BYTES - INNER_HEAD_BYTES;
	*ret_message = (struct coord_disco_message){.type = inner[0]};
	if (inner[0] == COORD_DISCO_PING)
		rc = read_ping(ret_message, inner + INNER_HEAD_BYTES, n);
	else if (inner[0] == COORD_DISCO_PONG)
		rc = read_pong(ret_message, inner + INNER_HEAD_BYTES, n);
	else if (inner[0] == COORD_DISCO_CALL_ME_MAYBE)
		read_endpoints(ret_message, inner[1], inner + INNER_HEAD_BYTES, n);
	return rc;
}
