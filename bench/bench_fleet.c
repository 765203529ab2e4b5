/* SPDX-License-Identifier: BSD-3-Clause */
/* Initiators for the handshake benches. One thread. See bench_fleet.h. */
#include "bench_fleet.h"

#include "base_clock.h"
#include "cr_noise.h"

#include <stdlib.h>

bool bench_fleet_init(struct bench_fleet *fleet, uint32_t n, const struct cr_key *gateway)
{
	fleet->members = calloc(n, sizeof(*fleet->members));
	fleet->n = n;
	for (uint32_t i = 0; fleet->members && i < n; i++) {
		struct bench_member *member = &fleet->members[i];

		struct cr_key private_key CR_KEY_CLEANUP;

		cr_x25519_generate(&private_key);
		wg_noise_identity_init(&member->identity, &private_key);
		if (!wg_noise_remote_init(&member->gateway, gateway))
			return false;
		wg_noise_remote_complete(&member->gateway, &member->identity);
		member->unix_ns = base_clock_unix_ns();
		member->endpoint.addr.family = BASE_FAMILY_V4;
		base_store_be32(
			member->endpoint.addr.bytes, 0x64400000 + i); /* 100.64.0.0 and on */
		member->endpoint.port = (uint16_t)(1024 + i % 60000);
	}
	return fleet->members;
}

void bench_fleet_fini(struct bench_fleet *fleet)
{
	if (fleet->members)
		base_wipe(fleet->members, fleet->n * sizeof(*fleet->members));
	free(fleet->members);
	*fleet = (struct bench_fleet){0};
}

void bench_fleet_initiate(struct bench_fleet *fleet, uint32_t i, uint64_t now_ns)
{
	struct bench_member *member = &fleet->members[i];
	uint8_t timestamp[WG_TIMESTAMP_BYTES];
	bool is_made;

	member->unix_ns += BASE_NS_PER_S;
	wg_noise_timestamp(timestamp, member->unix_ns);
	member->handshake.local_index = i;
	is_made = wg_noise_initiation_create(&member->handshake, &member->identity,
		&member->gateway, timestamp, &member->initiation);
	if (!is_made)
		abort();
	wg_cookie_macs_add(&member->cookies, &member->gateway.public_key, &member->initiation,
		sizeof(member->initiation), now_ns);
	member->is_answered = false;
}

uint32_t bench_fleet_addressee(const struct bench_fleet *fleet, const void *message, size_t len)
{
	const uint8_t *bytes = message;
	uint32_t type = len >= 12 ? base_load_le32(bytes) : 0, index = UINT32_MAX;

	if (type == WG_MESSAGE_RESPONSE && len == sizeof(struct wg_response))
		index = base_load_le32(bytes + offsetof(struct wg_response, receiver_index_le32));
	else if (type == WG_MESSAGE_COOKIE && len == sizeof(struct wg_cookie_reply))
		index = base_load_le32(
			bytes + offsetof(struct wg_cookie_reply, receiver_index_le32));
	return index < fleet->n ? index : UINT32_MAX;
}

bool bench_fleet_cookie(
	struct bench_fleet *fleet, uint32_t i, const struct wg_cookie_reply *reply, uint64_t now_ns)
{
	struct bench_member *member = &fleet->members[i];

	if (!wg_cookie_reply_consume(&member->cookies, &member->gateway.public_key, reply, now_ns))
		return false;
	wg_cookie_macs_add(&member->cookies, &member->gateway.public_key, &member->initiation,
		sizeof(member->initiation), now_ns);
	return true;
}

bool bench_fleet_accept(const struct bench_fleet *fleet, uint32_t i, struct wg_noise_keys *ret_keys)
{
	const struct bench_member *member = &fleet->members[i];

	return member->is_answered &&
		wg_noise_response_accept(&member->handshake, &member->identity, &member->gateway,
			&member->response, ret_keys);
}
