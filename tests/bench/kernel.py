# SPDX-License-Identifier: Apache-2.0
"""The Linux kernel as a subject: a namespace that routes, with nftables for Services (DNAT) and policy, and its own VXLAN device. Its softirqs run on the
switch's core. How many cycles it spends on a packet it does not say."""
import job
from lab import sh
from subjects import Subject
from switch import GATEWAY_MAC, MACS, LabError

TUNNEL_MTU = 1450


def chain(backend):
    """Its name, which is a word."""
    return f"to-{backend.replace('.', '-')}"


class Kernel(Subject):
    name = "kernel"
    kinds = ("veth",)

    @classmethod
    def can(cls, args, scenario):
        # nf_conntrack_max is the whole machine's, and stays as it is.
        return scenario.flows <= 100_000 and not scenario.new and not scenario.changes

    def start(self):
        s, ns = self.scenario, self.lab.netns("node")
        sh("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0", netns=ns)
        ways = [("wa", "169.254.1.1", MACS[0], job.CLIENTS)]
        if s.tunnel:
            sh("ip", "addr", "add", f"{job.NODE_IP}/{job.UNDERLAY}", "dev", "wb", netns=ns)
            sh("ip", "neigh", "replace", job.REMOTE_IP, "lladdr", job.REMOTE_MAC, "dev", "wb", netns=ns)
            sh("ip", "link", "add", "vx", "address", GATEWAY_MAC, "mtu", str(TUNNEL_MTU), "type", "vxlan", "id", str(job.VNI), "dstport", "4789",
               "local", job.NODE_IP, "remote", job.REMOTE_IP, "nolearning", netns=ns)
            sh("ip", "link", "set", "vx", "up", netns=ns)
            ways.append(("vx", "169.254.1.2", job.REMOTE_MAC, job.BACKENDS_PREFIX))
        else:
            ways.append(("wb", "169.254.1.2", MACS[1], job.BACKENDS_PREFIX))
        for dev, via, mac, prefix in ways:
            sh("ip", "neigh", "replace", via, "lladdr", mac, "dev", dev, netns=ns)
            sh("ip", "route", "add", prefix, "via", via, "dev", dev, "onlink", netns=ns)
        if s.service or s.rules:
            sh("nft", "-f", "-", input=self.ruleset(), netns=ns)

    def ruleset(self):
        s, out = self.scenario, ["table ip bench {"]
        if s.service:
            out.append("chain services { type nat hook prerouting priority dstnat;")
            for vip, backends in job.services():
                choice = ", ".join(f"{i} : goto {chain(b)}" for i, b in enumerate(backends))
                out.append(f"ip daddr {vip} udp dport {job.VIP_PORT} numgen random mod {len(backends)} vmap {{ {choice} }}")
            out.append("}")
            # Before those that go there.
            out[1:1] = [f"chain {chain(b)} {{ meta l4proto udp dnat to {b}:{job.BACKEND_PORT}; }}" for _, backends in job.services() for b in backends]
        out.append("chain rules { type filter hook forward priority filter; policy drop; ct state established accept;")
        if s.rules:
            out += [f"iifname wa ip daddr {prefix} udp dport {port} accept" for prefix, port in job.rules(s)]
        else:
            out.append("iifname wa accept")
        return "\n".join(out) + "\n}\n}\n"

    def used_connections(self):
        return int(sh("sysctl", "-n", "net.netfilter.nf_conntrack_count", netns=self.lab.netns("node")).stdout)

    def start_counting(self):
        self.tracked = self.used_connections()

    def cycles(self):
        return None

    def check(self, report):
        super().check(report)
        if self.scenario.service and self.tracked < self.scenario.flows:
            raise LabError(f"kernel: {self.tracked} connections are tracked")
