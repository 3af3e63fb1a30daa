# SPDX-License-Identifier: Apache-2.0
"""A cluster for truth tables: namespaces, labels, pods here and on another node, and the agent that makes Weft's objects of Kubernetes' ones."""
import ipaddress
import json

from lab import NODE_IP, NODE_IP6

OUT = ("203.0.113.9", "2001:db8:f::9")
NODE_CIDR = ("192.0.2.0/24", "fd00:192::/64")
REMOTE_MAC = "02:00:00:00:02:01"
NAMESPACES = {"x": {"ns": "x", "team": "blue"}, "y": {"ns": "y", "team": "blue"}, "z": {"ns": "z", "team": "red", "audit": ""}}
# Where each pod listens, by name: "web" is another number at each, "dns" another protocol too, and only some have "alt".
PORTS = {"a": [("serve-80", "TCP", 80), ("serve-81", "TCP", 81), ("web", "TCP", 80), ("dns", "UDP", 80), ("assoc", "SCTP", 80)],
         "b": [("serve-80", "TCP", 80), ("serve-81", "TCP", 81), ("web", "TCP", 81), ("dns", "UDP", 81), ("assoc", "SCTP", 81), ("alt", "TCP", 80)],
         "c": [("serve-80", "TCP", 80), ("serve-81", "TCP", 81), ("web", "TCP", 80), ("dns", "UDP", 80), ("assoc", "SCTP", 80)]}
TIERS = {"a": {"tier": "web"}, "b": {"tier": "db"}, "c": {"tier": "web", "canary": ""}}


class Pod:
    """`local`: on this node. Kinds: "pod", "host" (the node), "out" (somebody outside), "other" (a pod of another network)."""

    def __init__(self, name, kind, ips, mac=None, local=True, port=None, labels=None):
        self.name, self.kind, self.ips, self.mac, self.local, self.port = name, kind, ips, mac, local, port
        self.labels = dict(labels or {})
        self.namespace = name.split("/")[0] if kind == "pod" else None
        self.named = PORTS[name.split("/")[1]] if kind == "pod" else []


class World:
    def __init__(self):
        self.namespaces = {n: dict(labels) for n, labels in NAMESPACES.items()}
        self.pods = {}
        for i, ns in enumerate("xyz"):
            for j, p in enumerate("abc"):
                n, local = 16 * (i + 1) + j, p != "c"
                self.pods[f"{ns}/{p}"] = Pod(f"{ns}/{p}", "pod", [f"10.244.{1 if local else 2}.{n}", f"fd00:244:{1 if local else 2}::{n:x}"],
                                             f"02:00:00:00:01:{n:02x}" if local else REMOTE_MAC, local, f"{ns}{p}", {"pod": p, **TIERS[p]})
        self.actors = dict(self.pods)
        self.actors["host"] = Pod("host", "host", [NODE_IP, NODE_IP6])
        self.actors["out"] = Pod("out", "out", list(OUT), local=False)
        # Another network, with the addresses of x/a and x/b.
        for i, p in enumerate("ab"):
            self.actors[f"o/{p}"] = Pod(f"o/{p}", "other", list(self.pods[f"x/{p}"].ips), f"02:00:00:00:03:0{i}", True, f"o{p}")

    def by_ip(self, ip):
        """The actor of the default network that has a packed address."""
        return self._ips.get(ip)

    def index(self):
        self._ips = {ipaddress.ip_address(ip).packed: a for a in self.actors.values() if a.kind != "other" for ip in a.ips}

    def local(self, kind="pod"):
        return [a for a in self.actors.values() if a.local and a.kind == kind]

    # -- selectors ---------------------------------------------------------------------------------------------------
    @staticmethod
    def selects(selector, labels):
        """A LabelSelector as a dict: value, or ("In", ...), ("NotIn", ...), ("Exists",), ("DoesNotExist",)."""
        for key, want in selector.items():
            op, *values = want if isinstance(want, tuple) else ("In", want)
            has = key in labels
            if not {"In": has and labels.get(key) in values, "NotIn": not has or labels[key] not in values,
                    "Exists": has, "DoesNotExist": not has}[op]:
                return False
        return True

    def selected(self, namespace, pod=None, namespaces=None):
        """Pods of the namespaces that `namespaces` selects (absent: of `namespace` alone) that `pod` selects (absent: all)."""
        spaces = {n for n, labels in self.namespaces.items() if self.selects(namespaces, labels)} if namespaces is not None else {namespace}
        return [p for p in self.pods.values() if p.namespace in spaces and (pod is None or self.selects(pod, p.labels))]

    def subject(self, policy):
        s = policy["subject"]
        return self.selected(policy["namespace"], s.get("podSelector"), s.get("namespaceSelector"))


