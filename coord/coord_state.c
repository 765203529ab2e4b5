/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See coord_state.h. The file is JSON for people and for repair; its private keys never pass through the JSON library, whose
 * memory nobody wipes: they are taken out of the text before it is parsed, and the text is written by hand.
 */
#include "coord_state.h"

#include "cr_noise.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>
#include <sodium.h>

#define FILE_NAME "state.json"
#define TEMPORARY_NAME "state.json.tmp"
#define LOCK_NAME "lock"
#define FORMAT_VERSION 1
#define FILE_BYTES_MAX 8192
#define KEYS_MAX 4
#define KEY_DIGITS (2 * CR_KEY_BYTES)
#define PRIVATE_PREFIX "privkey:"
#define SERVER_PREFIX "mkey:"

struct coord_state {
	struct coord_identity identity;
	char dir[PATH_MAX];
	int dir_fd, lock_fd;
	char text[FILE_BYTES_MAX + 1]; /* the file, in memory that is wiped */
};

/* The private keys of a text, each replaced by its number in as many digits. */
struct keys {
	struct cr_key keys[KEYS_MAX];
	unsigned n;
};

static bool take_keys(struct keys *ret_keys, char *text)
{
	char digits[KEY_DIGITS + 1];
	bool is_good = true;

	*ret_keys = (struct keys){0};
	while (is_good && (text = strstr(text, PRIVATE_PREFIX)) != NULL) {
		text += strlen(PRIVATE_PREFIX);
		if (ret_keys->n == KEYS_MAX || strnlen(text, KEY_DIGITS) < KEY_DIGITS)
			return false;
		memcpy(digits, text, KEY_DIGITS);
		digits[KEY_DIGITS] = '\0';
		is_good = base_hex_decode(ret_keys->keys[ret_keys->n].bytes, CR_KEY_BYTES, digits);
		snprintf(digits, sizeof(digits), "%0*u", KEY_DIGITS, ret_keys->n++);
		memcpy(text, digits, KEY_DIGITS);
	}
	base_wipe(digits, sizeof(digits));
	return is_good;
}

/* False: not there, or not one. @is_optional: not there is fine, and leaves zero. */
static bool read_key(struct cr_key *ret_key, const json_t *root, const char *name, bool is_optional,
	struct keys *keys)
{
	const char *text = json_string_value(json_object_get(root, name));
	unsigned long number;

	if (!text)
		return is_optional && !json_object_get(root, name);
	if (strncmp(text, PRIVATE_PREFIX, strlen(PRIVATE_PREFIX)) != 0)
		return false;
	number = strtoul(text + strlen(PRIVATE_PREFIX), NULL, 10);
	if (number >= keys->n || cr_key_is_zero(&keys->keys[number]))
		return false;
	*ret_key = keys->keys[number];
	return true;
}

static bool read_text(char *ret_text, size_t size, const json_t *root, const char *name)
{
	const json_t *value = json_object_get(root, name);

	if (!value)
		return true;
	return json_is_string(value) &&
		(size_t)snprintf(ret_text, size, "%s", json_string_value(value)) < size;
}

static bool read_server_key(struct cr_key *ret_key, const json_t *root)
{
	const json_t *value = json_object_get(root, "server_key");
	const char *text = json_string_value(value);

	if (!value)
		return true;
	return text && strncmp(text, SERVER_PREFIX, strlen(SERVER_PREFIX)) == 0 &&
		base_hex_decode(ret_key->bytes, CR_KEY_BYTES, text + strlen(SERVER_PREFIX));
}

static bool read_addresses(struct coord_identity *identity, const json_t *root)
{
	const json_t *list = json_object_get(root, "addresses"), *item;
	size_t i;

	if (list && !json_is_array(list))
		return false;
	if (json_array_size(list) > BASE_ARRAY_LEN(identity->addresses))
		return false;
	json_array_foreach (list, i, item)
		if (!json_is_string(item) ||
			base_addr_parse(&identity->addresses[i], json_string_value(item)) != 0)
			return false;
	identity->n_addresses = (unsigned)json_array_size(list);
	return true;
}

static bool read_identity(
	struct coord_identity *ret_identity, const json_t *root, struct keys *keys)
{
	const json_t *id = json_object_get(root, "node_id");

	if (json_integer_value(json_object_get(root, "version")) != FORMAT_VERSION ||
		(id && !json_is_integer(id)))
		return false;
	ret_identity->node_id = json_integer_value(id);
	return read_key(&ret_identity->machine_private, root, "machine_key", false, keys) &&
		read_key(&ret_identity->node_private, root, "node_key", false, keys) &&
		read_key(&ret_identity->old_node_private, root, "old_node_key", true, keys) &&
		read_key(&ret_identity->disco_private, root, "disco_key", true, keys) &&
		read_server_key(&ret_identity->server_key, root) &&
		read_text(ret_identity->server_url, sizeof(ret_identity->server_url), root,
			"server_url") &&
		read_text(ret_identity->name, sizeof(ret_identity->name), root, "name") &&
		read_addresses(ret_identity, root);
}

