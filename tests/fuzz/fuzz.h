/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the fuzz targets share: bytes of the input taken from the front, and a check that ends the process as
 * a crash. Each target is one file with LLVMFuzzerTestOneInput(); see README.md here.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** What must hold whatever came in. */
#define FUZZ_CHECK(condition)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__,          \
				#condition);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct fuzz_input {
	const uint8_t *data;
	size_t len;
};

static inline uint8_t fuzz_byte(struct fuzz_input *input)
{
	if (input->len == 0)
		return 0;
	input->len--;
	return *input->data++;
}

static inline uint16_t fuzz_word(struct fuzz_input *input)
{
	uint16_t high = fuzz_byte(input);

	return (uint16_t)(high << 8 | fuzz_byte(input));
}

/** Up to @len bytes in a buffer of exactly that size, so that a sanitizer sees what is read behind it; to be freed. */
static inline uint8_t *fuzz_take(struct fuzz_input *input, size_t len, size_t *ret_len)
{
	uint8_t *copy;

	if (len > input->len)
		len = input->len;
	copy = malloc(len ? len : 1);
	FUZZ_CHECK(copy);
	memcpy(copy, input->data, len);
	input->data += len;
	input->len -= len;
	*ret_len = len;
	return copy;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
