# SPDX-License-Identifier: Apache-2.0
"""Services: who is chosen, by every kind of address, as kube-proxy has it; and policies, which are judged behind them."""
import itertools
import time

import oracle_packets as pk
from lab import NODE_IP, NODE_IP6, LabError
from truth_cases import TCP80, UDP80, block, np, ns, pod, rule
from truth_table import Cell
from truth_tiers import X, Y, accept, cnp, deny

# Weft sends 1,000 refusals a second at most.
REFUSALS = 700
PORT, NODE_PORT = 8000, 30080
KINDS = {"ips": ("10.96.0.10", "fd00:96::10"), "externalIPs": ("198.51.100.10", "2001:db8:e::10"),
         "loadBalancerIPs": ("198.51.100.20", "2001:db8:e::20"), "nodePort": (NODE_IP, NODE_IP6)}
BACKENDS = ("y/a", "y/b", "y/c")
# What an agent makes of an EndpointSlice's conditions (ready, serving, terminating); None: not in the slice.
CONDITIONS = {None: None, (True, True, False): "ready", (False, False, False): "notReady", (False, True, True): "terminating",
              (False, False, True): "draining"}
# y/b listens for TCP elsewhere: a named targetPort is another number at each pod.
OVERRIDE = {("y/b", "TCP"): 81}
CLIENTS = ("x/a", "y/a", "host", "out")
WORDS = {"TCP": "t", "UDP": "u", "SCTP": "s"}


def service(world, conditions, internal="Cluster", external="Cluster", **more):
    backends = [(b, CONDITIONS[c]) for b, c in conditions.items() if c]
    return dict({"kind": "Service", "name": "shop/web", "network": "default", **{k: list(v) for k, v in KINDS.items() if k != "nodePort"},
                 "internalTrafficPolicy": internal, "externalTrafficPolicy": external,
                 "ports": [{"name": w, "protocol": p, "port": PORT, "targetPort": 80, "nodePort": NODE_PORT} for p, w in WORDS.items()],
                 "backends": [{"ip": ip, "state": state, "node": "node-1" if world.pods[b].local else "node-2",
                               "ports": {WORDS[p]: n for (who, p), n in OVERRIDE.items() if who == b}}
                              for b, state in backends for ip in world.pods[b].ips]}, **more)


def candidates(world, conditions, local):
    """CategorizeEndpoints: those that are ready, or when there are none those that terminate and still serve."""
    of = {b: c for b, c in conditions.items() if c and (not local or world.pods[b].local)}
    return {b for b, c in of.items() if c[0]} or {b for b, c in of.items() if c[1] and c[2]}


class Question(Cell):
    __slots__ = ("kind_of",)

    def target(self, name):
        return OVERRIDE.get((name, self.proto), 80)

    def verdict(self, world, conditions, internal, external, ranges):
        """("serve", who) or "reject" or "drop"."""
        outside = self.src.kind == "out"
        if self.kind_of == "ips" and outside:
            return None
        if ranges and self.kind_of == "loadBalancerIPs" and self.src.name not in ranges:
            return "drop"
        local = internal == "Local" if self.kind_of == "ips" else external == "Local" and outside
        if not candidates(world, conditions, False):
            return "reject"
        return ("serve", candidates(world, conditions, local)) if candidates(world, conditions, local) else "drop"


