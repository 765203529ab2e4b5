#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Pings of which none may be lost.

    pings.py [--from ADDRESS] INTERVAL_S COUNT ADDRESS      COUNT 0: until SIGINT

Not ping(8): what is on its way when that ends counts as lost, and how much that is depends on the machine. Here
each is waited for, and is lost when nothing at all came back for PATIENCE_S. No more than WINDOW are on their way at
once, for a machine that stands still for a moment must not fill the queues on the way, which are the kernel's.
Prints a line, and the numbers of what was lost; the exit code tells as well.
"""
import argparse
import os
import select
import signal
import socket
import struct
import sys
import time

ECHO, ECHO_REPLY = 8, 0
ICMP_BYTES = 8
WINDOW = 64
PATIENCE_S = 15
SHOWN = 20


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


class Pings:
    def __init__(self, options):
        self.tap = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        if options.source:
            self.tap.bind((options.source, 0))
        self.to, self.count, self.interval_s = options.address, options.count, options.interval
        self.id = os.getpid() & 0xFFFF
        self.sent = 0
        self.slowest_s = 0.0
        self.pending = {}  # number: when it was sent
        self.is_over = False

    def end(self, *_):
        self.is_over = True

    def send(self, now):
        number = self.sent
        self.sent += 1
        self.pending[number] = now
        # a number has 64 bits, its 16 in the header are for those who look on
        body = struct.pack("!HHQ40x", self.id, number & 0xFFFF, number)
        head = struct.pack("!BBH", ECHO, 0, checksum(struct.pack("!BBH", ECHO, 0, 0) + body))
        try:
            self.tap.sendto(head + body, (self.to, 0))
        except OSError as error:
            print(f"number {number}: {error.strerror}")

    def receive(self):
        """True for an answer that was waited for."""
        packet = self.tap.recv(2048)
        icmp = packet[(packet[0] & 15) * 4:]
        if len(icmp) < ICMP_BYTES + 8 or icmp[0] != ECHO_REPLY:
            return False
        identity, _, number = struct.unpack("!HHQ", icmp[4:16])
        if identity != self.id or number not in self.pending:
            return False
        if not self.slowest_s:
            print("begun", flush=True)
        self.slowest_s = max(self.slowest_s, time.monotonic() - self.pending.pop(number))
        return True

    def run(self):
        due = heard = time.monotonic()
        while True:
            now = time.monotonic()
            is_sending = not self.is_over and (not self.count or self.sent < self.count)
            if not is_sending and not self.pending:
                return
            if not self.pending:
                heard = now
            if now - heard > PATIENCE_S:
                return
            has_room = is_sending and len(self.pending) < WINDOW
            if has_room and now >= due:
                self.send(now)
                due = max(due + self.interval_s, now)
                continue
            if select.select([self.tap], [], [], due - now if has_room else 0.1)[0] and self.receive():
                heard = time.monotonic()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--from", dest="source")
    parser.add_argument("interval", type=float)
    parser.add_argument("count", type=int)
    parser.add_argument("address")
    pings = Pings(parser.parse_args())
    signal.signal(signal.SIGINT, pings.end)
    signal.signal(signal.SIGTERM, pings.end)
    pings.run()
    lost = sorted(pings.pending)
    print(f"{pings.sent} sent, {len(lost)} lost, slowest answer {pings.slowest_s * 1e3:.1f} ms")
    if lost:
        print("lost:", *lost[:SHOWN], *(["..."] if len(lost) > SHOWN else []))
    sys.exit(1 if lost or not pings.sent else 0)


main()
