# SPDX-License-Identifier: Apache-2.0
"""Ports of the kernel's for scripts/bench compare: two wires between the generator's namespace (ga, gb) and the node's (wa, wb)."""
from lab import sh
from switch import GATEWAY_MAC


def wires(lab, core):
    generator, node = lab.netns("gen"), lab.netns("node")
    for side in "ab":
        sh("ip", "link", "add", f"g{side}", "netns", generator, "type", "veth", "peer", "name", f"w{side}", "netns", node)
        for ns, name in ((generator, f"g{side}"), (node, f"w{side}")):
            # Nothing of the kernel's own in between: no checksum left for hardware, no IPv6 that speaks up.
            sh("ethtool", "-K", name, "tx", "off", netns=ns)
            sh("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1", netns=ns)
            sh("ip", "link", "set", name, "up", netns=ns)
        sh("ip", "link", "set", f"w{side}", "address", GATEWAY_MAC, netns=node)
        # What arrives is the switch's core's to deal with, not that of the sender.
        sh("sh", "-c", f"echo {1 << core:x} >/sys/class/net/w{side}/queues/rx-0/rps_cpus", netns=node)
