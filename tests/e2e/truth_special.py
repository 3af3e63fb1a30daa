# SPDX-License-Identifier: Apache-2.0
"""What Weft adds to Kubernetes' words: other networks, missing objects, patches, named ports that move, admission, false sources."""
import oracle_packets as pk
from lab import LabError
from truth_cases import TCP80, np, ns, pod, rule
from truth_table import Cell
from truth_tiers import cnp, deny
from truth_wire import identity
from truth_world import Agent

CASES = {
    "a NetworkPolicy for the whole network": [[np("x", subject="network", types=["Ingress"], ingress=[rule([ns(ns="x")])])]],
    "a NetworkPolicy for the whole network, outward": [[np("x", subject="network", types=["Egress"], egress=[rule([ns()], [TCP80])])]],
    "whole network and one pod": [[np("x", name="all", subject="network", types=["Ingress"]), np("y", {"pod": "a"}, ingress=[rule([ns(ns="z")])])]],
    "dry run of the whole network": [[np("x", subject="network", enforce=False)]],
    "log says and changes nothing": [[np("x", log=True, ingress=[rule([pod()])])]],
}


class Special:
    def __init__(self, table):
        self.table, self.world = table, table.world

    def steps(self):
        return (("policies of another network are not ours", self.other_network),
                ("a set or an endpoint that comes later", self.later),
                ("patches of sets and rules", self.patches),
                ("delete restores", self.deleted),
                ("named ports that move", self.ports_move),
                ("nobody speaks in the name of the node, or of a neighbour", self.false_sources),
                ("a closed endpoint waits for its policy", self.closed))

    def check(self, what, policies, cells=None):
        """A table of the matrix against these policies, whatever was applied."""
        cells = self.table.number(cells or self.table.matrix())
        self.table.ask(cells)
        self.table.judge(what, cells, policies)

    def call(self, *args, **kw):
        return self.table.control.call(*args, **kw)

    def other_network(self):
        """Theirs deny everything, by block, by set and for everybody; o/a and o/b have the addresses of x/a and x/b."""
        t = self.table
        their = {"kind": "Policy", "network": "other", "tier": "admin", "ingress": [{"action": "deny", "from": [{"cidr": "0.0.0.0/0"}, {"cidr": "::/0"}]}]}
        t.apply([dict(their, name="deny-all"), dict(their, name="by-name", endpoints=["demo/x/a", "demo/y/a"]),
                 {"kind": "AddressSet", "name": "s", "network": "other", "members": ["10.244.0.0/16"]}])
        ours = [c for c in t.matrix() if c.src.kind != "other"]
        self.check("their policies, our pods", [], ours)
        cells = t.number([c for c in t.matrix() if c.src.kind == "other"])
        t.ask(cells)
        for c in cells:
            t.cells += 1
            if c.got:
                t.wrong += 1
                t.failures.append(f"their policies, their pods: {c}: came to {c.got}")
        t.apply(Agent(self.world).objects([np(n, types=["Ingress", "Egress"]) for n in "xyz"]))
        self.check("our policies", [np(n, types=["Ingress", "Egress"]) for n in "xyz"])

    def later(self):
        t, policy = self.table, np("x", ingress=[rule([ns(ns="y")])])
        agent = Agent(self.world)
        objects = agent.objects([policy])
        only = [o for o in objects if o["kind"] == "Policy"]
        t.apply(only)
        self.check("without its set", [np("x")])
        t.apply(objects)
        self.check("the set is there", [policy])
        try:
            t.apply(only)
            raise AssertionError("a set that a policy uses went away")
        except LabError:
            self.check("the set is not taken away", [policy])
        only[0]["endpoints"].append("demo/z/late")
        t.apply(objects)
        a = self.world.actors["z/a"]
        self.call("delete", objects=[{"kind": "Endpoint", "name": "demo/z/a"}])
        try:
            self.call("apply", objects=[dict(t.endpoint(a), name="demo/z/late")])
            late = np("x", name="late", subject={"namespaceSelector": {"ns": ("In", "x", "z")}, "podSelector": {}}, types=["Ingress"], ingress=policy["ingress"])
            self.check("an endpoint that comes after its policy", [late], [c for c in t.matrix() if c.dst.name != "z/b"])
            self.call("delete", objects=[{"kind": "Endpoint", "name": "demo/z/late"}])
        finally:
            self.call("apply", objects=[t.endpoint(a)])
        self.check("as before", [policy])

    def patches(self):
        t, y = self.table, np("x", ingress=[rule([ns(ns="y")], name="first")])
        objects = Agent(self.world).objects([y])
        t.apply(objects)
        name = objects[0]["name"]
        z = [ip for p in self.world.selected("z") for ip in p.ips]
        self.call("patch", kind="AddressSet", name=name, add={"members": z})
        self.check("z is added", [np("x", ingress=[rule([ns(ns=("In", "y", "z"))])])])
        self.call("patch", kind="AddressSet", name=name, remove={"members": objects[0]["members"]})
        self.check("y is removed", [np("x", ingress=[rule([ns(ns="z")])])])
        self.call("patch", kind="Policy", name="x/np", add={"ingress": [{"name": "second", "from": [{"cidr": "10.244.1.16/28"}], "ports": [TCP80]}]})
        self.check("a rule more", [np("x", ingress=[rule([ns(ns="z")]), rule([{"ipBlock": {"cidr": "10.244.1.16/28"}}], [TCP80])])])
        self.call("patch", kind="Policy", name="x/np", remove={"ingress": ["first"]})
        self.check("a rule less", [np("x", ingress=[rule([{"ipBlock": {"cidr": "10.244.1.16/28"}}], [TCP80])])])

    def deleted(self):
        t, policies = self.table, [np("x"), np("y", types=["Egress"]), cnp(namespaces={"ns": "z"}, ingress=[deny()])]
        t.apply(Agent(self.world).objects(policies))
        self.check("three policies", policies)
        for i, name in enumerate(("x/np", "y/np", "cnp")):
            self.call("delete", objects=[{"kind": "Policy", "name": name}])
            self.check(f"without {name}", policies[i + 1:])

    def ports_move(self):
        t, a = self.table, self.world.pods["x/a"]
        policies = [np("x", name="in", types=["Ingress"], ingress=[rule(None, [{"port": "web"}])]),
                    np("y", name="out", types=["Egress"], egress=[rule(None, [{"port": "web"}, {"protocol": "UDP", "port": "alt"}])])]
        t.apply(Agent(self.world).objects(policies))
        self.check("named ports", policies)
        was = a.named
        for named in ([("web", "TCP", 81), ("alt", "UDP", 80)], [("web", "UDP", 80)], [], [("web", "TCP", 80), ("alt", "UDP", 81)]):
            a.named = named
            self.call("apply", objects=[t.endpoint(a)])
            self.check(f"x/a has {named}", policies)
        a.named = was
        self.call("apply", objects=[t.endpoint(a)])

    def false_sources(self):
        """Whatever says that it comes from the node, the gateway or somebody else, and does not, is nobody's."""
        t, pods = self.table, self.world.pods
        t.apply([])
        lies = []
        for src in (pods["x/a"], pods["x/c"], self.world.actors["out"]):
            # From a pod: any address but its own. From the other node: any of this node. From outside: any of the cluster.
            for owner in ("host", "y/a", "x/b", *(("z/c",) if src.kind != "pod" or src.local else ())):
                for six in (0, 1):
                    for proto, port in (("TCP", 80), ("UDP", 80), ("SCTP", 80), ("ICMP", None)):
                        c = Cell(src, pods["z/a"], six, proto, port)
                        lies.append((c, self.world.actors[owner].ips[six]))
        t.number([c for c, _ in lies])
        packets = []
        for c, ip in lies:
            actor, _, *rest = c.packet()
            packets.append((actor, pk.packed(ip), *rest))
        got = [f"{name}: {p}" for name, p in t.wire.exchange(packets) if name in pods and p.dst in (pk.packed(ip) for ip in pods["z/a"].ips)]
        t.cells += len(lies)
        if got:
            raise LabError(f"{len(got)} of {len(lies)} got through: " + "; ".join(got[:5]))

    def closed(self):
        t, a = self.table, self.world.pods["x/a"]
        policy = np("x", {"pod": "a"}, types=["Ingress", "Egress"], ingress=[rule([ns(ns="y")])], egress=[rule([ns(ns="z")])])
        t.apply([])
        self.call("apply", objects=[t.endpoint(a, admit="closed")])
        some = lambda: [Cell(self.world.actors[s], self.world.actors[d], six, p, n) for s, d in (("y/a", "x/a"), ("z/a", "x/a"), ("x/a", "y/a"), ("x/a", "z/a"))
                        for six, p, n in ((0, "TCP", 80), (1, "UDP", 80))]
        cells = t.number(some())
        # It has no answer to a beat either.
        t.wire.mute = {a.name}
        t.ask(cells)
        early = [str(c) for c in cells if c.got]
        self.check("others go on", [], [c for c in t.matrix() if a not in (c.src, c.dst)])
        t.apply(Agent(self.world).objects([policy]))
        t.wire.mute, late = set(), {}
        by_uid = {c.uid: c for c in cells}
        for name, p in t.wire.exchange([]):
            who = identity(p)
            if who and who[1] in by_uid:
                late.setdefault(str(by_uid[who[1]]), name)
        want = {str(c): c.dst.name for c in cells if (c.src.name, c.dst.name) in (("y/a", "x/a"), ("x/a", "z/a"))}
        self.check("admitted", [policy])
        self.call("apply", objects=[t.endpoint(a)])
        t.cells += len(cells)
        if early or late != want:
            raise LabError(f"before: {early}; after its policy: {late}, not {want}")
