# SPDX-License-Identifier: Apache-2.0
"""The underlay over af_packet and af_xdp: VXLAN to and from a Linux kernel, a gateway, hostile tunnels, neighbours, and the node itself."""
import hashlib
import os
import struct
import sys
import time

from lab import GATEWAY_MAC, NODE_IP, NODE_IP6, REMOTE_IP, REMOTE_VXLAN_MAC, VNI, sh, wait_for
from steps import Steps, expect, run

POD, POD6 = "10.244.1.5", "fd00:244:1::5"
FAR_POD, FAR_POD6 = "10.244.2.10", "fd00:244:2::10"
# A third node, behind a router.
ROUTER, FAR_NODE, THIRD_POD = "192.0.2.254", "198.51.100.2", "10.244.3.10"
STRANGER = "192.0.2.77"

# One datagram from an address of our own choice, its checksum computed or (argument 5) absent.
SEND_UDP = """import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if len(sys.argv) > 5:
    s.setsockopt(socket.SOL_SOCKET, 11, 1)
s.bind((sys.argv[1], 0))
for i in range(int(sys.argv[4])):
    s.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[2], 4789))
"""
RECEIVE_UDP = """import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("listening")
while True:
    print(s.recv(65536).decode())
"""


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def ip4(text):
    return bytes(int(n) for n in text.split("."))


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def vxlan(source, destination, text, vni=VNI, flags=0x08, port=9):
    """What a tunnel carries: the VXLAN header, then a UDP datagram in IPv4 in Ethernet."""
    payload = text.encode()
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0, ip4(source), ip4(destination))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    udp = struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload
    return struct.pack("!B3xI", flags, vni << 8) + mac(GATEWAY_MAC) + mac(REMOTE_VXLAN_MAC) + b"\x08\x00" + head + udp


