# SPDX-License-Identifier: BSD-3-Clause
"""What gdb shows of the gateway, of a live process or of a core file.

Types in words: addresses, endpoints, prefixes, struct dp_from, dp_peer, wg_keypair, dp_worker, rte_mbuf with its
dp_pkt. A struct cr_key is never shown: it may be secret. print/r shows the plain struct of all of them.

    sandd-peers [DP]      every peer: number, key's fingerprint, endpoint, owner, sessions
    sandd-workers [DP]    every worker: CPU, traffic, what waits in it
    sandd-drops [DP]      dropped packets by reason, over all threads
    $fingerprint(KEY)     eight characters of a public key, as logs have it

DP is an expression for the struct dp; without it, it is looked for in the stacks of all threads.
"""
import base64
import ipaddress

import gdb


def raw_bytes(value, count):
    return bytes(int(value[i]) & 0xFF for i in range(count))


def fingerprint(key):
    return base64.b64encode(raw_bytes(key["bytes"], 32)).decode()[:8]


def address_text(family, data):
    if family == 4:
        return str(ipaddress.IPv4Address(data[:4]))
    if family == 6:
        return str(ipaddress.IPv6Address(data[:16]))
    return "none"


def endpoint_text(family, data, port):
    if family == 0:
        return "none"
    text = address_text(family, data)
    return f"[{text}]:{port}" if family == 6 else f"{text}:{port}"


def be16(value):
    number = int(value)
    return (number & 0xFF) << 8 | number >> 8


def from_text(where):
    family = int(where["family"])
    data = raw_bytes(where["addrs"], 16)
    return endpoint_text(family, data, be16(where["port_be16"]))


def counter(value):
    """An _Atomic one as well."""
    return int(value.cast(value.type.unqualified()))


