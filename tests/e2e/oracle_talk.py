# SPDX-License-Identifier: Apache-2.0
"""Conversations drawn at random, packet by packet: mostly as they should be, sometimes not."""
import struct

import oracle_packets as pk
import oracle_program as program
from oracle_packets import ACK, FIN, PSH, RST, SYN, URG

PROTOCOLS = (pk.TCP,) * 6 + (pk.UDP,) * 4 + ("echo",) * 3 + (pk.SCTP, pk.ESP)
GATEWAYS = ("10.244.1.1", "fd00:244:1::1")
NONSENSE = (0, FIN, FIN | PSH | URG, SYN | FIN, SYN | RST, ACK | SYN | FIN, ACK, SYN | ACK, FIN | ACK, RST, PSH | ACK)


def owner_of(ip):
    """The pod that sends from an address."""
    for name, pod in program.PODS.items():
        if pk.packed(ip) in map(pk.packed, pod["ips"]):
            return name
    return program.REMOTE


class Talk:
    """One client, one destination. `seen`: what was last delivered to a server, (pod, Packet); its answers go back to where that came from."""

    def __init__(self, rng, uid, port, services):
        self.rng, self.uid, self.port, self.n = rng, uid, port, 0
        self.seen, self.over, self.history = None, False, []
        self.meddled = self.outside = self.closing = False
        self.judged, self.changed = True, False
        self.six = rng.random() < 0.4
        self.proto = rng.choice(PROTOCOLS)
        self.src = rng.choice([p["ips"][self.six] for p in program.PODS.values()] * 3 + [ip for ip in program.REMOTE_IPS if (":" in ip) == self.six])
        self.client = owner_of(self.src)
        self.dport = rng.choice(program.PORTS)
        self.service = None
        self.dst = self.draw_destination(services)
        self.cseq, self.sseq, self.phase = rng.randrange(1 << 32), rng.randrange(1 << 32), 0
        self.tag = rng.randrange(1, 1 << 32)

    def draw_destination(self, services):
        how = self.rng.random()
        mine = [(ip, s) for s in services for kind in program.ADDRESSES for ip in s.get(kind, []) if (":" in ip) == self.six]
        if self.client != program.REMOTE and how < 0.45:
            if how < 0.35 and mine:
                vip, s = self.rng.choice(mine)
                self.service = s["name"]
                if self.rng.random() < 0.85:
                    p = self.rng.choice(s["ports"])
                    self.dport = p["port"]
                    self.proto = {"TCP": pk.TCP, "UDP": pk.UDP, "SCTP": pk.SCTP}[p["protocol"]]
                return vip
            if how < 0.38:
                return self.rng.choice(program.VIPS[self.six])
            if how < 0.41:
                return GATEWAYS[self.six]
            if how < 0.44:
                return self.rng.choice(program.NOWHERE[self.six])
        there = [ip for ip in program.ips(self.six) if owner_of(ip) != self.client and
                 not (self.client == program.REMOTE and owner_of(ip) == program.REMOTE)]
        return self.rng.choice(there)

    def outlives_service(self):
        """Established TCP and SCTP stay where they went, whatever becomes of the service."""
        return self.dst not in program.VIPS[self.six] or self.phase >= {pk.TCP: 3, pk.SCTP: 4}.get(self.proto, 99)

    # -- packets -----------------------------------------------------------------------------------------------------
    def mark(self, more=0):
        self.n += 1
        return pk.MARK + struct.pack("!II", self.uid, self.n) + bytes(more)

    def packet(self, src, dst, segment, proto=None, ttl=64, **how):
        proto = self.proto if proto is None else proto
        if proto == "echo":
            proto = pk.ICMP6 if self.six else pk.ICMP
        return pk.ip_packet(src, dst, proto, segment, ttl=ttl, ident=self.uid * 16 + self.n & 0xffff, **how)

    def segment(self, sport, dport, flags=0, reply=False, chunk=None, more=0, seq_off=0, ack_off=0):
        """The next of this conversation's protocol, in one direction."""
        if self.proto == pk.TCP:
            data = b"" if flags & (SYN | FIN | RST) or not flags & PSH else self.mark(more)
            seq, ack = (self.sseq, self.cseq) if reply else (self.cseq, self.sseq)
            return pk.tcp(sport, dport, seq + seq_off, ack + ack_off if flags & ACK else 0, flags, data)
        if self.proto == pk.UDP:
            return pk.udp(sport, dport, self.mark(more))
        if self.proto == pk.SCTP:
            return pk.sctp(sport, dport, 0 if chunk == "init" else self.tag, self.chunk(chunk))
        if self.proto == "echo":
            kind = (129 if reply else 128) if self.six else (0 if reply else 8)
            return pk.icmp(kind, 0, struct.pack("!HH", sport if not reply else dport, self.n), self.mark(more))
        return self.mark(more)

    def chunk(self, kind):
        if kind in ("init", "init_ack"):
            body = struct.pack("!IIHHI", self.tag, 65536, 1, 1, 1) + (struct.pack("!HH", 7, 8) + b"cook" if kind == "init_ack" else b"")
            return struct.pack("!BBH", 1 if kind == "init" else 2, 0, 4 + len(body)) + body
        if kind == "data":
            body = struct.pack("!IHHI", 1, 0, 0, 0) + self.mark()
            return struct.pack("!BBH", 0, 3, 4 + len(body)) + body
        return {"cookie": struct.pack("!BBH", 10, 0, 8) + b"cook", "cookie_ack": struct.pack("!BBH", 11, 0, 4)}[kind]

    def ask(self, flags=0, chunk=None, **how):
        """From the client to where it believes the server is."""
        more, off = how.pop("more", 0), how.pop("off", (0, 0))
        s = self.segment(self.port, self.dport, flags, False, chunk, more, *off)
        return (self.client, self.packet(pk.packed(self.src), pk.packed(self.dst), s, **how))

    def answer(self, flags=0, chunk=None, **how):
        """From whoever got the client's packet, to where that came from."""
        pod, p = self.seen
        s = self.segment(p.dport or 0, p.sport or 0, flags, True, chunk, 0, *how.pop("off", (0, 0)))
        if self.proto == "echo":
            s = pk.icmp(s[0], 0, struct.pack("!HH", p.sport, 0), s[8:])
        return (pod, self.packet(p.dst, p.src, s, **how))

    def error(self, forged=False, by=None):
        """An ICMP error about what a server got, in its own name or (by) in somebody else's."""
        pod, p = self.seen
        kinds = ((1, 4), (1, 1), (2, 0), (3, 0)) if self.six else ((3, 3), (3, 1), (3, 4), (11, 0), (3, 13))
        kind, code = self.rng.choice(kinds)
        rest = struct.pack("!I", 1300) if (kind, code) in ((2, 0), (3, 4)) else bytes(4)
        quote = bytearray(p.data[:p.end])
        if forged and self.proto in (pk.TCP, pk.UDP, pk.SCTP):
            quote[p.l4 + self.rng.choice((1, 3))] ^= 0x55
        elif forged:
            quote[p.l4 - 1] ^= 0x20
        if self.rng.random() < 0.5 and self.proto != pk.ESP:
            quote = quote[:p.l4 + 8]
        src = p.dst if by is None else pk.packed(program.PODS[by]["ips"][self.six])
        return (by or pod, self.packet(src, p.src, pk.icmp(kind, code, rest, bytes(quote)), pk.ICMP6 if self.six else pk.ICMP))

    def meddle(self):
        """An error from a pod that has no part in it."""
        self.meddled = True
        return self.error(by=self.rng.choice([n for n in sorted(program.PODS) if n not in (self.client, self.seen[0])]))

    # -- what comes next ---------------------------------------------------------------------------------------------
    def next(self):
        """[(pod, IP packet)] of the next step, or [] when there is nothing to say."""
        self.meddled = self.outside = False
        how = self.rng.random()
        if how < 0.12 and self.seen is not None and self.judged:
            return [self.rng.choice((self.error, self.error, lambda: self.error(forged=True),
                                     self.meddle))()]
        if how < 0.15 and not (self.six and self.service) and \
                not (self.proto in (pk.TCP, pk.SCTP) and 0 < self.phase < (3 if self.proto == pk.TCP else 4)):
            return [self.ask(SYN if self.phase == 0 else ACK, "init" if self.phase == 0 else "data", ttl=1)]
        if how < 0.18 and self.client != program.REMOTE:
            # Somebody else with this client's address.
            pod, p = self.ask(SYN, "init")
            return [(self.rng.choice([x for x in program.PODS if x != self.client]), p)]
        return {pk.TCP: self.next_tcp, pk.SCTP: self.next_sctp}.get(self.proto, self.next_plain)()

    def next_plain(self):
        if self.seen is not None and self.rng.random() < 0.5:
            return [self.answer(ttl=self.rng.choice((64, 64, 64, 2, 255)))]
        # Longer than the MTU of the way out (1450), if the way in takes it; a gateway's own long answer would be in fragments.
        longest = 1425 if self.client != program.REMOTE and self.proto != "echo" else 1300
        return [self.ask(more=self.rng.choice((0, 0, 1, 200, 1000, longest)), ttl=self.rng.choice((64, 64, 64, 2, 255)))]

    def next_sctp(self):
        steps = ("init", "init_ack", "cookie", "cookie_ack", "data", "data")
        if self.phase >= len(steps) or self.phase % 2 and self.seen is None:
            return []
        step = steps[self.phase]
        self.phase += 1
        return [(self.answer if self.phase % 2 == 0 else self.ask)(chunk=step)]

    def next_tcp(self):
        if self.rng.random() < 0.12:
            flags = self.rng.choice(NONSENSE)
            self.closing |= flags == FIN | ACK
            if flags == RST and self.phase < 3 and self.seen is not None:
                return [self.answer(RST | ACK, off=(0, 1 - self.phase))]
            # To a pod that reaches itself, nonsense has no direction for Linux.
            itself = self.seen is not None and self.seen[0] == self.client
            if self.changed and self.service:
                # Nor is it translated, so that it has no service when that is gone.
                return self.proper_tcp()
            return [self.answer(flags) if self.seen is not None and not itself and self.rng.random() < 0.5 else self.ask(flags)]
        if self.phase == 3 and self.rng.random() < 0.25 and not (self.changed and self.service):
            return [self.odd_tcp()]
        return self.proper_tcp()

    def odd_tcp(self):
        """In or out of the window (8192) by its sequence number or its acknowledgement, never near an edge: Weft's edges are an eighth wider."""
        flags = self.rng.choice((ACK | PSH, ACK, RST, RST | ACK))
        off = self.rng.choice(((3000, 0), (40000, 0), (-3000, 0), (-40000, 0), (0, 40000), (0, -3000), (0, -140000), (1 << 31, 0)))
        if flags & RST:
            # What it acknowledges does not matter to Weft, and to Linux its number does not after a FIN.
            off = (0 if self.closing else off[0], 0)
        itself, self.outside = self.seen[0] == self.client, not flags & RST
        return self.ask(flags, off=off) if itself or self.rng.random() < 0.5 else self.answer(flags, off=off)

    def proper_tcp(self):
        phase, heard = self.phase, self.seen is not None
        if phase == 0:
            if heard:
                self.phase, self.cseq = 1, self.cseq + 1
                return self.proper_tcp()
            return [self.ask(SYN)]
        if phase == 1:
            out = [self.answer(SYN | ACK)]
            self.sseq += 1
            self.phase = 2
            return out
        if phase == 2:
            self.phase = 3
            return [self.ask(ACK)]
        if phase == 3:
            if self.rng.random() < 0.2:
                self.phase = 4
            reply = self.rng.random() < 0.5
            out = [(self.answer if reply else self.ask)(ACK | PSH)]
            if reply:
                self.sseq += 12
            else:
                self.cseq += 12
            return out
        if phase == 4:
            self.phase = 5
            out = [self.ask(FIN | ACK)]
            self.cseq += 1
            return out
        if phase == 5:
            self.phase = 6
            out = [self.answer(FIN | ACK)]
            self.sseq += 1
            return out
        # The last ACK, and perhaps a new connection from the same port.
        self.phase = 7 if phase == 6 else self.rng.choice((7, 0))
        if self.phase == 0:
            self.cseq, self.sseq, self.seen = self.rng.randrange(1 << 32), self.rng.randrange(1 << 32), None
            return [self.ask(SYN)]
        return [self.ask(ACK)]
