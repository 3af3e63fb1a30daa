# SPDX-License-Identifier: Apache-2.0
"""The scenarios of scripts/bench compare, and the goals: data."""
from dataclasses import dataclass, replace

LARGEST = 1514  # a frame of 1,500 B of IP
TUNNEL = 50     # what VXLAN adds


@dataclass(frozen=True)
class Scenario:
    """A job for a switch. Pod A sends to B, and, through Services, the backends answer: packets of both directions of random connections."""
    name: str
    flows: int = 10_000
    size: int = 64         # of A's and B's own frames, without FCS
    service: bool = False  # else A's packets are routed to B
    both: bool = False     # routed: B sends, too
    rules: int = 0         # of the policy that A's packets are under
    tunnel: bool = False   # B is behind another node
    mix: bool = False      # of sizes, up to `size`
    new: bool = False      # only first packets of ever new connections: packets are connections
    log: bool = False      # rules are logged
    changes: int = 0       # a second, to objects of other pods
    peers: tuple = ("testpmd-mac", "ovs", "kernel", "vpp")
    against: str = None    # Weft itself in this other scenario, as one more peer

    @property
    def mostly(self):
        """In words, for a table."""
        return f"{self.name}, {self.flows:,}" if self.service and not self.new else self.name


SERVICE = Scenario("clusterip", service=True)
POLICY = replace(SERVICE, name="clusterip+policy", rules=1000)
OVERLAY = replace(POLICY, name="clusterip+policy+vxlan", tunnel=True)
MILLION = 1_000_000

SCENARIOS = (
    Scenario("route", peers=("testpmd-io", "testpmd-mac", "ovs", "kernel", "vpp")),
    Scenario("route+policy", rules=1000),
    SERVICE,
    replace(SERVICE, flows=MILLION),
    POLICY,
    replace(POLICY, flows=MILLION),
    OVERLAY,
    replace(OVERLAY, flows=MILLION),
    replace(OVERLAY, name="clusterip+policy+vxlan, 1500 B", size=LARGEST - TUNNEL),
    replace(POLICY, name="new connections", new=True, flows=1, peers=("ovs", "kernel", "vpp")),
    Scenario("route, imix", mix=True, size=LARGEST),
    replace(OVERLAY, name="clusterip+policy+vxlan, imix", mix=True, size=LARGEST - TUNNEL),
    replace(POLICY, name="clusterip+policy, 1000 changes/s", changes=1000, peers=("ovs",), against="clusterip+policy"),
    replace(OVERLAY, name="everything", rules=100_000, log=True, changes=1000, peers=(), against="route both ways"),
)
# What others are compared with, and no row of their own.
REFERENCES = (Scenario("route both ways", both=True),)


def by_name(name, flows=None):
    return next(s for s in SCENARIOS + REFERENCES if s.name == name and (flows is None or s.flows == flows))


@dataclass(frozen=True)
class Goal:
    scenario: str
    flows: int
    port: str      # None: each kind
    least: dict    # of the ratio to a peer
    what: str
    cycles: bool = False  # `least` is a share of the peer's cycles that is allowed


GOALS = (
    Goal("route", 10_000, "memif", {"testpmd-mac": 1.1, "ovs": 2, "vpp": 1.1}, "route, 64 B, memif"),
    Goal("route", 10_000, "vhost", {"testpmd-mac": 0.9, "ovs": 2, "vpp": 1.2}, "route, 64 B, vhost-user"),
    Goal("clusterip+policy", 10_000, None, {"testpmd-mac": 0.75, "ovs": 6, "vpp": 2}, "clusterip+policy, 10 k connections"),
    Goal("clusterip+policy+vxlan", 10_000, None, {"testpmd-mac": 0.65, "ovs": 6, "vpp": 2}, "clusterip+policy+vxlan, 10 k connections"),
    Goal("clusterip+policy+vxlan", MILLION, None, {"testpmd-mac": 0.45, "ovs": 6, "vpp": 3}, "the same, 1 M connections"),
    Goal("new connections", 1, None, {"at least, M/s": 1, "ovs": 8, "vpp": 3}, "new connections through clusterip+policy"),
    Goal("clusterip+policy+vxlan, 1500 B", 10_000, None, {"testpmd-mac": 0.9, "ovs": 3, "vpp": 1.5}, "1,500 B, everything on"),
    Goal("clusterip+policy, 1000 changes/s", 10_000, None, {"weft, clusterip+policy": 0.97}, "1,000 changes a second to other pods"),
    Goal("everything", 10_000, None, {"weft, route both ways": 1 / 1.5}, "everything at once, against plain routing"),
)
