# SPDX-License-Identifier: Apache-2.0
"""The same objects, told to Linux: a namespace that routes between veth pairs, with nftables for Services and Policies.

Policies are judged by conntrack's tuples, hence in both directions and on the translated destination, as Weft judges a conversation by its first
packet. Everything is decided in prerouting, after DNAT: a packet that is refused is quoted as it came.
"""
from lab import GATEWAY, GATEWAY6, GATEWAY_MAC, sh

NAMES = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1, "ICMPv6": 58}
PORTED = {6: "tcp", 17: "udp", 132: "sctp"}
SYSCTLS = """net.ipv4.ip_forward=1
net.ipv6.conf.all.forwarding=1
net.ipv4.conf.all.rp_filter=0
net.ipv4.conf.default.rp_filter=0
net.ipv4.conf.all.send_redirects=0
net.ipv4.conf.default.send_redirects=0
net.ipv4.icmp_ratelimit=0
net.ipv4.icmp_msgs_per_sec=1000000
net.ipv4.icmp_msgs_burst=1000000
net.ipv6.icmp.ratelimit=0
net.netfilter.nf_conntrack_tcp_loose=0
net.netfilter.nf_conntrack_tcp_be_liberal=0
"""


def is6(text):
    return ":" in text


def family(text):
    return "ip6" if is6(text) else "ip"


class Router:
    def __init__(self, lab, pods, remote):
        """pods: name -> {"ips": [...], "mac": text}; remote: (pod name, prefixes) that lie behind one of them."""
        self.router, self.pods_ns = lab.netns("kernel"), lab.netns("kernelpods")
        self.pods, self.remote, self.loads = pods, remote, 0
        quiet(self.pods_ns)
        sh("sysctl", "-q", "-p", "-", input=SYSCTLS, netns=self.router)
        lines = []
        for name, pod in pods.items():
            lines.append(f"link add {name} mtu 1500 address {GATEWAY_MAC} type veth peer name {name} mtu 1500 address {pod['mac']} netns {self.pods_ns}")
            lines += [f"link set {name} up", f"addr add {GATEWAY}/32 dev {name}", f"addr add {GATEWAY6}/128 dev {name} nodad"]
            for ip in pod["ips"]:
                lines.append(f"neigh add {ip} lladdr {pod['mac']} dev {name} nud permanent")
                lines.append(f"route add {ip} dev {name} mtu lock 1450 src {GATEWAY6 if is6(ip) else GATEWAY}")
        name, prefixes = remote
        for p in prefixes:
            via = next(ip for ip in pods[name]["ips"] if is6(ip) == is6(p))
            lines.append(f"route add {p} via {via} dev {name} onlink mtu lock 1450 src {GATEWAY6 if is6(p) else GATEWAY}")
        sh("ip", "-batch", "-", input="\n".join(lines) + "\n", netns=self.router)
        sh("ip", "-batch", "-", input="".join(f"link set {n} up\n" for n in pods), netns=self.pods_ns)
        for name in pods:
            sh("ethtool", "-K", name, "tx", "off", netns=self.router)

    def load(self, objects):
        self.loads += 1
        self.rules = Rules(objects, self.pods, self.remote, self.loads)
        text = self.rules.text()
        sh("nft", "-f", "-", input=f"table inet oracle\ndelete table inet oracle\n{text}", netns=self.router)
        return text


def quiet(ns):
    """A namespace of pods whose kernel says nothing of its own."""
    sh("sysctl", "-q", "-p", "-", input="net.ipv6.conf.all.disable_ipv6=1\nnet.ipv6.conf.default.disable_ipv6=1\n"
                                       "net.ipv4.conf.all.arp_ignore=8\nnet.ipv4.conf.default.arp_ignore=8\n", netns=ns)


