/* SPDX-License-Identifier: BSD-3-Clause */
/* STUN's answers: one that is taken names its own transaction and an address that can be one, and was long enough for it. */
#include "base_bytes.h"
#include "coord_stun.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t tx[COORD_STUN_TX_BYTES], *datagram;
	struct base_endpoint mapped;
	size_t len;

	datagram = fuzz_take(&input, input.len, &len);
	if (coord_stun_response(tx, &mapped, datagram, len) == 0) {
		FUZZ_CHECK(len >= 32 && coord_stun_looks(datagram, len));
		FUZZ_CHECK(memcmp(tx, datagram + 8, sizeof(tx)) == 0);
		FUZZ_CHECK(base_load_be16(datagram + 2) <= len - 20);
		FUZZ_CHECK(mapped.port != 0 && mapped.addr.family != BASE_FAMILY_NONE);
	}
	free(datagram);
	return 0;
}
