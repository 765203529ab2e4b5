/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which handshake messages reach their thread (dp_admit.h). Worker.
 */
#include "dp_admit.h"

#include "cr_noise.h"
#include "dp_worker.h"

#define TOKEN_NS (BASE_NS_PER_S / DP_ADMIT_RATE_PER_S)

void dp_admit_init(struct dp_admit *admit)
{
	memset(admit, 0, sizeof(*admit));
	cr_random(&admit->secret, sizeof(admit->secret));
}

/* A new key from the secret and the time; all buckets are full again. No system call: a worker makes none. */
static void key_renew(struct dp_admit *admit, uint64_t now_ns)
{
	struct base_addr time = {.family = BASE_FAMILY_NONE};

	memcpy(time.bytes, &now_ns, sizeof(now_ns));
	admit->key = base_addr_hash(&time, admit->secret);
	admit->key_ns = now_ns;
	memset(admit->full_ns, 0, sizeof(admit->full_ns));
}

/* Who holds one IPv6 address holds the /64. */
static struct base_addr source_of(const uint8_t *frame, const struct dp_pkt *p)
{
	struct base_addr source = {.family = p->family};

	memcpy(source.bytes, frame + p->ip_off + dp_from_off(p->family),
		p->family == BASE_FAMILY_V4 ? 4 : 8);
	return source;
}

/* One message more of this source? As in wg_ratelimit.c a bucket is the time when it will be full. */
bool dp_admit_addr(struct dp_admit *admit, const struct base_addr *source, uint64_t now_ns)
{
	uint64_t *bucket, full_ns;

	if (admit->key_ns == 0 || now_ns - admit->key_ns >= DP_ADMIT_KEY_LIFE_NS)
		key_renew(admit, now_ns);
	bucket = &admit->full_ns[base_addr_hash(source, admit->key) % DP_ADMIT_BUCKETS];
	full_ns = (*bucket > now_ns ? *bucket : now_ns) + TOKEN_NS;
	if (full_ns > now_ns + DP_ADMIT_BURST_MSGS * TOKEN_NS)
		return false;
	*bucket = full_ns;
	return true;
}

bool dp_admit_source(
	struct dp_admit *admit, const uint8_t *frame, const struct dp_pkt *p, uint64_t now_ns)
{
	struct base_addr source = source_of(frame, p);

	return dp_admit_addr(admit, &source, now_ns);
}

/* An initiation without mac2; responses and cookie replies answer us, or say so. */
static bool is_strangers(const uint8_t *message)
{
	static const uint8_t none[CR_MAC_BYTES];

	return base_load_le32(message) == WG_MESSAGE_INITIATION &&
		memcmp(message + offsetof(struct wg_initiation, mac2), none, sizeof(none)) == 0;
}

static bool put(struct dp_worker *worker, const uint8_t *frame, const struct dp_pkt *p)
{
	struct rte_ring *ring = is_strangers(frame + p->payload_off) ? worker->stranger_ring
								     : worker->expected_ring;
	struct dp_message message = {.p = *p, .len = p->payload_off + p->payload_len};

	memcpy(message.frame, frame, message.len);
	return rte_ring_enqueue_elem(ring, &message, sizeof(message)) == 0;
}

void dp_admit(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *frame = rte_pktmbuf_mtod(pkts[i], const uint8_t *);
		const struct dp_pkt *p = dp_pkt(pkts[i]);

		if (!dp_admit_source(&worker->admit, frame, p, worker->now_ns)) {
			dp_drop(&worker->counters, DP_DROP_HANDSHAKE_SOURCE, pkts[i]);
		} else if (!put(worker, frame, p)) {
			dp_drop(&worker->counters, DP_DROP_HANDSHAKE_FULL, pkts[i]);
		} else {
			worker->handshake_got_work = true;
			rte_pktmbuf_free(pkts[i]);
		}
	}
}
