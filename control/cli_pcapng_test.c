/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capture files byte by byte against the format's text; that programs read them is shown by the lab netns/see.
 */
#include "cli_pcapng.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static char *text;
static size_t text_len;
static FILE *file;

static int setup(void **state)
{
	file = open_memstream(&text, &text_len);
	return file ? 0 : -1;
}

static int teardown(void **state)
{
	fclose(file);
	free(text);
	return 0;
}

static uint32_t word(size_t at)
{
	uint32_t value;

	assert_true(at + 4 <= text_len);
	memcpy(&value, text + at, sizeof(value));
	return value;
}

/* The block at @at has this type, and both its lengths agree. Returns where the next one is. */
static size_t expect_block(size_t at, uint32_t type)
{
	uint32_t len = word(at + 4);

	assert_int_equal(word(at), type);
	assert_int_equal(len % 4, 0);
	assert_int_equal(word(at + len - 4), len);
	return at + len;
}

static void section_and_interfaces(void **state)
{
	static const char *const names[] = {"eth0", "wan1x"};
	size_t at;

	assert_true(cli_pcapng_begin(file, CLI_LINKTYPE_ETHERNET, 100, names, 2));
	fflush(file);
	at = expect_block(0, 0x0a0d0d0a);
	assert_int_equal(word(8), 0x1a2b3c4d);
	assert_int_equal(word(12), 1);
	assert_int_equal(word(16), 0xffffffff);
	assert_int_equal(word(at + 8), 1);
	assert_int_equal(word(at + 12), 100);
	assert_int_equal(word(at + 16), 4u << 16 | 2);
	assert_memory_equal(text + at + 20, "eth0", 4);
	assert_int_equal(word(at + 24), 1u << 16 | 9);
	assert_int_equal(text[at + 28], 9);
	at = expect_block(at, 1);
	assert_memory_equal(text + at + 20, "wan1x\0\0\0", 8);
	at = expect_block(at, 1);
	assert_int_equal(at, text_len);
}

static void packets(void **state)
{
	struct cli_pcapng_packet packet = {.interface = 1,
		.unix_ns = UINT64_C(0x1122334455667788),
		.is_out = true,
		.data = "abcde",
		.data_len = 5,
		.packet_len = 1420,
		.comment = "why"};
	size_t at;

	assert_true(cli_pcapng_packet(file, &packet));
	fflush(file);
	assert_int_equal(expect_block(0, 6), text_len);
	assert_int_equal(word(8), 1);
	assert_int_equal(word(12), 0x11223344);
	assert_int_equal(word(16), 0x55667788);
	assert_int_equal(word(20), 5);
	assert_int_equal(word(24), 1420);
	assert_memory_equal(text + 28, "abcde\0\0\0", 8);
	assert_int_equal(word(36), 4u << 16 | 2);
	assert_int_equal(word(40), 2);
	assert_int_equal(word(44), 3u << 16 | 1);
	assert_memory_equal(text + 48, "why\0", 4);
	assert_int_equal(word(52), 0);
	at = text_len;
	packet.is_out = false;
	packet.comment = NULL;
	assert_true(cli_pcapng_packet(file, &packet));
	fflush(file);
	assert_int_equal(word(at + 40), 1);
	assert_int_equal(word(at + 44), 0);
}

static void what_is_too_long_is_cut(void **state)
{
	static uint8_t data[2 * CLI_PCAPNG_BYTES_MAX];
	static char comment[2 * CLI_PCAPNG_TEXT_MAX];
	struct cli_pcapng_packet packet = {
		.data = data, .data_len = sizeof(data), .comment = comment};

	memset(comment, 'x', sizeof(comment) - 1);
	assert_true(cli_pcapng_packet(file, &packet));
	fflush(file);
	assert_int_equal(expect_block(0, 6), text_len);
	assert_int_equal(word(20), CLI_PCAPNG_BYTES_MAX);
}

static void end_tells_losses(void **state)
{
	assert_true(cli_pcapng_end(file, 0, 7));
	assert_int_equal(expect_block(0, 5), text_len);
	assert_int_equal(word(20), 8u << 16 | 5);
	assert_int_equal(word(24), 7);
}

static void a_full_disk_is_seen(void **state)
{
	FILE *full = fopen("/dev/full", "w");

	assert_non_null(full);
	assert_false(cli_pcapng_end(full, 0, 0));
	fclose(full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(section_and_interfaces, setup, teardown),
		cmocka_unit_test_setup_teardown(packets, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_too_long_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(end_tells_losses, setup, teardown),
		cmocka_unit_test(a_full_disk_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
