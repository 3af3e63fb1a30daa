# SPDX-License-Identifier: Apache-2.0
"""ClusterNetworkPolicies, alone and around NetworkPolicies, as data."""
import random

from truth_cases import PEERS, PORTS, SUBJECTS, TCP80, TCP81, UDP80, block, np, ns, pod, rule

ALL = ns()
ICMP = [{"protocol": "ICMP"}, {"protocol": "ICMPv6"}]


def cnp(tier="admin", name="cnp", namespaces=None, pods=None, priority=10, **more):
    """A ClusterNetworkPolicy for the pods of the namespaces that are selected; None: the whole network."""
    subject = "network" if namespaces is None else {"namespaceSelector": namespaces, **({"podSelector": pods} if pods else {})}
    return dict({"tier": tier, "namespace": "", "name": name, "subject": subject, "priority": priority}, **more)


def accept(peers=None, ports=None):
    return rule([ALL] if peers is None else peers, ports, action="accept")


def deny(peers=None, ports=None):
    return rule([ALL] if peers is None else peers, ports, action="deny")


def passes(peers=None, ports=None):
    return rule([ALL] if peers is None else peers, ports, action="pass")


X = {"ns": "x"}
Y, Z = ns(ns="y"), ns(ns="z")
DENY_X = np("x", types=["Ingress"])
ALLOW_Y_80 = np("x", types=["Ingress"], ingress=[rule([ns(ns="y")], [TCP80])])
WORLD = [block("0.0.0.0/0"), block("::/0")]

