# SPDX-License-Identifier: Apache-2.0
"""Programs drawn at random: Services, AddressSets and Policies for a fixed set of pods."""
import ipaddress

PODS = {name: {"ips": [f"10.244.1.{n}", f"fd00:244:1::{n:x}"], "mac": f"02:00:00:00:01:{n:02x}"}
        for name, n in (("p0", 4), ("p1", 5), ("p2", 6), ("p3", 9), ("p4", 17))}
REMOTE = "rem"
REMOTE_PREFIXES = ["10.244.2.0/24", "fd00:244:2::/64"]
REMOTE_POD = {"ips": ["10.244.2.10", "fd00:244:2::a"], "mac": "02:00:00:00:02:01"}
REMOTE_IPS = ["10.244.2.10", "10.244.2.11", "10.244.2.130", "fd00:244:2::a", "fd00:244:2::b", "fd00:244:2:0:8000::1"]
SERVICE_CIDRS = ["10.96.0.0/24", "fd00:96::/112"]
# Of what services may have: cluster, external and load balancer addresses, IPv4 and IPv6.
ADDRESSES = {"ips": [[f"10.96.0.{10 + i}" for i in range(6)], [f"fd00:96::{16 + i:x}" for i in range(6)]],
             "externalIPs": [[f"203.0.113.{10 + i}" for i in range(6)], [f"2001:db8:e::{16 + i:x}" for i in range(6)]],
             "loadBalancerIPs": [[f"203.0.113.{20 + i}" for i in range(6)], [f"2001:db8:1b::{16 + i:x}" for i in range(6)]]}
VIPS = [[ip for kind in ADDRESSES.values() for ip in kind[six]] for six in (0, 1)]
NOWHERE = [["10.244.1.77", "172.20.0.1"], ["fd00:244:1::77", "2001:db8::1"]]
PORTS = [53, 80, 81, 443, 8080, 8081, 9000]
NETWORKS4 = ["0.0.0.0/0", "10.0.0.0/8", "10.244.0.0/16", "10.244.1.0/24", "10.244.1.0/28", "10.244.1.4/30", "10.244.1.4/31", "10.244.2.0/24",
             "10.244.2.128/25", "10.244.1.8/29"]
NETWORKS6 = ["::/0", "fd00::/8", "fd00:244::/32", "fd00:244:1::/64", "fd00:244:1::/124", "fd00:244:1::4/126", "fd00:244:1::4/127",
             "fd00:244:2::/64", "fd00:244:2:0:8000::/65", "fd00:244:1::8/125"]


def endpoints():
    out = []
    for i, (name, pod) in enumerate(PODS.items()):
        out.append({"kind": "Endpoint", "name": f"oracle/{name}", "network": "default", "port": name, "mac": pod["mac"], "ips": pod["ips"],
                    "ports": [{"name": "web", "protocol": "TCP", "port": (80, 8080, 80, 81, 443)[i]}, {"name": "dns", "protocol": "UDP", "port": 53}] +
                             ([{"name": "alt", "protocol": "TCP", "port": 9000}] if i % 2 else [])})
    return out


def ips(six):
    return [p["ips"][six] for p in PODS.values()] + [ip for ip in REMOTE_IPS if (":" in ip) == six]


def apart(prefixes):
    """Without those that lie in another: they add nothing, and nft refuses them."""
    nets = {ipaddress.ip_network(p) for p in prefixes}
    return sorted(str(n) for n in nets if not any(n != o and n.version == o.version and n.subnet_of(o) for o in nets))


