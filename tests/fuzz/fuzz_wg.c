/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * WireGuard messages. Two devices that know each other; the input is a script of steps: honest messages of one reach the
 * other whole, cut, altered or twice, bytes of the input come in between, time passes, queues fill. What must hold: nothing
 * is delivered that the other end did not send, and nothing twice. Randomness is the input's.
 */
#include "fuzz.h"

#include "base_bytes.h"
#include "base_clock.h"
#include "cr_noise.h"
#include "wg.h"

#include <sodium.h>

#define QUEUE 8
#define PACKET_BYTES 128
#define SENT_MAX 4096

struct end {
	struct wg_device *device;
	struct end *other;
	struct base_endpoint addr;
	uint8_t number; /* 1 or 2: last byte of its inner address */
	uint64_t n_sent;
	bool has_got[SENT_MAX];
	/* Messages on their way from here to the other. */
	uint8_t *queue[QUEUE];
	size_t lens[QUEUE];
	unsigned n_queued;
};

static uint64_t random_state, now_ns;

static const char *random_name(void)
{
	return "fuzz";
}

static uint32_t random_word(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(random_state >> 32);
}

static void random_fill(void *const buf, const size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)buf)[i] = (uint8_t)random_word();
}

static void on_send(void *ctx, struct wg_peer *peer, const struct base_endpoint *to,
	const void *message, size_t len)
{
	struct end *end = ctx;
	uint8_t *copy;

	(void)peer, (void)to;
	if (end->n_queued == QUEUE)
		return;
	copy = malloc(len);
	FUZZ_CHECK(copy);
	memcpy(copy, message, len);
	end->queue[end->n_queued] = copy;
	end->lens[end->n_queued++] = len;
}

static uint64_t on_unix_ns(void *ctx)
{
	(void)ctx;
	return now_ns;
}

/* Inner packets carry their number, and were made by make_packet() below. */
static void on_deliver(void *ctx, struct wg_peer *peer, const void *packet, size_t len)
{
	struct end *end = ctx;
	const uint8_t *bytes = packet;
	uint64_t number;

	(void)peer;
	FUZZ_CHECK(len == PACKET_BYTES && bytes[15] == end->other->number);
	number = base_load_le64(bytes + 20);
	FUZZ_CHECK(number < end->other->n_sent && number < SENT_MAX);
	FUZZ_CHECK(!end->has_got[number]);
	end->has_got[number] = true;
	for (size_t i = 28; i < len; i++)
		FUZZ_CHECK(bytes[i] == (uint8_t)(number + i));
}

static const struct wg_host host = {
	.send = on_send,
	.unix_ns = on_unix_ns,
	.deliver = on_deliver,
};

static void output(struct end *end)
{
	uint8_t packet[PACKET_BYTES] = {0x45, 0, 0, PACKET_BYTES, [8] = 64, [9] = 17, 10, 9, 0};

	if (end->n_sent == SENT_MAX)
		return;
	memcpy(packet + 12, (const uint8_t[8]){10, 9, 0, end->number, 10, 9, 0, end->other->number},
		8);
	base_store_le64(packet + 20, end->n_sent);
	for (size_t i = 28; i < sizeof(packet); i++)
		packet[i] = (uint8_t)(end->n_sent + i);
	end->n_sent++;
	(void)wg_output(end->device, packet, sizeof(packet), now_ns);
}

/* A message of the other end's reaches this one: in what shape is the input's to say. */
static void receive(struct end *end, struct fuzz_input *input, uint8_t how)
{
	struct end *from = end->other;
	unsigned i;
	size_t len;
	uint8_t *message;

	if (from->n_queued == 0)
		return;
	i = how / 16 % from->n_queued;
	len = from->lens[i];
	message = malloc(len);
	FUZZ_CHECK(message);
	memcpy(message, from->queue[i], len);
	if (how & 4)
		message[fuzz_word(input) % len] ^= fuzz_byte(input);
	if (how & 8)
		len = fuzz_word(input) % (len + 1);
	(void)wg_input(end->device, &from->addr, message, len, now_ns);
	free(message);
	if (how & 2)
		return; /* it comes again */
	free(from->queue[i]);
	from->n_queued--;
	memmove(&from->queue[i], &from->queue[i + 1],
		(from->n_queued - i) * sizeof(from->queue[0]));
	memmove(&from->lens[i], &from->lens[i + 1], (from->n_queued - i) * sizeof(from->lens[0]));
}

static void receive_bytes(struct end *end, struct fuzz_input *input)
{
	struct base_endpoint from = end->other->addr;
	size_t len;
	uint8_t *message;

	from.port = (uint16_t)(1 + fuzz_byte(input));
	message = fuzz_take(input, fuzz_byte(input), &len);
	(void)wg_input(end->device, &from, message, len, now_ns);
	free(message);
}

static void step(struct end ends[2], struct fuzz_input *input)
{
	uint8_t what = fuzz_byte(input);
	struct end *end = &ends[what >> 7];

	switch (what & 7) {
	case 0:
		receive_bytes(end, input);
		break;
	case 1:
		now_ns += fuzz_byte(input) * BASE_NS_PER_S / 4;
		break;
	case 2:
		wg_tick(end->device, now_ns);
		break;
	case 3:
		wg_device_note_queue(end->device, fuzz_byte(input), 128, now_ns);
		break;
	case 4:
		output(end);
		break;
	default:
		receive(end, input, fuzz_byte(input));
	}
}

static void set_peer(struct end *end, const struct cr_key *public_key)
{
	struct base_prefix allowed;
	struct wg_peer_config config = {.public_key = *public_key,
		.preshared_key.bytes = {7},
		.endpoint = end->other->addr,
		.allowed_ips = &allowed,
		.n_allowed_ips = 1};
	struct wg_peer *peer;
	char text[32];

	snprintf(text, sizeof(text), "10.9.0.%u/32", end->other->number);
	FUZZ_CHECK(base_prefix_parse(&allowed, text, true) == 0);
	FUZZ_CHECK(wg_peer_set(end->device, &config, now_ns, &peer) == 0);
}

static void begin(struct end ends[2])
{
	struct cr_key public_keys[2];

	memset(ends, 0, 2 * sizeof(ends[0]));
	for (unsigned i = 0; i < 2; i++) {
		struct cr_key private_key = {.bytes = {[1] = (uint8_t)(i + 1), [31] = 64}};

		ends[i].other = &ends[!i];
		ends[i].number = (uint8_t)(i + 1);
		FUZZ_CHECK(base_endpoint_parse(
				   &ends[i].addr, i ? "192.0.2.2:2" : "[2001:db8::1]:1") == 0);
		ends[i].device = wg_device_new(&private_key, &host, &ends[i]);
		FUZZ_CHECK(ends[i].device);
		wg_device_public_key(ends[i].device, &public_keys[i]);
	}
	set_peer(&ends[0], &public_keys[1]);
	set_peer(&ends[1], &public_keys[0]);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static randombytes_implementation implementation = {
		.implementation_name = random_name, .random = random_word, .buf = random_fill};

	(void)argc, (void)argv;
	randombytes_set_implementation(&implementation);
	FUZZ_CHECK(cr_init() == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct end ends[2];
	struct fuzz_input input = {data, size};

	random_state = 1;
	now_ns = 1000 * BASE_NS_PER_S;
	begin(ends);
	for (unsigned n = 0; input.len && n < 512; n++)
		step(ends, &input);
	for (unsigned i = 0; i < 2; i++) {
		wg_device_free(ends[i].device);
		while (ends[i].n_queued)
			free(ends[i].queue[--ends[i].n_queued]);
	}
	return 0;
}
