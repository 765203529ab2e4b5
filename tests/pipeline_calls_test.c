/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a worker must never do: over a million packets through a real worker thread, in and out, it makes no
 * system call and no allocation (ring port; real ports have their own case in tests/netns). The test also proves
 * that it would see one.
 */
#include "pipeline_lab.h"

#include "base_clock.h"
#include "pipeline_sanitizer.h"
#include "watch_thread.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <rte_lcore.h>

#define PKTS 1000000u
#define WAIT_NS (30 * BASE_NS_PER_S)

static struct lab lab;
static pthread_t thread;
static _Atomic int is_watching; /* 0: not yet; 1: yes; -1: cannot */
static _Atomic bool shall_misbehave;
static _Atomic bool is_done;
static void *volatile sink;

static void misbehave(void)
{
	sink = malloc(100);
	free(sink);
	sink = NULL;
	if (getppid() == 0)
		abort();
}

static void *worker_thread(void *arg)
{
	struct dp_worker *worker = arg;

	if (rte_thread_register() != 0)
		abort();
	if (!watch_thread_begin()) {
		atomic_store(&is_watching, -1);
	} else {
		atomic_store(&is_watching, 1);
		/* Prove that it would be seen, before the worker's own loop. */
		while (!atomic_load(&shall_misbehave))
			;
		misbehave();
		atomic_store(&shall_misbehave, false);
	}
	dp_worker_main(worker);
	atomic_store(&is_done, true);
	/* A thread on its way out blocks signals, the trap's too: it ends with the process. */
	for (;;)
		rte_pause();
	return NULL;
}

static void wait_until(bool (*is_so)(void))
{
	uint64_t end_ns = base_clock_now_ns() + WAIT_NS;

	while (!is_so()) {
		lab_poll(&lab);
		if (base_clock_now_ns() > end_ns)
			fail_msg("waited in vain");
	}
}

static bool is_at_rest(void)
{
	static struct lab_pkt pkt;
	static bool has_packet;

	has_packet |= lab_host_take(&lab, &pkt);
	return has_packet && lab.n_handshakes > 0;
}

/* A million packets, in and out by turns, a burst at a time; drained by this thread. */
static void pump(struct lab_peer *peer)
{
	uint8_t packet[100], message[200];
	uint64_t counter = 1000, in = 0, came = 0, left = 0;
	uint64_t end_ns = base_clock_now_ns() + WAIT_NS;
	struct rte_mbuf *pkts[DP_BURST];
	struct rte_ring *tx = dp_test_port_tx(lab.dp, 0, 0);

	while (came + left < PKTS) {
		uint64_t before = came + left;
		unsigned n;

		while (in < came + left + 256) {
			lab_inner(packet, "10.9.0.2", "10.9.0.1", 8765, 100);
			lab_inject(&lab, &peer->endpoint, message,
				lab_seal(peer, message, counter++, packet, 100));
			lab_inner(packet, "10.9.0.1", "10.9.0.2", 9, 100);
			lab_host_put(&lab, packet, 100);
			in += 2;
		}
		n = rte_ring_dequeue_burst(tx, (void **)pkts, DP_BURST, NULL);
		for (unsigned i = 0; i < n; i++)
			lab_sanitizer_take(pkts[i]);
		rte_pktmbuf_free_bulk(pkts, n);
		left += n;
		n = rte_ring_dequeue_burst(lab.host_ring, (void **)pkts, DP_BURST, NULL);
		rte_pktmbuf_free_bulk(pkts, n);
		came += n;
		/* The worker may share our CPU. */
		if (came + left > before)
			end_ns = base_clock_now_ns() + WAIT_NS;
		else
			sched_yield();
		assert_true(base_clock_now_ns() < end_ns);
	}
}

/* Inside the test: cmocka keeps SIGSYS for itself before and after. */
static void stop(void)
{
	dp_peers_fini(lab.dp);
	dp_handshake_stop(lab.dp->handshake);
	atomic_store(&lab.dp->must_stop, true);
	while (!atomic_load(&is_done))
		sched_yield();
	lab_fini(&lab);
}

static void test_no_calls(void **state)
{
	struct lab_peer *peer;
	uint8_t packet[100];

	lab_init(&lab, &(struct lab_options){0});
	lab.dp->is_stepped = false; /* its threads are ours to start */
	lab.now_ns = base_clock_now_ns();
	assert_int_equal(dp_handshake_start(lab.dp->handshake, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, worker_thread, &lab.dp->workers[0]), 0);
	while (atomic_load(&is_watching) == 0)
		sched_yield();
	if (atomic_load(&is_watching) > 0) {
		watch_thread_count(true);
		atomic_store(&shall_misbehave, true);
		while (atomic_load(&shall_misbehave))
			sched_yield();
		/* getppid(), and what malloc may ask of the kernel itself. */
		assert_true(watch_thread_syscalls() >= 1);
		assert_int_equal(watch_thread_allocations(), 2);
	}
	peer = lab_peer_add(&lab, false, false);
	lab_peer_send(peer, packet, lab_inner(packet, "10.9.0.2", "10.9.0.1", 8765, 100));
	wait_until(is_at_rest);
	/* The worker's last words about the handshake come within a round. */
	for (unsigned rounds = 0; rounds < 2; rounds++)
		rte_rcu_qsbr_synchronize(dp_rcu_qsbr(lab.dp->rcu), RTE_QSBR_THRID_INVALID);
	watch_thread_count(true);
	pump(peer);
	watch_thread_count(false);
	if (atomic_load(&is_watching) > 0) {
		print_message("%u packets: %lu system calls (last: %ld), %lu allocations\n", PKTS,
			(unsigned long)watch_thread_syscalls(), watch_thread_last_syscall(),
			(unsigned long)watch_thread_allocations());
		assert_int_equal(watch_thread_syscalls(), 0);
		assert_int_equal(watch_thread_allocations(), 0);
	}
	stop();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_calls),
	};

	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	/* No exit handlers while the watched thread lives: DPDK's would join what cannot be joined. */
	fflush(NULL);
	_exit(failed);
}