class Rules:
    def __init__(self, objects, pods, remote, generation):
        self.pods, self.remote, self.generation = pods, remote, generation
        of = lambda kind: [o for o in objects if o["kind"] == kind]
        self.endpoints = {o["name"]: o for o in of("Endpoint")}
        self.services, self.policies = of("Service"), [p for p in of("Policy") if p.get("enforce", True)]
        self.sets = {o["name"]: o["members"] for o in of("AddressSet")}
        self.cidrs = [c for o in of("Node") for c in o.get("serviceCIDRs", [])]

    # -- services ----------------------------------------------------------------------------------------------------
    def doors(self):
        """Every (address, service, port, who takes new connections, whether somebody elsewhere would) that pods find."""
        here = [ip for e in self.endpoints.values() for ip in e["ips"]]
        for s in self.services:
            for kind in ("ips", "externalIPs", "loadBalancerIPs"):
                for vip in s.get(kind, []):
                    everybody = [b for b in s["backends"] if is6(b["ip"]) == is6(vip)]
                    near = [b for b in everybody if b["ip"] in here]
                    local = kind == "ips" and s.get("internalTrafficPolicy") == "Local"
                    for p in s["ports"]:
                        yield vip, s if kind == "loadBalancerIPs" else {}, p, eligible(near if local else everybody), bool(eligible(everybody))

    def service_rules(self):
        """(DNAT, source translation of pods that reach themselves, ports at which what was not translated is dropped)"""
        nat, hairpin, known = [], [], []
        for vip, s, p, backends, anybody in self.doors():
            f, proto = family(vip), PORTED[NAMES[p["protocol"]]]
            port, ranges = f"{f} daddr {vip} {proto} dport {p['port']}", [r for r in s.get("sourceRanges", []) if is6(r) == is6(vip)]
            who = ""
            if s.get("sourceRanges"):
                known.append(f"{port} {f} saddr != {{ {', '.join(ranges)} }} drop" if ranges else f"{port} drop")
                who = f"{f} saddr {{ {', '.join(ranges)} }} "
            if anybody:
                known.append(f"{port} drop")
            for i, b in enumerate(backends if ranges or not who else ()):
                # Which backend a new connection gets is Weft's to say: the harness writes it into the packet's DSCP.
                choice = f"{f} dscp {i} " if len(backends) > 1 else ""
                nat.append(f"{port} {who}{choice}dnat {f} to {'[' + b['ip'] + ']' if is6(vip) else b['ip']}:{target(p, b)}")
                hairpin.append(f"ct original {f} daddr {vip} {f} saddr {b['ip']} {f} daddr {b['ip']} snat {f} to {vip}")
        for vip in self.vips():
            f, gateway = family(vip), GATEWAY6 if is6(vip) else GATEWAY
            nat.append(f"{f} daddr {vip} {'icmpv6' if is6(vip) else 'icmp'} type echo-request dnat {f} to {gateway}")
        return nat, sorted(set(hairpin)), known

    def vips(self):
        return [ip for s in self.services for kind in ("ips", "externalIPs", "loadBalancerIPs") for ip in s.get(kind, [])]

    # -- policies ----------------------------------------------------------------------------------------------------
    def peers(self, rule, ingress):
        """nft matches of a rule's peers; [""] for everybody."""
        field = "ct original {} saddr" if ingress else "ct reply {} saddr"
        peers = rule.get("from" if ingress else "to") or []
        if not peers:
            return [""]
        out = []
        for peer in peers:
            if "set" in peer:
                for six in (False, True):
                    members = [m for m in self.sets.get(peer["set"], []) if is6(m) == six]
                    if members:
                        out.append(f"{field.format('ip6' if six else 'ip')} {{ {', '.join(members)} }}")
                continue
            f = field.format(family(peer["cidr"]))
            # nft leaves a match of every address out of what it compiles, and the family with it.
            out.append(f"meta nfproto {'ipv6' if is6(peer['cidr']) else 'ipv4'} {f} {peer['cidr']}" +
                       (f" {f} != {{ {', '.join(peer['except'])} }}" if peer.get("except") else ""))
        return out

    def named(self, name, proto, ep, ingress):
        """(match of the destination, number) for each endpoint that gives the name to one of its ports."""
        for e in [ep] if ingress else self.endpoints.values():
            for p in e.get("ports", []):
                if p["name"] == name and NAMES[p.get("protocol", "TCP")] == proto:
                    for ip in e["ips"]:
                        yield (f"ct reply {family(ip)} saddr {ip} ", p["port"])

    def ports(self, rule, ep, ingress):
        ports = rule.get("ports") or []
        if not ports:
            return [""]
        out = []
        for p in ports:
            proto = p.get("protocol", "TCP")
            proto = NAMES.get(proto, proto)
            if isinstance(p.get("port"), str):
                out += [f"{where}meta l4proto {PORTED[proto]} ct reply proto-src {n}" for where, n in self.named(p["port"], proto, ep, ingress)]
            elif "port" in p:
                out.append(f"meta l4proto {PORTED[proto]} ct reply proto-src {p['port']}" + (f"-{p['endPort']}" if "endPort" in p else ""))
            elif "icmp" in p:
                name, kind, code = "icmp" if proto == 1 else "icmpv6", p["icmp"]["type"], p["icmp"].get("code")
                out.append(f"ct direction original {name} type {kind}" + (f" {name} code {code}" if code is not None else ""))
                # An answer belongs to the request.
                if kind == (8 if proto == 1 else 128) and code in (None, 0):
                    out.append(f"ct direction reply meta l4proto {name}")
            else:
                out.append(f"meta l4proto {proto}")
        return out

    def selected(self, ep, tier, ingress):
        """The policies of a tier that speak of this endpoint in this direction, in their order."""
        out = []
        for p in self.policies:
            types = p.get("types") or ["Ingress"] + (["Egress"] if "egress" in p else [])
            if p.get("tier", "network") == tier and ("endpoints" not in p or ep["name"] in p["endpoints"]) and \
                    ("Ingress" if ingress else "Egress") in types:
                out.append(p)
        return sorted(out, key=lambda p: (p.get("priority", 0), p["name"].encode()))

    def chains(self, ep, ingress):
        """Returning from these chains allows."""
        base = ("in_" if ingress else "out_") + ep["port"]
        rules = {"admin": [], "network": [], "baseline": []}
        for tier, lines in rules.items():
            verdicts = {"accept": "return", "deny": "drop", "pass": f"goto {base}_network" if tier == "admin" else "return"}
            policies = self.selected(ep, tier, ingress)
            for p in policies:
                for r in p.get("ingress" if ingress else "egress", []):
                    for who in self.peers(r, ingress):
                        for what in self.ports(r, ep, ingress):
                            if " ip " in who and " ip6 " in what or " ip6 " in who and " ip " in what:
                                continue  # a port by name at an address of the other family
                            lines.append(f"{who} {what} {verdicts[r.get('action', 'accept')]}".strip())
            if tier == "network":
                lines.append("drop" if policies else f"goto {base}_baseline")
        rules["admin"].append(f"goto {base}_network")
        return [chain(f"{base}_{tier}", rules[tier]) for tier in ("baseline", "network", "admin")]

    # -- all of it ---------------------------------------------------------------------------------------------------
    def judge(self):
        """Weft's order: service, route, state, policy."""
        _, _, known = self.service_rules()
        lines = list(known)
        for c in self.cidrs + self.vips():
            lines += [f"{family(c)} daddr {c} meta l4proto tcp reject with tcp reset", f"{family(c)} daddr {c} reject with icmpx type port-unreachable"]
        for gateway in (GATEWAY, GATEWAY6):
            lines += [f"{family(gateway)} daddr {gateway} meta l4proto {{ sctp, esp }} reject with icmpx type port-unreachable",
                      f"{family(gateway)} daddr {gateway} accept"]
        for six in (False, True):
            there = [ip for pod in self.pods.values() for ip in pod["ips"] if is6(ip) == six] + [p for p in self.remote[1] if is6(p) == six]
            lines.append(f"{'ip6' if six else 'ip'} daddr != {{ {', '.join(there)} }} reject with " +
                         ("icmpv6 type no-route" if six else "icmp type net-unreachable"))
        # An error about a conversation that these rules have let pass.
        lines += ["ct state invalid drop", f"ct state related ct mark {self.generation} accept", "ct state related drop"]
        for ep in self.endpoints.values():
            lines += [f"ct original {family(ip)} saddr {ip} ct reply {family(ip)} saddr {ip} ct mark set {self.generation} accept" for ip in ep["ips"]]
        for ep in self.endpoints.values():
            lines += [f"ct original {family(ip)} saddr {ip} jump out_{ep['port']}_admin" for ip in ep["ips"]]
        for ep in self.endpoints.values():
            lines += [f"ct reply {family(ip)} saddr {ip} jump in_{ep['port']}_admin" for ip in ep["ips"]]
        return lines + [f"ct mark set {self.generation} accept"]

    def spoofed(self):
        lines = []
        for ep in self.endpoints.values():
            for six in (False, True):
                own = [ip for ip in ep["ips"] if is6(ip) == six]
                lines.append(f"iifname {ep['port']} {'ip6' if six else 'ip'} saddr != {{ {', '.join(own)} }} drop")
        name, prefixes = self.remote
        for six in (False, True):
            lines.append(f"iifname {name} {'ip6' if six else 'ip'} saddr != {{ {', '.join(p for p in prefixes if is6(p) == six)} }} drop")
        return lines

    def text(self):
        nat, hairpin, _ = self.service_rules()
        parts = [chain("spoofed", ["type filter hook prerouting priority -300;"] + self.spoofed()),
                 chain("services", ["type nat hook prerouting priority -100;"] + nat),
                 chain("hairpin", ["type nat hook postrouting priority 100;"] + hairpin)]
        for ep in self.endpoints.values():
            parts += self.chains(ep, True) + self.chains(ep, False)
        parts.append(chain("judge", ["type filter hook prerouting priority 0;"] + self.judge()))
        return "table inet oracle {\n" + "\n".join(parts) + "}\n"


def eligible(backends):
    """Who takes new connections."""
    able = lambda state: [b for b in backends if b.get("state", "ready") == state and b.get("weight", 1) > 0]
    return able("ready") or able("terminating")


def target(port, backend):
    return backend.get("ports", {}).get(port["name"], port.get("targetPort", port["port"]))


def chain(name, lines):
    return f" chain {name} {{\n" + "".join(f"  {line}\n" for line in lines) + " }\n"

