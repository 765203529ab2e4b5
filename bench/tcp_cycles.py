#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Where the cycles of the TCP path go: a recording of bench/tcp.sh --perf, sorted into parts, per packet.

    bench/tcp_cycles.py PERF.data GBPS [--hz HZ] [--cpus N] [--plot FILE.svg]

Samples of the CPU's clock are cycles that passed, whoever they were for; the recording covers the whole machine, so
all of them over the packets of the same time (GBPS of payload, a packet of 1368 bytes) is what one packet costs, both ends
together. A sample belongs to the first rule that one of its frames meets, innermost frame first.
"""
import argparse
import collections
import json
import pathlib
import subprocess
import sys

PAYLOAD_BYTES = 1368  # of TCP, with time stamps, at an MTU of 1420

# (part, thread, library or "", words in a function's name or ()); the order counts.
RULES = [
    ("idle", "swapper", "", ()),
    ("cipher: seal and open", "rte-worker", "libIPSec_MB", ()),
    ("worker: write to TUN, TCP's receive side", "rte-worker", "", ("tun_chr_write_iter",)),
    ("worker: read from TUN", "rte-worker", "", ("tun_chr_read_iter",)),
    ("worker: segment, sum, coalesce", "rte-worker", "",
     ("in_segments", "in_csum_add", "add_words", "in_coalesce", "dp_host_", "dp_scatter")),
    ("worker: send to the port", "rte-worker", "", ("sendmmsg", "__send", "sendto", "dp_packet_tx", "eth_af_xdp_tx")),
    ("worker: receive from the port", "rte-worker", "",
     ("recvmmsg", "packet_recvmsg", "recvmsg", "dp_packet_rx", "eth_af_xdp_rx", "take_frame")),
    ("worker: wakes and sleeps", "rte-worker", "", ("epoll_pwait2", "eventfd_write", "dp_idle_wait", "dp_idle_wake")),
    ("worker: the kernel's timers and softirqs", "rte-worker", "[kernel", ()),
    ("worker: copies", "rte-worker", "", ("memmove",)),
    ("worker: stages, rings, polling", "rte-worker", "", ()),
    ("host: segment, copy, sum", "sandd-host", "",
     ("in_segments", "in_csum_add", "dp_scatter", "add_words", "take_large", "take_spare", "memmove")),
    ("host: coalesce", "sandd-host", "", ("in_coalesce",)),
    ("host: write to TUN, TCP's receive side", "sandd-host", "", ("writev", "tun_chr_write_iter")),
    ("host: read from TUN", "sandd-host", "", ("tun_chr_read_iter", "__GI___libc_read", "ksys_read")),
    ("host: wakes and sleeps", "sandd-host", "", ("epoll_pwait2", "eventfd_write", "dp_idle_wait")),
    ("host: the rest", "sandd-host", "", ()),
    ("iperf3 and TCP's send side", "iperf3", "", ()),
    ("others on the machine", "", "", ()),
]


def part_of(comm, frames):
    for part, thread, library, words in RULES:
        if not comm.startswith(thread):
            continue
        if library and not (frames and library in frames[0][1]):
            continue
        if words and not any(word in name for name, _ in frames for word in words):
            continue
        return part
    return RULES[-1][0]


def samples(path):
    """Of each sample the thread and its frames, innermost first."""
    script = subprocess.Popen(["perf", "script", "-i", path, "-F", "comm,period,ip,sym,dso"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    comm, frames = None, []
    for line in script.stdout:
        if not line.strip():
            if comm is not None:
                yield comm, frames
            comm, frames = None, []
        elif not line[0].isspace() or comm is None:
            comm = line.rsplit(None, 1)[0].strip()
        else:
            words = line.split(None, 1)
            name, _, library = (words[1] if len(words) > 1 else "").rpartition(" (")
            frames.append((name.strip(), library.strip(" )\n")))
    if comm is not None:
        yield comm, frames


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("perf")
    parser.add_argument("gbps", type=float)
    parser.add_argument("--hz", type=float, default=2.6e9)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--ours", type=float, metavar="NS", help="leave out others and idle; all of ours is so much (cpu_ns_per_pkt)")
    parser.add_argument("--plot")
    args = parser.parse_args()
    counts = collections.Counter(part_of(comm, frames) for comm, frames in samples(args.perf))
    if args.ours:
        del counts["idle"], counts[RULES[-1][0]]
    total = sum(counts.values())
    if total == 0:
        sys.exit("tcp_cycles.py: no samples")
    per_packet = args.hz * args.cpus / (args.gbps * 1e9 / 8 / PAYLOAD_BYTES)
    if args.ours:
        per_packet = args.hz * args.ours / 1e9
    rows = [{"bench": "tcp_cycles", "part": part, "cycles": round(counts[part] / total * per_packet),
             "percent": round(100 * counts[part] / total, 1)} for part, *_ in RULES if counts[part]]
    rows.sort(key=lambda row: -row["cycles"])
    rows.append({"bench": "tcp_cycles", "part": "all", "cycles": round(per_packet), "percent": 100.0})
    lines = "\n".join(json.dumps(row) for row in rows) + "\n"
    sys.stdout.write(lines)
    if args.plot:
        plot = pathlib.Path(__file__).with_name("plot.py")
        subprocess.run([plot, "--title", "Cycles of one packet of TCP, both ends", "--label", "part", "--value",
                        "cycles", "--unit", "", "--highlight", "cipher", args.plot], input="".join(
                            line + "\n" for line in lines.splitlines()[:-1]), text=True, check=True)


if __name__ == "__main__":
    main()
