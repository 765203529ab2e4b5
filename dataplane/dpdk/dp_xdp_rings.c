/* SPDX-License-Identifier: BSD-3-Clause */
/* See dp_xdp_rings.h. The layout is the kernel's (linux/if_xdp.h). */
#include "dp_xdp_rings.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

#define RINGS 4
#define ENTRIES_MAX 65536u

struct ring {
	void *map;
	size_t map_bytes;
	uint32_t *producer, *consumer; /* they run freely; the difference is what lies there */
	const uint8_t *entries;
	uint32_t n_entries;   /* a power of two */
	uint32_t entry_bytes; /* the address comes first */
};

struct dp_xdp_rings {
	struct ring rings[RINGS];
};

/* The kernel maps no more than there is, so the largest power of two that it maps is the ring's size. */
static int map_ring(struct ring *ring, int fd, const struct xdp_ring_offset *at, off_t which,
	uint32_t entry_bytes)
{
	for (uint32_t n = ENTRIES_MAX; n > 0; n /= 2) {
		size_t bytes = at->desc + (size_t)n * entry_bytes;
		uint8_t *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, which);

		if (map == MAP_FAILED)
			continue;
		*ring = (struct ring){.map = map,
			.map_bytes = bytes,
			.producer = (uint32_t *)(void *)(map + at->producer),
			.consumer = (uint32_t *)(void *)(map + at->consumer),
			.entries = map + at->desc,
			.n_entries = n,
			.entry_bytes = entry_bytes};
		return 0;
	}
	return -errno;
}

struct dp_xdp_rings *dp_xdp_rings_new(int fd)
{
	struct dp_xdp_rings *rings = calloc(1, sizeof(*rings));
	struct xdp_mmap_offsets at;
	socklen_t len = sizeof(at);
	int error = 0;

	if (!rings)
		return NULL;
	if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &len) != 0)
		error = -errno;
	if (!error)
		error = map_ring(
			&rings->rings[0], fd, &at.rx, XDP_PGOFF_RX_RING, sizeof(struct xdp_desc));
	if (!error)
		error = map_ring(
			&rings->rings[1], fd, &at.tx, XDP_PGOFF_TX_RING, sizeof(struct xdp_desc));
	if (!error)
		error = map_ring(&rings->rings[2], fd, &at.fr, (off_t)XDP_UMEM_PGOFF_FILL_RING,
			sizeof(uint64_t));
	if (!error)
		error = map_ring(&rings->rings[3], fd, &at.cr,
			(off_t)XDP_UMEM_PGOFF_COMPLETION_RING, sizeof(uint64_t));
	if (error) {
		dp_xdp_rings_free(rings, NULL);
		errno = -error;
		return NULL;
	}
	return rings;
}

static int compare_addrs(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* What lies in a ring. Returns how many, at most @room. */
static size_t collect(const struct ring *ring, uint64_t *ret_addrs, size_t room)
{
	uint32_t first = *ring->consumer, n = *ring->producer - first;

	if (n > ring->n_entries)
		return 0;
	for (uint32_t i = 0; i < n && i < room; i++) {
		const uint8_t *entry = ring->entries +
			(size_t)((first + i) & (ring->n_entries - 1)) * ring->entry_bytes;

		memcpy(&ret_addrs[i], entry, sizeof(ret_addrs[i]));
		/* The upper bits are the offset of the data within its buffer. */
		ret_addrs[i] &= XSK_UNALIGNED_BUF_ADDR_MASK;
	}
	return n < room ? n : room;
}

/* Addresses count from the page in which the pool's memory begins; the buffer's own is that of its object's header. */
static void give_back(struct rte_mempool *pool, const uint64_t *addrs, size_t n)
{
	const struct rte_mempool_memhdr *memory = STAILQ_FIRST(&pool->mem_list);
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)memory->addr;
	uintptr_t base = first & ~(page - 1), object_bytes;

	object_bytes = pool->header_size + pool->elt_size + pool->trailer_size;
	for (size_t i = 0; i < n; i++) {
		uintptr_t at = base + addrs[i];

		/* Once each, and only what is a packet of ours: the ring is shared memory. */
		if ((i > 0 && addrs[i] == addrs[i - 1]) || at < first ||
			at - first > memory->len - object_bytes || (at - first) % object_bytes != 0)
			continue;
		rte_mbuf_raw_free((struct rte_mbuf *)(at + pool->header_size));
	}
}

void dp_xdp_rings_free(struct dp_xdp_rings *rings, struct rte_mempool *pool)
{
	size_t n = 0, room = 0;
	uint64_t *addrs;

	if (!rings)
		return;
	for (unsigned i = 0; i < RINGS; i++)
		room += rings->rings[i].n_entries;
	addrs = pool ? malloc(room * sizeof(*addrs)) : NULL;
	for (unsigned i = 0; addrs && i < RINGS; i++) {
		if (rings->rings[i].map)
			n += collect(&rings->rings[i], addrs + n, room - n);
	}
	if (addrs) {
		qsort(addrs, n, sizeof(*addrs), compare_addrs);
		give_back(pool, addrs, n);
	}
	free(addrs);
	for (unsigned i = 0; i < RINGS; i++) {
		if (rings->rings[i].map)
			munmap(rings->rings[i].map, rings->rings[i].map_bytes);
	}
	free(rings);
}
