#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One TCP transfer, told by its checksum.

    tcp.py serve ADDRESS PORT        accept one connection, read to its end
    tcp.py send ADDRESS PORT MB      connect, send so much of a repeatable stream

Both print "SHA256 BYTES". The stream has no period, so a repeated or a lost piece shows.
"""
import hashlib
import random
import socket
import sys

LIMIT_S = 60
CHUNK = 1 << 16


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(address, port):
    with socket.socket(family(address), socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1)
        listener.settimeout(LIMIT_S)
        connection, _ = listener.accept()
        connection.settimeout(LIMIT_S)
        digest, total = hashlib.sha256(), 0
        while data := connection.recv(CHUNK):
            digest.update(data)
            total += len(data)
        return digest, total


def send(address, port, megabytes):
    source, digest, total = random.Random(megabytes), hashlib.sha256(), 0
    with socket.create_connection((address, port), timeout=LIMIT_S) as connection:
        for _ in range((megabytes << 20) // CHUNK):
            data = source.randbytes(CHUNK)
            connection.sendall(data)
            digest.update(data)
            total += len(data)
    return digest, total


def main():
    verb, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    digest, total = serve(address, port) if verb == "serve" else send(address, port, int(sys.argv[4]))
    print(digest.hexdigest(), total)


main()
