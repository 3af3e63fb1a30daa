# SPDX-License-Identifier: Apache-2.0
"""What came out of Weft beside what came out of the kernel."""
import struct

from lab import GATEWAY, GATEWAY6
from oracle_kernel import NAMES, target
import oracle_packets as pk
import oracle_program as program

# Where the two may differ, and why. Everything else must be the same, byte for byte, Ethernet header included.
DIFFERENCES = (
    ("backend", "a new connection's backend is Weft's choice (Maglev); the kernel is told which, but both must have the same set of them"),
    ("identification", "of packets that the router itself makes: IP identification, DF, type of service, flow label"),
    ("router's name", "Linux sends the router's own errors about a translated packet in the name of the service address, Weft in the router's"),
    ("time exceeded", "about translated IPv6 packets is not sent by Linux; not drawn"),
    ("whose error", "Linux relays an ICMP error from anybody who can quote the conversation; of pods, Weft takes it from its two ends only"),
    ("no such protocol", "at the gateway: Linux says protocol unreachable, Weft port unreachable; the rules say the latter"),
    ("reset", "Linux forgets what was refused by a reset, and takes any number in a further one; Weft keeps it as closed, and checks; not drawn"),
    ("outside the window", "Linux drops data that the receiver would not take, Weft lets its receiver answer it; both drop such a reset"),
    ("quoted checksum", "the transport checksum inside a quote that was translated: nobody checks it, Weft leaves it"),
)
GATEWAYS = {pk.packed(GATEWAY), pk.packed(GATEWAY6)}
VIPS = {pk.packed(v) for family in program.VIPS for v in family}


def set_dscp(packet, dscp):
    b = bytearray(packet)
    if b[0] >> 4 == 4:
        b[1] = dscp << 2
        b[10:12] = b"\0\0"
        b[10:12] = struct.pack("!H", pk.checksum(bytes(b[:(b[0] & 15) * 4])))
    else:
        b[0], b[1] = 0x60 | dscp >> 2, b[1] & 15 | (dscp & 3) << 6
    return bytes(b)


def plain_header(b, at, made_here):
    """Take out of an IP header what may differ."""
    if b[at] >> 4 == 4:
        b[at + 1] = 0
        b[at + 10:at + 12] = b"\0\0"
        if made_here:
            b[at + 4:at + 8] = bytes(4)
    else:
        b[at], b[at + 1] = 0x60, b[at + 1] & 15
        if made_here:
            b[at + 1:at + 4] = bytes(3)


def made_by_router(p):
    if p.src in GATEWAYS or p.quote is not None and p.src == p.quote.dst and p.src in VIPS:
        return True
    if p.flags is not None and p.flags & pk.RST and p.window == 0:
        return True
    return p.src in VIPS and p.is_icmp and p.kind in (0, 129)


def canonical(pod, frame):
    p = pk.Packet(frame[14:])
    b = bytearray(p.data)
    plain_header(b, 0, made_by_router(p))
    if p.quote is not None:
        if p.quote.dst in VIPS and p.src in GATEWAYS:
            # See "router's name".
            at, n = (8, 16) if p.v6 else (12, 4)
            b[at:at + n] = p.quote.dst
        q = p.l4 + 8
        plain_header(b, q, False)
        at = {pk.TCP: 16, pk.UDP: 6, pk.SCTP: 8, pk.ICMP: 2, pk.ICMP6: 2}.get(p.quote.proto)
        if at is not None:
            at += q + p.quote.l4
            n = 4 if p.quote.proto == pk.SCTP else 2
            b[at:at + n] = bytes(len(b[at:at + n]))
        b[p.l4 + 2:p.l4 + 4] = b"\0\0"
    return (pod, frame[:14], bytes(b), p.sum_ok())


def show(pod, frame):
    p = pk.Packet(frame[14:])
    return f"{pod}: {p}" + ("" if p.sum_ok() else " WRONG CHECKSUM")


