/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file: whatever stands in it, the gateway starts or says one line. What was understood is printed, and
 * what was printed is understood, and printed the same.
 */
#include "fuzz.h"

#include "cr_noise.h"
#include "ctl_config.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int file_fd, key_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char key[] = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";

	(void)argc, (void)argv;
	FUZZ_CHECK(cr_init() == 0);
	/* The files that the seeds name: /proc/self/fd/100 is a configuration, 101 a key. */
	file_fd = memfd_create("config", 0);
	key_fd = memfd_create("key", 0);
	FUZZ_CHECK(file_fd >= 0 && key_fd >= 0 && dup2(file_fd, 100) == 100 &&
		dup2(key_fd, 101) == 101);
	FUZZ_CHECK(fchmod(101, 0600) == 0);
	FUZZ_CHECK(write(101, key, sizeof(key) - 1) == (ssize_t)sizeof(key) - 1);
	return 0;
}

static void fill(const char *text, size_t len)
{
	FUZZ_CHECK(ftruncate(100, 0) == 0);
	FUZZ_CHECK(pwrite(100, text, len, 0) == (ssize_t)len);
}

static char *print(const struct ctl_config *config, size_t *ret_len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_len);

	FUZZ_CHECK(out);
	ctl_config_print(config, out);
	fclose(out);
	return text;
}

/* "filter: # the default" is a default no more once it stands in a file. */
static void strip_remark(char *text, size_t *len)
{
	static const char line[] = "\nfilter: # the default\n", remark[] = " # the default";
	char *at = memmem(text, *len, line, sizeof(line) - 1);

	if (!at)
		return;
	at += sizeof("\nfilter:") - 1;
	*len -= sizeof(remark) - 1;
	memmove(at, at + sizeof(remark) - 1, *len - (size_t)(at - text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ctl_config *config, *again;
	struct base_error why;
	char *first, *second;
	size_t first_len, second_len;

	fill((const char *)data, size);
	config = ctl_config_load("/proc/self/fd/100", NULL, &why);
	if (!config) {
		FUZZ_CHECK(why.text[0] && !strchr(why.text, '\n'));
		return 0;
	}
	first = print(config, &first_len);
	fill(first, first_len);
	again = ctl_config_load("/proc/self/fd/100", NULL, &why);
	if (!again)
		fprintf(stderr, "%s\n%s\n", why.text, first);
	FUZZ_CHECK(again);
	second = print(again, &second_len);
	strip_remark(first, &first_len);
	FUZZ_CHECK(first_len == second_len && memcmp(first, second, first_len) == 0);
	free(first);
	free(second);
	ctl_config_free(config);
	ctl_config_free(again);
	return 0;
}
