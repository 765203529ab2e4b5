/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bursts of ChaCha20-Poly1305 on ipsec-mb. Runs on the worker lcore that made the state.
 * See cr_aead.h for the contract and bench/bench_aead.c for what it costs.
 *
 * A worker pays per packet only for what differs per packet. ipsec-mb hands out jobs from a ring
 * inside its manager, begins again at the first slot when all are done, and changes nothing in a
 * job but its status. So every slot is filled once, with its own nonce and (to open) tag buffer,
 * in one manager for sealing and one for opening. What ipsec-mb would check in each job is
 * constant or checked here: the NOCHECK call saves some 35 cycles a packet.
 */
#include "dp_aead_mb.h"

#include <intel-ipsec-mb.h>
#include <stdlib.h>

#define NONCE_BYTES 12

/*
 * Jobs of one submission. From eight on more gain nothing (measured, 1 to 128); few keep the
 * slots (200 bytes each) in the first-level cache, and are how far ahead packets are prefetched.
 */
#define SUBMIT_JOBS 8
#define CACHE_LINE_BYTES 64

/* What the job in the same ring slot points to. */
struct slot {
	uint8_t nonce[16]; /* 32 zero bits, counter; 12 bytes used */
	uint8_t tag[CR_TAG_BYTES];
};

struct direction {
	IMB_MGR *mgr;
	struct slot slots[IMB_MAX_JOBS] __attribute__((aligned(64)));
};

struct cr_aead {
	struct direction seal, open;
};

static bool direction_init(struct direction *direction, IMB_CIPHER_DIRECTION way)
{
	IMB_MGR *mgr = direction->mgr;

	init_mb_mgr_auto(mgr, NULL);
	if (imb_get_errno(mgr) != 0)
		return false;
	for (unsigned i = 0; i < IMB_MAX_JOBS; i++) {
		mgr->jobs[i] = (IMB_JOB){
			.cipher_mode = IMB_CIPHER_CHACHA20_POLY1305,
			.hash_alg = IMB_AUTH_CHACHA20_POLY1305,
			.cipher_direction = way,
			.chain_order = way == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH
							      : IMB_ORDER_HASH_CIPHER,
			.key_len_in_bytes = CR_KEY_BYTES,
			.iv = direction->slots[i].nonce,
			.iv_len_in_bytes = NONCE_BYTES,
			.auth_tag_output = direction->slots[i].tag,
			.auth_tag_output_len_in_bytes = CR_TAG_BYTES,
		};
	}
	return true;
}

static void mb_free(struct cr_aead *aead)
{
	if (!aead)
		return;
	if (aead->seal.mgr)
		free_mb_mgr(aead->seal.mgr);
	if (aead->open.mgr)
		free_mb_mgr(aead->open.mgr);
	base_wipe(aead, sizeof(*aead));
	free(aead);
}

static inline void job_fill(IMB_JOB *mb, const struct cr_aead_job *job)
{
	/* The slot's own nonce buffer, const only for ipsec-mb. */
	base_store_le64((uint8_t *)mb->iv + NONCE_BYTES - 8, job->counter);
	mb->src = job->src;
	mb->dst = job->dst;
	mb->enc_keys = job->key->bytes;
	mb->dec_keys = job->key->bytes;
	mb->msg_len_to_cipher_in_bytes = job->len;
	mb->msg_len_to_hash_in_bytes = job->len;
}

static inline void take(IMB_MGR *mgr, IMB_JOB **mbs, unsigned n)
{
	if (__builtin_expect(IMB_GET_NEXT_BURST(mgr, n, mbs) != n, 0))
		abort();
}

/*
 * ChaCha20-Poly1305 is done when the call returns. A job that is not would leave plaintext in a
 * packet about to be sent, or a stale tag to compare with: better no process than that.
 */
static inline void submit(IMB_MGR *mgr, IMB_JOB **mbs, unsigned n)
{
	if (__builtin_expect(IMB_SUBMIT_BURST_NOCHECK(mgr, n, mbs) != n, 0))
		abort();
}

