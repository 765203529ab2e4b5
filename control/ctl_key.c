/* SPDX-License-Identifier: BSD-3-Clause */
/* Key files: read, check their mode, make. See ctl_key.h. */
#include "ctl_key.h"

#include "cr_noise.h"
#include "ctl_file.h"

#include <sys/stat.h>

/* A key, a newline, and room to notice that there is more. */
#define KEY_FILE_BYTES_MAX 128

static int read_failed(int rc, const char *path, struct base_error *ret_error)
{
	if (rc == -ENOENT)
		return base_error_set(ret_error, rc,
			"key file %s does not exist; make it: sandd-gw keygen %s", path, path);
	if (rc == -EACCES)
		return base_error_set(ret_error, rc,
			"key file %s may not be read by this user; see: ls -l %s", path, path);
	if (rc == -EFBIG)
		return base_error_set(ret_error, -EINVAL,
			"key file %s holds more than one key; it must be one line of %d characters",
			path, BASE_KEY_TEXT_LEN);
	return base_error_set(ret_error, rc, "key file %s: %s", path, strerror(-rc));
}

/* Cut the white space at the end: one newline from us, others from editors. */
static void trim_end(char *text, size_t len)
{
	while (len > 0 && strchr(" \t\r\n", text[len - 1]))
		text[--len] = '\0';
}

int ctl_key_read(struct cr_key *ret_key, const char *path, struct base_error *ret_warning,
	struct base_error *ret_error)
{
	char text[KEY_FILE_BYTES_MAX + 1];
	size_t len, found;
	mode_t mode;
	int rc;

	if (ret_warning)
		ret_warning->text[0] = '\0';
	rc = ctl_file_read(path, KEY_FILE_BYTES_MAX, text, &len, &mode);
	if (rc < 0) {
		rc = read_failed(rc, path, ret_error);
		goto out;
	}
	trim_end(text, len);
	found = strlen(text);
	if (!base_key_decode(ret_key->bytes, text)) {
		rc = base_error_set(ret_error, -EINVAL,
			"key file %s: %zu characters that are no key; it must be one line of %d "
			"base64 "
			"characters, as sandd-gw keygen writes",
			path, found, BASE_KEY_TEXT_LEN);
		goto out;
	}
	if (ret_warning && (mode & S_IRWXO))
		base_error_set(ret_warning, 0,
			"key file %s is open to every user of this machine (mode %04o); run: chmod "
			"600 "
			"%s",
			path, (unsigned)mode, path);
out:
	base_wipe(text, sizeof(text));
	return rc;
}

int ctl_key_generate(
	struct cr_key *ret_public, const char *path, bool replace, struct base_error *ret_error)
{
	char text[BASE_KEY_TEXT_LEN + 2];
	struct cr_key private_key CR_KEY_CLEANUP;
	int rc;

	cr_x25519_generate(&private_key);
	base_key_encode(text, private_key.bytes);
	text[BASE_KEY_TEXT_LEN] = '\n';
	rc = ctl_file_write_secret(path, text, BASE_KEY_TEXT_LEN + 1, replace);
	base_wipe(text, sizeof(text));
	if (rc == -EEXIST)
		return base_error_set(ret_error, rc,
			"%s exists; the peers know its public key: sandd-gw pubkey %s prints it, "
			"--force "
			"replaces the file",
			path, path);
	if (rc < 0)
		return base_error_set(ret_error, rc, "cannot write %s: %s%s", path, strerror(-rc),
			rc == -ENOENT ? "; create its folder first" : "");
	cr_x25519_public(ret_public, &private_key);
	return 0;
}