/* state->text holds the file. */
static bool parse(struct coord_state *state)
{
	struct keys keys;
	json_t *root = NULL;
	bool is_good = take_keys(&keys, state->text);

	if (is_good)
		root = json_loads(state->text, JSON_REJECT_DUPLICATES, NULL);
	is_good = root && read_identity(&state->identity, root, &keys);
	json_decref(root);
	base_wipe(&keys, sizeof(keys));
	base_wipe(state->text, sizeof(state->text));
	if (!is_good)
		base_wipe(&state->identity, sizeof(state->identity));
	return is_good;
}

static int io_error(const struct coord_state *state, const char *name, struct base_error *ret_error)
{
	int rc = -errno;

	return base_error_set(ret_error, rc, "%s/%s: %s", state->dir, name, strerror(-rc));
}

static int check_owner(const struct coord_state *state, const struct stat *info, const char *name,
	mode_t forbidden, struct base_error *ret_error)
{
	if (info->st_uid != geteuid())
		return base_error_set(ret_error, -EINVAL, "%s/%s belongs to another user (%u)",
			state->dir, name, (unsigned)info->st_uid);
	if (info->st_mode & forbidden)
		return base_error_set(ret_error, -EINVAL,
			"%s/%s is open to others; after a look at who read it: chmod %s %s/%s",
			state->dir, name, S_ISDIR(info->st_mode) ? "700" : "600", state->dir, name);
	return 0;
}