class Draw:
    """One program from one random.Random."""

    def __init__(self, rng):
        self.rng, self.sets = rng, []

    def prefix(self, six=None):
        six = self.rng.random() < 0.5 if six is None else six
        if self.rng.random() < 0.5:
            return self.rng.choice(ips(six)) + ("/128" if six else "/32")
        return self.rng.choice(NETWORKS6 if six else NETWORKS4)

    def address_sets(self):
        out = []
        for i in range(self.rng.randrange(4)):
            members = apart({self.prefix() for _ in range(self.rng.randrange(6))})
            out.append({"kind": "AddressSet", "name": f"set-{i}", "network": "default", "members": members})
        self.sets = [o["name"] for o in out] + ["missing"]
        return out

    def peer(self):
        if self.rng.random() < 0.3 and self.sets:
            return {"set": self.rng.choice(self.sets)}
        p = {"cidr": self.prefix()}
        outer = ipaddress.ip_network(p["cidr"])
        if outer.prefixlen < outer.max_prefixlen and self.rng.random() < 0.5:
            inner = {ipaddress.ip_network(self.prefix(outer.version == 6)) for _ in range(self.rng.randrange(1, 3))}
            inner = [n for n in inner if n != outer and n.subnet_of(outer)]
            p["except"] = [str(n) for n in inner if not any(n != o and n.subnet_of(o) for o in inner)]
        return p

    def port(self):
        how = self.rng.random()
        proto = self.rng.choice(("TCP", "TCP", "UDP"))
        if how < 0.4:
            return {"protocol": proto, "port": self.rng.choice(PORTS)}
        if how < 0.55:
            a, b = sorted(self.rng.sample(PORTS, 2))
            return {"protocol": proto, "port": a, "endPort": b}
        if how < 0.65:
            name = self.rng.choice(("web", "dns", "alt", "none"))
            return {"protocol": "UDP" if name == "dns" else "TCP", "port": name}
        if how < 0.75:
            six = self.rng.random() < 0.5
            icmp = {"type": self.rng.choice((128, 128, 129) if six else (8, 8, 13, 0))}
            if self.rng.random() < 0.3:
                icmp["code"] = self.rng.randrange(2)
            return {"protocol": "ICMPv6" if six else "ICMP", "icmp": icmp}
        return {"protocol": self.rng.choice(("TCP", "UDP", "ICMP", "ICMPv6", "SCTP", 50))}

    def rule(self, tier, ingress):
        r = {}
        if self.rng.random() < 0.85:
            r["from" if ingress else "to"] = [self.peer() for _ in range(self.rng.randrange(1, 4))]
        if self.rng.random() < 0.7:
            r["ports"] = [self.port() for _ in range(self.rng.randrange(1, 4))]
        if tier != "network":
            r["action"] = self.rng.choice(("accept", "accept", "deny", "deny", "pass") if tier == "admin" else ("accept", "deny"))
        return r

    def policy(self, i):
        tier = self.rng.choice(("network", "network", "network", "admin", "baseline"))
        p = {"kind": "Policy", "name": f"policy-{i}", "network": "default", "tier": tier}
        if tier != "network":
            p["priority"] = self.rng.randrange(3)
        if self.rng.random() < 0.75:
            p["endpoints"] = [f"oracle/{n}" for n in self.rng.sample(sorted(PODS), self.rng.randrange(3))]
        if self.rng.random() < 0.8:
            p["types"] = self.rng.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
        for direction in ("ingress", "egress"):
            if self.rng.random() < 0.8 and direction.title() in p.get("types", (direction.title(),)):
                p[direction] = [self.rule(tier, direction == "ingress") for _ in range(self.rng.randrange(4))]
        if self.rng.random() < 0.05:
            p["enforce"] = False
        return p

    def backend(self, ip, port):
        b = {"ip": ip}
        if self.rng.random() < 0.3:
            b["weight"] = self.rng.randrange(3)
        if self.rng.random() < 0.3:
            b["state"] = self.rng.choice(("ready", "notReady", "terminating", "draining"))
        if self.rng.random() < 0.2:
            b["ports"] = {port: self.rng.choice(PORTS)}
        return b

    def service(self, i, families):
        rng, ports = self.rng, []
        for k, port in enumerate(rng.sample(PORTS, rng.randrange(1, 3))):
            ports.append({"name": f"n{k}", "protocol": rng.choice(("TCP", "TCP", "UDP", "SCTP")), "port": port})
            if rng.random() < 0.6:
                ports[-1]["targetPort"] = rng.choice(PORTS)
        s = {"kind": "Service", "name": f"service-{i}", "network": "default", "ips": [ADDRESSES["ips"][six][i] for six in families], "ports": ports,
             "backends": [self.backend(ip, ports[0]["name"]) for six in families for ip in rng.sample(ips(six), rng.choice((0, 1, 1, 1, 2, 3, 4)))]}
        if rng.random() < 0.25:
            s["internalTrafficPolicy"] = "Local"
        for kind in ("externalIPs", "loadBalancerIPs"):
            if rng.random() < 0.25:
                s[kind] = [ADDRESSES[kind][six][i] for six in families]
        if "loadBalancerIPs" in s and rng.random() < 0.5:
            s["sourceRanges"] = apart({self.prefix() for _ in range(rng.randrange(1, 4))})
        return s

    def services(self):
        return [self.service(i, self.rng.choice(((0,), (1,), (0, 1)))) for i in range(self.rng.randrange(7))]

    def policies(self):
        """With the sets that they refer to."""
        return self.address_sets() + [self.policy(i) for i in range(self.rng.choice((0, 1, 2, 3, 5, 8)))]
