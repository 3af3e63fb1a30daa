# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicy as its users tell it: real TCP, UDP and ping between kernel pods, IPv4 and IPv6, each change in force when apply returns."""
import concurrent.futures
import time

from lab import wait_for
from steps import expect, main

PODS = {"a": ("10.244.1.5", "fd00:244:1::5"), "b": ("10.244.1.6", "fd00:244:1::6"), "web": ("10.244.1.7", "fd00:244:1::7"),
        "db": ("10.244.1.8", "fd00:244:1::8")}
VIP, VIP6 = "10.96.0.10", "fd00:96::10"

TICKER = """import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen()
print("listening")
c, _ = s.accept()
while True:
    c.send(b".")
    time.sleep(0.02)
"""
LISTENER = """import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
s.settimeout(None)
while True:
    data = s.recv(4096)
    if not data:
        break
    print("." * len(data), end="")
"""


def policy(name, endpoints=("demo/web",), **more):
    return dict({"kind": "Policy", "name": name, "network": "default", "tier": "network", "endpoints": list(endpoints)}, **more)


def accept(peers=(), *ports, action="accept", direction="from"):
    return {"action": action, direction: list(peers), "ports": list(ports)}


def cidr(ip, *but):
    c = {"cidr": ip + ("" if "/" in ip else "/128" if ":" in ip else "/32")}
    return dict(c, **{"except": [f"{b}/32" for b in but]}) if but else c


TCP80, UDP7 = {"protocol": "TCP", "port": 80}, {"protocol": "UDP", "port": 7}


