/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_channel.h. Steps of the handshake as in protocols/headscale-control.md, 3.3. */
#include "coord_channel.h"

#include "base_log.h"
#include "cr_aead.h"

#define NOISE_NAME "Noise_IK_25519_ChaChaPoly_BLAKE2s"
#define HEAD_BYTES 3                 /* type, length (3.4) */
#define ERROR_TEXT_MAX 256           /* of the server's words */
#define COUNTER_FORBIDDEN UINT64_MAX /* 3.4 */

enum frame_type {
	FRAME_INITIATION = 1,
	FRAME_RESPONSE = 2,
	FRAME_ERROR = 3,
	FRAME_RECORD = 4,
};

/* "Tailscale Control Protocol v138" */
static void noise_begin(
	struct cr_noise *noise, const struct cr_key *server_public, uint16_t version)
{
	char prologue[48];
	int len = snprintf(
		prologue, sizeof(prologue), "Tailscale Control Protocol v%u", (unsigned)version);

	cr_noise_init(noise, NOISE_NAME, prologue, (size_t)len);
	cr_noise_mix_hash(noise, server_public->bytes, CR_KEY_BYTES);
}

/* e, es, s, ss */
static int start(struct coord_channel *channel, const struct cr_key *server_public,
	uint16_t version, uint8_t ret_initiation[COORD_CHANNEL_INITIATION_BYTES])
{
	struct cr_noise *noise = &channel->noise;
	struct cr_key ephemeral_public, machine_public;
	uint8_t *out = ret_initiation;

	noise_begin(noise, server_public, version);
	base_store_be16(out, version);
	out[2] = FRAME_INITIATION;
	base_store_be16(out + 3, COORD_CHANNEL_INITIATION_BYTES - 5);
	out += 5;
	cr_x25519_public(&ephemeral_public, &channel->ephemeral_private);
	memcpy(out, ephemeral_public.bytes, CR_KEY_BYTES);
	cr_noise_mix_hash(noise, out, CR_KEY_BYTES);
	out += CR_KEY_BYTES;
	if (!cr_noise_mix_dh(noise, &channel->ephemeral_private, server_public))
		return -EINVAL;
	cr_x25519_public(&machine_public, &channel->machine_private);
	cr_noise_encrypt_and_hash(noise, out, machine_public.bytes, CR_KEY_BYTES);
	out += CR_KEY_BYTES + CR_TAG_BYTES;
	if (!cr_noise_mix_dh(noise, &channel->machine_private, server_public))
		return -EINVAL;
	cr_noise_encrypt_and_hash(noise, out, NULL, 0);
	return 0;
}

int coord_channel_init(struct coord_channel *channel, const struct cr_key *machine_private,
	const struct cr_key *server_public, uint16_t version,
	uint8_t ret_initiation[COORD_CHANNEL_INITIATION_BYTES])
{
	int rc;

	/* Not assigned: clang would make a second one on the stack. */
	memset(channel, 0, sizeof(*channel));
	channel->machine_private = *machine_private;
	cr_x25519_generate(&channel->ephemeral_private);
	rc = start(channel, server_public, version, ret_initiation);
	if (rc != 0)
		coord_channel_fini(channel);
	return rc;
}

void coord_channel_fini(struct coord_channel *channel)
{
	base_wipe(channel, sizeof(*channel));
	channel->phase = COORD_CHANNEL_BROKEN;
}

/* e, ee, se; then both directions have their keys, and what made them is gone. */
static int take_response(struct coord_channel *channel, const uint8_t *body)
{
	struct cr_noise *noise = &channel->noise;
	struct cr_key server_ephemeral;
	uint8_t nothing[1];

	memcpy(server_ephemeral.bytes, body, CR_KEY_BYTES);
	cr_noise_mix_hash(noise, body, CR_KEY_BYTES);
	if (!cr_noise_mix_dh(noise, &channel->ephemeral_private, &server_ephemeral) ||
		!cr_noise_mix_dh(noise, &channel->machine_private, &server_ephemeral) ||
		!cr_noise_decrypt_and_hash(noise, nothing, body + CR_KEY_BYTES, CR_TAG_BYTES))
		return -EBADMSG;
	cr_noise_split(noise, &channel->send_key, &channel->receive_key);
	cr_key_wipe(&channel->ephemeral_private);
	cr_key_wipe(&channel->machine_private);
	channel->phase = COORD_CHANNEL_OPEN;
	return 0;
}

/* What a frame of this type may carry now; 0: it may not come. */
static size_t body_max(const struct coord_channel *channel, uint8_t type)
{
	switch (channel->phase) {
	case COORD_CHANNEL_WAITS:
		return type == FRAME_RESPONSE ? COORD_CHANNEL_RESPONSE_BYTES - HEAD_BYTES
			: type == FRAME_ERROR ? ERROR_TEXT_MAX
					      : 0;
	case COORD_CHANNEL_OPEN:
		return type == FRAME_RECORD ? COORD_CHANNEL_RECORD_BYTES_MAX - HEAD_BYTES : 0;
	case COORD_CHANNEL_BROKEN:
		break;
	}
	return 0;
}

