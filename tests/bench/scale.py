# SPDX-License-Identifier: Apache-2.0
"""scripts/bench state, row scale: what changes cost when there is much: services, backends, rules and members of address sets.

The time of an `apply` is what its client sees: from sending it to the answer, with parsing, the store's fsync and the workers' having
passed the change. CPU is that of weftd's threads other than its workers.
"""
import json
import os
import statistics
import time

from objects import QUOTA, RATES, accepting_policy, address, pods, services
from switch import Bench, Weft, go_first, say

COLUMNS = ("scenario", "what", "changes", "seconds", "goal_seconds", "cpu_seconds", "median_ms", "p99_ms", "median_cpu_ms", "goal_ms", "resident_mib")


def control_cpu(lab):
    """Seconds of the threads that are not workers. A thread that runs now is behind by a tick; a sleeping one is exact."""
    total, pid = 0, lab.switch.pid
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as comm, open(f"/proc/{pid}/task/{task}/schedstat") as stat:
            if not comm.read().startswith("weft-worker"):
                total += int(stat.read().split()[0]) / 1e9
    return total


def resident(lab):
    with open(f"/proc/{lab.switch.pid}/statm") as f:
        return int(f.read().split()[1]) * 4096 >> 20


class Scale:
    def __init__(self, lab, args):
        self.lab, self.args, self.rows = lab, args, []
        self.weft = Weft(lab, args, "memif", args.cores, 65536, RATES, QUOTA)
        go_first(args, lab.processes[0])
        self.weft.apply(*pods(self.weft.ports), *accepting_policy())

    def apply(self, what, goal, objects):
        text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "apply", "params": {"objects": objects}}).encode() + b"\n"
        cpu, begin = control_cpu(self.lab), time.monotonic()
        self.weft.control.socket.sendall(text)
        self.weft.control.answer("apply")
        seconds = time.monotonic() - begin
        time.sleep(0.05)
        self.row({"scenario": "apply", "what": what, "changes": len(objects), "seconds": round(seconds, 3), "goal_seconds": goal,
                  "cpu_seconds": round(control_cpu(self.lab) - cpu, 3), "request_bytes": len(text), "resident_mib": resident(self.lab)})

    def patch(self, what, requests):
        """Each request alone; medians."""
        wall, cpu = [], []
        for params in requests:
            before, begin = control_cpu(self.lab), time.monotonic()
            self.weft.control.call("patch", params)
            wall.append((time.monotonic() - begin) * 1e3)
            time.sleep(0.004)  # the thread that answered goes to sleep
            cpu.append((control_cpu(self.lab) - before) * 1e3)
        self.row({"scenario": "patch", "what": what, "changes": len(wall), "median_ms": round(statistics.median(wall), 3),
                  "p99_ms": round(sorted(wall)[len(wall) * 99 // 100], 3), "median_cpu_ms": round(statistics.median(cpu), 3), "goal_ms": 1})

    def row(self, row):
        self.rows.append(row)
        say(self.args, ", ".join(f"{k} {v}" for k, v in row.items()))


MEMBERS = 100_000
RULES = 100_000


def members(n, first="172.16.0.0"):
    return [address(first, i) for i in range(n)]


def rules(n):
    """Each its own address and port."""
    return [{"name": f"r{i}", "from": [{"cidr": address("172.16.0.0", i * 7) + "/32"}], "ports": [{"protocol": "TCP", "port": i % 60000 + 1}]} for i in range(n)]


def add_and_remove(n, kind, name, field, entry):
    """n patches, in turn adding and removing one entry."""
    for i in range(n):
        yield {"kind": kind, "name": name, "add" if i % 2 == 0 else "remove": {field: [entry(i // 2)]}}


def run(args, lab):
    s = Scale(lab, args)
    s.apply("an address set of 100,000 members", 1, [{"kind": "AddressSet", "name": "big", "network": "default", "members": members(MEMBERS)}])
    policy = {"kind": "Policy", "network": "default", "tier": "network", "endpoints": ["b"], "types": ["Ingress"]}
    half = RULES // 2
    every = rules(RULES)
    s.apply("two policies of 50,000 rules", None, [dict(policy, name=f"big-{i}", ingress=every[i * half:(i + 1) * half] + [{"name": "big", "from": [{"set": "big"}]}])
                                                   for i in range(2)])
    s.apply("10,000 services with 10 backends", 2, services(10_000, 10))
    s.apply("50,000 services, 250,000 backends", 8, services(50_000, 5))
    s.patch("a member of 100,000", add_and_remove(args.patches, "AddressSet", "big", "members", lambda i: address("172.24.0.0", i)))
    s.patch("a rule of 100,000", add_and_remove(args.patches, "Policy", "big-1", "ingress",
                                               lambda i: {"name": f"x{i}", "from": [{"cidr": address("172.28.0.0", i) + "/32"}]}))
    s.patch("a backend of a service of 50,000", add_and_remove(args.patches, "Service", "bench/service-77", "backends", lambda i: {"ip": "10.33.0.1"}))
    return s.rows


def scale(args):
    with Bench(args) as lab:
        return run(args, lab)