CASES = {
    "admin denies from y": [[cnp(namespaces=X, ingress=[deny([Y])])]],
    "admin denies to y": [[cnp(namespaces=X, egress=[deny([Y])])]],
    "admin without rules says nothing": [[cnp(namespaces=X)]],
    "admin with ingress says nothing of egress": [[cnp(namespaces=X, types=["Ingress"], ingress=[deny()])]],
    "admin denies one port": [[cnp(namespaces=X, ingress=[deny([Y], [TCP80])])]],
    "admin denies UDP": [[cnp(namespaces=X, ingress=[deny(None, [{"protocol": "UDP"}])])]],
    "admin denies ping": [[cnp(namespaces=X, ingress=[deny(None, ICMP)])]],
    "admin denies a named port": [[cnp(namespaces=X, ingress=[deny(None, [{"port": "web"}])])]],
    "admin denies a range": [[cnp(namespaces=X, ingress=[deny(None, [{"port": 70, "endPort": 80}])])]],
    "admin denies a named port outward": [[cnp(namespaces=X, egress=[deny(None, [{"port": "web"}])])]],
    "admin denies the whole network each other": [[cnp(ingress=[deny()])]],
    "admin denies the world, egress": [[cnp(namespaces=X, egress=[deny(WORLD)])]],
    "admin passes pods, denies the world": [[cnp(namespaces=X, egress=[passes(), deny(WORLD)])]],
    "admin accepts the node, denies the world": [[cnp(namespaces=X, egress=[accept([block("192.0.2.1/32")]), deny(WORLD)])]],
    "first rule wins: accept, deny": [[cnp(namespaces=X, ingress=[accept([Y], [TCP80]), deny([Y])])]],
    "first rule wins: deny, accept": [[cnp(namespaces=X, ingress=[deny([Y]), accept([Y], [TCP80])])]],
    "first rule wins: pass, deny": [[cnp(namespaces=X, ingress=[passes([Y]), deny()])]],
    "priority: accept before deny": [[cnp(name="z-first", namespaces=X, priority=1, ingress=[accept([Y])]), cnp(name="a-last", namespaces=X, priority=2, ingress=[deny()])]],
    "priority: deny before accept": [[cnp(name="a-last", namespaces=X, priority=2, ingress=[accept([Y])]), cnp(name="z-first", namespaces=X, priority=1, ingress=[deny()])]],
    "priority 0 and 1000": [[cnp(name="p0", namespaces=X, priority=0, ingress=[accept([Y])]), cnp(name="p1000", namespaces=X, priority=1000, ingress=[deny()])]],
    "priority 9 before 10": [[cnp(name="a", namespaces=X, priority=10, ingress=[deny()]), cnp(name="b", namespaces=X, priority=9, ingress=[accept([Y])])]],
    "tie by name": [[cnp(name="a", namespaces=X, ingress=[accept([Y])]), cnp(name="b", namespaces=X, ingress=[deny()])]],
    "tie by name, the other way": [[cnp(name="b", namespaces=X, ingress=[accept([Y])]), cnp(name="a", namespaces=X, ingress=[deny()])]],
    "several subjects": [[cnp(name="a", namespaces=X, ingress=[deny([Y])]), cnp(name="b", namespaces={"team": "blue"}, ingress=[deny([Z])])]],
    "subject of pods": [[cnp(namespaces={}, pods={"pod": "a"}, ingress=[deny([ns({"pod": "b"})])])]],
    "subject that is nobody": [[cnp(namespaces={"ns": "w"}, ingress=[deny()], egress=[deny()])]],
    "admin accepts over NetworkPolicy": [[cnp(namespaces=X, ingress=[accept([Y])]), DENY_X]],
    "admin accepts one port over NetworkPolicy": [[cnp(namespaces=X, ingress=[accept([Z], [TCP81])]), ALLOW_Y_80]],
    "admin denies over NetworkPolicy": [[cnp(namespaces=X, ingress=[deny([Y])]), np("x", ingress=[rule()])]],
    "admin passes to NetworkPolicy": [[cnp(namespaces=X, ingress=[passes([Y]), deny()]), ALLOW_Y_80]],
    "pass skips the rest of the tier": [[cnp(name="a", namespaces=X, priority=1, ingress=[passes([Y])]), cnp(name="b", namespaces=X, priority=2, ingress=[deny()])]],
    "pass in one direction only": [[cnp(namespaces=X, ingress=[passes([Y]), deny()], egress=[deny([Z])])]],
    "accept outward, NetworkPolicy inward": [[cnp(namespaces=X, egress=[accept([Y])]), np("y", types=["Ingress"])]],
    "admin accepts from outside a block": [[cnp(namespaces=X, ingress=[accept([block("10.244.1.32/28")]), deny(WORLD)])]],
    "baseline denies": [[cnp("baseline", namespaces=X, ingress=[deny()])]],
    "baseline denies outward": [[cnp("baseline", namespaces=X, egress=[deny(WORLD)])]],
    "baseline accepts y, denies": [[cnp("baseline", namespaces=X, ingress=[accept([Y]), deny()])]],
    "baseline passes y, denies": [[cnp("baseline", namespaces=X, ingress=[passes([Y]), deny()])]],
    "baseline after NetworkPolicy that allows": [[cnp("baseline", namespaces=X, ingress=[deny()]), np("x", ingress=[rule()])]],
    "baseline after NetworkPolicy of one pod": [[cnp("baseline", namespaces=X, ingress=[deny()]), np("x", {"pod": "a"}, ingress=[rule([Y])])]],
    "baseline cannot open what is isolated": [[cnp("baseline", namespaces=X, ingress=[accept()]), DENY_X]],
    "baseline in the direction that is not isolated": [[cnp("baseline", namespaces=X, ingress=[deny()], egress=[deny()]), ALLOW_Y_80]],
    "baseline priorities": [[cnp("baseline", "a", X, priority=2, ingress=[deny()]), cnp("baseline", "b", X, priority=1, ingress=[accept([Y])])]],
    "baseline for all": [[cnp("baseline", ingress=[deny()])]],
    "baseline for all, NetworkPolicy in one": [[cnp("baseline", ingress=[deny()], egress=[deny([Z])]), np("x", ingress=[rule()])]],
    "admin pass to baseline": [[cnp(namespaces=X, ingress=[passes([Y])]), cnp("baseline", "base", X, ingress=[deny([Y], [TCP80])])]],
    "three tiers": [[cnp(name="a", namespaces={}, priority=5, ingress=[deny([Z], [TCP81]), accept([Z], [UDP80]), passes([Z])]),
                     np("x", types=["Ingress"], ingress=[rule([Z], [TCP80, TCP81])]), cnp("baseline", "base", ingress=[deny([Z])])]],
    "three tiers outward": [[cnp(name="a", namespaces={}, priority=5, egress=[deny([Z], [TCP81]), accept([Z], [UDP80]), passes([Z])]),
                             np("x", types=["Egress"], egress=[rule([Z], [TCP80, TCP81])]), cnp("baseline", "base", egress=[deny([Z])])]],
    "both directions meet": [[cnp(name="a", namespaces=X, egress=[accept()]), cnp(name="b", namespaces={"ns": "y"}, ingress=[deny([ns(ns="x")], [TCP80])]),
                              np("x", types=["Egress"])]],
    "dry admin": [[cnp(namespaces=X, enforce=False, ingress=[deny()])]],
    "dry admin accepts nothing": [[cnp(namespaces=X, enforce=False, ingress=[accept()]), DENY_X]],
    "dry admin passes nothing": [[cnp(name="a", namespaces=X, enforce=False, ingress=[passes()]), cnp(name="b", namespaces=X, ingress=[deny([Y])])]],
    "dry baseline": [[cnp("baseline", namespaces=X, enforce=False, ingress=[deny()])]],
    "dry NetworkPolicy leaves baseline": [[np("x", enforce=False), cnp("baseline", namespaces=X, ingress=[deny([Y])])]],
}
DENY = cnp(namespaces=X, ingress=[deny([Y])])
CHANGES = {
    "admin comes and goes": [[], [DENY], []],
    "priorities change": [[cnp(name="a", namespaces=X, priority=1, ingress=[accept([Y])]), cnp(name="b", namespaces=X, priority=2, ingress=[deny()])],
                          [cnp(name="a", namespaces=X, priority=3, ingress=[accept([Y])]), cnp(name="b", namespaces=X, priority=2, ingress=[deny()])],
                          [cnp(name="a", namespaces=X, priority=3, ingress=[accept([Y])])]],
    "actions change": [[cnp(namespaces=X, ingress=[accept([Y])]), DENY_X], [cnp(namespaces=X, ingress=[passes([Y])]), DENY_X],
                       [cnp(namespaces=X, ingress=[deny([Y])])], [cnp(namespaces=X, ingress=[passes([Y])])]],
    "rules change places": [[cnp(namespaces=X, ingress=[accept([Y], [TCP80]), deny([Y])])], [cnp(namespaces=X, ingress=[deny([Y]), accept([Y], [TCP80])])]],
    "tiers change": [[cnp(namespaces=X, ingress=[deny([Y])])], [cnp("baseline", namespaces=X, ingress=[deny([Y])]), np("x", ingress=[rule([Y])])],
                     [cnp("baseline", namespaces=X, ingress=[deny([Y])])]],
    "admin leaves what stands": [[], [cnp(namespaces=X, semantics="connection", ingress=[deny([Y])])], []],
    "baseline leaves what stands": [[], [cnp("baseline", namespaces=X, semantics="connection", ingress=[deny()], egress=[deny([Z])])]],
    "who denies is asked": [[cnp(namespaces=X, semantics="connection", ingress=[accept()])], [DENY_X], [np("x", types=["Ingress"], semantics="connection")]],
    "names change hands": [[cnp(name="a", namespaces=X, ingress=[accept([Y])]), cnp(name="b", namespaces=X, ingress=[deny()])],
                           [cnp(name="b", namespaces=X, ingress=[accept([Y])]), cnp(name="a", namespaces=X, ingress=[deny()])]],
}


