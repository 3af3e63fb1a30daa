# SPDX-License-Identifier: Apache-2.0
"""Datagrams longer than any packet, between Linux kernels: they break them up, the switch forwards the pieces, the other side puts them
together again. Pods on one node, a remote node behind VXLAN, directly and through services, IPv4 and IPv6, in order and not."""
import sys

from lab import GATEWAY, GATEWAY6, GATEWAY_MAC, NODE_IP, sh, wait_for
from steps import expect, main

A, A6 = "10.244.1.5", "fd00:244:1::5"
B, B6 = "10.244.1.6", "fd00:244:1::6"
FAR, FAR6 = "10.244.2.10", "fd00:244:2::10"
# Services: of b, and of the pod on the remote node.
VIP, VIP6, FAR_VIP, FAR_VIP6 = "10.96.0.10", "fd00:96::10", "10.96.0.20", "fd00:96::20"

# Fragments of our own making from a pod: the datagram's text, the order in which its pieces go, as "start:end" in units of eight bytes.
CRAFT = """import socket, struct, sys
src, dst, port, text, order, gateway = sys.argv[1:7]
v6 = ":" in src
family = socket.AF_INET6 if v6 else socket.AF_INET
a, b = socket.inet_pton(family, src), socket.inet_pton(family, dst)
answer = socket.socket(family, socket.SOCK_DGRAM)
answer.bind((src, 0))
answer.settimeout(2)
udp = struct.pack("!HHHH", answer.getsockname()[1], int(port), 8 + len(text), 0) + text.encode()
pseudo = a + b + (struct.pack("!IBBBB", len(udp), 0, 0, 0, 17) if v6 else struct.pack("!BBH", 0, 17, len(udp)))
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp + b"\\0" * (len(udp) % 2)) or 0xffff) + udp[8:]
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
mac = wire.getsockname()[4]
ident = int.from_bytes(mac[4:], "big") ^ answer.getsockname()[1]
for piece in order.split():
    start, end = (8 * int(n) for n in piece.split(":"))
    data, more = udp[start:end], end < len(udp)
    if v6:
        head = struct.pack("!IHBB", 6 << 28, 8 + len(data), 44, 64) + a + b + struct.pack("!BBHI", 17, 0, start | more, ident)
    else:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), ident & 0xffff, start // 8 | more << 13, 64, 17, 0) + a + b
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    wire.send(bytes.fromhex(gateway.replace(":", "")) + mac + (b"\\x86\\xdd" if v6 else b"\\x08\\x00") + head + data)
try:
    print(answer.recv(65536).decode(), end="")
except socket.timeout:
    sys.exit(1)
"""


