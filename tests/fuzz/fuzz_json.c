/* SPDX-License-Identifier: BSD-3-Clause */
/* sandd.v1: a frame is decoded; what was understood is encoded, decoded again and encoded the same. */
#include "fuzz.h"

#include "ws_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size ? size : 1), *first, *second;
	struct base_error why;
	struct ws_msg msg, again;
	size_t first_len, second_len;

	FUZZ_CHECK(text);
	memcpy(text, data, size);
	if (ws_msg_decode(&msg, text, size, &why) == 0) {
		first = ws_msg_encode(&msg, &first_len);
		FUZZ_CHECK(first);
		FUZZ_CHECK(ws_msg_decode(&again, first, first_len, &why) == 0);
		FUZZ_CHECK(again.type == msg.type);
		second = ws_msg_encode(&again, &second_len);
		FUZZ_CHECK(second && second_len == first_len);
		FUZZ_CHECK(memcmp(first, second, first_len) == 0);
		free(first);
		free(second);
		ws_msg_fini(&again);
		ws_msg_fini(&msg);
	}
	free(text);
	return 0;
}
