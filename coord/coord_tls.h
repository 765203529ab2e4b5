/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS of a client over bytes: OpenSSL on memory BIOs, so that the stream below (coord_stream.h) does all input and output.
 * 1.2 or newer, the system's roots (SSL_CERT_FILE and SSL_CERT_DIR count) and those of a file, the host's name or address
 * checked, ALPN http/1.1. Other rules of trust: coord_tls_trust(). Thread: one at a time.
 */
#ifndef COORD_TLS_H
#define COORD_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"

/** Roots and rules, shared by connections: reading the roots takes tens of milliseconds. */
struct coord_tls_roots;
/** NULL with errno and a line. @ca_file: more roots; NULL. */
struct coord_tls_roots *coord_tls_roots_new(const char *ca_file, struct base_error *ret_error);
void coord_tls_roots_free(struct coord_tls_roots *roots);

struct coord_tls;
/** @roots: kept for longer. @host: a name, or an address. NULL with errno. */
struct coord_tls *coord_tls_new(struct coord_tls_roots *roots, const char *host);
void coord_tls_free(struct coord_tls *tls);

/**
 * Whom to take for the host, of a relay in the map (protocols/nat-traversal.md 3.1). Zeroed: whoever the roots say is it.
 * A certificate whose name begins with "derpkey" is derper's own word on its key, and counts for nothing.
 */
struct coord_tls_trust {
	char name[256]; /* looked for in the certificate in the host's place; "": the host's */
	bool has_sha256; /* one certificate, this one; dates and the host's name count, roots do not */
	uint8_t sha256[32]; /* of its DER */
	bool is_unchecked;  /* anybody, for tests */
};
/** A relay's CertName ("", NULL, a name, "sha256-raw:HEX"). 0 or -EINVAL. */
BASE_MUST_CHECK int coord_tls_trust_parse(
	struct coord_tls_trust *ret_trust, const char *cert_name, bool is_unchecked);
/** Before the handshake. 0 or -ENOMEM. */
BASE_MUST_CHECK int coord_tls_trust(struct coord_tls *tls, const struct coord_tls_trust *trust);

/** Bytes from the network, all of them. 0 or -ENOMEM. */
BASE_MUST_CHECK int coord_tls_input(struct coord_tls *tls, const void *data, size_t len);
/** Go on with the handshake. 0: it is done; -EAGAIN: wait for more; -EPROTO, -EACCES (not the host that was asked for) and a line. */
BASE_MUST_CHECK int coord_tls_shake(struct coord_tls *tls, struct base_error *ret_error);
/** Decrypted bytes: how many, 0: wait for more, -ECONNRESET: the other side ended it, -EPROTO and a line. */
BASE_MUST_CHECK int coord_tls_read(
	struct coord_tls *tls, void *ret_data, size_t size, struct base_error *ret_error);
/** Encrypt. 0 or -Exxx. */
BASE_MUST_CHECK int coord_tls_write(struct coord_tls *tls, const void *data, size_t len);
/** Bytes for the network: how many were written to @ret_data; 0: none left. */
size_t coord_tls_output(struct coord_tls *tls, void *ret_data, size_t size);
/** How many there are. */
size_t coord_tls_output_len(const struct coord_tls *tls);

#endif
