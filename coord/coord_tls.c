/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_tls.h. */
#include "coord_tls.h"

#include "base_addr.h"
#include "base_bytes.h"

#include <limits.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct coord_tls_roots {
	SSL_CTX *ctx;
};

struct coord_tls {
	SSL *ssl;
	BIO *in, *out; /* owned by ssl */
	char host[256];
	struct coord_tls_trust trust;
};

/* OpenSSL's last word on this thread, in @buf. */
static const char *reason(char buf[160])
{
	unsigned long code = ERR_peek_last_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	snprintf(buf, 160, "%s", text ? text : "no reason given");
	ERR_clear_error();
	return buf;
}

static int set_up(SSL_CTX *ctx, const char *ca_file, struct base_error *ret_error)
{
	static const unsigned char alpn[] = "\x08http/1.1";
	char why[160];

	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(ctx,
		SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
			SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
		SSL_CTX_set_alpn_protos(ctx, alpn, sizeof(alpn) - 1) != 0)
		return base_error_set(ret_error, -EIO, "TLS: %s", reason(why));
	/* A machine without a store of roots may still have the file. */
	if (SSL_CTX_set_default_verify_paths(ctx) != 1 && !ca_file)
		return base_error_set(ret_error, -ENOENT,
			"TLS: the system's certificates cannot be read: %s", reason(why));
	if (ca_file && SSL_CTX_load_verify_locations(ctx, ca_file, NULL) != 1)
		return base_error_set(ret_error, -EINVAL,
			"ca_file %s: no certificates could be read from it: %s", ca_file,
			reason(why));
	ERR_clear_error();
	return 0;
}

struct coord_tls_roots *coord_tls_roots_new(const char *ca_file, struct base_error *ret_error)
{
	struct coord_tls_roots *roots = calloc(1, sizeof(*roots));
	int rc = -ENOMEM;

	if (roots)
		roots->ctx = SSL_CTX_new(TLS_client_method());
	if (roots && roots->ctx)
		rc = set_up(roots->ctx, ca_file, ret_error);
	else
		base_error_set(ret_error, rc, "TLS: out of memory");
	if (rc != 0) {
		coord_tls_roots_free(roots);
		errno = -rc;
		return NULL;
	}
	return roots;
}

void coord_tls_roots_free(struct coord_tls_roots *roots)
{
	if (!roots)
		return;
	SSL_CTX_free(roots->ctx);
	free(roots);
}

/* A name goes into SNI and is looked for in the certificate; an address is looked for only (RFC 6066, 3). */
static bool expect_host(struct coord_tls *tls)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
	struct base_addr addr;

	if (base_addr_parse(&addr, tls->host) == 0)
		return X509_VERIFY_PARAM_set1_ip_asc(param, tls->host) == 1;
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(tls->ssl, tls->host) == 1 &&
		SSL_set_tlsext_host_name(tls->ssl, tls->host) == 1;
}

struct coord_tls *coord_tls_new(struct coord_tls_roots *roots, const char *host)
{
	struct coord_tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return NULL;
	snprintf(tls->host, sizeof(tls->host), "%s", host);
	tls->ssl = SSL_new(roots->ctx);
	tls->in = BIO_new(BIO_s_mem());
	tls->out = BIO_new(BIO_s_mem());
	if (!tls->ssl || !tls->in || !tls->out)
		goto err;
	/* An empty input is "more to come", not the end. */
	BIO_set_mem_eof_return(tls->in, -1);
	BIO_up_ref(tls->in);
	BIO_up_ref(tls->out);
	SSL_set_bio(tls->ssl, tls->in, tls->out);
	SSL_set_connect_state(tls->ssl);
	if (!expect_host(tls))
		goto err;
	return tls;
err:
	coord_tls_free(tls);
	ERR_clear_error();
	errno = ENOMEM;
	return NULL;
}

void coord_tls_free(struct coord_tls *tls)
{
	if (!tls)
		return;
	SSL_free(tls->ssl);
	BIO_free(tls->in);
	BIO_free(tls->out);
	free(tls);
}

int coord_tls_trust_parse(
	struct coord_tls_trust *ret_trust, const char *cert_name, bool is_unchecked)
{
	static const char pin[] = "sha256-raw:";
	struct coord_tls_trust trust = {.is_unchecked = is_unchecked};

	if (cert_name && strncmp(cert_name, pin, sizeof(pin) - 1) == 0) {
		if (!base_hex_decode(
			    trust.sha256, sizeof(trust.sha256), cert_name + sizeof(pin) - 1))
			return -EINVAL;
		trust.has_sha256 = true;
	} else if (cert_name) {
		if (strlen(cert_name) >= sizeof(trust.name))
			return -EINVAL;
		memcpy(trust.name, cert_name, strlen(cert_name) + 1);
	}
	*ret_trust = trust;
	return 0;
}

