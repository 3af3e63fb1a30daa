# SPDX-License-Identifier: Apache-2.0
"""Who is measured by scripts/bench compare. A subject is a switch that does a scenario's job between two ports of a kind, in a lab of its own.

All have: name, kinds (of port), can(scenario), then for one run: the constructor (starts it and gives it its job), start_generator(),
used_connections() or None, start_counting(), cycles() (busy cycles of a packet since then, or None), check(report).
"""

import os
import time

import job
import objects
import switch
import veth
from changes import Changes
from switch import GATEWAY_MAC, KINDS, LabError


class Share:
    """Which part of the time a process's threads that are bound to one core had it. Others that the kernel runs there stretch the cycles of a busy
    turn; they are taken off from all subjects alike. What a hypervisor takes is not seen."""

    def __init__(self, process, core):
        self.pid, self.core = process.pid, core
        self.before = self.now()

    def now(self):
        ran = 0
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                with open(f"/proc/{self.pid}/task/{task}/status") as status, open(f"/proc/{self.pid}/task/{task}/schedstat") as stat:
                    if f"\nCpus_allowed_list:\t{self.core}\n" in status.read():
                        ran += int(stat.read().split()[0]) / 1e9
            except FileNotFoundError:
                pass
        return ran, time.monotonic()

    def value(self):
        ran, wall = (now - then for now, then in zip(self.now(), self.before))
        return min(1, ran / wall)


class Subject:
    kinds = tuple(KINDS)
    connections = True  # it knows of connections; else its traffic is routed as it is

    def __init__(self, lab, args, kind, scenario):
        self.lab, self.args, self.kind, self.scenario = lab, args, kind, scenario
        if kind == "veth":
            veth.wires(lab, args.cores[1])
        self.start()

    @classmethod
    def can(cls, args, scenario):
        return True

    def generator(self):
        """(options, flags, more arguments of switch.start_generator)"""
        return *job.generator_options(self.scenario, self.connections), {}

    def start_generator(self, seconds, warmup):
        options, flags, more = self.generator()
        if self.kind == "veth":
            # To begin with; see compare.Offered.
            more, options["rate"] = dict(more, netns=self.lab.netns("gen")), 0.005
        options = dict(options, seconds=seconds, warmup=warmup, **{"gateway-mac": GATEWAY_MAC})
        return switch.start_generator(self.lab, self.args, self.kind, self.args.cores, options, flags, **more)

    def used_connections(self):
        return None

    def changes(self):
        """A rate of changes to others, going on until it is stopped; None when there are none."""
        return Changes(self.scenario.changes, self.change, self.args.cores[0]) if self.scenario.changes else None

    def check(self, report):
        """LabError when the job was not done: what arrived tells."""
        expect = job.sides_that_receive(self.scenario)
        for side in expect:
            r = report[side]
            if r["rx"] == 0 or r["wrong"] or (self.connections and r["hops"] != 1):
                raise LabError(f"{self.name}: {self.scenario.name}: side {side} got {r}")
        if self.scenario.tunnel and self.connections and report["outerPorts"] < min(50, self.scenario.flows):
            raise LabError(f"{self.name}: {report['outerPorts']} source ports of VXLAN: not made from the inner flow")


class Weft(Subject):
    name = "weft"
    kinds = (*KINDS, "veth")

    def start(self):
        s, args = self.scenario, self.args
        connections = 1 << 23 if s.new else max(65536, s.flows * 5 // 4)
        self.switch = switch.Weft(self.lab, args, self.kind, args.cores, connections, objects.RATES, objects.SHORT if s.new else objects.QUOTA,
                                  uplink=f"{job.NODE_IP}/{job.UNDERLAY}" if s.tunnel else None)
        things = objects.pods(self.switch.ports)
        if s.tunnel:
            things = [o for o in things if not (o["kind"] == "Endpoint" and o["name"] == "b")]
            next(o for o in things if o["kind"] == "Network")["uplinks"] = ["b"]
            things += [{"kind": "Node", "name": "node-1", "self": True, "ips": [job.NODE_IP]},
                       {"kind": "Remote", "name": "node-2", "network": "default", "vtep": job.REMOTE_IP, "mac": job.REMOTE_MAC,
                        "prefixes": [job.BACKENDS_PREFIX]}]
        if s.service:
            things += objects.services()
        self.switch.apply(*things)
        if s.rules:
            for first in range(0, s.rules, 1000):
                self.switch.apply(self.policy(first // 1000, job.rules(s)[first:first + 1000]))
        switch.go_first(args, self.lab.processes[0])

    def policy(self, number, rules):
        return {"kind": "Policy", "name": f"rules-{number}", "network": "default", "tier": "network", "endpoints": ["a"], "types": ["Egress"],
                "log": self.scenario.log, "egress": [{"name": f"r{i}", "to": [{"cidr": prefix}], "ports": [{"protocol": "UDP", "port": port}]}
                                                     for i, (prefix, port) in enumerate(rules)]}

    def used_connections(self):
        return self.switch.control.call("status")["connections"]["used"]

    def start_counting(self):
        self.switch.start_counting()

    def cycles(self):
        return self.switch.cycles()

    def change(self, first, n):
        if not hasattr(self, "changer"):
            self.changer = switch.Control(self.lab)
        self.changer.call("apply", {"objects": [other(i) for i in range(first, first + n)]})

    def check(self, report):
        super().check(report)
        if self.scenario.new and self.switch.created_share < 0.99:
            raise LabError(f"weft: {self.switch.created_share:.2%} of the packets opened a connection")


def other(n):
    """Object number n of an endless list that changes 100 pods that are nobody's yet."""
    kind, i, turn = n % 3, n // 3 % 100, n // 300
    if kind == 0:
        return {"kind": "Endpoint", "name": f"other-{i}", "network": "default", "port": f"other-{i}", "mac": f"02:00:00:01:00:{i:02x}",
                "ips": [f"10.48.0.{i + 1}", f"10.48.{1 + turn % 2}.{i + 1}"]}
    if kind == 1:
        return {"kind": "Policy", "name": f"other-{i}", "network": "default", "endpoints": [f"other-{i}"],
                "ingress": [{"name": "r", "from": [{"cidr": f"10.51.{turn % 2}.0/24"}]}]}
    return {"kind": "Service", "name": f"other-{i}", "network": "default", "ips": [f"10.111.0.{i + 1}"], "ports": [{"protocol": "UDP", "port": 80}],
            "backends": [{"ip": f"10.48.0.{i + 1}"}, {"ip": f"10.48.0.{200 + turn % 2}"}]}


class Testpmd(Subject):
    """No job but to hand on frames: what the ports cost."""
    connections = False
    mode = "mac"
    name = "testpmd-mac"

    def start(self):
        self.switch = switch.Testpmd(self.lab, self.args, self.kind, self.args.cores, self.mode)
        switch.go_first(self.args, self.switch.process)

    def start_counting(self):
        self.share = Share(self.switch.process, self.args.cores[1])

    def cycles(self):
        share, cycles = self.share.value(), self.switch.cycles()
        return None if cycles is None else cycles * share


class TestpmdIo(Testpmd):
    mode = "io"
    name = "testpmd-io"

    def check(self, report):
        if report["b"]["rx"] == 0:
            raise LabError("testpmd-io: nothing arrived")


def table():
    from kernel import Kernel
    from ovs import Ovs
    return {s.name: s for s in (Weft, Testpmd, TestpmdIo, Ovs, Kernel)}
