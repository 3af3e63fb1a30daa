# SPDX-License-Identifier: Apache-2.0
"""A truth table: every actor asks every other by every protocol, and each cell is compared with what Kubernetes says."""
import os

import oracle_packets as pk
from lab import NODE_IP, NODE_IP6, REMOTE_IP, Control, LabError, sh
from oracle_kernel import quiet
from truth_oracle import allowed
from truth_wire import NUMBER, Wire, identity, question, reply
from truth_world import Agent, World

PROBES = [("TCP", 80), ("TCP", 81), ("UDP", 80), ("UDP", 81), ("SCTP", 80), ("SCTP", 81), ("ICMP", None)]
SETTINGS = """memory = { megabytes = 512; mbufs = 65536; };
tables = { connections = 1048576; };
connections = { timeouts = { tcp_syn_sent = 30; tcp_syn_received = 30; tcp_close = 1; sctp_cookie_wait = 30; sctp_cookie_echoed = 30; sctp_closed = 30; udp = 30; udp_answered = 30; icmp = 30; other = 30; }; };
"""


class Cell:
    """One question. `via`: (addresses, port) of a service that it is put to; then dst and port are the backend's."""
    __slots__ = ("src", "dst", "six", "proto", "port", "via", "uid", "sport", "got", "answered", "seen")

    def __init__(self, src, dst, six, proto, port, via=None):
        self.src, self.dst, self.six, self.proto, self.port, self.via = src, dst, six, proto, port, via

    def __str__(self):
        return (f"{self.src.name} > {self.dst.name} {self.proto}{'' if self.port is None else f':{self.port}'} IPv{6 if self.six else 4}"
                f"{f' by {self.asked()[0]}' if self.via else ''}")

    def asked(self):
        return (self.via[0][self.six], self.via[1]) if self.via else (self.dst.ips[self.six], self.port)

    def target(self, name):
        """The port that whoever got it should have been asked at."""
        return self.port

    def kind(self):
        return self.proto if self.proto != "ICMP" or not self.six else "ICMPv6"

    def number(self):
        return NUMBER.get(self.proto) or (pk.ICMP6 if self.six else pk.ICMP)

    def packet(self, more=False):
        ip, port = self.asked()
        return (self.src, pk.packed(self.src.ips[self.six]), pk.packed(ip), self.number(),
                question(self.proto, self.sport, port, self.uid, self.six, more))


