/* SPDX-License-Identifier: BSD-3-Clause */
/* The identity on disk: made once, kept, refused when it is damaged or open to others, and never lost. Each test has a directory of its own. */
#include "coord_state.c"

#include <sys/wait.h>

#include "coord_test.h"

static char dir[64];

static int set_up(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/coord-state-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	return test_remove_tree(dir);
}

static const char *path_of(const char *name)
{
	static char paths[2][128]; /* two at a time */
	static unsigned turn;

	turn = !turn;
	snprintf(paths[turn], sizeof(paths[turn]), "%s/%s", dir, name);
	return paths[turn];
}

static struct coord_state *open_good(void)
{
	struct base_error error = {""};
	struct coord_state *opened = coord_state_open(dir, &error);

	if (!opened)
		fail_msg("%s", error.text);
	return opened;
}

static void assert_refused(int code, const char *words)
{
	struct base_error error = {""};

	errno = 0;
	assert_null(coord_state_open(dir, &error));
	assert_int_equal(errno, code);
	if (!strstr(error.text, words))
		fail_msg("'%s' has no '%s'", error.text, words);
}

static size_t read_state(char *ret_text, size_t size)
{
	FILE *file = fopen(path_of(FILE_NAME), "re");
	size_t len;

	assert_non_null(file);
	len = fread(ret_text, 1, size - 1, file);
	ret_text[len] = '\0';
	fclose(file);
	return len;
}

static void write_state(const char *text, size_t len)
{
	FILE *file = fopen(path_of(FILE_NAME), "we");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	fclose(file);
	assert_int_equal(chmod(path_of(FILE_NAME), 0600), 0);
}