/*
 * While ipsec-mb works on one submission the packets of the next arrive from memory: 10 to 20 per
 * cent of the time of packets that come from the third-level cache, nothing for those that are
 * near. The stages before have read the first line of each.
 */
static inline void prefetch(const struct cr_aead_job *jobs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned at = CACHE_LINE_BYTES; at < jobs[i].len; at += CACHE_LINE_BYTES)
			__builtin_prefetch(jobs[i].src + at);
}

static inline unsigned at_most_submit(unsigned n)
{
	return n < SUBMIT_JOBS ? n : SUBMIT_JOBS;
}

static void seal_some(IMB_MGR *mgr, const struct cr_aead_job *jobs, unsigned n)
{
	IMB_JOB *mbs[SUBMIT_JOBS];

	take(mgr, mbs, n);
	for (unsigned i = 0; i < n; i++) {
		job_fill(mbs[i], &jobs[i]);
		mbs[i]->auth_tag_output = jobs[i].dst + jobs[i].len;
	}
	submit(mgr, mbs, n);
}

static void mb_seal(struct cr_aead *aead, struct cr_aead_job *jobs, unsigned n)
{
	while (n > 0) {
		unsigned some = at_most_submit(n);

		prefetch(jobs + some, at_most_submit(n - some));
		seal_some(aead->seal.mgr, jobs, some);
		jobs += some;
		n -= some;
	}
}

/* Both halves always, no branch on either. */
static inline bool tag_equal(const uint8_t a[CR_TAG_BYTES], const uint8_t b[CR_TAG_BYTES])
{
	return ((base_load_le64(a) ^ base_load_le64(b)) |
		       (base_load_le64(a + 8) ^ base_load_le64(b + 8))) == 0;
}

/* ipsec-mb decrypts whatever comes and writes the tag it should have had. */
static unsigned open_some(IMB_MGR *mgr, struct cr_aead_job *jobs, unsigned n)
{
	IMB_JOB *mbs[SUBMIT_JOBS];
	unsigned good = 0;

	take(mgr, mbs, n);
	for (unsigned i = 0; i < n; i++)
		job_fill(mbs[i], &jobs[i]);
	submit(mgr, mbs, n);
	for (unsigned i = 0; i < n; i++) {
		jobs[i].ok = tag_equal(mbs[i]->auth_tag_output, jobs[i].src + jobs[i].len);
		good += jobs[i].ok;
	}
	return good;
}

static unsigned mb_open(struct cr_aead *aead, struct cr_aead_job *jobs, unsigned n)
{
	unsigned good = 0;

	while (n > 0) {
		unsigned some = at_most_submit(n);

		prefetch(jobs + some, at_most_submit(n - some));
		good += open_some(aead->open.mgr, jobs, some);
		jobs += some;
		n -= some;
	}
	return good;
}

static struct cr_aead *mb_new(void)
{
	struct cr_aead *aead = aligned_alloc(64, sizeof(*aead));
	int code = 0;

	if (!aead)
		return NULL;
	memset(aead, 0, sizeof(*aead));
	aead->seal.mgr = alloc_mb_mgr(0);
	aead->open.mgr = alloc_mb_mgr(0);
	if (!aead->seal.mgr || !aead->open.mgr)
		code = ENOMEM;
	else if (!direction_init(&aead->seal, IMB_DIR_ENCRYPT) ||
		!direction_init(&aead->open, IMB_DIR_DECRYPT))
		code = ENOTSUP;
	else if (!cr_aead_self_test(&dp_aead_mb, aead))
		code = EBADMSG;
	if (code) {
		mb_free(aead);
		errno = code;
		return NULL;
	}
	return aead;
}

const struct cr_aead_ops dp_aead_mb = {
	.name = "ipsec-mb",
	.new = mb_new,
	.free = mb_free,
	.seal = mb_seal,
	.open = mb_open,
};
