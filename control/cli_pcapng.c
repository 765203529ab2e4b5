/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks of pcapng. See cli_pcapng.h; section numbers are those of draft-ietf-opsawg-pcapng-02. */
#include "cli_pcapng.h"

#include <string.h>

enum block_type {
	BLOCK_INTERFACE = 1,        /* 4.2 */
	BLOCK_STATISTICS = 5,       /* 4.6 */
	BLOCK_PACKET = 6,           /* 4.3, enhanced */
	BLOCK_SECTION = 0x0a0d0d0a, /* 4.1 */
};

#define BYTE_ORDER_MAGIC 0x1a2b3c4du

enum option {
	OPTION_END = 0,
	OPTION_COMMENT = 1,
	OPTION_SECTION_PROGRAM = 4,
	OPTION_INTERFACE_NAME = 2,
	OPTION_INTERFACE_RESOLUTION = 9,
	OPTION_PACKET_FLAGS = 2,
	OPTION_STATISTICS_LOST = 5,
};

#define RESOLUTION_NS 9 /* 10^-9 s */
#define FLAGS_IN 1u
#define FLAGS_OUT 2u

/* Room for a packet, its fields, and two texts. */
struct block {
	uint32_t len;
	uint8_t bytes[CLI_PCAPNG_BYTES_MAX + 2 * CLI_PCAPNG_TEXT_MAX + 128];
};

static void put(struct block *block, const void *bytes, size_t len)
{
	memcpy(block->bytes + block->len, bytes, len);
	block->len += (uint32_t)len;
	/* Everything begins at a multiple of four. */
	while (block->len % 4 != 0)
		block->bytes[block->len++] = 0;
}

static void put32(struct block *block, uint32_t value)
{
	put(block, &value, sizeof(value));
}

/* Two 16-bit fields. */
static void put16s(struct block *block, uint16_t a, uint16_t b)
{
	uint16_t pair[2] = {a, b};

	put(block, pair, sizeof(pair));
}

static void put_time(struct block *block, uint64_t unix_ns)
{
	put32(block, (uint32_t)(unix_ns >> 32));
	put32(block, (uint32_t)unix_ns);
}

static void put_option(struct block *block, enum option code, const void *value, size_t len)
{
	put16s(block, (uint16_t)code, (uint16_t)len);
	put(block, value, len);
}

static void put_text(struct block *block, enum option code, const char *text)
{
	put_option(block, code, text, strnlen(text, CLI_PCAPNG_TEXT_MAX));
}

/* Type and both lengths are filled in by write_block(). */
static void begin_block(struct block *block, enum block_type type)
{
	block->len = 0;
	put32(block, (uint32_t)type);
	put32(block, 0);
}

static bool write_block(struct block *block, FILE *file)
{
	uint32_t len;

	put16s(block, OPTION_END, 0);
	len = block->len + (uint32_t)sizeof(len);
	put32(block, len);
	memcpy(block->bytes + sizeof(len), &len, sizeof(len));
	return fwrite(block->bytes, 1, len, file) == len;
}

static bool write_section(FILE *file)
{
	static const int64_t unknown_length = -1;
	struct block block;

	begin_block(&block, BLOCK_SECTION);
	put32(&block, BYTE_ORDER_MAGIC);
	put16s(&block, 1, 0); /* version */
	put(&block, &unknown_length, sizeof(unknown_length));
	put_text(&block, OPTION_SECTION_PROGRAM, "sandctl " SANDD_VERSION);
	return write_block(&block, file);
}

static bool write_interface(
	FILE *file, enum cli_linktype linktype, uint32_t snaplen, const char *name)
{
	static const uint8_t resolution = RESOLUTION_NS;
	struct block block;

	begin_block(&block, BLOCK_INTERFACE);
	put16s(&block, (uint16_t)linktype, 0);
	put32(&block, snaplen);
	put_text(&block, OPTION_INTERFACE_NAME, name);
	put_option(&block, OPTION_INTERFACE_RESOLUTION, &resolution, sizeof(resolution));
	return write_block(&block, file);
}

bool cli_pcapng_begin(FILE *file, enum cli_linktype linktype, uint32_t snaplen,
	const char *const *names, unsigned n_names)
{
	bool is_good = write_section(file);

	for (unsigned i = 0; i < n_names && is_good; i++)
		is_good = write_interface(file, linktype, snaplen, names[i]);
	return is_good;
}

bool cli_pcapng_packet(FILE *file, const struct cli_pcapng_packet *packet)
{
	uint32_t flags = packet->is_out ? FLAGS_OUT : FLAGS_IN, len = packet->data_len;
	struct block block;

	if (len > CLI_PCAPNG_BYTES_MAX)
		len = CLI_PCAPNG_BYTES_MAX;
	begin_block(&block, BLOCK_PACKET);
	put32(&block, packet->interface);
	put_time(&block, packet->unix_ns);
	put32(&block, len);
	put32(&block, packet->packet_len);
	put(&block, packet->data, len);
	put_option(&block, OPTION_PACKET_FLAGS, &flags, sizeof(flags));
	if (packet->comment)
		put_text(&block, OPTION_COMMENT, packet->comment);
	return write_block(&block, file);
}

bool cli_pcapng_end(FILE *file, uint64_t unix_ns, uint64_t n_lost)
{
	struct block block;

	begin_block(&block, BLOCK_STATISTICS);
	put32(&block, 0);
	put_time(&block, unix_ns);
	put_option(&block, OPTION_STATISTICS_LOST, &n_lost, sizeof(n_lost));
	return write_block(&block, file) && fflush(file) == 0;
}
