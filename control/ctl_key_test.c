/* SPDX-License-Identifier: BSD-3-Clause */
/* Key files: made with mode 0600, never written over by accident, read strictly. */
#include "ctl_key.h"

#include "cr_noise.h"
#include "ctl_test.h"

static void generated_key_reads_back(void **state)
{
	struct cr_key public_key, private_key, again;
	struct base_error err, warning;
	struct stat st;
	char path[128];

	test_path(path, "made.key");
	umask(0);
	assert_int_equal(ctl_key_generate(&public_key, path, false, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, BASE_KEY_TEXT_LEN + 1);
	assert_int_equal(ctl_key_read(&private_key, path, &warning, &err), 0);
	assert_string_equal(warning.text, "");
	cr_x25519_public(&again, &private_key);
	assert_memory_equal(again.bytes, public_key.bytes, CR_KEY_BYTES);
}

static void existing_file_is_kept_without_replace(void **state)
{
	struct cr_key public_key, before, after;
	struct base_error err;
	char path[128];

	test_path(path, "kept.key");
	assert_int_equal(ctl_key_generate(&public_key, path, false, &err), 0);
	assert_int_equal(ctl_key_read(&before, path, NULL, &err), 0);
	assert_int_equal(ctl_key_generate(&public_key, path, false, &err), -EEXIST);
	assert_int_equal(ctl_key_read(&after, path, NULL, &err), 0);
	assert_memory_equal(before.bytes, after.bytes, CR_KEY_BYTES);
	assert_int_equal(ctl_key_generate(&public_key, path, true, &err), 0);
	assert_int_equal(ctl_key_read(&after, path, NULL, &err), 0);
	assert_memory_not_equal(before.bytes, after.bytes, CR_KEY_BYTES);
}

/* A link planted in a shared directory must not lead the key elsewhere. */
static void link_is_not_followed(void **state)
{
	struct cr_key public_key;
	struct base_error err;
	char link[128], target[128];

	test_path(link, "link.key");
	test_path(target, "target");
	assert_int_equal(symlink(target, link), 0);
	assert_int_equal(ctl_key_generate(&public_key, link, false, &err), -EEXIST);
	assert_int_equal(access(target, F_OK), -1);
}

static void what_is_no_key_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"\n",
		"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ==\n",
		"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= x\n",
		"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQF=\n",
		("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
		 "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"),
	};
	struct base_error err;
	struct cr_key key;
	char path[128];

	for (size_t i = 0; i < BASE_ARRAY_LEN(bad); i++) {
		test_write("bad.key", bad[i], strlen(bad[i]), 0600);
		assert_int_equal(
			ctl_key_read(&key, test_path(path, "bad.key"), NULL, &err), -EINVAL);
		assert_non_null(strstr(err.text, path));
	}
	test_write("good.key", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\r\n", 46, 0600);
	assert_int_equal(ctl_key_read(&key, test_path(path, "good.key"), NULL, &err), 0);
}

static void huge_file_and_fifo_are_refused(void **state)
{
	struct base_error err;
	struct cr_key key;
	char path[128];

	assert_int_equal(ctl_key_read(&key, "/dev/zero", NULL, &err), -EINVAL);
	assert_int_equal(mkfifo(test_path(path, "fifo"), 0600), 0);
	assert_int_equal(ctl_key_read(&key, path, NULL, &err), -EINVAL);
	assert_int_equal(ctl_key_read(&key, test_path(path, "absent"), NULL, &err), -ENOENT);
}

static int setup(void **state)
{
	return cr_init() == 0 ? test_dir_make(state) : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(generated_key_reads_back),
		cmocka_unit_test(existing_file_is_kept_without_replace),
		cmocka_unit_test(link_is_not_followed),
		cmocka_unit_test(what_is_no_key_is_refused),
		cmocka_unit_test(huge_file_and_fifo_are_refused),
	};

	return cmocka_run_group_tests(tests, setup, test_dir_remove);
}