class Table:
    def __init__(self, lab):
        self.lab, self.world = lab, World()
        self.world.index()
        self.tables = self.cells = self.wrong = 0
        self.failures = []

    # -- the cluster -------------------------------------------------------------------------------------------------
    def start(self):
        lab, world = self.lab, self.world
        lab.start_switch(SETTINGS)
        ns = lab.netns("pods")
        quiet(ns)
        node = lab.node_objects()
        node[0]["serviceCIDRs"].append("fd00:96::/64")
        node[1]["ips"].append(f"{NODE_IP6}/64")
        network = lab.network(masquerade={"ips": [NODE_IP, NODE_IP6], "exclude": ["10.244.0.0/16", "fd00:244::/32"]})
        other = dict(lab.network(), name="other", vni=200)
        remote = {"kind": "Remote", "name": "node-2", "network": "default", "vtep": REMOTE_IP, "mac": next(
            p.mac for p in world.pods.values() if not p.local), "prefixes": ["10.244.2.0/24", "fd00:244:2::/64"]}
        routes = [{"kind": "Route", "name": f"out-{i}", "network": "underlay", "prefix": prefix, "nextHops": [{"ip": hop, "port": "uplink0"}]}
                  for i, (prefix, hop) in enumerate((("0.0.0.0/0", REMOTE_IP), ("::/0", "fd00:192::2")))]
        ports, pods = [], []
        for a in world.actors.values():
            if a.port and a.local:
                ports.append({"kind": "Port", "name": a.port, "type": "tap", "netns": f"/run/netns/{ns}", "ifname": a.port, "mac": a.mac, "mtu": 1450})
                pods.append(self.endpoint(a))
        lab.apply(network, other, *node, remote, *routes, *ports, *pods)
        for p in ports:
            sh("ip", "link", "set", p["ifname"], "mtu", "1500", "up", netns=ns)
        self.wire = Wire(lab, world, ns)
        sh("ip", "addr", "add", "fd00:192::2/64", "dev", "up0", "nodad", netns=lab.netns("remote"))
        # Outside is this test: its kernel only says where it is.
        sh("nft", "add table ip6 quiet; add chain ip6 quiet in { type filter hook prerouting priority 0; policy drop; }; "
                  "add rule ip6 quiet in icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept", netns=lab.netns("remote"))
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        self.control = Control(lab)
        # The way out knows its neighbours before anything is judged.
        for _ in range(50):
            cells = [Cell(world.pods["x/a"], world.actors["out"], six, "ICMP", None) for six in (0, 1)]
            self.number(cells)
            self.ask(cells)
            if all(c.got for c in cells):
                return f"{len(pods)} pods here, {sum(not p.local for p in world.pods.values())} elsewhere"
        raise LabError("nothing gets out")

    @staticmethod
    def endpoint(a, **more):
        return {"kind": "Endpoint", "name": f"{'demo' if a.kind == 'pod' else 'other'}/{a.name}", "network": "default" if a.kind == "pod" else "other",
                "port": a.port, "mac": a.mac, "ips": a.ips, "ports": [{"name": n, "protocol": p, "port": number} for n, p, number in a.named], **more}

    def apply(self, objects):
        self.control.call("apply", objects=objects, owner="truth", prune=True)

    # -- cells -------------------------------------------------------------------------------------------------------
    def matrix(self):
        """Every pair that this node has a say in. What a pod says to its own address does not leave it; on the wire it would be an attack."""
        actors = list(self.world.actors.values())
        out = []
        for src in actors:
            for dst in actors:
                if src is dst or src.kind == "out" or (src.kind == "other") != (dst.kind == "other"):
                    continue
                if not src.local and not (dst.kind == "pod" and dst.local) or src.kind == "host" and dst.kind != "pod":
                    continue
                out += [Cell(src, dst, six, proto, port) for six in (0, 1) for proto, port in PROBES]
        return out

    def number(self, cells):
        self.tables += 1
        for i, c in enumerate(cells):
            c.uid, c.sport, c.got, c.answered = self.tables << 14 | i, 2000 + self.tables % 60000, set(), False
        return cells

    def ask(self, cells, more=False):
        """Ask, answer at whoever got it, and see whether the answer came back."""
        by_uid = {c.uid: c for c in cells}
        for c in cells:
            c.got, c.answered = set(), False
        first, second, answers = "m" if more else "q", "n" if more else "r", []
        for name, p in self.wire.exchange([c.packet(more) for c in cells]):
            who = identity(p)
            if who and who[0] == first and who[1] in by_uid:
                c = by_uid[who[1]]
                c.seen = p.src
                c.got.add(name if c.port is None or p.dport == c.target(name) else f"{name} at port {p.dport}")
                answers.append((self.world.actors[name], p.dst, p.src, p.proto, reply(p, first, who[1])))
            elif who and who[1] in by_uid:
                by_uid[who[1]].got.add(f"{who[0]} at {name}")
        for name, p in self.wire.exchange(answers):
            who = identity(p)
            if who and who[0] == second and who[1] in by_uid and name == by_uid[who[1]].src.name:
                c = by_uid[who[1]]
                c.answered = p.src == pk.packed(c.asked()[0]) and (c.port is None or p.sport == c.asked()[1]) and p.sum_ok()

    def judge(self, what, cells, policies, standing=False):
        """Compare with the oracle; a cell that differs is noted."""
        for c in cells:
            want = allowed(self.world, policies, c.src, c.dst, c.six, c.kind(), c.port, standing)
            self.cells += 1
            if c.got != ({c.dst.name} if want else set()) or c.answered != want:
                self.wrong += 1
                self.failures.append(f"{what}: {c}: {'allowed' if want else 'denied'} by the text; came to {sorted(c.got) or 'nobody'}"
                                     f"{'' if c.answered or not c.got else ', not answered'}")

    # -- cases -------------------------------------------------------------------------------------------------------
    def run(self, name, stages, cells=None, more=()):
        """Stages are lists of policies, or (policies, labels to change); what one stage opened stands in the next. `cells` makes other
        questions than the matrix, to `more` objects."""
        standing = []
        labels = {p.name: dict(p.labels) for p in self.world.pods.values()}, {n: dict(l) for n, l in self.world.namespaces.items()}
        for i, stage in enumerate(stages):
            policies, changes = stage if isinstance(stage, tuple) else (stage, {})
            for who, change in changes.items():
                of = self.world.pods[who].labels if "/" in who else self.world.namespaces[who]
                of.update(change)
            agent = Agent(self.world)
            self.apply([*more, *agent.objects(policies)])
            what = f"{name}{f' ({i + 1})' if len(stages) > 1 else ''}"
            if standing:
                self.ask(standing, more=True)
                self.judge(f"{what}, established", standing, policies, standing=True)
            asked = self.number((cells or self.matrix)())
            self.ask(asked)
            self.judge(what, asked, policies)
            if len(stages) > 1:
                standing += [c for c in asked if c.got == {c.dst.name} and c.answered]
        for who, l in labels[0].items():
            self.world.pods[who].labels = l
        self.world.namespaces = labels[1]