static void test_made_once_and_kept(void **state)
{
	struct coord_state *opened = open_good();
	struct coord_identity *identity = coord_state_identity(opened), before;
	struct stat info;

	assert_false(cr_key_is_zero(&identity->machine_private));
	assert_false(cr_key_is_zero(&identity->node_private));
	assert_false(cr_key_equal(&identity->machine_private, &identity->node_private));
	assert_false(cr_key_is_zero(&identity->disco_private));
	assert_true(cr_key_is_zero(&identity->old_node_private));
	assert_int_equal(stat(path_of(FILE_NAME), &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);

	cr_x25519_generate(&identity->old_node_private);
	cr_x25519_generate(&identity->server_key);
	strcpy(identity->server_url, "https://hs.example:8443");
	strcpy(identity->name, "gw1.mesh.lab");
	identity->node_id = INT64_C(9223372036854775807);
	assert_int_equal(base_addr_parse(&identity->addresses[0], "100.64.0.1"), 0);
	assert_int_equal(base_addr_parse(&identity->addresses[1], "fd7a:115c:a1e0::1"), 0);
	identity->n_addresses = 2;
	assert_int_equal(coord_state_save(opened, NULL), 0);
	before = *identity;
	coord_state_close(opened);

	opened = open_good();
	assert_memory_equal(coord_state_identity(opened), &before, sizeof(before));
	coord_state_close(opened);
}

/* A state that an earlier version wrote has no disco key: it gets one, and keeps it. */
static void test_disco_key_is_added(void **state)
{
	static char text[4096];
	struct coord_state *opened;
	struct cr_key first;
	char *line, *next;

	coord_state_close(open_good());
	read_state(text, sizeof(text));
	line = strstr(text, "  \"disco_key\"");
	assert_non_null(line);
	next = strchr(line, '\n') + 1;
	memmove(line, next, strlen(next) + 1);
	write_state(text, strlen(text));
	opened = open_good();
	first = coord_state_identity(opened)->disco_private;
	assert_false(cr_key_is_zero(&first));
	coord_state_close(opened);
	opened = open_good();
	assert_true(cr_key_equal(&coord_state_identity(opened)->disco_private, &first));
	coord_state_close(opened);
}

static void test_directory_is_made(void **state)
{
	struct base_error error;
	struct coord_state *opened = coord_state_open(path_of("deeper"), &error);
	struct stat info;

	assert_non_null(opened);
	assert_int_equal(stat(path_of("deeper"), &info), 0);
	assert_int_equal(info.st_mode & 07777, 0700);
	coord_state_close(opened);
	assert_null(coord_state_open(path_of("no/such/parent"), &error));
	assert_int_equal(errno, ENOENT);
}

static void test_one_process(void **state)
{
	struct coord_state *opened = open_good();
	pid_t child;
	int status;

	assert_refused(EBUSY, "in use by another process");
	/* Another process, too; its death frees the lock whatever it did. */
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(coord_state_open(dir, NULL) ? 0 : errno == EBUSY ? 42 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(WEXITSTATUS(status), 42);
	coord_state_close(opened);
	coord_state_close(open_good());
}

/* Byte after byte cut off the end: never accepted, never touched. */
static void test_truncated(void **state)
{
	static char text[4096], again[4096];
	size_t len;

	coord_state_close(open_good());
	len = read_state(text, sizeof(text));
	for (size_t cut = 0; cut + 2 < len; cut += cut < 64 ? 1 : 13) {
		write_state(text, cut);
		assert_refused(EINVAL, "damaged");
		assert_int_equal(read_state(again, sizeof(again)), cut);
		assert_memory_equal(again, text, cut);
	}
}

static void replace(char *text, const char *from, const char *to)
{
	static char rest[4096];
	char *at = strstr(text, from);

	assert_non_null(at);
	snprintf(rest, sizeof(rest), "%s", at + strlen(from));
	sprintf(at, "%s%s", to, rest);
}

static void test_damaged(void **state)
{
	static const char *const edits[][2] = {
		{"\"version\": 1", "\"version\": 2"},
		{"\"version\": 1", "\"version\": \"1\""},
		{"machine_key", "machine_kex"},
		{"\"node_key\": \"privkey:", "\"node_key\": \"nodekey:"},
		{"\"node_id\": 0", "\"node_id\": \"0\""},
		{"\"addresses\": []", "\"addresses\": [\"here\"]"},
		{"\"addresses\": []",
			"\"addresses\": "
			"[\"1.1.1.1\",\"1.1.1.2\",\"1.1.1.3\",\"1.1.1.4\",\"1.1.1.5\"]"},
		{"\"addresses\": []", "\"addresses\": {}"},
		{"\"name\": \"\"", "\"name\": 5"},
		{"\"name\": \"\"", "\"server_key\": \"mkey:12\""},
		{"\"name\": \"\"", "\"old_node_key\": 7"},
		{"\"name\": \"\"", "\"node_id\": 0"}, /* twice */
		{"{", "[{"},
	};
	static char good[4096], text[4096 + 256];

	coord_state_close(open_good());
	read_state(good, sizeof(good));
	for (size_t i = 0; i < BASE_ARRAY_LEN(edits); i++) {
		snprintf(text, sizeof(text), "%s", good);
		replace(text, edits[i][0], edits[i][1]);
		write_state(text, strlen(text));
		assert_refused(EINVAL, "damaged");
	}
	/* A key of zeros, one of other letters. */
	for (size_t i = 0; i < 2; i++) {
		snprintf(text, sizeof(text), "%s", good);
		memset(strstr(text, PRIVATE_PREFIX) + strlen(PRIVATE_PREFIX), "0g"[i], KEY_DIGITS);
		write_state(text, strlen(text));
		assert_refused(EINVAL, "damaged");
	}
	/* Binary, and longer than any that is written. */
	memset(text, 0, sizeof(text));
	write_state(text, 100);
	assert_refused(EINVAL, "damaged");
	memset(text, ' ', sizeof(text));
	write_state(text, sizeof(text));
	assert_refused(EINVAL, "damaged");
	write_state(good, strlen(good));
	coord_state_close(open_good());
}

static void test_open_to_others(void **state)
{
	static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610};

	coord_state_close(open_good());
	for (size_t i = 0; i < BASE_ARRAY_LEN(modes); i++) {
		assert_int_equal(chmod(path_of(FILE_NAME), modes[i]), 0);
		assert_refused(EINVAL, "chmod 600");
	}
	assert_int_equal(chmod(path_of(FILE_NAME), 0600), 0);
	assert_int_equal(chmod(dir, 0770), 0);
	assert_refused(EINVAL, "chmod 700");
	assert_int_equal(chmod(dir, 0755), 0); /* names may be seen */
	coord_state_close(open_good());
}

static void test_not_a_file(void **state)
{
	static char text[4096];

	coord_state_close(open_good());
	assert_int_equal(rename(path_of(FILE_NAME), path_of("elsewhere")), 0);
	assert_int_equal(symlink(path_of("elsewhere"), path_of(FILE_NAME)), 0);
	assert_refused(ELOOP, FILE_NAME);
	assert_int_equal(unlink(path_of(FILE_NAME)), 0);
	assert_int_equal(rename(path_of("elsewhere"), path_of("kept")), 0);
	assert_int_equal(mkdir(path_of(FILE_NAME), 0700), 0);
	assert_refused(EINVAL, "not a file");
	assert_int_equal(rmdir(path_of(FILE_NAME)), 0);
	assert_int_equal(mkfifo(path_of(FILE_NAME), 0600), 0);
	assert_refused(EINVAL, "not a file");
	assert_int_equal(unlink(path_of(FILE_NAME)), 0);
	/* What a crash left of an earlier write is in nobody's way. */
	assert_int_equal(rename(path_of("kept"), path_of(TEMPORARY_NAME)), 0);
	coord_state_close(open_good());
	assert_true(read_state(text, sizeof(text)) > 0);
	assert_int_equal(access(path_of(TEMPORARY_NAME), F_OK), -1);
}

/* The old file stays whole, what is in memory stays as it was changed, and a later attempt succeeds. */
static void test_cannot_be_written(void **state)
{
	struct coord_state *opened = open_good();
	static char before[4096], after[4096];
	struct base_error error;

	read_state(before, sizeof(before));
	coord_state_identity(opened)->node_id = 7;
	/* Even root cannot: the temporary name is taken by a directory that is not empty. */
	assert_int_equal(mkdir(path_of(TEMPORARY_NAME), 0700), 0);
	assert_int_equal(mkdir(path_of(TEMPORARY_NAME "/x"), 0700), 0);
	assert_int_equal(coord_state_save(opened, &error), -EEXIST);
	assert_non_null(strstr(error.text, "cannot be written"));
	read_state(after, sizeof(after));
	assert_string_equal(after, before);
	assert_int_equal(rmdir(path_of(TEMPORARY_NAME "/x")), 0);
	assert_int_equal(rmdir(path_of(TEMPORARY_NAME)), 0);
	assert_int_equal(coord_state_save(opened, NULL), 0);
	coord_state_close(opened);
	opened = open_good();
	assert_int_equal(coord_state_identity(opened)->node_id, 7);
	coord_state_close(opened);
}

static void test_wiped(void **state)
{
	struct coord_state *opened = open_good();
	struct coord_identity *identity = coord_state_identity(opened);
	struct cr_key machine = identity->machine_private, node = identity->node_private;
	static char text[4096];
	char digits[KEY_DIGITS + 1];

	strcpy(identity->name, "gw1");
	identity->node_id = 5;
	assert_int_equal(coord_state_wipe(opened, NULL), 0);
	assert_false(cr_key_equal(&identity->machine_private, &machine));
	assert_false(cr_key_equal(&identity->node_private, &node));
	assert_int_equal(identity->node_id, 0);
	assert_string_equal(identity->name, "");
	read_state(text, sizeof(text));
	base_hex_encode(digits, machine.bytes, CR_KEY_BYTES);
	assert_null(strstr(text, digits));
	/* No copy of a key is left where the text was made. */
	for (size_t i = 0; i < sizeof(opened->text); i++)
		assert_int_equal(opened->text[i], 0);
	coord_state_close(opened);
}

/* Names come from the server: what would break the file is left out. */
static void test_odd_names(void **state)
{
	struct coord_state *opened = open_good();

	strcpy(coord_state_identity(opened)->name, "a\"b\\c\nd\x01z");
	memset(coord_state_identity(opened)->server_url, 'u', COORD_URL_BYTES_MAX);
	assert_int_equal(coord_state_save(opened, NULL), 0);
	coord_state_close(opened);
	opened = open_good();
	assert_string_equal(coord_state_identity(opened)->name, "abcdz");
	assert_int_equal(strlen(coord_state_identity(opened)->server_url), COORD_URL_BYTES_MAX);
	coord_state_close(opened);
}

#define IN_A_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_DIRECTORY(test_made_once_and_kept),
		IN_A_DIRECTORY(test_disco_key_is_added),
		IN_A_DIRECTORY(test_directory_is_made),
		IN_A_DIRECTORY(test_one_process),
		IN_A_DIRECTORY(test_truncated),
		IN_A_DIRECTORY(test_damaged),
		IN_A_DIRECTORY(test_open_to_others),
		IN_A_DIRECTORY(test_not_a_file),
		IN_A_DIRECTORY(test_cannot_be_written),
		IN_A_DIRECTORY(test_wiped),
		IN_A_DIRECTORY(test_odd_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
