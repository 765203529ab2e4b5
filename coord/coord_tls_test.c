/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TLS of the client against a server of OpenSSL in the same process, with certificates made on the spot: whose are taken, and whose
 * are not. Bytes go back and forth by hand.
 */
#include "coord_tls.c"

#include <unistd.h>

#include "coord_test.h"

static char ca_path[64];
static EVP_PKEY *ca_key, *server_key;
static X509 *ca;

static X509 *make_certificate(EVP_PKEY *key, const char *alternative, long from_s, long until_s)
{
	X509 *certificate = X509_new();
	X509V3_CTX ctx;
	X509_EXTENSION *extension;

	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), ca ? 2 : 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), from_s);
	X509_gmtime_adj(X509_getm_notAfter(certificate), until_s);
	X509_set_pubkey(certificate, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
		(const unsigned char *)(ca ? "server" : "test root"), -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(ca ? ca : certificate));
	X509V3_set_ctx(&ctx, ca ? ca : certificate, certificate, NULL, NULL, 0);
	extension = ca ? X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, alternative)
		       : X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints, "critical,CA:TRUE");
	assert_non_null(extension);
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
	assert_true(X509_sign(certificate, ca_key, EVP_sha256()) > 0);
	return certificate;
}

static int make_root(void **state)
{
	FILE *file;
	int fd;

	ca_key = EVP_EC_gen("P-256");
	server_key = EVP_EC_gen("P-256");
	ca = make_certificate(ca_key, NULL, -3600, 3600);
	snprintf(ca_path, sizeof(ca_path), "/tmp/coord-tls-XXXXXX");
	fd = mkstemp(ca_path);
	file = fdopen(fd, "w");
	PEM_write_X509(file, ca);
	return fclose(file);
}

static int drop_root(void **state)
{
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(server_key);
	X509_free(ca);
	return unlink(ca_path);
}

struct server {
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *in, *out;
	char sni[256];
};

static int hear_name(SSL *ssl, int *alert, void *arg)
{
	struct server *server = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	snprintf(server->sni, sizeof(server->sni), "%s", name ? name : "");
	return SSL_TLSEXT_ERR_OK;
}

static void server_start(struct server *server, X509 *certificate)
{
	memset(server, 0, sizeof(*server));
	server->ctx = SSL_CTX_new(TLS_server_method());
	assert_int_equal(SSL_CTX_use_certificate(server->ctx, certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(server->ctx, server_key), 1);
	SSL_CTX_set_tlsext_servername_callback(server->ctx, hear_name);
	SSL_CTX_set_tlsext_servername_arg(server->ctx, server);
	server->ssl = SSL_new(server->ctx);
	server->in = BIO_new(BIO_s_mem());
	server->out = BIO_new(BIO_s_mem());
	SSL_set_bio(server->ssl, server->in, server->out);
	SSL_set_accept_state(server->ssl);
	X509_free(certificate);
}

static void server_stop(struct server *server)
{
	SSL_free(server->ssl);
	SSL_CTX_free(server->ctx);
}

/* Bytes both ways, in small pieces. */
static void carry(struct coord_tls *tls, struct server *server)
{
	uint8_t bytes[100];
	size_t n;
	int m;

	while ((n = coord_tls_output(tls, bytes, sizeof(bytes))) > 0)
		BIO_write(server->in, bytes, (int)n);
	SSL_do_handshake(server->ssl);
	while ((m = BIO_read(server->out, bytes, sizeof(bytes))) > 0)
		assert_int_equal(coord_tls_input(tls, bytes, (size_t)m), 0);
}

static int shake(struct coord_tls *tls, struct server *server, struct base_error *ret_error)
{
	int rc = -EAGAIN;

	for (int i = 0; i < 10 && rc == -EAGAIN; i++) {
		rc = coord_tls_shake(tls, ret_error);
		carry(tls, server);
	}
	return rc;
}

/* The client's verdict on a server with this certificate, dialled as @host. */
static int meet(X509 *certificate, const char *host, const char *ca_file, int max_version,
	struct base_error *ret_error)
{
	struct coord_tls_roots *roots = coord_tls_roots_new(ca_file, ret_error);
	struct server server;
	struct coord_tls *tls;
	int rc;

	assert_non_null(roots);
	tls = coord_tls_new(roots, host);
	assert_non_null(tls);
	server_start(&server, certificate);
	if (max_version)
		SSL_set_max_proto_version(server.ssl, max_version);
	rc = shake(tls, &server, ret_error);
	if (rc == 0)
		assert_string_equal(server.sni, strchr("0123456789:", *host) ? "" : host);
	coord_tls_free(tls);
	server_stop(&server);
	coord_tls_roots_free(roots);
	return rc;
}

#define NOW -3600, 3600

static void test_whose_certificate(void **state)
{
	static const struct {
		const char *alternative, *host;
		int rc;
	} cases[] = {
		{"DNS:hs.test", "hs.test", 0},
		{"DNS:HS.Test", "hs.test", 0},
		{"DNS:*.hs.test", "a.hs.test", 0},
		{"DNS:*.hs.test", "a.b.hs.test", -EACCES},
		{"DNS:*.test", "hs.test", -EACCES}, /* a whole top level */
		{"DNS:a*.hs.test", "ab.hs.test", -EACCES},
		{"DNS:other.test", "hs.test", -EACCES},
		{"DNS:hs.test.evil", "hs.test", -EACCES},
		{"IP:192.0.2.1", "192.0.2.1", 0},
		{"IP:192.0.2.1", "192.0.2.2", -EACCES},
		{"DNS:192.0.2.1", "192.0.2.1", -EACCES},
		{"IP:2001:db8::1", "2001:db8::1", 0},
		{"IP:192.0.2.1", "hs.test", -EACCES},
		/* The common name counts for nothing where there are others. */
		{"DNS:other.test", "server", -EACCES},
	};
	struct base_error line;

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		int rc = meet(make_certificate(server_key, cases[i].alternative, NOW),
			cases[i].host, ca_path, 0, &line);

		if (rc != cases[i].rc)
			fail_msg("%s at %s: %d", cases[i].alternative, cases[i].host, rc);
		if (rc != 0)
			assert_non_null(strstr(line.text, cases[i].host));
	}
}

