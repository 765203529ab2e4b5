/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_derp_frame.h. */
#include "coord_derp_frame.h"

#include "base_bytes.h"

#include <stdlib.h>

#include <jansson.h>
#include <sodium.h>

static const uint8_t magic[8] = {0x44, 0x45, 0x52, 0x50, 0xf0, 0x9f, 0x94, 0x91};
static const char client_info[] = "{\"version\":2,\"CanAckPings\":true}";

_Static_assert(COORD_DERP_CLIENT_INFO_BYTES ==
		COORD_DERP_HEAD_BYTES + CR_KEY_BYTES + COORD_DERP_NONCE_BYTES +
			crypto_box_MACBYTES + sizeof(client_info) - 1,
	"ClientInfo");
_Static_assert(COORD_DERP_NONCE_BYTES == crypto_box_NONCEBYTES, "NaCl's nonce");

/* --- a stream of frames ---------------------------------------------------------------------- */

void coord_derp_reader_fini(struct coord_derp_reader *reader)
{
	free(reader->kept);
	*reader = (struct coord_derp_reader){0};
}

static bool is_wanted(uint8_t type, size_t len)
{
	switch (type) {
	case COORD_DERP_SERVER_KEY:
	case COORD_DERP_SERVER_INFO:
	case COORD_DERP_RECV_PACKET:
	case COORD_DERP_KEEP_ALIVE:
	case COORD_DERP_PEER_GONE:
	case COORD_DERP_PING:
	case COORD_DERP_PONG:
	case COORD_DERP_HEALTH:
	case COORD_DERP_RESTARTING:
		return len <= COORD_DERP_KEPT_BYTES_MAX;
	default:
		return false;
	}
}

static int judge_head(const uint8_t *head, size_t *ret_len)
{
	size_t len = base_load_be32(head + 1);

	if (len > (head[0] == COORD_DERP_SERVER_KEY ? COORD_DERP_SERVER_KEY_BYTES_MAX
						    : COORD_DERP_FRAME_BYTES_MAX))
		return -EMSGSIZE;
	*ret_len = len;
	return 0;
}

static int make_room(struct coord_derp_reader *reader, size_t size)
{
	uint8_t *kept;

	if (size <= reader->size)
		return 0;
	kept = realloc(reader->kept, size);
	if (!kept)
		return -ENOMEM;
	reader->kept = kept;
	reader->size = size;
	return 0;
}

/* Bytes for what is kept, until it has @wanted of them. */
static bool keep(struct coord_derp_reader *reader, size_t wanted, const uint8_t **data, size_t *len)
{
	size_t n = wanted - reader->n_kept;

	if (n > *len)
		n = *len;
	if (n > 0)
		memcpy(reader->kept + reader->n_kept, *data, n);
	reader->n_kept += n;
	*data += n;
	*len -= n;
	return reader->n_kept == wanted;
}

static void skip(struct coord_derp_reader *reader, const uint8_t **data, size_t *len)
{
	size_t n = reader->to_skip < *len ? reader->to_skip : *len;

	reader->to_skip -= n;
	*data += n;
	*len -= n;
}

/* A frame of which some came before. 1: whole; 0: more to come, or it was to be skipped. */
static int go_on(struct coord_derp_reader *reader, const uint8_t **data, size_t *len,
	struct coord_derp_frame *ret_frame)
{
	size_t payload;
	int rc = make_room(reader, COORD_DERP_HEAD_BYTES);

	if (rc != 0)
		return rc;
	if (reader->n_kept < COORD_DERP_HEAD_BYTES &&
		!keep(reader, COORD_DERP_HEAD_BYTES, data, len))
		return 0;
	rc = judge_head(reader->kept, &payload);
	if (rc != 0)
		return rc;
	if (!is_wanted(reader->kept[0], payload)) {
		reader->to_skip = payload;
		reader->n_kept = 0;
		reader->n_skipped++;
		return 0;
	}
	rc = make_room(reader, COORD_DERP_HEAD_BYTES + payload);
	if (rc != 0)
		return rc;
	if (!keep(reader, COORD_DERP_HEAD_BYTES + payload, data, len))
		return 0;
	reader->n_kept = 0;
	*ret_frame = (struct coord_derp_frame){
		reader->kept[0], reader->kept + COORD_DERP_HEAD_BYTES, payload};
	return 1;
}

