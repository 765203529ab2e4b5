/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandctl's own parts: the completion knows every command and option and no others, tables line up and
 * keep daemons' control characters off the terminal, quoted words come back from a shell as they were.
 */
int sandctl_main(int argc, char *argv[]);
#define main sandctl_main
#include "sandctl_main.c"
#undef main

#include "ctl_quote.h"
#include "ctl_test.h"
#include "cli_table.h"

/* ---- completion ---- */

static char *completion;

/* @word stands in the completion with no letter, digit or '-' next to it. */
static bool completion_has(const char *word)
{
	static const char joins[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	size_t len = strlen(word);

	for (const char *at = completion; (at = strstr(at, word)); at++)
		if (!strchr(joins, at[-1]) && (!at[len] || !strchr(joins, at[len])))
			return true;
	return false;
}

static bool is_option(const char *name)
{
	for (size_t i = 0; i < BASE_ARRAY_LEN(common_options); i++)
		if (strcmp(common_options[i].name, name) == 0)
			return true;
	for (size_t i = 0; i < cli_n_commands; i++)
		for (const struct option *o = cli_commands[i].options; o->name; o++)
			if (strcmp(o->name, name) == 0)
				return true;
	return false;
}

static void assert_completed(const char *option)
{
	char word[64];

	snprintf(word, sizeof(word), "--%s", option);
	if (!completion_has(word))
		fail_msg("sandctl.bash lacks %s", word);
}

static void completion_knows_commands_and_options(void **state)
{
	for (size_t i = 0; i < BASE_ARRAY_LEN(common_options); i++)
		assert_completed(common_options[i].name);
	for (size_t i = 0; i < cli_n_commands; i++) {
		if (!completion_has(cli_commands[i].name))
			fail_msg("sandctl.bash lacks %s", cli_commands[i].name);
		for (const struct option *o = cli_commands[i].options; o->name; o++)
			assert_completed(o->name);
	}
}

static void completion_knows_nothing_else(void **state)
{
	char words[256], option[64];
	const char *at = strstr(completion, "commands=\"");
	size_t n = 0;

	assert_non_null(at);
	assert_int_equal(sscanf(at, "commands=\"%255[^\"]\"", words), 1);
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " "), n++)
		assert_non_null(find_command(word));
	assert_int_equal(n, cli_n_commands);
	for (at = completion; (at = strstr(at, "--")); at += 2)
		if (sscanf(at, "--%63[a-z-]", option) == 1 && !is_option(option))
			fail_msg("sandctl.bash knows --%s, sandctl does not", option);
}

/* Every option is told by the help of its command. */
static void help_tells_every_option(void **state)
{
	for (size_t i = 0; i < cli_n_commands; i++)
		for (const struct option *o = cli_commands[i].options; o->name; o++) {
			char word[64];

			/* one has a letter as well, see cli_next_option() */
			snprintf(word, sizeof(word), "\n  %s--%s ", o->val == 'o' ? "-o, " : "",
				o->name);
			if (strncmp(cli_commands[i].details, word + 1, strlen(word + 1)) != 0 &&
				!strstr(cli_commands[i].details, word))
				fail_msg("help of %s does not tell --%s", cli_commands[i].name,
					o->name);
		}
}

/* ---- tables ---- */

/* What a function prints on standard output; malloc'ed. */
static char *printed(void (*print)(void))
{
	FILE *saved = stdout;
	char *text = NULL;
	size_t len;

	stdout = open_memstream(&text, &len);
	assert_non_null(stdout);
	print();
	fclose(stdout);
	stdout = saved;
	return text;
}

static void print_sample(void)
{
	static const char *const headings[] = {"NAME", ">SIZE", "REST"};
	struct cli_table *table = cli_table_new(headings, 3);

	cli_table_add(table, "a");
	cli_table_addf(table, "%d", 12345);
	cli_table_add(table, "x\x1b[2Jy\xc2\x9bz");
	cli_table_add(table, "h\xc3\xa9h\xc3\xa9");
	cli_table_addf(table, "%d", 7);
	cli_table_add(table, NULL);
	cli_table_print(table, 2);
}

static void table_lines_up_and_is_clean(void **state)
{
	char *text = printed(print_sample);

	assert_string_equal(text,
		"  NAME   SIZE  REST\n"
		"  a     12345  x\\x1b[2Jy\\xc2\x9bz\n"
		"  h\xc3\xa9h\xc3\xa9      7  -\n");
	free(text);
}

static void numbers_in_words(void **state)
{
	char text[CLI_TEXT_LEN];

	assert_string_equal(cli_bytes(text, 0), "0 B");
	assert_string_equal(cli_bytes(text, 1023), "1023 B");
	assert_string_equal(cli_bytes(text, 1536), "1.50 KiB");
	assert_string_equal(cli_bytes(text, UINT64_MAX), "16.00 EiB");
	assert_string_equal(cli_duration(text, 5), "5 s");
	assert_string_equal(cli_duration(text, 300), "5 min");
	assert_string_equal(cli_duration(text, 9000), "2.5 h");
	assert_string_equal(cli_duration(text, 864000), "10 d");
	assert_string_equal(cli_ago(text, NULL), "-");
}

/* ---- quoting ---- */

/* The shell prints the words back, each with a NUL, and the result is what went in. */
static void quoted_words_come_back(void **state)
{
	static const char letters[] = "ab '\"\\$`!*?[]{}()<>|&;#~=\n\t%-";
	unsigned seed = 20260102;

	print_message("seed %u\n", seed);
	srandom(seed);
	for (unsigned round = 0; round < 40; round++) {
		json_t *argv = json_pack("[s, s]", "printf", "%s|");
		char wanted[512] = "", got[512] = "", *line;
		size_t len;
		FILE *shell;

		for (unsigned w = 0; w < 4; w++) {
			char word[16] = "";

			for (long n = random() % 12; n > 0; n--)
				word[strlen(word)] =
					letters[(size_t)random() % (sizeof(letters) - 1)];
			json_array_append_new(argv, json_string(word));
			strcat(strcat(wanted, word), "|");
		}
		line = ctl_quote_argv(argv);
		assert_non_null(line);
		shell = popen(line, "r");
		assert_non_null(shell);
		len = fread(got, 1, sizeof(got) - 1, shell);
		got[len] = '\0';
		assert_int_equal(pclose(shell), 0);
		assert_string_equal(got, wanted);
		free(line);
		json_decref(argv);
	}
}

static void first_word_stays_a_command(void **state)
{
	json_t *argv = json_pack("[s, s]", "A=b", "c");
	char *line = ctl_quote_argv(argv);

	assert_string_equal(line, "''A=b c");
	free(line);
	json_decref(argv);
}

static int setup(void **state)
{
	FILE *file = fopen(COMPLETION_FILE, "r");

	completion = calloc(1, 32768);
	if (!file || !completion || fread(completion, 1, 32767, file) == 0)
		return -1;
	return fclose(file);
}

static int teardown(void **state)
{
	free(completion);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(completion_knows_commands_and_options),
		cmocka_unit_test(completion_knows_nothing_else),
		cmocka_unit_test(help_tells_every_option),
		cmocka_unit_test(table_lines_up_and_is_clean),
		cmocka_unit_test(numbers_in_words),
		cmocka_unit_test(quoted_words_come_back),
		cmocka_unit_test(first_word_stays_a_command),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
