# SPDX-License-Identifier: Apache-2.0
"""One measurement after the other with the same processes: what a search for a rate (ndr.py) and a series of loads (latency.py) need."""
import json
import os
import time

import job
import subjects
from switch import GATEWAY_MAC, Bench, LabError, start_generator, table


def schedule(processes):
    """{thread: (seconds that it ran, seconds that it was ready and did not)}; what a hypervisor takes is not in it."""
    found = {}
    for p in processes:
        for task in os.listdir(f"/proc/{p.pid}/task"):
            with open(f"/proc/{p.pid}/task/{task}/schedstat") as f:
                found[task] = tuple(int(n) / 1e9 for n in f.read().split()[:2])
    return found


def waited(before, now, seconds):
    """Seconds that others had the cores of the threads that poll: of those that ran most of the time."""
    return sum(now[t][1] - before[t][1] for t in now if t in before and now[t][0] - before[t][0] > seconds / 2)


# How far apart the full rates before and after may be: cores that a hypervisor moves apart in between forward at half the rate.
STEADY = 0.25


class Trials:
    """A subject between two ports and a generator; both stay until the `with` is over. All rates in Mpps, of each direction."""

    def __init__(self, args, name, kind, scenario, flags=()):
        self.args, self.name, self.kind, self.scenario, self.flags = args, name, kind, scenario, flags
        self.sides = len(job.sides_that_receive(scenario))
        self.bench, self.reports = Bench(args), 0

    def __enter__(self):
        lab = self.bench.__enter__()
        try:
            subject = subjects.table()[self.name](lab, self.args, self.kind, self.scenario)
            options, flags, more = subject.generator()
            options.update({"seconds": 1, "warmup": self.args.warmup, "rate": 0, "gateway-mac": GATEWAY_MAC})
            self.gen = start_generator(lab, self.args, self.kind, self.args.cores, options, [*self.flags, *flags], **more)
            self.processes = lab.processes
            subject.check(self.report(1 + self.args.warmup, 60 + self.scenario.flows / 5000))
            self.full = self.run(0, self.args.full_seconds)
        except BaseException as e:
            self.bench.__exit__(type(e), e, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.bench.__exit__(kind, value, trace)

    @property
    def most(self):
        """What it forwarded of all that the generator could send."""
        return self.full["mpps"] / self.sides

    def steady(self):
        """Is the full rate what it was? What was measured in between belongs to neither rate otherwise."""
        before, now = self.most, self.run(0, self.args.full_seconds)["mpps"] / self.sides
        return abs(now - before) <= STEADY * max(now, before)

    def run(self, rate, seconds, warmup=0.2):
        before, begin = schedule(self.processes), time.monotonic()
        self.gen.p.stdin.write(f"{rate:.6f} {seconds:g} {warmup:g}\n".encode())
        self.gen.p.stdin.flush()
        report = self.report(seconds + warmup)
        report["waited"] = waited(before, schedule(self.processes), time.monotonic() - begin)
        return report

    def report(self, seconds, patience=30):
        """The next one that the generator prints, after so long or more."""
        time.sleep(seconds)
        end = time.monotonic() + patience
        while time.monotonic() < end:
            lines = [line for line in self.gen.output().splitlines(keepends=True) if line.startswith('{"size":') and line.endswith("\n")]
            if len(lines) > self.reports:
                self.reports += 1
                report = json.loads(lines[self.reports - 1])
                if report["a"]["badChecksums"] or report["b"]["badChecksums"]:
                    raise LabError(f"frames arrived with wrong checksums: {report}")
                return report
            if not self.gen.alive():
                raise LabError(f"the generator ended with {self.gen.p.returncode}")
            time.sleep(0.02)
        raise LabError("no report of the generator long after its time")


def lost(report):
    """The share of the frames that were due and did not arrive: as a wire has them, also those that the port had no room for."""
    arrived = report["a"]["rx"] + report["b"]["rx"]
    return max(0, report["due"] - arrived) / report["due"] if report["due"] else 1.0


def kept_pace(report, sides):
    """Did the generator itself offer the rate from so many sides? Else it says nothing about the switch."""
    return report["due"] >= 0.98 * report["rate"] * 1e6 * report["seconds"] * sides


def take_turns(args, kind, measure):
    """[Weft's runs, the peer's]."""
    runs = {"weft": [], args.peer: []}
    for _ in range(args.repeat):
        for name, those in runs.items():
            those.append(measure(args, name, kind))
    return list(runs.values())


def show(args, rows, columns, meaning):
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    table(rows, columns)
    print(f"{meaning}; {'hugepages' if args.hugepages else '4 KiB pages'}")