int coord_derp_reader_next(struct coord_derp_reader *reader, const uint8_t **data, size_t *len,
	struct coord_derp_frame *ret_frame)
{
	while (*len > 0) {
		size_t payload;
		int rc;

		if (reader->to_skip > 0) {
			skip(reader, data, len);
			continue;
		}
		if (reader->n_kept == 0 && *len >= COORD_DERP_HEAD_BYTES) {
			const uint8_t *head = *data;

			rc = judge_head(head, &payload);
			if (rc != 0)
				return rc;
			if (is_wanted(head[0], payload) &&
				*len - COORD_DERP_HEAD_BYTES >= payload) {
				*data += COORD_DERP_HEAD_BYTES + payload;
				*len -= COORD_DERP_HEAD_BYTES + payload;
				*ret_frame = (struct coord_derp_frame){
					head[0], head + COORD_DERP_HEAD_BYTES, payload};
				return 1;
			}
		}
		rc = go_on(reader, data, len, ret_frame);
		if (rc != 0)
			return rc;
	}
	return 0;
}

void coord_derp_head(uint8_t out[COORD_DERP_HEAD_BYTES], enum coord_derp_type type, size_t len)
{
	out[0] = (uint8_t)type;
	base_store_be32(out + 1, (uint32_t)len);
}

/* --- the login ------------------------------------------------------------------------------- */

int coord_derp_read_server_key(const struct coord_derp_frame *frame, struct cr_key *ret_server)
{
	if (frame->type != COORD_DERP_SERVER_KEY || frame->len < sizeof(magic) + CR_KEY_BYTES ||
		memcmp(frame->payload, magic, sizeof(magic)) != 0)
		return -EPROTO;
	memcpy(ret_server->bytes, frame->payload + sizeof(magic), CR_KEY_BYTES);
	return 0;
}

int coord_derp_client_info(uint8_t out[COORD_DERP_CLIENT_INFO_BYTES],
	const struct cr_key *node_private, const struct cr_key *server,
	const uint8_t nonce[COORD_DERP_NONCE_BYTES])
{
	uint8_t *at = out + COORD_DERP_HEAD_BYTES;

	coord_derp_head(
		out, COORD_DERP_CLIENT_INFO, COORD_DERP_CLIENT_INFO_BYTES - COORD_DERP_HEAD_BYTES);
	crypto_scalarmult_base(at, node_private->bytes);
	at += CR_KEY_BYTES;
	memcpy(at, nonce, COORD_DERP_NONCE_BYTES);
	at += COORD_DERP_NONCE_BYTES;
	return crypto_box_easy(at, (const uint8_t *)client_info, sizeof(client_info) - 1, nonce,
		       server->bytes, node_private->bytes) == 0
		? 0
		: -EINVAL;
}

static uint64_t positive(const json_t *root, const char *name)
{
	json_int_t value = json_integer_value(json_object_get(root, name));

	return value > 0 ? (uint64_t)value : 0;
}

int coord_derp_read_server_info(const struct coord_derp_frame *frame,
	const struct cr_key *node_private, const struct cr_key *server,
	struct coord_derp_server_info *ret_info)
{
	const size_t overhead = COORD_DERP_NONCE_BYTES + crypto_box_MACBYTES;
	char text[2048]; /* what real servers say is shorter than 100 bytes */
	json_t *root;

	if (frame->type != COORD_DERP_SERVER_INFO || frame->len < overhead ||
		frame->len - overhead > sizeof(text))
		return -EPROTO;
	if (crypto_box_open_easy((uint8_t *)text, frame->payload + COORD_DERP_NONCE_BYTES,
		    frame->len - COORD_DERP_NONCE_BYTES, frame->payload, server->bytes,
		    node_private->bytes) != 0)
		return -EACCES;
	root = json_loadb(text, frame->len - overhead, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(root)) {
		json_decref(root);
		return -EPROTO;
	}
	*ret_info = (struct coord_derp_server_info){
		.version = (int)positive(root, "version"),
		.bytes_per_s = positive(root, "TokenBucketBytesPerSecond"),
		.burst_bytes = positive(root, "TokenBucketBytesBurst"),
	};
	json_decref(root);
	return 0;
}
