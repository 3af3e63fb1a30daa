# SPDX-License-Identifier: Apache-2.0
"""The way in and out, with a real kernel at the other end of the wire: pods that leave, clients from outside, and the node itself."""
import sys
import time

from lab import LabError, NODE_IP, REMOTE_IP, sh, wait_for
from steps import Steps, expect, run

POD, POD6, WEB, WEB6 = "10.244.1.5", "fd00:244:1::5", "10.244.1.6", "fd00:244:1::6"
FAR_POD = "10.244.2.10"
OUT_NODE, OUT_NODE6, OUT6 = NODE_IP, "2001:db8:77::1", "2001:db8:77::2"
# Behind a router that is the outside namespace itself: not on the uplink's own network.
BEYOND, BEYOND6 = "198.51.100.7", "2001:db8:99::7"
CLUSTER, CLUSTER6, EXTERNAL, EXTERNAL6 = "10.96.0.10", "fd00:96::10", "192.0.2.100", "2001:db8:77::100"
NODE_PORT = 30080
RANGE = [40000, 59999]

# Says to everybody who asks what address and port it sees, over TCP.
WHO = """import socket, sys, threading
def serve(ip, port):
    s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((ip, port))
    s.listen(64)
    while True:
        c, a = s.accept()
        c.recv(4096)
        body = f"{sys.argv[1]} sees {a[0]} {a[1]}\\n".encode()
        c.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
        c.close()
for where in sys.argv[2:]:
    ip, port = where.rsplit(",", 1)
    threading.Thread(target=serve, args=(ip, int(port))).start()
print("listening")
"""


def url(ip, port=80):
    return f"http://[{ip}]:{port}/" if ":" in ip else f"http://{ip}:{port}/"