class Story:
    def __init__(self, lab):
        self.lab = lab
        self.pool = concurrent.futures.ThreadPoolExecutor(16)

    def start(self):
        lab = self.lab
        lab.start_switch()
        objects = []
        for name, ips in PODS.items():
            port, pod = lab.tap_pod(name, *ips)
            if name in ("web", "db"):
                pod["ports"] = [{"name": "http", "protocol": "TCP", "port": 80}, {"name": "alt", "protocol": "TCP", "port": 8080 if name == "web" else 80}]
            objects += [port, pod]
        lab.apply(lab.network(), *lab.node_objects(), *objects)
        for name in PODS:
            lab.tap_up(name)
        self.ns = {name: lab.pods[name]["netns"] for name in PODS} | {"node": lab.node}
        for name in PODS:
            for ip in PODS[name]:
                lab.httpd(f"{name}-{ip}", ip, name, self.ns[name])
                lab.udp_echo(name, self.ns[name], ip, 7)
            lab.httpd(f"{name}-8080", PODS[name][0], name, self.ns[name], port=8080)
        everything = [f"{x} {how} {y}" for x in (*PODS, "node") for y in PODS if x != y for how in ("tcp", "tcp6", "udp", "udp6")]
        # Servers start in their own time; from then on nothing is asked twice.
        wait_for("all to talk before there is any policy", lambda: all(self.pool.map(self.probe, everything)), 60)
        return f"{len(everything)} conversations"

    def probe(self, what, timeout=4):
        """"a tcp web", "a udp6 web", "node ping web", "a tcp:8080 web", "a tcp vip": does it work?"""
        source, how, to = what.split()
        how, _, port = how.partition(":")
        six = how.endswith("6")
        ip = {"vip": (VIP, VIP6)}.get(to, PODS.get(to))[six]
        ns = self.ns[source]
        if how.startswith("tcp"):
            host = f"[{ip}]" if six else ip
            return self.lab.curl(ns, f"http://{host}:{port or 80}/", timeout) is not None
        if how.startswith("udp"):
            return self.lab.udp_ask(ns, ip, 7, timeout=timeout) is not None
        return self.lab.ping(ns, ip, timeout=timeout)

    def drops(self, reason):
        return sum(row["packets"] for row in self.lab.json("drops")["drops"] if row["reason"] == reason)

    def now(self, works=(), fails=(), reason="policy_ingress"):
        """What works must at once; what does not must be counted as `reason`, each at least once."""
        before = self.drops(reason) if fails else 0
        good = list(zip(works, self.pool.map(self.probe, works)))
        bad = list(zip(fails, self.pool.map(lambda what: self.probe(what, 1), fails)))
        wrong = [f"{what} does not work" for what, ok in good if not ok] + [f"{what} works" for what, ok in bad if ok]
        expect(not wrong, "; ".join(wrong))
        if fails:
            counted = self.drops(reason) - before
            expect(counted >= len(fails), f"{counted} drops for {reason}, {len(fails)} at least should be there")

    def apply(self, *objects):
        self.lab.apply(*objects)

    def delete(self, *names):
        self.lab.weft("delete", "Policy", *names)

    NODE = ("node tcp web", "node udp web", "node ping web", "node tcp6 web")

    # -- stories --------------------------------------------------------------------------------------------------
    def isolated(self):
        self.apply(policy("deny-all"))
        self.now(works=("web tcp a", "web udp6 b", "web ping db", "a tcp b", *self.NODE),
                 fails=("a tcp web", "a udp web", "a ping web", "a tcp6 web", "a udp6 web", "b tcp:8080 web"))

    def frontend(self):
        """One policy isolates, another lets a set's members in; rules add up."""
        self.apply({"kind": "AddressSet", "name": "frontend", "network": "default", "members": [PODS["a"][0]]},
                   policy("allow-frontend", ingress=[accept([{"set": "frontend"}], TCP80)]))
        self.now(works=("a tcp web", *self.NODE), fails=("a tcp6 web", "a udp web", "a tcp:8080 web", "b tcp web", "b tcp6 web"))

    def members(self):
        """weft patch: in and out of the set."""
        weft = self.lab.weft
        weft("patch", "AddressSet", "frontend", "--add", f"members={PODS['b'][0]}", f"members={PODS['a'][1]}")
        self.now(works=("a tcp web", "a tcp6 web", "b tcp web"), fails=("b tcp6 web", "b udp web"))
        weft("patch", "AddressSet", "frontend", "--remove", f"members={PODS['a'][0]}")
        self.now(works=("a tcp6 web", "b tcp web"), fails=("a tcp web",))
        weft("patch", "AddressSet", "frontend", "--remove", f"members={PODS['a'][1]}", f"members={PODS['b'][0]}")
        self.now(works=self.NODE, fails=("a tcp web", "a tcp6 web", "b tcp web"))
        weft("patch", "AddressSet", "frontend", "--add", "members=10.244.1.0/29")
        self.now(works=("a tcp web", "b tcp web"), fails=("a tcp6 web", "db tcp web"))

    def adds_up(self):
        self.apply(policy("udp-but-b", ingress=[accept([cidr("10.244.1.0/24", PODS["b"][0]), cidr("fd00:244:1::/64")], UDP7)]),
                   policy("ranges", ingress=[accept([cidr(PODS["db"][0])], {"protocol": "TCP", "port": 8000, "endPort": 8090})]),
                   policy("echo", ingress=[accept([], {"protocol": "ICMP", "icmp": {"type": 8}})]))
        self.now(works=("a udp web", "db udp web", "b udp6 web", "db tcp:8080 web", "a ping web", "b tcp web"),
                 fails=("b udp web", "db tcp web", "a tcp:8080 web"))
        self.delete("udp-but-b", "ranges", "echo")
        self.now(fails=("a udp web", "db tcp:8080 web", "a ping web"))

    def named_port(self):
        """A port by its name: each endpoint says which number that is."""
        self.delete("deny-all", "allow-frontend")
        self.apply(policy("alt", endpoints=("demo/web", "demo/db"), ingress=[accept([], {"protocol": "TCP", "port": "alt"})]))
        self.now(works=("a tcp:8080 web", "a tcp db", "a tcp6 db"), fails=("a tcp web", "a tcp:8080 db"))
        self.delete("alt")
        self.now(works=("a tcp web", "a tcp:8080 db", "b udp6 web"))

    def egress(self):
        self.apply(policy("a-out", endpoints=("demo/a",), types=["Egress"], egress=[accept([cidr(PODS["web"][0])], TCP80, direction="to")]))
        self.now(works=("a tcp web", "b tcp a", "b udp6 a", "b tcp db", "node tcp a"),
                 fails=("a tcp db", "a tcp:8080 web", "a tcp6 web", "a udp web"), reason="policy_egress")
        self.delete("a-out")
        self.now(works=("a tcp db", "a udp web"))

    def tiers(self):
        """An administrator's rule goes first; what it passes on, NetworkPolicy decides; what nothing decides, the baseline."""
        self.apply(policy("admin", endpoints=("demo/web",), tier="admin", priority=10,
                          ingress=[accept([cidr(PODS["b"][0])], TCP80, action="deny"), accept([cidr(PODS["db"][0])], TCP80),
                                   accept([cidr(PODS["a"][0])], TCP80, action="pass")]),
                   policy("tenant", ingress=[accept([cidr(PODS["a"][0]), cidr(PODS["b"][0])], TCP80)]),
                   policy("base", endpoints=("demo/db",), tier="baseline", priority=1,
                          ingress=[accept([cidr(PODS["b"][0])], action="deny")]))
        self.now(works=("a tcp web", "db tcp web", "a tcp db", "node tcp web", "node tcp db"), fails=("b tcp web", "a udp web", "b tcp db", "b udp db"))
        # A NetworkPolicy that selects the pod goes before the baseline.
        self.apply(policy("db-open", endpoints=("demo/db",), ingress=[accept([cidr(PODS["b"][0])], UDP7)]))
        self.now(works=("b udp db",), fails=("b tcp db", "a tcp db"))
        self.delete("admin", "tenant", "base", "db-open")
        self.now(works=("b tcp web", "b tcp db"))

    def not_enforced(self):
        self.apply(policy("trial", enforce=False))
        self.now(works=("a tcp web", "a udp web"))
        self.apply(policy("trial"))
        self.now(fails=("a tcp web", "a udp web"))
        self.delete("trial")

    def established(self, semantics):
        """A stream runs; then a policy isolates its server."""
        lab = self.lab
        server = lab.python("ticker", self.ns["web"], TICKER, PODS["web"][0], 9000)
        server.wait_output("listening", 20)
        client = lab.python("listener", self.ns["a"], LISTENER, PODS["web"][0], 9000)
        heard = lambda: client.output().count(".")
        wait_for("the stream", lambda: heard() > 10, 20)
        try:
            self.apply(policy("cut", semantics=semantics))
            if semantics == "packet":
                # What was on its way may still arrive.
                time.sleep(0.2)
                before = heard()
                time.sleep(1)
                expect(heard() == before, f"{heard() - before} ticks came through the policy")
                self.now(fails=("a tcp web",))
                self.delete("cut")
                begin = time.monotonic()
                wait_for("the same connection to go on", lambda: heard() > before + 10, 30)
                return f"cut off at once; goes on {time.monotonic() - begin:.1f} s after the policy was deleted"
            before = heard()
            wait_for("the stream to go on", lambda: heard() > before + 50, 20)
            self.now(fails=("a tcp web",))
            self.delete("cut")
            return "goes on; a new one is refused"
        finally:
            self.lab.weft("delete", "Policy", "cut", check=False)
            client.kill()
            server.kill()

    SERVICE = {"kind": "Service", "name": "shop", "network": "default", "ips": [VIP],
               "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}], "backends": [{"ip": PODS["web"][0]}]}

    def cluster_ip(self):
        """A Service before the policy: who asks is judged by his own address, the backend by its own port."""
        six = {"kind": "Service", "name": "shop6", "network": "default", "ips": [VIP6],
               "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80}], "backends": [{"ip": PODS["web"][1]}]}
        self.apply(self.SERVICE, six, policy("only-a", ingress=[accept([cidr(PODS["a"][0])], {"protocol": "TCP", "port": 8080}),
                                                           accept([cidr(PODS["a"][1])], TCP80)]))
        self.now(works=("a tcp vip", "a tcp6 vip", "a tcp:8080 web"), fails=("b tcp vip", "b tcp6 vip", "a tcp web"))
        self.apply(policy("a-out", endpoints=("demo/a",), types=["Egress"],
                          egress=[accept([cidr(PODS["web"][0])], {"protocol": "TCP", "port": 8080}, direction="to")]))
        self.now(works=("a tcp vip",), fails=("a tcp6 vip", "a tcp db"), reason="policy_egress")
        self.apply(dict(self.SERVICE, backends=[{"ip": PODS["db"][0]}]))
        self.now(fails=("a tcp vip",), reason="policy_egress")
        self.delete("a-out", "only-a")
        self.now(works=("a tcp vip", "b tcp vip", "a tcp6 vip"))

    def itself(self):
        """Isolated both ways from everybody, a pod still reaches itself through its Service; the node still reaches it."""
        self.apply(dict(self.SERVICE, backends=[{"ip": PODS["db"][0]}]), policy("closed", endpoints=("demo/db",), types=["Ingress", "Egress"]))
        self.now(works=("db tcp vip", "node tcp db", "node udp6 db", "node ping db"), fails=("a tcp db", "a tcp vip"))
        self.now(fails=("db tcp a", "db udp6 web"), reason="policy_egress")
        self.delete("closed")
        self.now(works=("a tcp vip", "db tcp a"))

    def survives(self):
        """The policy is in force when the switch is back, from the first packet on."""
        self.apply(policy("deny-all"))
        flood = self.lab.python("flood", self.ns["a"], "import socket, sys, time\n"
                                "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                "while True:\n    s.sendto(b'leak', (sys.argv[1], 5555))\n    time.sleep(0.0005)\n", PODS["web"][0])
        inbox = self.lab.python("inbox", self.ns["web"], "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                "s.bind((sys.argv[1], 5555))\nprint('listening')\nwhile True:\n    print(s.recv(99).decode())\n", PODS["web"][0])
        inbox.wait_output("listening", 20)
        before = self.drops("policy_ingress")
        wait_for("the flood to be dropped", lambda: self.drops("policy_ingress") > before + 50, 20)
        self.lab.switch.kill()
        self.lab.run_switch()
        wait_for("the flood to be dropped again", lambda: self.drops("policy_ingress") > 50, 30)
        flood.kill()
        expect("leak" not in inbox.output(), f"{inbox.output().count('leak')} datagrams came through")
        inbox.kill()
        self.now(works=("web tcp a", *self.NODE), fails=("a tcp web",))

    def balanced(self):
        wait_for("the books to balance", lambda: self.lab.json("status")["books"]["difference"] == 0, 10)


def story(lab, s):
    t = Story(lab)
    s.step("four kernel pods and the node talk, IPv4 and IPv6", t.start)
    if s.failed:
        return
    s.step("a pod that a policy selects is isolated; its own connections and the node's pass", t.isolated)
    s.step("a set's members may come in, on the port that is named", t.frontend)
    s.step("weft patch changes the set", t.members)
    s.step("rules add up: except, port ranges, ICMP types", t.adds_up)
    s.step("ports by name", t.named_port)
    s.step("egress", t.egress)
    s.step("tiers: admin, network, baseline", t.tiers)
    s.step("enforce: false drops nothing", t.not_enforced)
    s.step("an established connection is cut by a new policy", t.established, "packet")
    s.step("but not when the policy says semantics: connection", t.established, "connection")
    s.step("ClusterIP and policy", t.cluster_ip)
    s.step("a pod reaches itself, the node reaches the pod, whatever the policy", t.itself)
    s.step("kill -9 and restart: nothing slips through", t.survives)
    s.step("every packet is accounted for", t.balanced)


if __name__ == "__main__":
    main(story)