int coord_tls_trust(struct coord_tls *tls, const struct coord_tls_trust *trust)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);

	tls->trust = *trust;
	if (trust->is_unchecked || trust->has_sha256)
		SSL_set_verify(tls->ssl, SSL_VERIFY_NONE, NULL);
	if (!trust->name[0])
		return 0;
	/* The name takes the place of the host's, or of its address. */
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_ip(param, NULL, 0) == 1 &&
			SSL_set1_host(tls->ssl, trust->name) == 1
		? 0
		: -ENOMEM;
}

/* derper's word on its key, which rides along in the chain. */
static bool is_of_derper(const X509 *certificate)
{
	char name[64];

	return X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
		       sizeof(name)) > 0 &&
		strncmp(name, "derpkey", 7) == 0;
}

/* The handshake proved that the other side has the first certificate's key: so that one has to be it. */
static const char *pin_refuses(const struct coord_tls *tls)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(tls->ssl);
	X509 *leaf = sk_X509_num(chain) > 0 ? sk_X509_value(chain, 0) : NULL;
	uint8_t digest[EVP_MAX_MD_SIZE];
	struct base_addr addr;
	unsigned len = 0;

	if (!leaf || is_of_derper(leaf))
		return "there is none";
	for (int i = 1; i < sk_X509_num(chain); i++)
		if (!is_of_derper(sk_X509_value(chain, i)))
			return "there are several";
	if (X509_digest(leaf, EVP_sha256(), digest, &len) != 1 ||
		len != sizeof(tls->trust.sha256) || !base_ct_equal(digest, tls->trust.sha256, len))
		return "its SHA-256 is another";
	if (base_addr_parse(&addr, tls->host) != 0 &&
		X509_check_host(leaf, tls->host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) !=
			1)
		return "it is for another name";
	if (X509_cmp_current_time(X509_get0_notBefore(leaf)) >= 0)
		return "it is not yet valid";
	if (X509_cmp_current_time(X509_get0_notAfter(leaf)) <= 0)
		return "it has expired";
	return NULL;
}

static int judge_pin(const struct coord_tls *tls, struct base_error *ret_error)
{
	const char *why =
		tls->trust.has_sha256 && !tls->trust.is_unchecked ? pin_refuses(tls) : NULL;

	ERR_clear_error();
	if (!why)
		return 0;
	return base_error_set(ret_error, -EACCES,
		"the certificate is not the one of %s that the map names: %s", tls->host, why);
}

int coord_tls_input(struct coord_tls *tls, const void *data, size_t len)
{
	return len <= INT_MAX && BIO_write(tls->in, data, (int)len) == (int)len ? 0 : -ENOMEM;
}

int coord_tls_shake(struct coord_tls *tls, struct base_error *ret_error)
{
	int result, code;
	long verdict;
	char why[160];

	ERR_clear_error();
	result = SSL_do_handshake(tls->ssl);
	if (result == 1)
		return judge_pin(tls, ret_error);
	code = SSL_get_error(tls->ssl, result);
	if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	verdict = SSL_get_verify_result(tls->ssl);
	if (verdict != X509_V_OK)
		return base_error_set(ret_error, -EACCES,
			"the certificate is not one for %s that we trust: %s",
			tls->trust.name[0] ? tls->trust.name : tls->host,
			X509_verify_cert_error_string(verdict));
	return base_error_set(ret_error, -EPROTO, "no TLS with %s: %s", tls->host, reason(why));
}

int coord_tls_read(struct coord_tls *tls, void *ret_data, size_t size, struct base_error *ret_error)
{
	int result, code;
	char why[160];

	ERR_clear_error();
	result = SSL_read(tls->ssl, ret_data, size > INT_MAX ? INT_MAX : (int)size);
	if (result > 0)
		return result;
	code = SSL_get_error(tls->ssl, result);
	if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE)
		return 0;
	if (code == SSL_ERROR_ZERO_RETURN)
		return base_error_set(ret_error, -ECONNRESET, "the server closed the connection");
	return base_error_set(ret_error, -EPROTO, "TLS: %s", reason(why));
}

int coord_tls_write(struct coord_tls *tls, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		int result;

		ERR_clear_error();
		result = SSL_write(tls->ssl, at, len > INT_MAX ? INT_MAX : (int)len);
		/* The output grows as it must; only a broken session refuses. */
		if (result <= 0)
			return -EPIPE;
		at += result;
		len -= (size_t)result;
	}
	return 0;
}

size_t coord_tls_output(struct coord_tls *tls, void *ret_data, size_t size)
{
	int result = BIO_read(tls->out, ret_data, size > INT_MAX ? INT_MAX : (int)size);

	return result > 0 ? (size_t)result : 0;
}

size_t coord_tls_output_len(const struct coord_tls *tls)
{
	return BIO_ctrl_pending(tls->out);
}