class Compare:
    def __init__(self, kernel, probes=0):
        self.kernel, self.errors, self.found, self.backends, self.probes = kernel, 0, [], {}, probes

    def believe(self, rules):
        """From now on these are in force."""
        self.backends = {(pk.packed(vip), NAMES[p["protocol"]], p["port"]): [(pk.packed(b["ip"]), target(p, b)) for b in backends]
                         for vip, _, p, backends, _ in rules.doors()}

    def choices(self, packet):
        p = pk.Packet(packet)
        return self.backends.get((p.dst, p.proto, p.dport), [])

    def steer(self, talk, packet, weft):
        """The packet for the kernel: with the number of the backend that Weft has chosen."""
        to = self.choices(packet)
        if len(to) > 1:
            for _, frame in weft:
                p = pk.Packet(frame[14:])
                if p.sport == talk.port and (p.dst, p.dport) in to:
                    return set_dscp(packet, to.index((p.dst, p.dport)))
        return packet

    def whose(self, by_port, frame):
        p = pk.Packet(frame[14:])
        for q in (p, p.quote):
            if q is not None:
                for port in (q.sport, q.dport):
                    if port in by_port:
                        return by_port[port]
                if q.uid() is not None:
                    return q.uid()[0]
        return None

    def other_backend(self, talk, packet, silent):
        """One of them says nothing, perhaps because it went to another of several backends. Is there one by which the kernel does the same?"""
        to = self.choices(packet)
        for i in range(1, len(to)):
            b = bytearray(set_dscp(packet, i))
            p = pk.Packet(bytes(b))
            self.probes += 1
            # A conversation of its own, that no rule can tell from the first.
            b = b[:p.l4] + pk.l4(p.proto, p.src, p.dst, struct.pack("!H", 60000 + self.probes % 5000) + bytes(b[p.l4 + 2:]))
            if silent == (not self.kernel.exchange([(talk.client, bytes(b))])):
                return True
        return False

    def judge(self, asked, weft, kernel):
        """Compare a step; how many packets came out of both alike."""
        talks = {t.uid: t for t, _, _ in asked}
        by_port = {t.port: t.uid for t in talks.values()}
        sorted_out = {uid: ([], []) for uid in talks}
        for side, out in enumerate((weft, kernel)):
            for pod, frame in out:
                uid = self.whose(by_port, frame)
                if uid not in talks:
                    self.found.append(f"{('weft', 'kernel')[side]} sends what nobody asked for: {show(pod, frame)}")
                    continue
                sorted_out[uid][side].append((pod, frame))
        alike = 0
        for t, pod, packet in asked:
            w, k = sorted_out[t.uid]
            self.errors += sum(made_by_router(pk.Packet(f[14:])) for _, f in w)
            said = lambda out: "; ".join(show(*o) for o in out) or "nothing"
            if sorted(canonical(*o) for o in w) != sorted(canonical(*o) for o in k):
                if t.outside and len(w) == 1 and not k:
                    continue
                t.over = True
                if t.meddled and not w:
                    continue
                if (not w) != (not k) and pod == t.client and self.other_backend(t, packet, not w):
                    continue
                text = f"sent {show(pod, bytes(14) + packet)}\n        weft:   {said(w)}\n        kernel: {said(k)}"
                if said(w) == said(k):
                    text += "".join(f"\n        {x[1].hex(' ', 4)}" for x in w + k)
                self.found.append(text + "".join(f"\n        before: {h}" for h in t.history))
                continue
            if w:
                t.judged = True
            elif not t.judged and t.seen is not None and t.proto in (pk.TCP, pk.SCTP):
                # Linux has followed the segment that policy stopped; Weft has not.
                t.over = True
            alike += len(w)
            if t.meddled and w:
                self.found.append(f"Weft takes an error from somebody else: {show(pod, bytes(14) + packet)}")
            t.history.append(f"{show(pod, bytes(14) + packet)} -> {said(w)}")
            for o, frame in w:
                p = pk.Packet(frame[14:])
                if p.flags is not None and p.flags & pk.RST:
                    t.over = True
                if pod == t.client and not made_by_router(p) and not p.is_error and (p.sport is None or p.sport == t.port) and p.kind not in (0, 129):
                    t.seen = (o, p)
        return alike
