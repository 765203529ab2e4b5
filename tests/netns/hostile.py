#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Send the gateway what nobody should: one kind of packet, so many times.

    hostile.py KIND ADDRESS PORT COUNT [DEVICE]

Kinds that need nothing: empty garbage reserved short_data short_initiation unknown_index bad_mac
Kinds that take the next real data message to the gateway off DEVICE first: replay forge
Kind that keeps the next message of TYPE to the gateway's port, off DEVICE, in a file:
    hostile.py record DEVICE PORT TYPE FILE
Kind that speaks through the tunnel's own device, past the kernel's checks: bad_inner (DEVICE = it)
"""
import os
import socket
import struct
import sys

INITIATION_BYTES = 148
DATA_HEADER_BYTES = 16
TAG_BYTES = 16
DATA = 4
ETH_P_IP = 0x0800
PROTO_UDP = 17


def data_message(reserved=0, payload=TAG_BYTES):
    return struct.pack("<B3sIQ", 4, bytes([reserved, 0, 0]), 0xDEADBEEF, 0) + os.urandom(payload)


def initiation(size=INITIATION_BYTES):
    return (b"\x01\0\0\0" + os.urandom(INITIATION_BYTES))[:size]


def made_up(kind):
    return {
        "empty": lambda: b"",
        "garbage": lambda: b"\x77" + os.urandom(99),
        "reserved": lambda: data_message(reserved=1),
        "short_data": lambda: data_message(payload=0),
        "short_initiation": lambda: initiation(INITIATION_BYTES - 1),
        "unknown_index": data_message,
        "bad_mac": initiation,
    }[kind]()


def capture(device, port, message_type=DATA):
    """The UDP payload of the next message that leaves through the device for the port."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as tap:
        tap.bind((device, 0))
        tap.settimeout(60)
        print("ready", flush=True)
        while True:
            packet, where = tap.recvfrom(65535)
            if where[1] != ETH_P_IP or packet[9] != PROTO_UDP:
                continue
            udp = packet[(packet[0] & 15) * 4:]
            if struct.unpack("!H", udp[2:4])[0] == port and udp[8] == message_type:
                return udp[8:struct.unpack("!H", udp[4:6])[0]]


def send_udp(address, port, packets):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for packet in packets:
            sender.sendto(packet, (address, port))


def inner_packet(address, claimed_bytes):
    """An IPv4 header that claims more than there is."""
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, claimed_bytes, 0, 0, 64, PROTO_UDP, 0,
        socket.inet_aton("10.9.0.2"), socket.inet_aton(address)) + bytes(20)


def send_inner(device, address, count):
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as sender:
        for _ in range(count):
            sender.sendto(inner_packet(address, 1400), (device, ETH_P_IP, 0, 0, b""))


def record(device, port, message_type, file):
    message = capture(device, port, message_type)
    with open(file, "wb") as out:
        out.write(message)


def main():
    if sys.argv[1] == "record":
        record(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
        return
    kind, address, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if kind == "bad_inner":
        send_inner(sys.argv[5], address, count)
    elif kind in ("replay", "forge"):
        message = bytearray(capture(sys.argv[5], port))
        if kind == "forge":
            message[8:16] = struct.pack("<Q", struct.unpack("<Q", message[8:16])[0] + 1000)
        send_udp(address, port, [bytes(message)] * count)
    else:
        send_udp(address, port, [made_up(kind) for _ in range(count)])


main()