class Agent:
    """Kubernetes' policies as Weft's objects: every selector an AddressSet, every subject a list of this node's endpoints."""

    def __init__(self, world, network="default"):
        self.world, self.network, self.sets = world, network, {}

    def peers(self, peers, namespace):
        out = []
        for peer in peers:
            if "ipBlock" in peer:
                out.append(dict(peer["ipBlock"]))
                continue
            pods = self.world.selected(namespace, peer.get("podSelector"), peer.get("namespaceSelector"))
            name = "sel-" + format(hash_text(json.dumps([namespace, peer], sort_keys=True)), "08x")
            self.sets[name] = sorted(ip for p in pods for ip in p.ips)
            out.append({"set": name})
        return out

    def rules(self, policy, direction):
        out, key = [], "from" if direction == "ingress" else "to"
        for rule in policy[direction]:
            made = {k: rule[k] for k in ("action", "name") if k in rule}
            if "peers" in rule:
                made[key] = self.peers(rule["peers"], policy["namespace"])
            if "ports" in rule:
                made["ports"] = [dict(p) for p in rule["ports"]]
            out.append(made)
            if direction == "egress":
                out += self.elsewhere(policy, rule)
        return out

    def elsewhere(self, policy, rule):
        """Names of ports are known of this node's endpoints; for pods elsewhere the agent says the number."""
        made = []
        for entry in rule.get("ports", []):
            if not isinstance(entry.get("port"), str):
                continue
            for pod in self.world.pods.values():
                ips = [] if pod.local else [ip for ip in pod.ips if not rule.get("peers") or any(
                    in_block(p["ipBlock"], ip) if "ipBlock" in p else pod in self.world.selected(
                        policy["namespace"], p.get("podSelector"), p.get("namespaceSelector")) for p in rule["peers"])]
                made += [{**{k: rule[k] for k in ("action",) if k in rule}, "ports": [{"protocol": proto, "port": number}],
                          "to": [{"cidr": f"{ip}/{128 if ':' in ip else 32}"} for ip in ips]}
                         for name, proto, number in pod.named if ips and (name, proto) == (entry["port"], entry.get("protocol", "TCP"))]
        return made

    def policy(self, p):
        o = {"kind": "Policy", "name": f"{p['namespace']}/{p['name']}" if p["tier"] == "network" else p["name"], "network": self.network,
             "tier": p["tier"]}
        o |= {k: p[k] for k in ("priority", "types", "enforce", "semantics", "log") if k in p}
        if p["subject"] != "network":
            o["endpoints"] = [f"demo/{pod.name}" for pod in self.world.subject(p) if pod.local]
        for direction in ("ingress", "egress"):
            if direction in p:
                o[direction] = self.rules(p, direction)
        return o

    def objects(self, policies):
        made = [self.policy(p) for p in policies]
        return [{"kind": "AddressSet", "name": n, "network": self.network, "members": m} for n, m in self.sets.items()] + made


def in_block(block, ip):
    ip = ipaddress.ip_address(ip)
    within = lambda c: ip.version == ipaddress.ip_network(c).version and ip in ipaddress.ip_network(c)
    return within(block["cidr"]) and not any(map(within, block.get("except", [])))


def hash_text(text):
    h = 0x811c9dc5
    for c in text.encode():
        h = (h ^ c) * 0x01000193 & 0xffffffff
    return h