static int check_head(struct coord_channel *channel, struct base_error *ret_error)
{
	uint8_t type = channel->frame[0];
	size_t body = base_load_be16(channel->frame + 1), max = body_max(channel, type);

	if (max == 0)
		return base_error_set(ret_error, -EPROTO,
			"the server sent a frame of type %u where none belongs", (unsigned)type);
	if (body > max || (type == FRAME_RESPONSE && body != max) ||
		(type == FRAME_RECORD && body < CR_TAG_BYTES))
		return base_error_set(ret_error, -EPROTO,
			"the server sent a frame of %zu bytes (type %u, %zu allowed)", body,
			(unsigned)type, max);
	return 0;
}

/* The nonce is big-endian here; cr_aead's counter is little-endian on the wire. */
static uint64_t nonce_of(uint64_t counter)
{
	return __builtin_bswap64(counter);
}

/* Opened in place: the frame is done with. */
static int take_record(struct coord_channel *channel, uint8_t *body, size_t len,
	coord_channel_plain plain, void *ctx, struct base_error *ret_error)
{
	int rc = 0;

	if (channel->receive_counter == COUNTER_FORBIDDEN ||
		!cr_aead_open(body, &channel->receive_key, nonce_of(channel->receive_counter), body,
			len, NULL, 0))
		return base_error_set(
			ret_error, -EBADMSG, "a record of the control channel does not open");
	channel->receive_counter++;
	/* An empty record is legal and says nothing. */
	if (len > CR_TAG_BYTES)
		rc = plain(ctx, body, len - CR_TAG_BYTES);
	return rc;
}

static int take_frame(struct coord_channel *channel, coord_channel_plain plain, void *ctx,
	struct base_error *ret_error)
{
	uint8_t *body = channel->frame + HEAD_BYTES;
	size_t len = channel->frame_len - HEAD_BYTES;
	char words[ERROR_TEXT_MAX * 4 + 1];

	channel->frame_len = 0;
	switch (channel->frame[0]) {
	case FRAME_RESPONSE:
		if (take_response(channel, body) == 0)
			return 0;
		return base_error_set(ret_error, -EBADMSG,
			"the server could not prove that it has the key that we know it by");
	case FRAME_ERROR:
		return base_error_set(ret_error, -EPERM, "the server refuses the channel: %.300s",
			base_log_text(words, sizeof(words), (const char *)body, len));
	default:
		return take_record(channel, body, len, plain, ctx, ret_error);
	}
}

/* Bytes of the next frame that are still to come, head first. */
static size_t frame_wants(const struct coord_channel *channel)
{
	if (channel->frame_len < HEAD_BYTES)
		return HEAD_BYTES - channel->frame_len;
	return HEAD_BYTES + base_load_be16(channel->frame + 1) - channel->frame_len;
}

int coord_channel_input(struct coord_channel *channel, const uint8_t *data, size_t len,
	coord_channel_plain plain, void *ctx, struct base_error *ret_error)
{
	int rc = channel->phase == COORD_CHANNEL_BROKEN ? -EPROTO : 0;

	while (rc == 0 && len > 0) {
		size_t take = frame_wants(channel);
		bool was_head = channel->frame_len < HEAD_BYTES;

		if (take > len)
			take = len;
		memcpy(channel->frame + channel->frame_len, data, take);
		channel->frame_len += take;
		data += take;
		len -= take;
		if (channel->frame_len < HEAD_BYTES)
			continue;
		if (was_head)
			rc = check_head(channel, ret_error);
		if (rc == 0 && frame_wants(channel) == 0)
			rc = take_frame(channel, plain, ctx, ret_error);
	}
	if (rc != 0)
		channel->phase = COORD_CHANNEL_BROKEN;
	return rc;
}

size_t coord_channel_seal(struct coord_channel *channel,
	uint8_t out[COORD_CHANNEL_RECORD_BYTES_MAX], const void *data, size_t len)
{
	if (channel->phase != COORD_CHANNEL_OPEN || len > COORD_CHANNEL_PLAIN_BYTES_MAX ||
		channel->send_counter == COUNTER_FORBIDDEN)
		return 0;
	out[0] = FRAME_RECORD;
	base_store_be16(out + 1, (uint16_t)(len + CR_TAG_BYTES));
	cr_aead_seal(out + HEAD_BYTES, &channel->send_key, nonce_of(channel->send_counter), data,
		len, NULL, 0);
	channel->send_counter++;
	return HEAD_BYTES + len + CR_TAG_BYTES;
}
