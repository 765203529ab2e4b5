#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One long TCP connection: a word each 200 ms, and its echo.

    talk.py ADDRESS PORT             prints a line for each answer
    talk.py --serve ADDRESS PORT     the other end
"""
import socket
import sys
import threading
import time


def echo(peer):
    with peer:
        try:
            while data := peer.recv(4096):
                peer.sendall(data)
        except OSError:
            pass


def serve(address, port):
    with socket.create_server((address, port)) as server:
        while True:
            threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()


def talk(address, port):
    with socket.create_connection((address, port), 10) as peer:
        peer.settimeout(20)
        for n in range(1, 100000):
            peer.sendall(b"word")
            if not peer.recv(4096):
                raise ConnectionError("closed")
            print(n, "answers", flush=True)
            time.sleep(0.2)


if sys.argv[1] == "--serve":
    serve(sys.argv[2], int(sys.argv[3]))
else:
    talk(sys.argv[1], int(sys.argv[2]))
