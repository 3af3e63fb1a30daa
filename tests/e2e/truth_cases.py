# SPDX-License-Identifier: Apache-2.0
"""NetworkPolicies as their authors write them, as data. Each case is a name and one or more stages."""
import itertools
import random

TCP80, TCP81, UDP80, SCTP80 = [{"protocol": p, "port": n} for p, n in (("TCP", 80), ("TCP", 81), ("UDP", 80), ("SCTP", 80))]


def np(namespace="x", pods=None, name="np", **more):
    """A NetworkPolicy. pods: its podSelector, None or {} for every pod of the namespace."""
    return dict({"tier": "network", "namespace": namespace, "name": name, "subject": {"podSelector": pods or {}}}, **more)


def rule(peers=None, ports=None, **more):
    """peers or ports None: absent."""
    return {**({} if peers is None else {"peers": peers}), **({} if ports is None else {"ports": ports}), **more}


def pod(**labels):
    return {"podSelector": labels}


def ns(_pods=None, **labels):
    return {"namespaceSelector": labels, **({} if _pods is None else {"podSelector": _pods})}


def block(cidr, *but):
    return {"ipBlock": {"cidr": cidr, **({"except": list(but)} if but else {})}}


PEERS = {
    "absent": None,
    "empty": [],
    "every pod of the namespace": [pod()],
    "pod=b of the namespace": [pod(pod="b")],
    "no such pod": [pod(pod="nobody")],
    "every namespace": [ns()],
    "namespace y": [ns(ns="y")],
    "team blue": [ns(team="blue")],
    "pod=a in namespace y (and)": [ns({"pod": "a"}, ns="y")],
    "pod=a or namespace y (or)": [pod(pod="a"), ns(ns="y")],
    "namespaces not x": [ns(ns=("NotIn", "x"))],
    "namespaces with audit": [ns(audit=("Exists",))],
    "pods without canary anywhere": [ns({"canary": ("DoesNotExist",)})],
    "pods a or c in y or z": [ns({"pod": ("In", "a", "c")}, ns=("In", "y", "z"))],
    "empty podSelector in namespace z": [ns({}, ns="z")],
    "IPv4 world": [block("0.0.0.0/0")],
    "IPv6 world": [block("::/0")],
    "both worlds": [block("0.0.0.0/0"), block("::/0")],
    "y's and z's block": [block("10.244.1.32/27"), block("fd00:244:1::20/123")],
    "world except y": [block("0.0.0.0/0", "10.244.1.32/28"), block("::/0", "fd00:244:1::20/124")],
    "pods here but two": [block("10.244.1.0/24", "10.244.1.16/32", "10.244.1.33/32")],
    "one address": [block("10.244.1.32/32"), block("fd00:244:2::20/128")],
    "excepted everything": [block("10.244.1.0/24", "10.244.1.0/25", "10.244.1.128/25")],
    "except in one block, given by another": [block("10.244.0.0/16", "10.244.1.32/28"), block("10.244.1.33/32")],
    "except given by a selector": [block("0.0.0.0/0", "10.244.1.0/24"), ns(ns="y")],
    "the node's network": [block("192.0.2.0/24"), block("fd00:192::/64")],
    "outside": [block("203.0.113.0/24"), block("2001:db8:f::/48")],
    "pods elsewhere": [block("10.244.2.0/24"), block("fd00:244:2::/64")],
}
PORTS = {
    "absent": None,
    "empty": [],
    "TCP 80": [TCP80],
    "81 without protocol": [{"port": 81}],
    "UDP 80": [UDP80],
    "SCTP 80": [SCTP80],
    "TCP": [{"protocol": "TCP"}],
    "UDP": [{"protocol": "UDP"}],
    "SCTP": [{"protocol": "SCTP"}],
    "entry without anything": [{}],
    "TCP 80 and UDP 81": [TCP80, {"protocol": "UDP", "port": 81}],
    "range 79-80": [{"protocol": "TCP", "port": 79, "endPort": 80}],
    "range 80-81 of UDP": [{"protocol": "UDP", "port": 80, "endPort": 81}],
    "range of one": [{"protocol": "SCTP", "port": 81, "endPort": 81}],
    "range 81-65535": [{"port": 81, "endPort": 65535}],
    "range 1-79": [{"port": 1, "endPort": 79}],
    "name": [{"protocol": "TCP", "port": "serve-80"}],
    "name, another number at each": [{"port": "web"}],
    "name of UDP": [{"protocol": "UDP", "port": "dns"}],
    "name with another protocol": [{"protocol": "TCP", "port": "dns"}],
    "name that some have": [{"port": "alt"}],
    "name that nobody has": [{"port": "nothing"}],
    "names and numbers": [{"port": "web"}, {"protocol": "SCTP", "port": "assoc"}, {"protocol": "UDP", "port": 81}],
}
SUBJECTS = {"every pod": {}, "pod a": {"pod": "a"}, "web tier": {"tier": "web"}, "not b": {"pod": ("NotIn", "b")}, "nobody": {"pod": "nobody"}}
BASIC = {
    "no policy": [[]],
    "deny ingress": [[np(types=["Ingress"])]],
    "deny ingress, ingress: []": [[np(types=["Ingress"], ingress=[])]],
    "deny egress": [[np(types=["Egress"])]],
    "deny both": [[np(types=["Ingress", "Egress"])]],
    "types absent": [[np()]],
    "types absent, ingress only": [[np(ingress=[rule([ns(ns="y")])])]],
    "types absent, egress rules": [[np(egress=[rule([ns(ns="y")])])]],
    "types absent, both": [[np(ingress=[rule([ns(ns="z")])], egress=[rule([ns(ns="y")])])]],
    "types empty, egress rules": [[np(types=[], egress=[rule()])]],
    "types Egress, egress: []": [[np(types=["Egress"], egress=[])]],
    "types Ingress, egress rules say nothing": [[np(types=["Ingress"], ingress=[rule()], egress=[rule([ns(ns="y")], [TCP80])])]],
    "types Egress, ingress rules say nothing": [[np(types=["Egress"], ingress=[rule([ns(ns="y")])], egress=[rule()])]],
    "allow all ingress": [[np(types=["Ingress"], ingress=[rule()])]],
    "allow all egress": [[np(types=["Egress"], egress=[rule()])]],
    "allow all both": [[np(types=["Ingress", "Egress"], ingress=[rule()], egress=[rule()])]],
    "deny in every namespace": [[np(n, types=["Ingress", "Egress"]) for n in "xyz"]],
    "deny ingress everywhere, allow all in x": [[*(np(n, types=["Ingress"]) for n in "xyz"), np("x", name="all", ingress=[rule()])]],
    "allow all wins over deny all": [[np(name="deny"), np(name="allow", ingress=[rule()]), np(name="zdeny")]],
    "rules are ORed": [[np(ingress=[rule([ns(ns="y")], [TCP80]), rule([ns(ns="z")], [TCP81]), rule([pod()], [UDP80])])]],
    "two policies add up": [[np(name="p1", ingress=[rule([ns(ns="y")], [TCP80])]), np(name="p2", ingress=[rule([ns(ns="z")], [TCP81])])]],
    "overlapping policies": [[np(name="p1", ingress=[rule([ns(ns="y")], [TCP80])]), np(name="p2", ingress=[rule([ns(ns="y"), ns(ns="z")], [TCP80, UDP80])]),
                              np(pods={"pod": "a"}, name="p3", ingress=[rule([ns({"pod": "b"})])])]],
    "one ingress policy, one egress policy": [[np(name="in", types=["Ingress"], ingress=[rule([ns(ns="y")])]),
                                               np(name="out", types=["Egress"], egress=[rule([ns(ns="z")])])]],
    "egress at one end, ingress at the other": [[np("x", types=["Egress"], egress=[rule([ns(ns="y")], [TCP80, UDP80])]),
                                                 np("y", types=["Ingress"], ingress=[rule([ns(ns="x")], [TCP80, SCTP80])])]],
    "egress allowed, ingress denied": [[np("x", types=["Egress"], egress=[rule([ns(ns="y")])]), np("y", types=["Ingress"])]],
    "ingress allowed, egress denied": [[np("x", types=["Egress"]), np("y", types=["Ingress"], ingress=[rule([ns(ns="x")])])]],
    "same name in two namespaces": [[np("x", ingress=[rule([pod()])]), np("y", ingress=[rule([pod()])])]],
    "policies of three namespaces": [[np("x", ingress=[rule([ns(ns="y")])]), np("y", ingress=[rule([ns(ns="z")])]), np("z", ingress=[rule([ns(ns="x")])])]],
    "one rule of several peers and ports": [[np(ingress=[rule([ns(ns="y"), pod(pod="b"), block("10.244.2.32/28")], [TCP80, SCTP80, {"protocol": "UDP"}])])]],
    "a denied pod reaches itself": [[np("x", {"pod": "a"}, types=["Ingress", "Egress"])]],
    "dns only": [[np(types=["Egress"], egress=[rule(None, [{"protocol": "UDP", "port": "dns"}, {"protocol": "TCP", "port": "dns"}])])]],
    "ICMP alone": [[np(types=["Ingress"], ingress=[rule([ns(ns="y")], [{"protocol": "ICMP"}, {"protocol": "ICMPv6"}])])]],
    "echo alone": [[np(types=["Ingress"], ingress=[rule(None, [{"protocol": "ICMP", "icmp": {"type": 8}}])])]],
    "another ICMP type": [[np(types=["Ingress"], ingress=[rule(None, [{"protocol": "ICMP", "icmp": {"type": 13}}, {"protocol": "ICMPv6", "icmp": {"type": 128}}])])]],
    "echo with another code": [[np(types=["Ingress"], ingress=[rule(None, [{"protocol": "ICMP", "icmp": {"type": 8, "code": 1}},
                                                                           {"protocol": "ICMPv6", "icmp": {"type": 128, "code": 0}}])])]],
    "a dry run denies nothing": [[np(enforce=False)]],
    "a dry run accepts nothing": [[np(name="deny"), np(name="dry", enforce=False, ingress=[rule()])]],
}
ALLOW_Y = np(ingress=[rule([ns(ns="y")], [TCP80, UDP80])])
CHANGES = {
    "deny and take it back": [[], [np(types=["Ingress", "Egress"])], []],
    "narrowed and widened": [[np(ingress=[rule()])], [ALLOW_Y], [np(ingress=[rule([ns(ns="y")])])], [np(ingress=[rule([ns(ns="z")], [TCP81])])]],
    "one more policy": [[ALLOW_Y], [ALLOW_Y, np(name="more", ingress=[rule([ns(ns="z")])])], [np(name="more", ingress=[rule([ns(ns="z")])])]],
    "egress closes": [[], [np(types=["Egress"], egress=[rule([ns(ns="y")], [TCP80])])], [np(types=["Egress"], egress=[rule()])]],
    "a pod's labels": [([np(ingress=[rule([ns({"role": "client"})])])], {}),
                       ([np(ingress=[rule([ns({"role": "client"})])])], {"y/a": {"role": "client"}, "y/c": {"role": "client"}}),
                       ([np(ingress=[rule([ns({"role": "client"})])])], {"y/a": {"role": "server"}})],
    "a subject's labels": [([np(pods={"shut": "yes"})], {}), ([np(pods={"shut": "yes"})], {"x/a": {"shut": "yes"}}),
                           ([np(pods={"shut": "yes"})], {"x/a": {"shut": "no"}, "x/b": {"shut": "yes"}})],
    "a namespace's labels": [([np(ingress=[rule([ns(team="red")])])], {}), ([np(ingress=[rule([ns(team="red")])])], {"y": {"team": "red"}}),
                             ([np(ingress=[rule([ns(team="red")])])], {"z": {"team": "blue"}})],
    "established stays": [[], [np(semantics="connection")], [np(semantics="connection", ingress=[rule([ns(ns="y")])])], []],
    "established stays outward": [[], [np(types=["Egress"], semantics="connection")]],
    "one of two says next packet": [[], [np(name="p1", semantics="connection"), np(name="p2", types=["Ingress"])]],
    "types change": [[np(types=["Ingress"])], [np(types=["Egress"])], [np(types=["Ingress", "Egress"], ingress=[rule()], egress=[rule([pod()])])]],
    "enforce is taken back": [[np()], [np(enforce=False)], [np()]],
}


