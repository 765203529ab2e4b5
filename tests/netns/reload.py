#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Lists of peers for reload_test.sh: as the configuration has them, and as the API takes them.

usage: reload.py FOLDER HOW_MANY

Nobody has the private halves: any 32 bytes are a public key of X25519.
"""

import base64
import json
import random
import sys


def main():
    folder, many = sys.argv[1], int(sys.argv[2])
    numbers = random.Random(4)
    peers = [
        (f"crowd-{i}", base64.b64encode(numbers.randbytes(32)).decode(), "10.20.%d.%d/32" % divmod(i, 256))
        for i in range(many)
    ]
    for kind, keepalive in ("crowd", 0), ("crowd.changed", 25):
        with open(f"{folder}/{kind}.yaml", "w", encoding="ascii") as out:
            for name, key, prefix in peers:
                out.write(
                    f"  - {{name: {name}, public_key: {key}, allowed_ips: [{prefix}], keepalive: {keepalive}}}\n"
                )
        with open(f"{folder}/{kind}.json", "w", encoding="ascii") as out:
            json.dump(
                [{"name": n, "public_key": k, "allowed_ips": [p], "keepalive": keepalive} for n, k, p in peers], out
            )
    with open(f"{folder}/crowd.gone.json", "w", encoding="ascii") as out:
        json.dump({"remove": [name for name, _, _ in peers]}, out)


main()