class Services:
    def __init__(self, table):
        self.table, self.world = table, table.world
        self.second, self.refused = time.monotonic(), 0

    def pace(self, n):
        self.refused += n
        if self.refused > REFUSALS:
            time.sleep(max(0.0, self.second + 1.05 - time.monotonic()))
            self.second, self.refused = time.monotonic(), n

    def questions(self, flows, kinds):
        out = []
        for client, kind, proto, six, _ in itertools.product(CLIENTS, kinds, WORDS, (0, 1), range(flows)):
            # The node's own ports are its kernel's, cluster addresses not for outsiders.
            if (client, kind) in (("host", "nodePort"), ("out", "ips")):
                continue
            q = Question(self.world.actors[client], self.world.pods["y/a"], six, proto, 80, (KINDS[kind], NODE_PORT if kind == "nodePort" else PORT))
            q.kind_of = kind
            out.append(q)
        # No two tables ever ask from the same port.
        for i, q in enumerate(self.table.number(out)):
            q.sport += i % flows * 1000
        return out

    def choose(self, what, conditions, internal, external, ranges=None, flows=2, kinds=tuple(KINDS), **more):
        """One table: every client by every address."""
        t, world = self.table, self.world
        t.apply([service(world, conditions, internal, external, **more)])
        cells = self.questions(flows, kinds)
        want = [q.verdict(world, conditions, internal, external, ranges) for q in cells]
        self.pace(want.count("reject"))
        t.ask(cells)
        for q, v in zip(cells, want):
            t.cells += 1
            if v == "reject":
                ok = q.got in ({f"rst at {q.src.name}"}, {f"icmp at {q.src.name}"}) and (q.proto != "TCP" or "rst" in str(q.got))
            elif v == "drop":
                ok = not q.got
            else:
                who = v[1]
                same = q.seen == pk.packed(q.src.ips[q.six]) if q.got else None
                # Only who comes from outside by policy Cluster, asks itself, or is the node asking another node, is not seen as himself.
                seen = (external == "Local") if q.src.kind == "out" else True if q.src.name not in q.got else False
                if q.src.kind == "host" and q.got and not world.actors[min(q.got).split(" ")[0]].local:
                    seen = False
                ok = len(q.got) == 1 and q.got <= who and q.answered and same == seen
            if not ok:
                t.wrong += 1
                t.failures.append(f"{what}: {q.src.name} > {q.kind_of} {q.proto} IPv{6 if q.six else 4}: {v}; came to {sorted(q.got) or 'nobody'}"
                                  f"{'' if q.answered or not q.got else ', not answered'}")
        return cells

    def states(self):
        """Every combination of conditions, and of traffic policies in turn."""
        policies = itertools.cycle(itertools.product(("Cluster", "Local"), repeat=2))
        for n, states in enumerate(itertools.product(CONDITIONS, repeat=3)):
            conditions = dict(zip(BACKENDS, states))
            internal, external = next(policies)
            text = ", ".join(f"{b} {CONDITIONS[c] or 'absent'}" for b, c in conditions.items())
            self.choose(f"{text}, internal {internal}, external {external}", conditions, internal, external)
            # The traffic policies in turn would always meet the same last condition otherwise.
            if n % 5 == 4:
                next(policies)

    def others(self):
        ready = (True, True, False)
        everybody = dict.fromkeys(BACKENDS, ready)
        # Node ports are left out: from outside Weft holds them to the ranges as well.
        self.choose("source ranges", everybody, "Cluster", "Cluster", {"x/a"}, kinds=("ips", "externalIPs", "loadBalancerIPs"),
                    sourceRanges=self.world.pods["x/a"].ips)
        spread = self.choose("spread", everybody, "Cluster", "Cluster", flows=24)
        seen = {min(q.got) for q in spread if q.got}
        if not seen >= set(BACKENDS):
            raise LabError(f"of 24 flows of each client none went to {set(BACKENDS) - seen}")
        stuck = self.choose("affinity", everybody, "Cluster", "Cluster", flows=8, sessionAffinitySeconds=100)
        chosen = {}
        for q in stuck:
            chosen.setdefault((q.src.name, q.proto, q.six), set()).update(q.got)
        apart = {k: v for k, v in chosen.items() if len(v) > 1}
        if apart:
            raise LabError(f"with affinity: {apart}")

    # -- policies behind services ------------------------------------------------------------------------------------
    def each(self):
        """A service in front of every pod: its ports 8080 and 8081 are the pod's 80 and 81."""
        out = []
        for i, p in enumerate(self.world.pods.values()):
            out.append({"kind": "Service", "name": f"each/{p.name}", "network": "default", "ips": self.vip(i, "ips"), "externalIPs": self.vip(i, "out"),
                        "externalTrafficPolicy": "Local" if i % 2 else "Cluster",
                        "ports": [{"name": f"{w}{n}", "protocol": proto, "port": 8000 + n, "targetPort": n} for proto, w in WORDS.items() for n in (80, 81)],
                        "backends": [{"ip": ip, "node": "node-1" if p.local else "node-2"} for ip in p.ips]})
        return out

    @staticmethod
    def vip(i, kind):
        return [f"10.96.1.{10 + i}", f"fd00:96::1:{10 + i}"] if kind == "ips" else [f"198.51.100.{30 + i}", f"2001:db8:e::1:{30 + i}"]

    def behind(self):
        """Every local pod, the node and somebody outside, to every pod by its service."""
        out, actors = [], [a for a in self.world.actors.values() if a.kind in ("pod", "host") and a.local or a.kind == "out"]
        for src, (i, dst) in itertools.product(actors, enumerate(self.world.pods.values())):
            # A service with policy Local takes nobody to another node, who comes from outside.
            if src.kind == "out" and i % 2 and not dst.local:
                continue
            for proto, port, six in itertools.product(WORDS, (80, 81), (0, 1)):
                out.append(Cell(src, dst, six, proto, port, (self.vip(i, "out" if src.kind == "out" else "ips"), 8000 + port)))
        return out