class Text:
    """A type that is one line."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return self.line(self.value)


class Key(Text):
    def line(self, value):
        return "<secret>"


class Addr(Text):
    def line(self, value):
        return address_text(int(value["family"]), raw_bytes(value["bytes"], 16))


class Prefix(Text):
    def line(self, value):
        return f"{Addr(value['addr']).to_string()}/{int(value['bits'])}"


class Endpoint(Text):
    def line(self, value):
        addr = value["addr"]
        return endpoint_text(
            int(addr["family"]), raw_bytes(addr["bytes"], 16), int(value["port"]))


class From(Text):
    def line(self, value):
        return from_text(value)


class Keypair(Text):
    def line(self, value):
        role = "initiator" if value["is_initiator"] else "responder"
        confirmed = "" if value["is_confirmed"] else ", not confirmed"
        return (f"keypair {int(value['local_index']):#010x}, {role}{confirmed}, "
                f"{int(value['send_counter'])} sent, keys <secret>")


def sessions_text(keypairs):
    parts = []
    for name in ("current", "previous", "next"):
        if int(keypairs[name]):
            parts.append(f"{name} {int(keypairs[name].dereference()['local_index']):#010x}")
    return ", ".join(parts) or "no session"


class Peer(Text):
    def line(self, value):
        detached = ", detached" if value["is_detached"] else ""
        return (f"peer {int(value['number'])} {fingerprint(value['public_key'])} "
                f"at {from_text(value['from'])}, worker {int(value['owner'])}, "
                f"{sessions_text(value['keypairs'])}, {int(value['n_staged'])} staged{detached}")


class Worker(Text):
    def line(self, value):
        counters = value["counters"]
        return (f"worker {int(value['id'])} on CPU {int(value['cpu'])}: "
                f"rx {counter(counters['rx_pkts'])}, opened {counter(counters['opened_pkts'])}, "
                f"sealed {counter(counters['sealed_pkts'])}, tx {counter(counters['tx_pkts'])}; "
                f"{int(value['n_staged'])} staged, {int(value['n_waiting'])} wait for a neighbour")


class Mbuf(Text):
    def line(self, value):
        pkt = value["hash"].address.cast(gdb.lookup_type("struct dp_pkt").pointer()).dereference()
        return (f"mbuf {int(value.address):#x}: data at {int(value['data_off'])}, "
                f"{int(value['data_len'])} bytes, {int(value['nb_segs'])} segment(s), "
                f"message at {int(pkt['payload_off'])}, {int(pkt['payload_len'])} bytes")


PRINTERS = {
    "cr_key": Key, "base_addr": Addr, "base_prefix": Prefix, "base_endpoint": Endpoint,
    "dp_from": From, "wg_keypair": Keypair, "dp_peer": Peer, "dp_worker": Worker,
    "rte_mbuf": Mbuf,
}


def choose_printer(value):
    kind = value.type.strip_typedefs().unqualified()
    if kind.code != gdb.TYPE_CODE_STRUCT:
        return None
    printer = PRINTERS.get(kind.tag)
    return printer(value) if printer else None


CANDIDATES = ("dp", "lab.dp", "lab->dp", "gw.tunnel->dp", "gw->tunnel->dp", "tunnel->dp")


def dp_here():
    """struct dp of the selected frame, or None."""
    for text in CANDIDATES:
        try:
            value = gdb.parse_and_eval(text)
            if value.type.strip_typedefs().target().unqualified().tag == "dp" and int(value):
                return value.dereference()
        except (gdb.error, gdb.MemoryError, RuntimeError, AttributeError):
            continue
    return None


def find_dp(argument):
    if argument:
        value = gdb.parse_and_eval(argument)
        return value.dereference() if value.type.code == gdb.TYPE_CODE_PTR else value
    selected = gdb.selected_thread()
    frame = gdb.selected_frame() if selected else None
    try:
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            at = gdb.newest_frame()
            while at:
                at.select()
                found = dp_here()
                if found:
                    return found
                at = at.older()
    finally:
        if selected:
            selected.switch()
            frame.select()
    raise gdb.GdbError("no struct dp in any stack; name it: sandd-peers EXPRESSION")


def drop_names():
    """The reasons, as counters name them."""
    names = {}
    for field in gdb.lookup_type("enum dp_drop").fields():
        names[field.enumval] = field.name.replace("DP_DROP_", "").lower()
    first = gdb.parse_and_eval("(int)DP_DROP_HANDSHAKE_FIRST")
    for field in gdb.lookup_type("enum wg_verdict").fields():
        verdict = field.name.replace("WG_VERDICT_", "").lower()
        if field.enumval >= 1:
            names.setdefault(int(first) + field.enumval - 1, f"handshake_{verdict}")
    names[int(first)] = "handshake_malformed"
    return names


class Peers(gdb.Command):
    """Every peer of the dataplane. sandd-peers [DP]"""

    def __init__(self):
        super().__init__("sandd-peers", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        peers = find_dp(argument)["peers"]
        for i in range(int(peers["capacity"])):
            if int(peers["by_number"][i]):
                print(Peer(peers["by_number"][i].dereference()).to_string())
        print(f"{int(peers['count'])} peer(s)")


class Workers(gdb.Command):
    """Every worker of the dataplane. sandd-workers [DP]"""

    def __init__(self):
        super().__init__("sandd-workers", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        dp = find_dp(argument)
        for i in range(int(dp["n_workers"])):
            print(Worker(dp["workers"][i]).to_string())


class Drops(gdb.Command):
    """Dropped packets by reason, over all threads. sandd-drops [DP]"""

    def __init__(self):
        super().__init__("sandd-drops", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        dp = find_dp(argument)
        counts = [dp["workers"][i]["counters"]["drop_pkts"] for i in range(int(dp["n_workers"]))]
        counts += [dp["host_counters"]["drop_pkts"]]
        if int(dp["handshake"]):
            counts += handshake_counts(dp["handshake"].dereference())
        names, total = drop_names(), 0
        for i in range(int(gdb.parse_and_eval("(int)DP_DROP_COUNT"))):
            count = sum(counter(column[i]) for column in counts)
            total += count
            if count:
                print(f"{names.get(i, i)} {count}")
        print(f"{total} packet(s) dropped")


def handshake_counts(handshake):
    try:
        return [handshake["counters"]["drop_pkts"]]
    except gdb.error:
        return []


class Fingerprint(gdb.Function):
    """Eight characters of a public key. $fingerprint(KEY)"""

    def __init__(self):
        super().__init__("fingerprint")

    def invoke(self, key):
        return fingerprint(key)


gdb.pretty_printers.append(choose_printer)
Peers()
Workers()
Drops()
Fingerprint()
