# SPDX-License-Identifier: Apache-2.0
"""The kernel as oracle: the same objects as nftables rules, the same packets, and what comes out must be the same.

    tests/e2e/test_oracle.py [--seed N] [--programs N] [--first N] [--seconds N]

Programs (Services, AddressSets, Policies) and packets are drawn from the seed; a difference prints the seed and the program's number, and
`--seed N --first PROGRAM --programs 1` runs that one alone.
"""
import argparse
import json
import os
import random
import sys
import time

from lab import GATEWAY, GATEWAY_MAC, REMOTE_IP, Control, LabError, sh, wait_for
from oracle_compare import DIFFERENCES, Compare
from oracle_kernel import Router, quiet
from oracle_talk import Talk
from oracle_wire import Tunnel, Wire
from steps import Steps, expect, run
import oracle_packets as pk
import oracle_program as program

TALKS, STEPS, CHANGE = 24, 9, 5
# Weft sends 1,000 errors a second and worker at most; this many are never exceeded.
ERRORS = 800


class Story:
    def __init__(self, lab, options):
        self.lab, self.options = lab, options
        self.uid, self.packets, self.delivered, self.answers, self.programs = 0, 0, 0, 0, 0
        self.second, self.errors = time.monotonic(), 0

    # -- both worlds -------------------------------------------------------------------------------------------------
    def start(self):
        lab = self.lab
        lab.start_switch()
        pods = {n: dict(p) for n, p in program.PODS.items()}
        pods[program.REMOTE] = dict(program.REMOTE_POD)
        self.router = Router(lab, pods, (program.REMOTE, program.REMOTE_PREFIXES))
        ns = lab.netns("weftpods")
        quiet(ns)
        node = lab.node_objects()
        remote = {"kind": "Remote", "name": "node-2", "network": "default", "vtep": REMOTE_IP, "mac": program.REMOTE_POD["mac"],
                  "prefixes": program.REMOTE_PREFIXES}
        node[0]["serviceCIDRs"] = program.SERVICE_CIDRS
        ports = [{"kind": "Port", "name": n, "type": "tap", "netns": f"/run/netns/{ns}", "ifname": n, "mac": p["mac"], "mtu": 1450}
                 for n, p in program.PODS.items()]
        self.fixed = [lab.network(), *node, remote, *ports, *program.endpoints()]
        lab.apply(*self.fixed)
        for n in program.PODS:
            sh("ip", "link", "set", n, "mtu", "1500", "up", netns=ns)
        raw = {n: {"ip": pk.packed(p["ips"][0]), "mac": pk.mac(p["mac"])} for n, p in pods.items()}
        self.kernel = Wire("kernel", self.router.pods_ns, raw, GATEWAY, GATEWAY_MAC)
        self.weft = Wire("weft", ns, {n: p for n, p in raw.items() if n != program.REMOTE}, GATEWAY, GATEWAY_MAC)
        self.weft.tunnel(Tunnel(lab, program.REMOTE, raw[program.REMOTE]))
        # The kernel deals with packets in the order sent as long as all are sent by one core.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        self.control = Control(lab)

    def apply(self, objects):
        self.control.call("apply", objects=objects, owner="oracle", prune=True)

    # -- programs ----------------------------------------------------------------------------------------------------
    def pace(self, compare):
        """Not more errors in a second than Weft may send."""
        self.errors += compare.errors
        compare.errors = 0
        if self.errors > ERRORS:
            time.sleep(max(0.0, self.second + 1.05 - time.monotonic()))
            self.second, self.errors = time.monotonic(), 0

    def step(self, compare, talks):
        """One packet of every conversation, to both."""
        asked = []
        for t in talks:
            if not t.over:
                asked += [(t, pod, p) for pod, p in t.next()]
        if not asked:
            return
        weft = self.weft.exchange([(pod, p) for _, pod, p in asked])
        kernel = self.kernel.exchange([(pod, compare.steer(t, p, weft)) for t, pod, p in asked])
        self.packets += len(asked)
        self.delivered += compare.judge(asked, weft, kernel)

    def load(self, compare, objects):
        self.apply(objects)
        text = self.router.load(self.fixed + objects)
        compare.believe(self.router.rules)
        return json.dumps(objects, indent=1) + "\n" + text

    def talks(self, rng, services, n):
        out = []
        for _ in range(n):
            self.uid += 1
            out.append(Talk(rng, self.uid, 20000 + self.uid % 40000, services))
        return out

    def program(self, number):
        rng = random.Random(f"{self.options.seed}/{number}")
        draw, compare = program.Draw(rng), Compare(self.kernel, number * 16)
        # A program alone has the ports that it has among others, and with them the same backends.
        self.uid = number * 2 * TALKS
        services = draw.services()
        said = [self.load(compare, services + draw.policies())]
        talks = self.talks(rng, services, TALKS)
        for n in range(STEPS):
            if n == CHANGE:
                # In force for the next packet of every conversation.
                if rng.random() < 0.5:
                    services = draw.services()
                said.append(self.load(compare, services + draw.policies()))
                for t in talks:
                    t.judged, t.changed = False, True
                    t.over |= not t.outlives_service()
                talks = [t for t in talks if not t.over]
                talks += self.talks(rng, services, TALKS - len(talks))
            self.step(compare, talks)
            self.pace(compare)
        self.programs += 1
        if compare.found:
            where = f"--seed {self.options.seed} --first {number} --programs 1"
            if self.options.keep:
                with open(self.options.keep, "w") as f:
                    f.write("\n".join(said))
            raise LabError(f"{where}: {len(compare.found)} differences, the first:\n      " + "\n      ".join(compare.found[:self.options.show]))

    def all(self):
        begin, failed = time.monotonic(), []
        first = self.options.first
        for number in range(first, first + self.options.programs):
            if time.monotonic() - begin > self.options.seconds:
                break
            try:
                self.program(number)
            except LabError as e:
                failed.append(str(e))
                if len(failed) == self.options.failures:
                    break
        seconds = time.monotonic() - begin
        expect(not failed, f"{len(failed)} programs of {self.programs} differ\n      " + "\n      ".join(failed))
        return (f"{self.programs} programs, {self.packets} packets, {self.delivered} came out of both alike, {seconds:.0f} s; "
                f"seed {self.options.seed}")

    def balanced(self):
        wait_for("the books to balance", lambda: self.lab.json("status")["books"]["difference"] == 0, 10)
        drops = {}
        for row in self.lab.json("drops")["drops"]:
            drops[row["reason"]] = drops.get(row["reason"], 0) + row["packets"]
        for reason in ("icmp_limit", "new_rate", "connections_full", "no_mbuf"):
            expect(reason not in drops, f"{drops.get(reason)} drops for {reason}: the comparison was not a fair one")
        return ", ".join(f"{r} {n}" for r, n in sorted(drops.items()))


def story_with(options):
    def story(lab, s):
        t = Story(lab, options)
        s.step("a switch and a Linux router with the same pods", t.start)
        if s.failed:
            return
        s.step("what nftables and Weft make of the same packets is the same", t.all)
        s.step("every packet is accounted for", t.balanced)
    return story


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=int(os.environ.get("WEFT_SEED", "1")))
    p.add_argument("--programs", type=int, default=300)
    p.add_argument("--first", type=int, default=0)
    p.add_argument("--seconds", type=float, default=50)
    p.add_argument("--failures", type=int, default=3)
    p.add_argument("--show", type=int, default=3)
    p.add_argument("--keep")
    options = p.parse_args()
    steps = Steps()
    run(steps, story_with(options))
    for name, why in DIFFERENCES:
        print(f"  declared: {name}: {why}")
    sys.exit(steps.finish())


if __name__ == "__main__":
    main()