VIPS = [block("10.96.0.0/12"), block("fd00:96::/64"), block("198.51.100.0/24")]
BEHIND = {
    "no policy": [[]],
    "deny ingress": [[np("y", types=["Ingress"])]],
    "deny egress": [[np("x", types=["Egress"])]],
    "a denied pod reaches itself": [[np(n, types=["Ingress", "Egress"]) for n in "xyz"]],
    "from namespace x at the backend's port": [[np("y", ingress=[rule([ns(ns="x")], [TCP80, UDP80])])]],
    "the service's port says nothing": [[np("y", ingress=[rule(None, [{"port": 8080}, {"protocol": "UDP", "port": 8080}])])]],
    "named port": [[np("y", ingress=[rule(None, [{"port": "web"}])])]],
    "egress to the backend's port": [[np("x", types=["Egress"], egress=[rule([ns(ns="y")], [TCP80])])]],
    "egress to a named port": [[np("x", types=["Egress"], egress=[rule([ns(ns="y")], [{"port": "web"}])])]],
    "egress to the service's port says nothing": [[np("x", types=["Egress"], egress=[rule(None, [{"port": 8080}])])]],
    "ipBlock of service addresses says nothing": [[np("x", types=["Egress"], egress=[rule(VIPS)])]],
    "except of service addresses says nothing": [[np("x", types=["Egress"], egress=[rule([block("0.0.0.0/0", "10.96.0.0/12"), block("::/0", "fd00:96::/64")])])]],
    "ipBlock of pods": [[np("x", types=["Egress"], egress=[rule([block("10.244.1.32/28"), block("fd00:244:2::/64")])])]],
    "from outside's block": [[np("y", ingress=[rule([block("203.0.113.0/24"), block("2001:db8:f::/48")])])]],
    "all but outside": [[np("y", ingress=[rule([block("0.0.0.0/0", "203.0.113.0/24"), block("::/0", "2001:db8:f::/48")])])]],
    "the node's block does not mean who is translated to it": [[np("y", ingress=[rule([block("192.0.2.0/24"), block("fd00:192::/64")])])]],
    "both ends": [[np("x", types=["Egress"], egress=[rule([ns(ns="y")])]), np("y", types=["Ingress"], ingress=[rule([ns({"pod": "a"}, ns="x")])])]],
    "admin denies to the backends": [[cnp(namespaces=X, egress=[deny([Y])])]],
    "admin denies service addresses in vain": [[cnp(namespaces=X, egress=[deny(VIPS)])]],
    "admin accepts over isolation": [[cnp(namespaces={"ns": "y"}, ingress=[accept([ns(ns="x")])]), np("y")]],
    "baseline denies": [[cnp("baseline", ingress=[deny()])]],
    "a policy comes and goes": [[], [np("y", ingress=[rule([ns(ns="x")], [TCP80])])], []],
    "egress comes and goes": [[], [np("x", types=["Egress"], egress=[rule([pod(), ns(ns="y")])])], []],
}
