/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registration (protocols/headscale-control.md, 4.2-4.6): what is asked at /machine/register, and what an answer means, in the order
 * in which it has to be read. Pure. Thread: any.
 */
#ifndef COORD_REGISTER_H
#define COORD_REGISTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base_err.h"
#include "cr_secret.h"

#define COORD_AUTHKEY_BYTES_MAX 512
#define COORD_LOGIN_URL_BYTES 256
#define COORD_WORDS_BYTES 256

struct coord_register_request {
	const struct cr_key *node_public;
	const struct cr_key *old_node_public; /* rotating; NULL */
	const char *authkey;                  /* NULL: none */
	const char *followup;                 /* the login URL that a person was shown; NULL */
	bool is_logout;                       /* alone: no key is sent then (4.6) */
	const char *map_request; /* a body of coord_map_request(): its Hostinfo is told here too */
};

/** The body; it holds the key: coord_register_body_free(). NULL with errno (EINVAL: the key cannot be one). */
char *coord_register_body(const struct coord_register_request *request, size_t *ret_len);
void coord_register_body_free(char *body);

enum coord_register_verdict {
	COORD_REGISTER_ACCEPTED,
	COORD_REGISTER_FAILED,    /* words: the server's */
	COORD_REGISTER_EXPIRED,   /* the node key is: take another one */
	COORD_REGISTER_LOGIN,     /* login_url: a person has to open it */
	COORD_REGISTER_TRY_LATER, /* the server is in trouble (5xx, 429) */
};

struct coord_register_answer {
	enum coord_register_verdict verdict;
	char words[COORD_WORDS_BYTES];         /* printable; "" */
	char login_url[COORD_LOGIN_URL_BYTES]; /* "" */
};

/** Read an answer. Whatever it is, there is a verdict. */
void coord_register_read(
	struct coord_register_answer *ret_answer, int status, const char *body, size_t len);

#endif