class Story:
    def __init__(self, lab):
        self.lab = lab

    def start(self):
        lab = self.lab
        lab.start_switch()
        services = [{"kind": "Service", "name": f"demo/{name}", "network": "default", "ips": [vip],
                     "ports": [{"name": "echo", "protocol": "UDP", "port": 77, "targetPort": 7}], "backends": [{"ip": backend}]}
                    for name, vip, backend in (("b4", VIP, B), ("b6", VIP6, B6), ("far4", FAR_VIP, FAR), ("far6", FAR_VIP6, FAR6))]
        lab.apply(lab.network(), *lab.node_objects(), lab.remote_node(), *lab.tap_pod("a", A, A6), *lab.tap_pod("b", B, B6), *services)
        lab.tap_up("a")
        lab.tap_up("b")
        self.a, self.b, self.far = lab.pods["a"]["netns"], lab.pods["b"]["netns"], lab.netns("remote")
        for name, ns, ips in (("a", self.a, (A, A6)), ("b", self.b, (B, B6)), ("far", self.far, (FAR, FAR6)), ("node", lab.node, (NODE_IP,))):
            for ip in ips:
                lab.udp_echo(f"{name}-{ip}", ns, ip, 7)
        for ns, ip, port in ((self.a, B, 7), (self.a, FAR, 7), (self.a, B6, 7), (self.a, FAR6, 7), (self.far, A, 7), (self.far, A6, 7), (self.a, NODE_IP, 7)):
            wait_for(f"{ip} to echo", lambda: lab.udp_ask(ns, ip, port, timeout=1), 30)

    def drops(self):
        return {row["reason"]: row["packets"] for row in self.lab.json("drops")["drops"] if row["reason"].startswith("fragment")}

    def echoes(self, *what):
        for ns, ip, port in what:
            for size in (1600, 8000, 60000):
                text = "".join(chr(97 + (i * 7 + i // 31) % 26) for i in range(size))
                got = self.lab.udp_ask(ns, ip, port, text, timeout=10)
                expect(got == text, f"{size} bytes to {ip}: {'nothing' if got is None else 'something else'} came back")
        expect(not self.drops(), f"{self.drops()}")

    def pods(self):
        self.echoes((self.a, B, 7), (self.a, B6, 7), (self.b, A, 7), (self.b, A6, 7))
        return "1,600, 8,000 and 60,000 bytes"

    def service(self):
        self.echoes((self.a, VIP, 77), (self.a, VIP6, 77))

    def tunnel(self):
        self.echoes((self.a, FAR, 7), (self.a, FAR6, 7), (self.far, A, 7), (self.far, A6, 7))

    def service_of_the_far_pod(self):
        self.echoes((self.a, FAR_VIP, 77), (self.a, FAR_VIP6, 77))

    def node(self):
        self.echoes((self.a, NODE_IP, 7), (self.lab.node, A, 7))

    def long_pings(self):
        for ns, ip in ((self.a, B), (self.a, B6), (self.a, FAR), (self.a, FAR6), (self.far, A), (self.far, A6), (self.a, NODE_IP),
                       (self.a, GATEWAY), (self.a, GATEWAY6), (self.a, VIP), (self.a, VIP6)):
            expect(self.lab.ping(ns, ip, 2, size=4000), f"ping -s 4000 {ip}")
        expect(not self.drops(), f"{self.drops()}")

    def craft(self, src, dst, port, order, timeout_ok=False):
        text = "0123456789abcdef" * 20  # 328 bytes of UDP: 41 units
        r = sh(sys.executable, "-c", CRAFT, src, dst, str(port), text, order, GATEWAY_MAC, netns=self.a, check=False)
        expect(r.returncode in (0, 1) and not r.stderr, r.stderr[-400:])
        expect(timeout_ok or r.stdout == text, f"{order} to {dst}: {r.stdout!r}")
        return r.stdout

    def out_of_order(self):
        for src, dst, port in ((A, B, 7), (A6, B6, 7), (A, VIP, 77), (A6, VIP6, 77), (A, FAR, 7), (A6, FAR6, 7), (A, FAR_VIP, 77), (A6, FAR_VIP6, 77)):
            for order in ("0:10 10:30 30:41", "30:41 10:30 0:10", "10:30 0:10 30:41", "30:41 0:1 20:30 1:20"):
                self.craft(src, dst, port, order)
        expect(not self.drops(), f"{self.drops()}")
        return "the first may be the last"

    def contradictory(self):
        """A kernel would drop these, too: here it never sees the piece that contradicts."""
        for src, dst in ((A, B), (A6, B6)):
            for order, reason in (("0:10 8:30 30:41", "fragment_overlap"), ("30:41 25:35 0:30", "fragment_overlap"), ("10:41", None)):
                before = self.drops()
                expect(not self.craft(src, dst, 7, order, timeout_ok=True), f"{order} was answered")
                counted = self.drops().get(reason, 0) - before.get(reason, 0)
                expect(reason is None or counted >= 1, f"{order}: {self.drops()}")
            self.craft(src, dst, 7, "0:10 0:10 10:41 10:41")
        wait_for("what waited for its first to be dropped", lambda: self.drops().get("fragment_timeout", 0) >= 2, 10)
        return str(self.drops())

    def nothing_is_left(self):
        wait_for("nothing to be held", lambda: sum(w["held"] for w in self.lab.json("stats")["workers"]) == 0, 10)


def story(lab, steps):
    s = Story(lab)
    steps.step("two pods and a pod on a node that is a Linux kernel talk", s.start)
    steps.step("long datagrams between pods", s.pods)
    steps.step("through a service", s.service)
    steps.step("through the tunnel, both ways", s.tunnel)
    steps.step("through a service whose backend is on the other node", s.service_of_the_far_pod)
    steps.step("to the node and from it", s.node)
    steps.step("ping -s 4000, also to the gateway and a service address", s.long_pings)
    steps.step("out of order", s.out_of_order)
    steps.step("overlapping, without a first, twice", s.contradictory)
    steps.step("nothing is held when all is said", s.nothing_is_left)


if __name__ == "__main__":
    main(story)
