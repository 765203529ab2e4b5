#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Servers that a node may meet on its way to Headscale, on loopback: a proxy, and what only looks like one server or another.

control_server.py PORT proxy [USER:PASSWORD]   CONNECT and nothing else; prints each target
control_server.py PORT silent                  accepts, and says nothing
control_server.py PORT reset                   accepts, and resets
control_server.py PORT portal                  a web page for everything
control_server.py PORT redirect                elsewhere
control_server.py PORT endless                 headers without end
control_server.py PORT garbage KEY             a good /key with KEY, then 101 and bytes that are no channel
control_server.py PORT dead KEY                a good /key with KEY, then 101 and the end
"""

import base64
import os
import selectors
import socket
import struct
import sys
import threading


def read_head(peer):
    head = b""
    while b"\r\n\r\n" not in head:
        piece = peer.recv(4096)
        if not piece:
            return b""
        head += piece
    return head


def relay(one, other):
    waiting = selectors.DefaultSelector()
    waiting.register(one, selectors.EVENT_READ, other)
    waiting.register(other, selectors.EVENT_READ, one)
    while True:
        for key, _ in waiting.select():
            data = key.fileobj.recv(65536)
            if not data:
                return
            key.data.sendall(data)


def proxy(peer, login=None):
    head = read_head(peer).decode()
    method, target, _ = head.split("\r\n")[0].split(" ")
    if method != "CONNECT":
        peer.sendall(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n")
        return
    if login and base64.b64encode(login.encode()).decode() not in head:
        peer.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
        return
    print("CONNECT", target, flush=True)
    host, port = target.rsplit(":", 1)
    with socket.create_connection((host.strip("[]"), int(port))) as other:
        peer.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        relay(peer, other)


def silent(peer):
    threading.Event().wait()


def reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def portal(peer):
    read_head(peer)
    page = b"<html>Welcome to the hotel</html>"
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page) + page)


def redirect(peer):
    read_head(peer)
    peer.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\nContent-Length: 0\r\n\r\n")


def endless(peer):
    read_head(peer)
    peer.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        peer.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")


def after_key(peer, key, then):
    if read_head(peer).startswith(b"GET /key"):
        body = b'{"legacyPublicKey":"","publicKey":"%s"}' % key.encode()
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return
    peer.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tailscale-control-protocol\r\n\r\n" + then
    )


def garbage(peer, key):
    after_key(peer, key, os.urandom(4000))


def dead(peer, key):
    after_key(peer, key, b"")


def serve(peer, behave, args):
    with peer:
        try:
            behave(peer, *args)
        except OSError:
            pass


def main():
    behave = globals()[sys.argv[2]]
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=serve, args=(peer, behave, sys.argv[3:]), daemon=True).start()


main()