def crossed():
    """Every peer with some ports and every port with some peers, both directions, subjects in turn."""
    subjects, n = itertools.cycle(SUBJECTS.items()), 0
    peers, ports = list(PEERS.items()), list(PORTS.items())
    for i, (pn, p) in enumerate(peers):
        for shift in range(3):
            qn, q = ports[(i + shift * 8) % len(ports)]
            for direction in ("ingress", "egress"):
                sn, s = next(subjects)
                if n % 3 and sn == "nobody":
                    sn, s = next(subjects)
                n += 1
                yield (f"{direction} of {sn}: {pn}; {qn}", [[np("xyz"[n % 3], s, types=[direction.capitalize()], **{direction: [rule(p, q)]})]])


def drawn(seed, count):
    """Several policies at once, drawn from what stands above."""
    rng = random.Random(seed)
    for n in range(count):
        policies = []
        for i in range(rng.randrange(1, 6)):
            p = np(rng.choice("xyz"), rng.choice(list(SUBJECTS.values())), f"p{i}", types=rng.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"])))
            for direction in ("ingress", "egress"):
                if rng.random() < 0.7:
                    p[direction] = [rule(rng.choice(list(PEERS.values())), rng.choice(list(PORTS.values()))) for _ in range(rng.randrange(4))]
            policies.append(p)
        yield f"drawn {seed}/{n}", [policies]