/* Fill state->text. -ENOENT: there is none yet. */
static int read_file(struct coord_state *state, struct base_error *ret_error)
{
	int fd = openat(state->dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat info;
	size_t len = 0;
	ssize_t n = 1;
	int rc;

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : io_error(state, FILE_NAME, ret_error);
	if (fstat(fd, &info) != 0)
		rc = io_error(state, FILE_NAME, ret_error);
	else if (!S_ISREG(info.st_mode))
		rc = base_error_set(
			ret_error, -EINVAL, "%s/%s is not a file", state->dir, FILE_NAME);
	else
		rc = check_owner(state, &info, FILE_NAME, 077, ret_error);
	while (rc == 0 && n > 0 && len < sizeof(state->text)) {
		n = read(fd, state->text + len, sizeof(state->text) - len);
		if (n < 0)
			rc = io_error(state, FILE_NAME, ret_error);
		else
			len += (size_t)n;
	}
	close(fd);
	/* Longer than any that was written here, or binary: parse() refuses what is empty. */
	if (len == sizeof(state->text) || memchr(state->text, '\0', len))
		len = 0;
	state->text[len] = '\0';
	return rc;
}

static int print_key(char *out, size_t size, const char *name, const struct cr_key *key)
{
	char digits[KEY_DIGITS + 1];
	int n;

	if (cr_key_is_zero(key))
		return 0;
	base_hex_encode(digits, key->bytes, CR_KEY_BYTES);
	n = snprintf(out, size, "  \"%s\": \"" PRIVATE_PREFIX "%s\",\n", name, digits);
	base_wipe(digits, sizeof(digits));
	return n;
}

/* Names and URLs come from outside: what JSON would have to escape is not in any that is valid. */
static void print_text(char *out, size_t size, const char *text)
{
	size_t at = 0;

	for (; *text && at + 1 < size; text++)
		if ((unsigned char)*text >= 0x20 && *text != '"' && *text != '\\' &&
			(unsigned char)*text < 0x7f)
			out[at++] = *text;
	out[at] = '\0';
}

static int print(struct coord_state *state)
{
	const struct coord_identity *id = &state->identity;
	char *out = state->text, url[COORD_URL_BYTES_MAX + 1], name[254];
	char server[KEY_DIGITS + 1], addr[BASE_ADDR_TEXT_LEN];
	size_t size = sizeof(state->text);
	int at = snprintf(out, size, "{\n  \"version\": %d,\n", FORMAT_VERSION);

	at += print_key(out + at, size - (size_t)at, "machine_key", &id->machine_private);
	at += print_key(out + at, size - (size_t)at, "node_key", &id->node_private);
	at += print_key(out + at, size - (size_t)at, "old_node_key", &id->old_node_private);
	at += print_key(out + at, size - (size_t)at, "disco_key", &id->disco_private);
	if (!cr_key_is_zero(&id->server_key)) {
		base_hex_encode(server, id->server_key.bytes, CR_KEY_BYTES);
		at += snprintf(out + at, size - (size_t)at,
			"  \"server_key\": \"" SERVER_PREFIX "%s\",\n", server);
	}
	print_text(url, sizeof(url), id->server_url);
	print_text(name, sizeof(name), id->name);
	at += snprintf(out + at, size - (size_t)at,
		"  \"server_url\": \"%s\",\n  \"name\": \"%s\",\n  \"node_id\": %lld,\n  "
		"\"addresses\": [",
		url, name, (long long)id->node_id);
	for (unsigned i = 0; i < id->n_addresses && i < BASE_ARRAY_LEN(id->addresses); i++)
		at += snprintf(out + at, size - (size_t)at, "%s\"%s\"", i ? ", " : "",
			base_addr_print(addr, &id->addresses[i]));
	at += snprintf(out + at, size - (size_t)at, "]\n}\n");
	return at; /* a third of the buffer at most */
}

static int write_whole(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return fsync(fd) == 0 ? 0 : -errno;
}

int coord_state_save(struct coord_state *state, struct base_error *ret_error)
{
	size_t len = (size_t)print(state);
	int fd, rc;

	/* What a crash left of an earlier attempt: nobody else writes here, the lock is ours. */
	unlinkat(state->dir_fd, TEMPORARY_NAME, 0);
	fd = openat(state->dir_fd, TEMPORARY_NAME,
		O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	rc = fd < 0 ? -errno : write_whole(fd, state->text, len);
	base_wipe(state->text, sizeof(state->text));
	if (fd >= 0 && close(fd) != 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && renameat(state->dir_fd, TEMPORARY_NAME, state->dir_fd, FILE_NAME) != 0)
		rc = -errno;
	if (rc == 0 && fsync(state->dir_fd) != 0)
		rc = -errno;
	if (rc == 0)
		return 0;
	unlinkat(state->dir_fd, TEMPORARY_NAME, 0);
	return base_error_set(
		ret_error, rc, "%s/%s cannot be written: %s", state->dir, FILE_NAME, strerror(-rc));
}

static void make_keys(struct coord_identity *identity)
{
	base_wipe(identity, sizeof(*identity));
	cr_x25519_generate(&identity->machine_private);
	cr_x25519_generate(&identity->node_private);
	cr_x25519_generate(&identity->disco_private);
}

int coord_state_wipe(struct coord_state *state, struct base_error *ret_error)
{
	make_keys(&state->identity);
	return coord_state_save(state, ret_error);
}

static int open_dir(struct coord_state *state, struct base_error *ret_error)
{
	struct stat info;
	int rc;

	if (mkdir(state->dir, 0700) != 0 && errno != EEXIST)
		return base_error_set(ret_error, -errno, "state directory %s cannot be made: %s",
			state->dir, strerror(errno));
	state->dir_fd = open(state->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state->dir_fd < 0 || fstat(state->dir_fd, &info) != 0)
		return base_error_set(
			ret_error, -errno, "state directory %s: %s", state->dir, strerror(errno));
	/* Who may write into it could put another file in place of ours. */
	rc = check_owner(state, &info, ".", 022, ret_error);
	return rc;
}

static int lock(struct coord_state *state, struct base_error *ret_error)
{
	state->lock_fd =
		openat(state->dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (state->lock_fd < 0)
		return io_error(state, LOCK_NAME, ret_error);
	if (flock(state->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return io_error(state, LOCK_NAME, ret_error);
	return base_error_set(ret_error, -EBUSY,
		"state directory %s is in use by another process: one node, one directory",
		state->dir);
}

static int load(struct coord_state *state, struct base_error *ret_error)
{
	int rc = read_file(state, ret_error);

	if (rc == -ENOENT) {
		make_keys(&state->identity);
		return coord_state_save(state, ret_error);
	}
	if (rc == 0 && !parse(state))
		rc = base_error_set(ret_error, -EINVAL,
			"%s/%s is damaged; it is left as it is: put a copy back, or move it away "
			"to "
			"become a new node",
			state->dir, FILE_NAME);
	/* Of a version that did not keep one. */
	if (rc == 0 && cr_key_is_zero(&state->identity.disco_private)) {
		cr_x25519_generate(&state->identity.disco_private);
		rc = coord_state_save(state, ret_error);
	}
	return rc;
}

struct coord_state *coord_state_open(const char *dir, struct base_error *ret_error)
{
	struct coord_state *state = NULL;
	int rc = -ENOMEM;

	/* Guarded memory, locked, and not in a core file. */
	if (sodium_init() >= 0)
		state = sodium_malloc(sizeof(*state));
	if (!state) {
		base_error_set(ret_error, rc, "state directory %s: out of memory", dir);
		errno = ENOMEM;
		return NULL;
	}
	memset(state, 0, sizeof(*state));
	state->dir_fd = state->lock_fd = -1;
	if ((size_t)snprintf(state->dir, sizeof(state->dir), "%s", dir) >= sizeof(state->dir))
		rc = base_error_set(
			ret_error, -ENAMETOOLONG, "state directory: its path is too long");
	else
		rc = open_dir(state, ret_error);
	if (rc == 0)
		rc = lock(state, ret_error);
	if (rc == 0)
		rc = load(state, ret_error);
	if (rc != 0) {
		coord_state_close(state);
		errno = -rc;
		return NULL;
	}
	return state;
}

void coord_state_close(struct coord_state *state)
{
	if (!state)
		return;
	if (state->lock_fd >= 0)
		close(state->lock_fd);
	if (state->dir_fd >= 0)
		close(state->dir_fd);
	sodium_free(state);
}

struct coord_identity *coord_state_identity(struct coord_state *state)
{
	return &state->identity;
}