class Story:
    def __init__(self, lab):
        self.lab = lab

    def service(self, policy="Cluster", backends=(WEB, WEB6), **more):
        return dict({"kind": "Service", "name": "web", "network": "default", "ips": [CLUSTER, CLUSTER6], "externalIPs": [EXTERNAL, EXTERNAL6],
                     "externalTrafficPolicy": policy,
                     "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080, "nodePort": NODE_PORT},
                               {"name": "echo", "protocol": "UDP", "port": 7, "nodePort": 30007}],
                     "backends": [{"ip": ip} for ip in backends]}, **more)

    def start(self):
        lab = self.lab
        lab.start_switch()
        network = lab.network(masquerade={"ips": [NODE_IP, OUT_NODE6], "portRange": RANGE})
        node, uplink, host = lab.node_objects()
        node["ips"] = [NODE_IP, OUT_NODE6]
        node["serviceCIDRs"].append("fd00:96::/112")
        host["ips"] = [f"{NODE_IP}/24", f"{OUT_NODE6}/64"]
        lab.apply(network, node, uplink, host, lab.remote_node(), *lab.tap_pod("pod", POD, POD6), *lab.tap_pod("web", WEB, WEB6),
                  {"kind": "Route", "name": "default", "network": "underlay", "prefix": "0.0.0.0/0", "nextHops": [{"ip": REMOTE_IP}]},
                  {"kind": "Route", "name": "default6", "network": "underlay", "prefix": "::/0", "nextHops": [{"ip": OUT6}]},
                  self.service())
        lab.tap_up("pod")
        lab.tap_up("web")
        self.pod, self.web, self.out, self.node = lab.pods["pod"]["netns"], lab.pods["web"]["netns"], lab.netns("remote"), lab.node
        for args in (("ip", "addr", "add", f"{OUT6}/64", "dev", "up0", "nodad"), ("ip", "addr", "add", f"{BEYOND}/32", "dev", "lo"),
                     ("ip", "addr", "add", f"{BEYOND6}/128", "dev", "lo", "nodad")):
            sh(*args, netns=self.out)
        self.who("out", self.out, *(f"{ip},80" for ip in (REMOTE_IP, OUT6, BEYOND, BEYOND6)))
        self.who("web", self.web, f"{WEB},8080", f"{WEB6},8080")
        self.who("far", self.out, f"{FAR_POD},8080")
        for name, ns, ip in (("out", self.out, BEYOND), ("out6", self.out, BEYOND6), ("web", self.web, WEB), ("web6", self.web, WEB6)):
            lab.udp_echo(name, ns, ip, 7)

    def who(self, name, ns, *where):
        p = self.lab.python(f"who-{name}", ns, WHO, name, *where)
        p.wait_output("listening", 20)
        return p

    def ask(self, ns, ip, port=80, timeout=20, tries=True):
        """Who answers, and whom it sees."""
        get = lambda: self.lab.curl(ns, url(ip, port), 3)
        got = wait_for(f"{url(ip, port)} to answer", get, timeout) if tries else get()
        return got.split() if got else None

    def sees(self, ns, ip, who, address, port=80):
        got = self.ask(ns, ip, port)
        expect(got[0] == who and got[2] in (address if isinstance(address, tuple) else (address,)),
               f"{url(ip, port)}: {' '.join(got)}, not {who} sees {address}")
        return got

    # -- out ----------------------------------------------------------------------------------------------------------
    def out_tcp(self):
        for ip in (REMOTE_IP, BEYOND, OUT6, BEYOND6):
            got = self.sees(self.pod, ip, "out", OUT_NODE6 if ":" in ip else NODE_IP)
            expect(RANGE[0] <= int(got[3]) <= RANGE[1], f"by port {got[3]}")

    def out_udp_and_ping(self):
        for ip in (BEYOND, BEYOND6):
            text = "x" * (1450 - (48 if ":" in ip else 28))
            for k in range(3):
                expect(self.lab.udp_ask(self.pod, ip, 7, text) == text, f"no echo from {ip}")
            wait_for(f"{ip} to answer a ping", lambda: self.lab.ping(self.pod, ip, timeout=1), 10)

    def out_errors(self):
        """A closed port out there: the pod's kernel is told by the error that comes back, at once."""
        for ip in (BEYOND, BEYOND6):
            script = ("import socket, sys; s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM); "
                      "s.settimeout(5); s.connect((sys.argv[1], 9999)); s.send(b'x')\ntry:\n s.recv(10)\nexcept ConnectionRefusedError: print('refused')")
            got = sh(sys.executable, "-c", script, ip, netns=self.pod, check=False).stdout
            expect("refused" in got, f"{ip}: {got!r}")

    def out_excluded(self):
        lab = self.lab
        lab.apply(lab.network(masquerade={"ips": [NODE_IP, OUT_NODE6], "portRange": RANGE, "exclude": [f"{BEYOND}/32"]}))
        sh("ip", "route", "add", f"{POD}/32", "via", NODE_IP, "dev", "up0", netns=self.out)
        # The way back by the wire, not by the tunnel that the same namespace has.
        self.sees(self.pod, BEYOND, "out", POD)
        self.sees(self.pod, BEYOND6, "out", OUT_NODE6)
        expect(self.ask(self.out, POD, tries=False) is None, "nothing that was not asked for")
        sh("ip", "route", "del", f"{POD}/32", "via", NODE_IP, "dev", "up0", netns=self.out)
        lab.apply(lab.network(masquerade={"ips": [NODE_IP, OUT_NODE6], "portRange": RANGE}))

    def node_still_goes_out(self):
        """The node shares the address, and its kernel keeps clear of the ports."""
        for k in range(5):
            for ip in (BEYOND, OUT6):
                sh("ip", "route", "replace", "default", "via", REMOTE_IP, "dev", "weft0", netns=self.node)
                got = self.sees(self.node, ip, "out", OUT_NODE6 if ":" in ip else NODE_IP)
                expect(not RANGE[0] <= int(got[3]) <= RANGE[1], f"the kernel used port {got[3]}")
        said = sh("cat", "/proc/sys/net/ipv4/ip_local_reserved_ports", netns=self.node).stdout.strip()
        expect(f"{RANGE[0]}-{RANGE[1]}" in said, f"reserved: {said!r}")
        return f"reserved: {said}"

    def kernel_ports(self):
        """The kernel is left ports of its own, or the range is refused; what was taken is given back."""
        lab, read = self.lab, lambda name: sh("cat", f"/proc/sys/net/ipv4/{name}", netns=self.node).stdout.split()
        before = read("ip_local_port_range")
        masquerade = lambda *port_range: lab.network(masquerade={"ips": [NODE_IP, OUT_NODE6], "portRange": port_range})
        try:
            lab.apply(masquerade(1024, 65535))
            raise AssertionError("a range that leaves the node nothing is taken")
        except LabError as e:
            expect("objects[0].masquerade.portRange" in str(e) and "net.ipv4.ip_local_port_range" in str(e), str(e))
        self.sees(self.pod, BEYOND, "out", NODE_IP)
        lab.apply(masquerade(int(before[0]), int(before[1])))
        got = self.sees(self.node, BEYOND, "out", NODE_IP)
        expect(int(got[3]) < int(before[0]), f"the kernel used port {got[3]}")
        lab.apply(lab.network())
        expect(read("ip_local_port_range") == before, f"{read('ip_local_port_range')}, not {before}")
        expect(read("ip_local_reserved_ports") == ["30007,30080"], f"still reserved: {read('ip_local_reserved_ports')}")
        expect(self.ask(self.pod, BEYOND, tries=False) is None, "out without masquerade")
        lab.apply(masquerade(*RANGE))

    # -- in -----------------------------------------------------------------------------------------------------------
    def in_cluster(self):
        for ip, port in ((EXTERNAL, 80), (EXTERNAL6, 80), (NODE_IP, NODE_PORT), (OUT_NODE6, NODE_PORT)):
            self.sees(self.out, ip, "web", OUT_NODE6 if ":" in ip else NODE_IP, port)
        for ip, port in ((EXTERNAL, 7), (EXTERNAL6, 7), (NODE_IP, 30007)):
            expect(self.lab.udp_ask(self.out, ip, port, "hello") == "hello", f"no echo from {ip}:{port}")
        expect(self.lab.ping(self.out, EXTERNAL) and self.lab.ping(self.out, EXTERNAL6), "a ping of the address is answered")

    def in_local(self):
        self.lab.apply(self.service("Local"))
        for ip, port in ((EXTERNAL, 80), (EXTERNAL6, 80), (NODE_IP, NODE_PORT)):
            self.sees(self.out, ip, "web", (OUT6,) if ":" in ip else (REMOTE_IP,), port)
        self.lab.apply(self.service("Local", (FAR_POD,)))
        expect(self.ask(self.out, EXTERNAL, tries=False) is None, "no backend here, and yet an answer")

    def in_remote_backend(self):
        self.lab.apply(self.service("Cluster", (FAR_POD,)))
        for ip, port in ((EXTERNAL, 80), (NODE_IP, NODE_PORT)):
            self.sees(self.out, ip, "far", "10.244.1.1", port)
        self.lab.apply(self.service())

    def in_refused(self):
        begin = time.monotonic()
        r = sh("curl", "-sS", "-g", "--max-time", "5", url(EXTERNAL, 81), netns=self.out, check=False)
        expect(r.returncode == 7 and time.monotonic() - begin < 2, f"curl: {r.returncode} {r.stderr}")

    def in_policy(self):
        """A client from outside is judged by its own address, although the pod sees the node's."""
        rule = lambda cidr: {"kind": "Policy", "name": "p", "network": "default", "tier": "network", "endpoints": ["demo/web"], "types": ["Ingress"],
                             "ingress": [{"from": [{"cidr": cidr}]}]}
        self.lab.apply(rule(f"{NODE_IP}/32"))
        expect(self.ask(self.out, EXTERNAL, tries=False) is None, "the node's address opens the door to everybody")
        self.lab.apply(rule(f"{REMOTE_IP}/32"))
        self.sees(self.out, EXTERNAL, "web", NODE_IP)
        self.lab.delete("Policy", "p")

    # -- the node -------------------------------------------------------------------------------------------------------
    def node_services(self):
        for ip in (CLUSTER, CLUSTER6, EXTERNAL):
            self.sees(self.node, ip, "web", OUT_NODE6 if ":" in ip else NODE_IP)
        self.sees(self.node, FAR_POD, "far", "10.244.1.1", 8080)
        self.lab.apply(self.service("Cluster", (FAR_POD,)))
        self.sees(self.node, CLUSTER, "far", "10.244.1.1")
        self.lab.apply(self.service())

    def node_backend(self):
        """kubernetes.default: the backend is the node itself, or another node."""
        self.who("node", self.node, f"{NODE_IP},6443")
        self.who("other", self.out, f"{REMOTE_IP},6443")
        api = lambda ip: {"kind": "Service", "name": "kubernetes", "network": "default", "ips": ["10.96.0.1"],
                          "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}], "backends": [{"ip": ip}]}
        self.lab.apply(api(NODE_IP))
        self.sees(self.pod, "10.96.0.1", "node", POD, 443)
        self.sees(self.node, "10.96.0.1", "node", "10.244.1.1", 443)
        self.lab.apply(api(REMOTE_IP))
        self.sees(self.pod, "10.96.0.1", "other", NODE_IP, 443)

    def kernel_said(self):
        """Resets and unreachables that the node's kernel has sent."""
        snmp = sh("cat", "/proc/net/snmp", netns=self.node).stdout
        rows = [line.split()[1:] for line in snmp.splitlines() if line.startswith(("Icmp:", "Tcp:"))]
        sent = {**dict(zip(*rows[0:2])), **dict(zip(*rows[2:4]))}
        return {name: int(sent[name]) for name in ("OutDestUnreachs", "OutRsts")}

    def quietly(self, step):
        """Nobody of the node's own talks in the step: what its kernel says, it says in the switch's stead."""
        before = self.kernel_said()
        step()
        expect(self.kernel_said() == before, f"the kernel answered for the switch: {self.kernel_said()} after {before}")

    def again(self):
        """kill -9, and a start: the ways are there, and the reservation is still known for ours."""
        lab = self.lab
        lab.switch.kill()
        lab.run_switch()
        # The outside may hold on to what it knew of the old device.
        self.sees(self.pod, BEYOND, "out", NODE_IP)
        self.sees(self.out, EXTERNAL, "web", NODE_IP)
        self.sees(self.node, CLUSTER, "web", NODE_IP)
        lab.delete("Service", "web")
        lab.apply(lab.network())
        said = sh("cat", "/proc/sys/net/ipv4/ip_local_reserved_ports", netns=self.node).stdout.strip()
        expect(said == "", f"still reserved: {said}")

    def balanced(self):
        wait_for("the books to balance", lambda: self.lab.json("status")["books"]["difference"] == 0, 10)


def story(lab, s):
    t = Story(lab)
    print(lab.uplink.split(",")[0])
    failed = s.failed
    s.step("the switch, two pods, and somebody outside", t.start)
    if s.failed > failed:
        return
    s.step("a pod reaches servers outside over TCP, who see the node, on the link and beyond, IPv4 and IPv6", lambda: t.quietly(t.out_tcp))
    s.step("the same over UDP, full-sized, and pings", lambda: t.quietly(t.out_udp_and_ping))
    s.step("errors from outside come home", t.out_errors)
    s.step("an excluded destination sees the pod itself", t.out_excluded)
    s.step("the node goes out by the same address", t.node_still_goes_out)
    s.step("its kernel keeps ports of its own", t.kernel_ports)
    s.step("from outside: external addresses and node ports, policy Cluster", lambda: t.quietly(t.in_cluster))
    s.step("policy Local: the pod sees the client", lambda: t.quietly(t.in_local))
    s.step("a backend on another node", lambda: t.quietly(t.in_remote_backend))
    s.step("an unknown port is refused at once", t.in_refused)
    s.step("policy judges the client itself", t.in_policy)
    s.step("the node reaches services and remote pods", t.node_services)
    s.step("backends that are nodes", t.node_backend)
    s.step("kill -9 of the switch, and a start", t.again)
    s.step("every packet is accounted for", t.balanced)


if __name__ == "__main__":
    steps = Steps()
    run(steps, story, uplink="net_af_packet0,iface=up0")
    run(steps, story, uplink="net_af_xdp0,iface=up0")
    sys.exit(steps.finish())