def drawn(seed, count):
    """All tiers at once, drawn from what stands above."""
    rng = random.Random(f"tiers {seed}")
    peers = [p for p in PEERS.values() if p and not any(q == pod() or "namespaceSelector" not in q and "ipBlock" not in q for q in p)]
    rules = lambda: [rule(rng.choice(peers), rng.choice(list(PORTS.values())), action=rng.choice(("accept", "deny", "pass"))) for _ in range(rng.randrange(4))]
    spaces = [None, {}, {"ns": "x"}, {"team": "blue"}, {"ns": ("NotIn", "y")}]
    for n in range(count):
        policies = []
        for i in range(rng.randrange(1, 6)):
            if rng.random() < 0.35:
                policies.append(np(rng.choice("xyz"), rng.choice(list(SUBJECTS.values())), f"n{i}", types=rng.choice((["Ingress"], ["Egress"])), **{
                    d: [rule(rng.choice(list(PEERS.values())), rng.choice(list(PORTS.values())))] for d in ("ingress", "egress") if rng.random() < 0.6}))
            else:
                policies.append(cnp(rng.choice(("admin", "baseline")), f"c{i}", rng.choice(spaces), rng.choice((None, {"tier": "web"})),
                                    priority=rng.randrange(4), types=["Ingress", "Egress"], ingress=rules(), egress=rules()))
        yield f"drawn tiers {seed}/{n}", [policies]
