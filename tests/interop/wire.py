#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Watch a device for WireGuard's small messages: a line each, as they pass.

    wire.py DEVICE        TIME SOURCE PORT DESTINATION PORT KIND [mac2]

KIND is initiation, response, cookie or keepalive. The kernel sorts out the rest (a classic BPF
program), so that a transfer costs nothing here.
"""
import ctypes
import ipaddress
import socket
import struct
import sys
import time

ETH_P_ALL = 3
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
PROTO_UDP = 17
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
BUFFER_BYTES = 32 << 20
KINDS = {1: "initiation", 2: "response", 3: "cookie", 4: "keepalive"}
KEEPALIVE_BYTES = 32
UDP_BYTES = 8
MAC2_BYTES = 16

# Classic BPF: load a byte, load a halfword, load metadata, jump if equal, jump if greater, return.
LDB, LDH, LDW, JEQ, JGT, RET = 0x30, 0x28, 0x20, 0x15, 0x25, 0x06
SKF_AD_PROTOCOL = 0xFFFFF000


def branch(proto_at, udp_at):
    """UDP whose payload begins with a byte of 1 to 3, or with 4 and is as long as a keepalive."""
    return [
        (LDB, 0, 0, proto_at),
        (JEQ, 0, 6, PROTO_UDP),
        (LDB, 0, 0, udp_at + UDP_BYTES),
        (JGT, 4, 0, 4),
        (JEQ, 0, 2, 4),
        (LDH, 0, 0, udp_at + 4),
        (JEQ, 0, 1, UDP_BYTES + KEEPALIVE_BYTES),
        (RET, 0, 0, 0xFFFF),
        (RET, 0, 0, 0),
    ]


def attach(tap):
    v4, v6 = branch(9, 20), branch(6, 40)
    program = [(LDW, 0, 0, SKF_AD_PROTOCOL), (JEQ, 0, len(v4), ETH_P_IP)] + v4
    program += [(JEQ, 0, len(v6), ETH_P_IPV6)] + v6 + [(RET, 0, 0, 0)]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code)
    tap.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
        struct.pack("HL", len(program), ctypes.addressof(buffer)))


def describe(packet, ethertype):
    if ethertype == ETH_P_IP:
        source, target, udp = packet[12:16], packet[16:20], packet[20:]
    else:
        source, target, udp = packet[8:24], packet[24:40], packet[40:]
    sport, dport, length = struct.unpack("!HHH", udp[:6])
    message = udp[UDP_BYTES:length]
    words = [ipaddress.ip_address(source), sport, ipaddress.ip_address(target), dport,
        KINDS.get(message[0], "other")]
    if message[0] in (1, 2) and any(message[-MAC2_BYTES:]):
        words.append("mac2")
    return words


def main():
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)) as tap:
        attach(tap)
        tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        tap.bind((sys.argv[1], ETH_P_ALL))
        while True:
            packet, where = tap.recvfrom(2048)
            if where[1] in (ETH_P_IP, ETH_P_IPV6):
                print(f"{time.time():.6f}", *describe(packet, where[1]), flush=True)


main()