static void test_when_and_by_whom(void **state)
{
	struct base_error line;

	assert_int_equal(meet(make_certificate(server_key, "DNS:hs.test", -7200, -3600), "hs.test",
				 ca_path, 0, &line),
		-EACCES);
	assert_non_null(strstr(line.text, "expired"));
	assert_int_equal(meet(make_certificate(server_key, "DNS:hs.test", 3600, 7200), "hs.test",
				 ca_path, 0, &line),
		-EACCES);
	assert_non_null(strstr(line.text, "not yet valid"));
	/* A root that only somebody else trusts. */
	assert_int_equal(
		meet(make_certificate(server_key, "DNS:hs.test", NOW), "hs.test", NULL, 0, &line),
		-EACCES);
}

static void test_old_versions(void **state)
{
	struct base_error line;

	assert_int_equal(meet(make_certificate(server_key, "DNS:hs.test", NOW), "hs.test", ca_path,
				 TLS1_1_VERSION, &line),
		-EPROTO);
	assert_int_equal(meet(make_certificate(server_key, "DNS:hs.test", NOW), "hs.test", ca_path,
				 TLS1_2_VERSION, &line),
		0);
}

static void test_no_tls_at_all(void **state)
{
	struct coord_tls_roots *roots = coord_tls_roots_new(ca_path, NULL);
	struct coord_tls *tls = coord_tls_new(roots, "hs.test");
	struct base_error line;

	assert_int_equal(coord_tls_shake(tls, &line), -EAGAIN);
	assert_int_equal(coord_tls_input(tls, "HTTP/1.1 400 Bad Request\r\n\r\n", 28), 0);
	assert_int_equal(coord_tls_shake(tls, &line), -EPROTO);
	assert_non_null(strstr(line.text, "no TLS with hs.test"));
	coord_tls_free(tls);
	coord_tls_roots_free(roots);
}

static void test_both_ways(void **state)
{
	struct coord_tls_roots *roots = coord_tls_roots_new(ca_path, NULL);
	struct coord_tls *tls = coord_tls_new(roots, "hs.test");
	static uint8_t sent[100000], got[100000];
	struct base_error line;
	struct server server;
	size_t at = 0;
	int n;

	server_start(&server, make_certificate(server_key, "DNS:hs.test", NOW));
	assert_int_equal(shake(tls, &server, &line), 0);
	test_fill(sent, sizeof(sent), 7);
	assert_int_equal(coord_tls_write(tls, sent, sizeof(sent)), 0);
	carry(tls, &server);
	while ((n = SSL_read(server.ssl, got + at, (int)(sizeof(got) - at))) > 0)
		at += (size_t)n;
	assert_int_equal(at, sizeof(sent));
	assert_memory_equal(got, sent, sizeof(sent));
	assert_int_equal(coord_tls_read(tls, got, sizeof(got), &line), 0);
	assert_int_equal(SSL_write(server.ssl, "hello", 5), 5);
	carry(tls, &server);
	assert_int_equal(coord_tls_read(tls, got, sizeof(got), &line), 5);
	assert_memory_equal(got, "hello", 5);
	SSL_shutdown(server.ssl);
	carry(tls, &server);
	assert_int_equal(coord_tls_read(tls, got, sizeof(got), &line), -ECONNRESET);
	coord_tls_free(tls);
	server_stop(&server);
	coord_tls_roots_free(roots);
}

static void test_bad_roots(void **state)
{
	struct base_error line;

	assert_null(coord_tls_roots_new("/dev/null", &line));
	assert_int_equal(errno, EINVAL);
	assert_non_null(strstr(line.text, "ca_file /dev/null"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whose_certificate),
		cmocka_unit_test(test_when_and_by_whom),
		cmocka_unit_test(test_old_versions),
		cmocka_unit_test(test_no_tls_at_all),
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_bad_roots),
	};

	return cmocka_run_group_tests(tests, make_root, drop_root);
}
