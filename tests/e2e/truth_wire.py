# SPDX-License-Identifier: Apache-2.0
"""The packets of truth tables: questions that carry their number, answers to them, and every actor's raw wire."""
import json
import select
import socket
import struct
import time

import oracle_packets as pk
from lab import GATEWAY, GATEWAY_MAC, LabError, sh
from oracle_wire import ECHO_ID, Tunnel, packet_socket

MAGIC = b"trth"
SO_RCVBUFFORCE = 33
NUMBER = {"TCP": pk.TCP, "UDP": pk.UDP, "SCTP": pk.SCTP}
MASK = 0x5a5a5a5a
UPLINK_BURST = 200


def payload(kind, uid):
    return MAGIC + kind + struct.pack("!I", uid)


def question(proto, sport, dport, uid, six, more=False):
    """The first packet of a connection, or with `more` one of its later ones."""
    data = payload(b"m" if more else b"q", uid)
    if proto == "TCP":
        return pk.tcp(sport, dport, uid + 1, (uid ^ MASK) + 1, pk.ACK | pk.PSH, data) if more else pk.tcp(sport, dport, uid, 0, pk.SYN)
    if proto == "UDP":
        return pk.udp(sport, dport, data)
    if proto == "SCTP":
        if more:
            return pk.sctp(sport, dport, uid ^ MASK, struct.pack("!BBH", 10, 0, 16) + data.ljust(12, b"\0"))
        return pk.sctp(sport, dport, 0, struct.pack("!BBHIIHHI", 1, 0, 20, uid, 65536, 1, 1, uid))
    return pk.icmp(128 if six else 8, 0, struct.pack("!HH", sport, 2 if more else 1), data)


def reply(p, kind, uid):
    """The answer of whoever got packet p, with the addresses that p had there."""
    if p.proto == pk.TCP:
        isn = uid ^ MASK
        data = payload(b"n", uid)
        return pk.tcp(p.dport, p.sport, isn, uid + 1, pk.SYN | pk.ACK) if kind == "q" else \
            pk.tcp(p.dport, p.sport, isn + 1, uid + 10, pk.ACK | pk.PSH, data)
    data = payload(b"r" if kind == "q" else b"n", uid)
    if p.proto == pk.UDP:
        return pk.udp(p.dport, p.sport, data)
    if p.proto == pk.SCTP:
        if kind == "q":
            return pk.sctp(p.dport, p.sport, uid, struct.pack("!BBHIIHHIHH", 2, 0, 28, uid ^ MASK, 65536, 1, 1, uid, 7, 8) + b"cook")
        return pk.sctp(p.dport, p.sport, uid, struct.pack("!BBH", 11, 0, 4))
    return pk.icmp(129 if p.v6 else 0, 0, p.segment[4:8], p.payload[:4] + (b"r" if kind == "q" else b"n") + p.payload[5:])


def identity(p):
    """(kind, number) of a packet: q, r first question and answer; m, n later ones; "rst" and "icmp" refusals."""
    if p.is_icmp and p.quote:
        kind = identity(p.quote)
        return ("icmp", kind[1]) if kind else None
    if p.proto == pk.TCP and len(p.segment) >= 20:
        if p.flags & pk.RST:
            return ("rst", p.ack - 1 & 0xffffffff)
        if p.flags & pk.SYN:
            return ("r", p.ack - 1 & 0xffffffff) if p.flags & pk.ACK else ("q", p.seq)
    elif p.proto == pk.TCP and len(p.segment) >= 8:
        return ("q", struct.unpack_from("!I", p.segment, 4)[0])
    if p.proto == pk.SCTP and len(p.segment) >= 16:
        chunk = p.segment[12]
        if chunk == 1 and len(p.segment) >= 20:
            return ("q", struct.unpack_from("!I", p.segment, 16)[0])
        tag = struct.unpack_from("!I", p.segment, 4)[0]
        if chunk in (2, 11):
            return ("r" if chunk == 2 else "n", tag)
        if chunk == 10:
            return ("m", tag ^ MASK)
        return None
    if p.payload[:4] == MAGIC:
        return (chr(p.payload[4]), struct.unpack_from("!I", p.payload, 5)[0])
    return None