class Story:
    def __init__(self, lab):
        self.lab = lab

    def start(self):
        lab = self.lab
        lab.start_switch()
        lab.apply(lab.network(), *lab.node_objects(), lab.remote_node(), *lab.tap_pod("pod", POD, POD6), *lab.tap_pod("closed", "10.244.1.6"))
        lab.tap_up("pod")
        lab.tap_up("closed")
        self.pod, self.remote, self.node = lab.pods["pod"]["netns"], lab.netns("remote"), lab.node
        for name, ns, ips in (("pod", self.pod, (POD, POD6)), ("far", self.remote, (FAR_POD, FAR_POD6)), ("node", self.node, (NODE_IP, NODE_IP6))):
            for ip in ips:
                lab.httpd(f"{name}-{ip}", ip, name, ns, big=20)
                lab.udp_echo(name, ns, ip, 7)
        port = next(p for p in lab.json("get", "Port")["objects"] if p["name"] == "uplink0")["status"]
        expect(port["phase"] == "ready" and port["port"]["up"], f"the uplink: {port}")
        return port["port"]["peer"]

    # -- talk -----------------------------------------------------------------------------------------------------
    def http(self, ns, ip, text, timeout=30):
        url = f"http://[{ip}]/" if ":" in ip else f"http://{ip}/"
        got = wait_for(f"{url} to answer", lambda: self.lab.curl(ns, url, 2), timeout)
        expect(got == text, f"{url} says {got!r}, not {text!r}")

    def udp(self, ns, ip):
        # As long as a datagram may be in a packet that is not cut.
        text = "x" * (1450 - (48 if ":" in ip else 28))
        expect(self.lab.udp_ask(ns, ip, 7, text) == text, f"no echo from {ip}")

    def ping(self, ns, ip, timeout=20, size=56):
        wait_for(f"{ip} to answer", lambda: self.lab.ping(ns, ip, timeout=1, size=size), timeout)

    def download(self, ns, server, ip):
        with open(os.path.join(self.lab.dir, f"www-{server}-{ip}", "big"), "rb") as f:
            want = hashlib.sha256(f.read()).hexdigest()
        host = f"[{ip}]" if ":" in ip else ip
        got = sh("sh", "-c", f"curl -gsS --max-time 90 http://{host}/big | sha256sum", netns=ns, timeout=100).stdout.split()[0]
        expect(got == want, f"what was downloaded from {ip} differs")

    def both_ways(self):
        for ns, ip, name in ((self.pod, FAR_POD, "far"), (self.pod, FAR_POD6, "far"), (self.remote, POD, "pod"), (self.remote, POD6, "pod")):
            self.ping(ns, ip)
            self.ping(ns, ip, size=1450 - (48 if ":" in ip else 28))
            self.http(ns, ip, name)
            self.udp(ns, ip)
            self.download(ns, name, ip)
        return "ping, TCP (20 MB each), UDP, full-sized, IPv4 and IPv6"

    def node_itself(self):
        """The host port, while the switch owns the uplink."""
        for ns, ip, name in ((self.node, POD, "pod"), (self.pod, NODE_IP, "node"), (self.remote, NODE_IP, "node"),
                             (self.node, POD6, "pod"), (self.pod, NODE_IP6, "node")):
            self.ping(ns, ip)
            self.http(ns, ip, name)
        for ns, ip in ((self.node, POD), (self.pod, NODE_IP), (self.remote, NODE_IP), (self.node, POD6), (self.pod, NODE_IP6)):
            self.udp(ns, ip)
        self.download(self.remote, "node", NODE_IP)
        self.download(self.node, "pod", POD)

    def node_goes_out(self):
        server = self.lab.httpd("underlay", REMOTE_IP, "underlay", self.remote)
        self.ping(self.node, REMOTE_IP)
        self.http(self.node, REMOTE_IP, "underlay")
        server.stop()

    # -- what must not pass -----------------------------------------------------------------------------------------
    def drops(self, reason):
        return sum(row["packets"] for row in self.lab.json("drops")["drops"] if row["reason"] == reason and row["port"] == "uplink0")

    def tunnel(self, data, source=REMOTE_IP, n=5, no_checksum=False):
        sh(sys.executable, "-c", SEND_UDP, source, NODE_IP, data.hex(), str(n), *(["no"] if no_checksum else []), netns=self.remote)

    def hostile(self):
        sh("ip", "addr", "add", f"{STRANGER}/24", "dev", "up0", netns=self.remote)
        self.ping(self.remote, NODE_IP)
        inbox = self.lab.python("inbox", self.pod, RECEIVE_UDP, POD, 9)
        inbox.wait_output("listening", 20)
        # That such a frame is right but for what is wrong with it below.
        self.tunnel(vxlan(FAR_POD, POD, "good"), n=1)
        inbox.wait_output("good", 10)
        self.tunnel(vxlan(FAR_POD, POD, "unsummed"), n=1, no_checksum=True)
        inbox.wait_output("unsummed", 10)
        said = []
        for what, reason, data, source in (
                ("unknown VNI", "vxlan_vni", vxlan(FAR_POD, POD, "bad", vni=VNI + 1), REMOTE_IP),
                ("unknown VTEP", "vxlan_vtep", vxlan(FAR_POD, POD, "bad"), STRANGER),
                ("no I flag", "vxlan_header", vxlan(FAR_POD, POD, "bad", flags=0), REMOTE_IP),
                ("cut off", "vxlan_header", vxlan(FAR_POD, POD, "bad")[:7], REMOTE_IP),
                ("a pod of this node as source", "spoofed_ip", vxlan("10.244.1.6", POD, "bad"), REMOTE_IP),
                ("an address behind no VTEP as source", "spoofed_ip", vxlan("10.244.77.1", POD, "bad"), REMOTE_IP),
                ("the node as source", "spoofed_ip", vxlan(NODE_IP, POD, "bad"), REMOTE_IP)):
            before = self.drops(reason)
            self.tunnel(data, source)
            wait_for(f"{what}: 5 drops for {reason}", lambda: self.drops(reason) - before >= 5, 10)
            said.append(f"{what}: {reason}")
        # What was sent after them has come: what was sent before would be here.
        self.tunnel(vxlan(FAR_POD, POD, "last"), n=1)
        inbox.wait_output("last", 10)
        expect("bad" not in inbox.output(), f"the pod got {inbox.output()!r}")
        inbox.stop()
        sh("ip", "addr", "del", f"{STRANGER}/24", "dev", "up0", netns=self.remote)
        return "; ".join(said)

    def kernel_device_of_other_vni(self):
        """The same from a Linux VXLAN device with an id that the node does not know."""
        for args in (("ip", "link", "add", "vx9", "type", "vxlan", "id", "999", "dstport", "4789", "local", REMOTE_IP, "remote", NODE_IP, "nolearning"),
                     ("ip", "addr", "add", "10.99.0.1/24", "dev", "vx9"), ("ip", "link", "set", "vx9", "up"),
                     ("ip", "neigh", "add", "10.99.0.2", "lladdr", GATEWAY_MAC, "dev", "vx9")):
            sh(*args, netns=self.remote)
        before = self.drops("vxlan_vni")
        expect(not self.lab.ping(self.remote, "10.99.0.2", 2, timeout=1), "somebody answers")
        expect(self.drops("vxlan_vni") - before >= 2, f"{self.drops('vxlan_vni') - before} drops")
        sh("ip", "link", "del", "vx9", netns=self.remote)

    def kernel_is_quiet(self):
        """The node's kernel sees what comes in by the veth, too. It must not answer for the switch: no port unreachable, no reset."""
        snmp = sh("cat", "/proc/net/snmp", netns=self.node).stdout
        icmp = [line.split()[1:] for line in snmp.splitlines() if line.startswith("Icmp:")]
        sent = dict(zip(*icmp))["OutDestUnreachs"]
        expect(sent == "0", f"the kernel sent {sent} ICMP unreachables")

    # -- neighbours ---------------------------------------------------------------------------------------------------
    def uplink_mac(self):
        return sh("cat", "/sys/class/net/up0/address", netns=self.node).stdout.strip()

    def answers_arp(self):
        sh("ip", "neigh", "flush", "dev", "up0", netns=self.remote)
        self.ping(self.remote, NODE_IP)
        entry = sh("ip", "neigh", "show", NODE_IP, "dev", "up0", netns=self.remote).stdout
        expect(self.uplink_mac() in entry, f"{NODE_IP} is at {entry!r}, the uplink is {self.uplink_mac()}")
        sh("ip", "neigh", "flush", "dev", "up0", netns=self.remote)
        self.http(self.pod, FAR_POD, "far")

    def learns_new_mac(self):
        """The remote node comes up with another MAC and speaks first."""
        sh("ip", "link", "set", "up0", "address", "02:00:00:00:77:01", netns=self.remote)
        sh("ip", "neigh", "flush", "dev", "up0", netns=self.remote)
        begin = time.monotonic()
        self.ping(self.remote, POD)
        self.ping(self.pod, FAR_POD)
        return f"after {time.monotonic() - begin:.1f} s"

    def asks_for_new_mac(self):
        """It changes its MAC and says nothing: what the switch knows is wrong, and nothing but time tells."""
        # Its own questions would tell: it is given what it needs to know in the same breath.
        sh("ip", "-batch", "-", netns=self.remote, input="link set up0 address 02:00:00:00:77:02\n"
           f"neigh replace {NODE_IP} lladdr {self.uplink_mac()} dev up0 nud permanent\n")
        begin = time.monotonic()
        self.ping(self.pod, FAR_POD, 90)
        sh("ip", "neigh", "del", NODE_IP, "dev", "up0", netns=self.remote)
        return f"after {time.monotonic() - begin:.0f} s"

    # -- a gateway ------------------------------------------------------------------------------------------------------
    def gateway(self):
        lab = self.lab
        third = lab.netns("third")
        sh("ip", "link", "add", "down0", "netns", self.remote, "type", "veth", "peer", "name", "up0", "netns", third)
        for ns, args in ((self.remote, ("ip", "addr", "add", f"{ROUTER}/24", "dev", "up0")),
                         (self.remote, ("ip", "addr", "add", "198.51.100.1/24", "dev", "down0")),
                         (self.remote, ("ip", "link", "set", "down0", "up")),
                         (self.remote, ("sysctl", "-qw", "net.ipv4.ip_forward=1")),
                         (third, ("ethtool", "-K", "up0", "tx", "off")),
                         (third, ("ip", "addr", "add", f"{FAR_NODE}/24", "dev", "up0")),
                         (third, ("ip", "link", "set", "up0", "up")),
                         (third, ("ip", "route", "add", "default", "via", "198.51.100.1")),
                         (third, ("ip", "link", "add", "vx0", "address", "02:00:00:00:03:01", "mtu", "1450", "type", "vxlan", "id", str(VNI),
                                  "dstport", "4789", "local", FAR_NODE, "remote", NODE_IP, "nolearning")),
                         (third, ("ip", "link", "set", "vx0", "up")),
                         (third, ("ip", "addr", "add", f"{THIRD_POD}/32", "dev", "vx0")),
                         (third, ("ip", "route", "add", "10.244.1.0/24", "via", "10.244.1.1", "dev", "vx0", "onlink"))):
            sh(*args, netns=ns)
        lab.apply({"kind": "Route", "name": "default", "network": "underlay", "prefix": "0.0.0.0/0",
                   "nextHops": [{"ip": ROUTER, "port": "uplink0"}]},
                  {"kind": "Remote", "name": "node-3", "network": "default", "vtep": FAR_NODE, "mac": "02:00:00:00:03:01",
                   "prefixes": ["10.244.3.0/24"]})
        lab.httpd("third", THIRD_POD, "third", third)
        self.http(self.pod, THIRD_POD, "third")
        self.http(third, POD, "pod")
        lab.delete("Route", "default")
        expect(lab.curl(self.pod, f"http://{THIRD_POD}/", 1) is None, "it is reached without the Route")
        lab.delete("Remote", "node-3")
        self.http(self.pod, FAR_POD, "far")

    def link_down_and_up(self):
        sh("ip", "link", "set", "up0", "down", netns=self.remote)
        port = lambda: next(p for p in self.lab.json("get", "Port")["objects"] if p["name"] == "uplink0")["status"]["port"]
        wait_for("the uplink to be down", lambda: not port()["up"], 20)
        sh("ip", "link", "set", "up0", "up", netns=self.remote)
        wait_for("the uplink to be up", lambda: port()["up"], 20)
        self.http(self.pod, FAR_POD, "far")

    def again(self):
        """The switch is killed and started: the uplink works, and nobody needs to say anything."""
        self.lab.switch.kill()
        begin = time.monotonic()
        self.lab.run_switch()
        self.ping(self.pod, FAR_POD, 30)
        seconds = time.monotonic() - begin
        self.http(self.node, POD, "pod")
        self.http(self.remote, NODE_IP, "node")
        self.http(self.remote, POD, "pod")
        return f"the remote pod answers after {seconds:.1f} s"

    def balanced(self):
        wait_for("the books to balance", lambda: self.lab.json("status")["books"]["difference"] == 0, 10)


