/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Noise IKpsk2 as WireGuard writes it, line by line after paper 5.4.2 and 5.4.3: C is the chaining key
 * and H the hash inside struct cr_noise. Thread: the device's. See wg_noise.h for the pattern.
 */
#include "wg_noise.h"

#include "base_bytes.h"

#include <assert.h>

#define CONSTRUCTION "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
#define IDENTIFIER "WireGuard v1 zx2c4 Jason@zx2c4.com"

/* TAI64's epoch label, and the ten seconds that TAI led UTC by in 1970. */
#define TAI64_BASE (UINT64_C(0x4000000000000000) + 10)

/* C = HASH(Construction), H = HASH(HASH(C || Identifier) || responder's static public key). */
void wg_noise_identity_init(struct wg_noise_identity *identity, const struct cr_key *private_key)
{
	identity->private_key = *private_key;
	cr_x25519_public(&identity->public_key, private_key);
	cr_noise_init(&identity->begun, CONSTRUCTION, IDENTIFIER, strlen(IDENTIFIER));
	identity->begun_to_us = identity->begun;
	cr_noise_mix_hash(&identity->begun_to_us, identity->public_key.bytes, CR_KEY_BYTES);
}

bool wg_noise_remote_init(struct wg_noise_remote *remote, const struct cr_key *public_key)
{
	*remote = (struct wg_noise_remote){.public_key = *public_key};
	return !cr_x25519_is_low_order(public_key);
}

void wg_noise_remote_complete(
	struct wg_noise_remote *remote, const struct wg_noise_identity *identity)
{
	bool is_good;

	if (wg_noise_remote_is_complete(remote))
		return;
	is_good = cr_x25519(&remote->static_static, &identity->private_key, &remote->public_key);
	assert(is_good); /* low order was refused */
	(void)is_good;
}

void wg_noise_timestamp(uint8_t ret_timestamp[WG_TIMESTAMP_BYTES], uint64_t unix_ns)
{
	uint64_t nanoseconds = unix_ns % BASE_NS_PER_S;

	base_store_be64(ret_timestamp, TAI64_BASE + unix_ns / BASE_NS_PER_S);
	base_store_be32(ret_timestamp + 8, (uint32_t)(nanoseconds & ~(WG_TIMESTAMP_STEP_NS - 1)));
}

/* C = KDF1(C, E), H = HASH(H || E). */
static void mix_ephemeral(struct cr_noise *noise, const uint8_t ephemeral[CR_KEY_BYTES])
{
	cr_noise_mix_chain(noise, ephemeral, CR_KEY_BYTES);
	cr_noise_mix_hash(noise, ephemeral, CR_KEY_BYTES);
}

static void ephemeral_new(struct cr_key *ret_private, uint8_t ret_public[CR_KEY_BYTES])
{
	struct cr_key public_key;

	cr_x25519_generate(ret_private);
	cr_x25519_public(&public_key, ret_private);
	memcpy(ret_public, public_key.bytes, CR_KEY_BYTES);
}

bool wg_noise_initiation_create(struct wg_noise_handshake *handshake,
	const struct wg_noise_identity *identity, const struct wg_noise_remote *remote,
	const uint8_t timestamp[WG_TIMESTAMP_BYTES], struct wg_initiation *ret_message)
{
	struct cr_noise *noise = &handshake->noise;

	*noise = identity->begun;
	cr_noise_mix_hash(noise, remote->public_key.bytes, CR_KEY_BYTES);
	ret_message->type_le32 = WG_MESSAGE_INITIATION;
	ret_message->sender_index_le32 = handshake->local_index;
	ephemeral_new(&handshake->ephemeral_private, ret_message->ephemeral);
	mix_ephemeral(noise, ret_message->ephemeral);
	if (!cr_noise_mix_dh(noise, &handshake->ephemeral_private, &remote->public_key)) /* es */
		return false;
	cr_noise_encrypt_and_hash(
		noise, ret_message->static_sealed, identity->public_key.bytes, CR_KEY_BYTES);
	cr_noise_mix_key(noise, remote->static_static.bytes, CR_KEY_BYTES); /* ss */
	cr_noise_encrypt_and_hash(
		noise, ret_message->timestamp_sealed, timestamp, WG_TIMESTAMP_BYTES);
	return true;
}