class Wire:
    """Sockets at the wires of all actors. Everything behind the tunnel, and outside, shares the uplink's."""

    def __init__(self, lab, world, pods_ns):
        self.world, self.beat, self.mute = world, 0, set()
        remote = {"mac": pk.mac(next(p.mac for p in world.pods.values() if not p.local))}
        self.tunnel = Tunnel(lab, "remote", remote)
        self.gateway_mac, self.gateway = pk.mac(GATEWAY_MAC), pk.packed(GATEWAY)
        self.socket, self.mac, self.at = {}, {}, {}
        for a in world.actors.values():
            if a.kind in ("pod", "other") and a.local:
                self.socket[a.name], self.mac[a.name] = packet_socket(pods_ns, a.port), pk.mac(a.mac)
        self.socket["host"] = packet_socket(lab.node, "weft0")
        self.mac["host"] = pk.mac(link_mac(lab.node, "weft0"))
        sh("nft", "add table inet quiet; add chain inet quiet in { type filter hook input priority 0; policy drop; }; "
                  "add rule inet quiet in icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept", netns=lab.node)
        self.socket["up"] = self.tunnel.socket
        self.poll, self.by_fd = select.poll(), {}
        for name, s in self.socket.items():
            s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
            self.poll.register(s, select.POLLIN)
            self.by_fd[s.fileno()] = name
        self.ends = self.tunnel.ends

    def close(self):
        for s in self.socket.values():
            s.close()

    def send(self, actor, packet):
        if actor.kind == "out":
            name, frame = "up", pk.ethernet(self.ends[:6], self.ends[6:], packet)
        elif actor.kind == "pod" and not actor.local:
            name, frame = "up", self.tunnel.wrap(pk.ethernet(self.gateway_mac, self.tunnel.spec["mac"], packet))
        else:
            name, frame = actor.name, pk.ethernet(self.gateway_mac, self.mac[actor.name], packet)
        end = time.monotonic() + 10
        while True:
            try:
                self.socket[name].send(frame)
                return
            except OSError as e:
                # The device's queue is full while its reader waits for a core.
                if time.monotonic() > end:
                    raise LabError(f"{name} cannot send: {e}")
            time.sleep(0.0005)

    def read(self, name, frame, out):
        """Sort one frame: the number of a beat that came back, or a packet for the list."""
        inner = self.tunnel.unwrap(frame) if name == "up" else None
        if inner is not None:
            frame = inner
        kind = frame[12:14]
        if kind not in (b"\x08\x00", b"\x86\xdd"):
            return None
        p = pk.Packet(frame[14:])
        if p.is_icmp and p.kind in (0, 129) and p.sport == ECHO_ID:
            return struct.unpack_from("!H", p.segment, 6)[0]
        actor = name
        if name == "up":
            found = self.world.by_ip(p.dst) if inner is not None else None
            actor = found.name if found is not None else "out" if inner is None else None
        if actor is not None:
            out.append((actor, p))
        return None

    def barrier(self, out, only=None):
        """All that was sent before is through: the gateway has answered every wire (or `only` one) an echo that was sent after it."""
        self.beat += 1
        askers = {a.name: a for a in self.world.actors.values() if a.local}
        askers["up"] = next(p for p in self.world.pods.values() if not p.local)
        waiting = {only} if only else set(askers) - self.mute
        data = struct.pack("!HH", ECHO_ID, self.beat & 0xffff)
        for name in waiting:
            self.send(askers[name], pk.ip_packet(pk.packed(askers[name].ips[0]), self.gateway, pk.ICMP, pk.icmp(8, 0, data, b"")))
        end = time.monotonic() + 10
        while waiting:
            if time.monotonic() > end:
                raise LabError(f"the gateway does not answer {', '.join(sorted(waiting))}")
            for fd, _ in self.poll.poll(100):
                name = self.by_fd[fd]
                while True:
                    try:
                        frame = self.socket[name].recv(4096)
                    except BlockingIOError:
                        break
                    if self.read(name, frame, out) == self.beat & 0xffff:
                        waiting.discard(name)

    def exchange(self, packets):
        """Send [(actor, src, dst, protocol, segment)]; everything that comes out anywhere, [(actor's name, Packet)]."""
        out, up = [], 0
        for actor, src, dst, proto, segment in packets:
            # The uplink's ring tells nobody when it is full.
            up += not actor.local
            if up == UPLINK_BURST:
                self.barrier(out, "up")
                up = 0
            self.send(actor, pk.ip_packet(src, dst, proto, segment))
        # Twice: what the first answer overtook at another wire is there before the second.
        self.barrier(out)
        self.barrier(out)
        return out


def link_mac(netns, name):
    return json.loads(sh("ip", "-j", "link", "show", name, netns=netns).stdout)[0]["address"]
