# SPDX-License-Identifier: Apache-2.0
"""Raw frames into and out of pods' interfaces, and a barrier that tells when all that was sent has been dealt with."""
import ctypes
import errno
import json
import os
import select
import socket
import struct
import time

from lab import NODE_IP, REMOTE_IP, VNI, LabError, sh
import oracle_packets as pk

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
ECHO_ID = 0xfffe


def in_netns(name, fn):
    """fn() with this thread in a namespace, and back."""
    here, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if LIBC.setns(there, CLONE_NEWNET) != 0:
            raise LabError(f"setns {name}: {os.strerror(ctypes.get_errno())}")
        return fn()
    finally:
        LIBC.setns(here, CLONE_NEWNET)
        os.close(here)
        os.close(there)


def packet_socket(netns, ifname):
    def make():
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        s.bind((ifname, 3))
        s.setblocking(False)
        return s
    return in_netns(netns, make)


class Tunnel:
    """The other node's end of VXLAN, spoken by hand on the wire of the uplink."""

    def __init__(self, lab, pod, spec):
        self.pod, self.spec = pod, spec
        ns = lab.netns("remote")
        for args in (("ip", "link", "set", "up0", "up"), ("ip", "addr", "add", f"{REMOTE_IP}/24", "dev", "up0"),
                     # It answers ARP, and leaves tunnels alone.
                     ("nft", "add table ip quiet; add chain ip quiet in { type filter hook input priority 0; policy drop; }")):
            sh(*args, netns=ns)
        link = lambda ns: pk.mac(json.loads(sh("ip", "-j", "link", "show", "up0", netns=ns).stdout)[0]["address"])
        self.ends = link(lab.node) + link(ns)
        self.socket = packet_socket(ns, "up0")

    def wrap(self, frame):
        # RFC 7348: the outer UDP checksum may be zero.
        outer = struct.pack("!HHHHII", 50000, 4789, 16 + len(frame), 0, 8 << 24, VNI << 8) + frame
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(outer), 0, 0x4000, 64, pk.UDP, 0) + pk.packed(REMOTE_IP) + pk.packed(NODE_IP)
        return self.ends + b"\x08\x00" + head[:10] + struct.pack("!H", pk.checksum(head)) + head[12:] + outer

    def unwrap(self, frame):
        """The frame inside, or None."""
        if frame[12:14] != b"\x08\x00" or frame[23] != pk.UDP or frame[36:38] != b"\x12\xb5":
            return None
        return frame[50:]


class Wire:
    """Every pod of one world. What is between them is a router with `gateway` (its address and MAC)."""

    def __init__(self, name, netns, pods, gateway, gateway_mac):
        self.name, self.pods = name, pods
        self.gateway, self.gateway_mac = pk.packed(gateway), pk.mac(gateway_mac)
        self.socket = {p: packet_socket(netns, p) for p in pods}
        self.poll = select.poll()
        self.by_fd = {}
        for p, s in self.socket.items():
            self.poll.register(s, select.POLLIN)
            self.by_fd[s.fileno()] = p
        self.through = {}
        self.beat = 0

    def tunnel(self, t):
        """One pod more, behind a tunnel."""
        self.pods = dict(self.pods, **{t.pod: t.spec})
        self.socket[t.pod], self.through[t.pod] = t.socket, t
        self.poll.register(t.socket, select.POLLIN)
        self.by_fd[t.socket.fileno()] = t.pod

    def close(self):
        for s in self.socket.values():
            s.close()

    def frame(self, pod, packet):
        f = pk.ethernet(self.gateway_mac, self.pods[pod]["mac"], packet)
        return self.through[pod].wrap(f) if pod in self.through else f

    def send(self, pod, packet):
        frame, end = self.frame(pod, packet), time.monotonic() + 10
        while True:
            try:
                self.socket[pod].send(frame)
                return
            except OSError as e:
                # The device's queue is full while its reader waits for a core.
                if e.errno != errno.ENOBUFS or time.monotonic() > end:
                    raise LabError(f"{self.name}: {pod} cannot send {len(frame)} bytes: {e}")
            time.sleep(0.001)

    def _mark(self, pod):
        ip = self.pods[pod]["ip"]
        data = struct.pack("!HH", ECHO_ID, self.beat & 0xffff)
        self.send(pod, pk.ip_packet(ip, self.gateway, pk.ICMP, pk.icmp(8, 0, data, b"")))

    def _is_mark(self, frame):
        """The number of the beat that a frame answers, None for any other frame, -1 for what is not looked at: ARP, ND, MLD."""
        if frame[12:14] == b"\x08\x06":
            return -1
        if frame[12:14] == b"\x86\xdd" and (frame[38] == 0xff or frame[20] == pk.ICMP6 and frame[54] in range(130, 138)):
            return -1
        if frame[12:14] == b"\x08\x00" and frame[23] == pk.ICMP and frame[34] == 0 and frame[38:40] == struct.pack("!H", ECHO_ID):
            return struct.unpack_from("!H", frame, 40)[0]
        return None

    def _barrier(self, pods, out):
        """All that pods sent before is through: each one's gateway has answered an echo sent after it."""
        self.beat += 1
        waiting, end = set(pods), time.monotonic() + 10
        for p in pods:
            self._mark(p)
        while waiting:
            if time.monotonic() > end:
                raise LabError(f"{self.name}: the gateway does not answer {', '.join(sorted(waiting))}")
            for fd, _ in self.poll.poll(100):
                pod = self.by_fd[fd]
                while True:
                    try:
                        frame = self.socket[pod].recv(4096)
                    except BlockingIOError:
                        break
                    if pod in self.through:
                        frame = self.through[pod].unwrap(frame)
                    mark = self._is_mark(frame) if frame else -1
                    if mark is None:
                        out.append((pod, frame))
                    elif mark == self.beat & 0xffff:
                        waiting.discard(pod)

    def exchange(self, packets):
        """Send [(pod, IP packet)] in order; everything that comes out anywhere, [(pod, frame)]."""
        out = []
        if not packets:
            return out
        for pod, packet in packets:
            self.send(pod, packet)
        pods = sorted({pod for pod, _ in packets})
        # Twice: what the first answer overtook at another pod's interface is there before the second.
        self._barrier(pods, out)
        self._barrier(pods[:1], out)
        return out