bool wg_noise_initiation_open(struct wg_noise_request *ret_request,
	const struct wg_noise_identity *identity, const struct wg_initiation *message)
{
	struct wg_noise_request request = {.noise = identity->begun_to_us};
	bool is_open;

	memcpy(request.ephemeral_public.bytes, message->ephemeral, CR_KEY_BYTES);
	mix_ephemeral(&request.noise, message->ephemeral);
	is_open = cr_noise_mix_dh(
			  &request.noise, &identity->private_key, &request.ephemeral_public) &&
		cr_noise_decrypt_and_hash(&request.noise, request.static_public.bytes,
			message->static_sealed, sizeof(message->static_sealed));
	if (is_open)
		*ret_request = request;
	wg_noise_request_fini(&request);
	return is_open;
}

bool wg_noise_initiation_accept(struct wg_noise_request *request,
	const struct wg_noise_remote *remote, const struct wg_initiation *message)
{
	cr_noise_mix_key(&request->noise, remote->static_static.bytes, CR_KEY_BYTES);
	return cr_noise_decrypt_and_hash(&request->noise, request->timestamp,
		message->timestamp_sealed, sizeof(message->timestamp_sealed));
}

void wg_noise_request_fini(struct wg_noise_request *request)
{
	base_wipe(request, sizeof(*request));
}

bool wg_noise_response_create(struct wg_noise_request *request,
	const struct wg_noise_remote *remote, const struct wg_initiation *initiation,
	uint32_t local_index, struct wg_response *ret_message, struct wg_noise_keys *ret_keys)
{
	struct cr_key ephemeral_private CR_KEY_CLEANUP;
	struct cr_noise *noise = &request->noise;
	bool is_good;

	ret_message->type_le32 = WG_MESSAGE_RESPONSE;
	ret_message->sender_index_le32 = local_index;
	ret_message->receiver_index_le32 = initiation->sender_index_le32;
	ephemeral_new(&ephemeral_private, ret_message->ephemeral);
	mix_ephemeral(noise, ret_message->ephemeral);
	is_good = cr_noise_mix_dh_chain(
			  noise, &ephemeral_private, &request->ephemeral_public) &&        /* ee */
		cr_noise_mix_dh_chain(noise, &ephemeral_private, &request->static_public); /* se */
	if (is_good) {
		cr_noise_mix_key_and_hash(noise, remote->preshared_key.bytes, CR_KEY_BYTES);
		cr_noise_encrypt_and_hash(noise, ret_message->empty_sealed, NULL, 0);
		cr_noise_split(noise, &ret_keys->recv, &ret_keys->send);
	}
	wg_noise_request_fini(request);
	return is_good;
}

bool wg_noise_response_accept(const struct wg_noise_handshake *handshake,
	const struct wg_noise_identity *identity, const struct wg_noise_remote *remote,
	const struct wg_response *message, struct wg_noise_keys *ret_keys)
{
	struct cr_noise noise = handshake->noise;
	struct cr_key ephemeral_public;
	uint8_t nothing[1];
	bool is_good;

	memcpy(ephemeral_public.bytes, message->ephemeral, CR_KEY_BYTES);
	mix_ephemeral(&noise, message->ephemeral);
	is_good = cr_noise_mix_dh_chain(
			  &noise, &handshake->ephemeral_private, &ephemeral_public) &&    /* ee */
		cr_noise_mix_dh_chain(&noise, &identity->private_key, &ephemeral_public); /* se */
	if (is_good) {
		cr_noise_mix_key_and_hash(&noise, remote->preshared_key.bytes, CR_KEY_BYTES);
		is_good = cr_noise_decrypt_and_hash(
			&noise, nothing, message->empty_sealed, sizeof(message->empty_sealed));
	}
	if (is_good)
		cr_noise_split(&noise, &ret_keys->send, &ret_keys->recv);
	cr_noise_fini(&noise);
	return is_good;
}
