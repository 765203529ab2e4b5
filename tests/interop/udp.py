#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Datagrams of every size, there and back.

    udp.py echo ADDRESS PORT             send back what comes, until killed
    udp.py sizes ADDRESS PORT MAX        one of each size from 0 to MAX bytes; each must come back whole

A datagram may be lost where the machine is busy: it is sent again, three times at most. One that comes
back changed is an error at once.
"""
import random
import socket
import sys

ANSWER_S = 2
TRIES = 4
WINDOW = 16


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def echo(address, port):
    with socket.socket(family(address), socket.SOCK_DGRAM) as server:
        server.bind((address, port))
        print("ready", flush=True)
        while True:
            data, client = server.recvfrom(65535)
            server.sendto(data, client)


def exchange(client, wanted):
    """Send a window of datagrams; returns those that did not come back."""
    for data in wanted.values():
        client.send(data)
    try:
        while wanted:
            data = client.recv(65535)
            if wanted.pop(len(data), data) != data:
                sys.exit(f"{len(data)} bytes came back changed")
    except TimeoutError:
        pass
    return wanted


def sizes(address, port, largest):
    source, lost = random.Random(largest), 0
    with socket.socket(family(address), socket.SOCK_DGRAM) as client:
        client.connect((address, port))
        client.settimeout(ANSWER_S)
        for first in range(0, largest + 1, WINDOW):
            wanted = {n: source.randbytes(n) for n in range(first, min(first + WINDOW, largest + 1))}
            for _ in range(TRIES):
                wanted = exchange(client, wanted)
                if not wanted:
                    break
                lost += len(wanted)
            if wanted:
                sys.exit(f"no answer to {sorted(wanted)} bytes")
    print(f"0 to {largest} bytes came back, {lost} sent again")


def main():
    verb, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if verb == "echo":
        echo(address, port)
    else:
        sizes(address, port, int(sys.argv[4]))


main()
