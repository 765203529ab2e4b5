/* SPDX-License-Identifier: BSD-3-Clause */
/* mac1, mac2 and cookie replies. Thread: the device's. See wg_cookie.h. */
#include "wg_cookie.h"

#include "base_bytes.h"
#include "cr_aead.h"
#include "cr_blake2s.h"
#include "cr_noise.h"

/* Paper 5.4: the two labels. */
#define LABEL_MAC1 "mac1----"
#define LABEL_COOKIE "cookie--"
#define LABEL_BYTES 8

/* Both macs end the message. */
#define MACS_BYTES (2 * CR_MAC_BYTES)

static void label_hash(uint8_t ret_hash[CR_HASH_BYTES], const char *label, const struct cr_key *key)
{
	const struct cr_span spans[] = {{label, LABEL_BYTES}, {key->bytes, CR_KEY_BYTES}};

	cr_hash(ret_hash, spans, BASE_ARRAY_LEN(spans));
}

static void keys_init(struct wg_cookie_keys *keys, const struct cr_key *public_key)
{
	label_hash(keys->mac1_key, LABEL_MAC1, public_key);
	label_hash(keys->cookie_key.bytes, LABEL_COOKIE, public_key);
}

static void mac1_of(uint8_t ret_mac[CR_MAC_BYTES], const uint8_t mac1_key[CR_HASH_BYTES],
	const void *message, size_t len)
{
	cr_mac(ret_mac, mac1_key, CR_HASH_BYTES, message, len - MACS_BYTES);
}

/* mac2 covers mac1 as well. */
static void mac2_of(uint8_t ret_mac[CR_MAC_BYTES], const uint8_t cookie[CR_MAC_BYTES],
	const void *message, size_t len)
{
	cr_mac(ret_mac, cookie, CR_MAC_BYTES, message, len - CR_MAC_BYTES);
}

void wg_cookie_checker_init(struct wg_cookie_checker *checker, const struct cr_key *own_public)
{
	*checker = (struct wg_cookie_checker){0};
	keys_init(&checker->keys, own_public);
}

/* The cookie of an address: a MAC of address and port under a secret that lives two minutes. */
static void cookie_of(uint8_t ret_cookie[CR_MAC_BYTES], struct wg_cookie_checker *checker,
	const struct base_endpoint *from, uint64_t now_ns)
{
	unsigned addr_len = base_family_bytes(from->addr.family);
	uint8_t source[16 + 2];

	if (checker->secret_ns == 0 || now_ns - checker->secret_ns >= WG_COOKIE_LIFE_NS) {
		cr_random(checker->secret, sizeof(checker->secret));
		checker->secret_ns = now_ns;
	}
	memcpy(source, from->addr.bytes, addr_len);
	base_store_be16(source + addr_len, from->port);
	cr_mac(ret_cookie, checker->secret, sizeof(checker->secret), source, addr_len + 2);
}

bool wg_cookie_mac1_is_valid(
	const struct wg_cookie_checker *checker, const void *message, size_t len)
{
	uint8_t mac[CR_MAC_BYTES];

	mac1_of(mac, checker->keys.mac1_key, message, len);
	return base_ct_equal(mac, (const uint8_t *)message + len - MACS_BYTES, CR_MAC_BYTES);
}

bool wg_cookie_mac2_is_valid(struct wg_cookie_checker *checker, const void *message, size_t len,
	const struct base_endpoint *from, uint64_t now_ns)
{
	uint8_t cookie[CR_MAC_BYTES], mac[CR_MAC_BYTES];

	cookie_of(cookie, checker, from, now_ns);
	mac2_of(mac, cookie, message, len);
	return base_ct_equal(mac, (const uint8_t *)message + len - CR_MAC_BYTES, CR_MAC_BYTES);
}

void wg_cookie_reply_create(struct wg_cookie_checker *checker, const void *message, size_t len,
	const struct base_endpoint *from, uint64_t now_ns, struct wg_cookie_reply *ret_reply)
{
	const uint8_t *bytes = message;
	uint8_t cookie[CR_MAC_BYTES];

	cookie_of(cookie, checker, from, now_ns);
	ret_reply->type_le32 = WG_MESSAGE_COOKIE;
	/* Both kinds of message have the sender's index behind the type. */
	memcpy(&ret_reply->receiver_index_le32, bytes + sizeof(uint32_t), sizeof(uint32_t));
	cr_random_public(ret_reply->nonce, sizeof(ret_reply->nonce));
	cr_xaead_seal(ret_reply->cookie_sealed, &checker->keys.cookie_key, ret_reply->nonce, cookie,
		sizeof(cookie), bytes + len - MACS_BYTES, CR_MAC_BYTES);
}

void wg_cookie_macs_add(struct wg_cookie_sender *sender, const struct cr_key *to, void *message,
	size_t len, uint64_t now_ns)
{
	uint8_t *mac1 = (uint8_t *)message + len - MACS_BYTES, *mac2 = mac1 + CR_MAC_BYTES;
	uint8_t mac1_key[CR_HASH_BYTES];

	label_hash(mac1_key, LABEL_MAC1, to);
	mac1_of(mac1, mac1_key, message, len);
	memcpy(sender->mac1, mac1, CR_MAC_BYTES);
	sender->expects_reply = true;
	sender->carried_mac2 =
		sender->cookie_ns != 0 && now_ns - sender->cookie_ns < WG_COOKIE_LIFE_NS;
	if (sender->carried_mac2)
		mac2_of(mac2, sender->cookie, message, len);
	else
		memset(mac2, 0, CR_MAC_BYTES);
}

bool wg_cookie_reply_consume(struct wg_cookie_sender *sender, const struct cr_key *to,
	const struct wg_cookie_reply *reply, uint64_t now_ns)
{
	uint8_t cookie[CR_MAC_BYTES];
	struct cr_key key;

	if (!sender->expects_reply)
		return false;
	label_hash(key.bytes, LABEL_COOKIE, to);
	if (!cr_xaead_open(cookie, &key, reply->nonce, reply->cookie_sealed,
		    sizeof(reply->cookie_sealed), sender->mac1, CR_MAC_BYTES))
		return false;
	memcpy(sender->cookie, cookie, CR_MAC_BYTES);
	sender->cookie_ns = now_ns;
	sender->expects_reply = false;
	return true;
}
