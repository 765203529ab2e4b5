#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Put WireGuard devices under load: bursts of initiations that only a key exchange could refuse.

    flood.py [ADDRESS PORT PUBLIC_KEY BURST INTERVAL_S]...

Each has a right mac1, so the device must do the algebra, or ask for a cookie. Until killed.
"""
import base64
import hashlib
import os
import socket
import struct
import sys
import time

MAC_BYTES = 16
BEFORE_MAC1_BYTES = 116
INITIATION = 1


def initiation(mac1_key):
    head = struct.pack("<I", INITIATION) + os.urandom(BEFORE_MAC1_BYTES - 4)
    return head + hashlib.blake2s(head, digest_size=MAC_BYTES, key=mac1_key).digest() + bytes(MAC_BYTES)


class Target:
    def __init__(self, address, port, public_key, burst, interval_s):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sender = socket.socket(family, socket.SOCK_DGRAM)
        self.sender.connect((address, int(port)))
        mac1_key = hashlib.blake2s(b"mac1----" + base64.b64decode(public_key)).digest()
        self.messages = [initiation(mac1_key) for _ in range(int(burst))]
        self.interval_s, self.due_s = float(interval_s), 0.0

    def send(self, now_s):
        for message in self.messages:
            try:
                self.sender.send(message)
            except ConnectionRefusedError:
                pass  # the device is restarting
        self.due_s = now_s + self.interval_s


def main():
    words = sys.argv[1:]
    targets = [Target(*words[i:i + 5]) for i in range(0, len(words), 5)]
    while True:
        now_s = time.monotonic()
        for target in targets:
            if target.due_s <= now_s:
                target.send(now_s)
        time.sleep(max(0.0, min(target.due_s for target in targets) - time.monotonic()))


main()