def story(lab, s, long=False):
    t = Story(lab)
    print(lab.uplink.split(",")[0])
    failed = s.failed
    s.step("the switch takes the uplink", t.start)
    if s.failed > failed:
        return
    s.step("VXLAN both ways", t.both_ways)
    s.step("host to pod, pod to host, remote node to the node's address", t.node_itself)
    s.step("the node reaches the remote node", t.node_goes_out)
    s.step("tunnelled frames that must not pass are dropped and counted", t.hostile)
    s.step("so is a Linux VXLAN device of another VNI", t.kernel_device_of_other_vni)
    s.step("the node's kernel did not answer for the switch", t.kernel_is_quiet)
    s.step("a gateway between the nodes, by Route", t.gateway)
    s.step("the remote node forgets its neighbours: the switch answers for its VTEP", t.answers_arp)
    s.step("a new MAC of the remote node is learnt when it speaks", t.learns_new_mac)
    if long:
        s.step("a new MAC of a silent remote node is asked for in time", t.asks_for_new_mac)
    s.step("the wire is down and up again", t.link_down_and_up)
    s.step("kill -9 of the switch, and a start", t.again)
    s.step("every packet is accounted for", t.balanced)


def main():
    steps = Steps()
    run(steps, lambda lab, s: story(lab, s, long=True), uplink="net_af_packet0,iface=up0")
    run(steps, story, uplink="net_af_xdp0,iface=up0")
    sys.exit(steps.finish())


if __name__ == "__main__":
    main()
