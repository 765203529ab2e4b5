/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The map stream (protocols/headscale-control.md, section 5): bytes of the long poll's body become frames, a frame
 * becomes a typed update, an update is merged into the network map. And the requests that open it.
 *
 *	stream (loop)   body bytes, in any pieces -> whole frames; keep-alives recognised by their bytes
 *	parser (any)    frame -> zstd -> JSON -> struct coord_map_update; a large frame's on libuv's pool
 *	apply (loop)    update -> map, and what changed: coord_netmap_apply(), cheap
 *
 *	on data:   coord_map_stream_feed(); pump()
 *	pump():    while nothing is parsed on the pool and (frame = coord_map_stream_next()):
 *	               keep-alive: the watchdog starts anew, free it
 *	               is_large: uv_queue_work(coord_map_parse), apply and pump() again when it is done
 *	               else: coord_map_parse() and apply at once
 *
 * What a server sends is bounded both ways and typed strictly: a frame with a known member of another type, a
 * malformed key, or no JSON is refused whole, and the stream with it; entries of lists that cannot be read are left
 * out and counted; members unknown here are ignored. Nothing in here logs.
 */
#ifndef COORD_MAP_H
#define COORD_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "cr_secret.h"
#include "coord.h"
#include "coord_netmap.h"
#include "coord_update.h"

/** From this many bytes on the wire a frame is worth another thread: some 1 ms of parsing. */
#define COORD_MAP_LARGE_BYTES (16u << 10)

struct coord_map_limits {
	size_t bytes_max;   /* of one frame as it travels; 0: COORD_MAP_BYTES_MAX */
	size_t decoded_max; /* and decompressed; 0: COORD_MAP_DECODED_MAX */
};

struct coord_map_frame {
	bool is_keep_alive; /* and nothing else: no need to parse it */
	bool is_large;      /* parse it on the pool */
	uint32_t len;
	struct coord_map_frame *next; /* the stream's */
	uint8_t bytes[];
};

void coord_map_frame_free(struct coord_map_frame *frame);

/** One long poll's body, cut into frames. Thread: one. */
struct coord_map_stream;

/** @is_compressed: zstd was asked for. NULL with errno. */
struct coord_map_stream *coord_map_stream_new(
	const struct coord_map_limits *limits, bool is_compressed);
void coord_map_stream_free(struct coord_map_stream *stream);
/**
 * Bytes of the body, as they come. Whole frames wait inside until they are taken: bounded by the flow control of
 * the caller (below), else by twice the largest frame.
 * Returns 0; -EMSGSIZE a frame is announced beyond the limit, -EPROTO a frame of no bytes, -ENOBUFS too many bytes
 * wait, -ENOMEM; with a line. After an error the stream is over.
 */
BASE_MUST_CHECK int coord_map_stream_feed(struct coord_map_stream *stream, const void *data,
	size_t len, struct base_error *ret_error);
/** The oldest whole frame, now the caller's; NULL: none yet. */
struct coord_map_frame *coord_map_stream_next(struct coord_map_stream *stream);
/** Bytes of whole frames that wait: give the server no more window while a frame is parsed and this is large. */
size_t coord_map_stream_waiting(const struct coord_map_stream *stream);

/** What parsing needs again and again (decompression state, buffers); shared with nobody. One thread at a time. */
struct coord_map_parser;

struct coord_map_parser *coord_map_parser_new(
	const struct coord_map_limits *limits, bool is_compressed);
void coord_map_parser_free(struct coord_map_parser *parser);
/**
 * A frame as a typed update; the caller's, until coord_netmap_apply() or coord_map_update_free(). The frame stays the
 * caller's. Peers are read one by one: memory is that of the text, of the result and of one peer.
 * NULL with errno and a line: EMSGSIZE decompressed beyond the limit, EBADMSG no zstd, no JSON, wrong types; ENOMEM.
 */
struct coord_map_update *coord_map_parse(struct coord_map_parser *parser,
	const struct coord_map_frame *frame, struct base_error *ret_error);

/** The same of a frame's text: without compression and its limits. */
struct coord_map_update *coord_map_parse_text(
	const char *text, size_t len, struct base_error *ret_error);

/** What a node tells with each MapRequest (section 5.1). All borrowed. */
struct coord_map_request {
	const struct cr_key *node_public, *disco_public;
	const char *hostname;                           /* "": the server keeps what it has */
	const char *version;                            /* of this program */
	const char *os, *os_version, *machine, *distro; /* for people; NULL: left out */
	const struct base_prefix *routes;               /* advertised; always all of them */
	size_t n_routes;
	const struct coord_reachability *reachability;
	bool is_stream;     /* the long poll; else a lite update */
	bool is_compressed; /* of the long poll: zstd */
};

/**
 * The body of POST /machine/map; free() it. Two lite updates that would tell the same are the same bytes: the client
 * compares them to send only what changed. NULL with errno.
 */
char *coord_map_request(const struct coord_map_request *request, size_t *ret_len);

#endif
