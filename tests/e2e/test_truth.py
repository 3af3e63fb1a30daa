# SPDX-License-Identifier: Apache-2.0
"""Truth tables of NetworkPolicy, ClusterNetworkPolicy and Services: objects in by the control socket, packets between pods, and every cell
as Kubernetes' text has it.

    tests/e2e/test_truth.py [--only WORD] [--seed N] [--drawn N]
"""
import argparse
import os
import sys
import time

import truth_cases as cases
import truth_tiers as tiers
from lab import LabError, wait_for
from steps import Steps, expect, run
from truth_services import BEHIND, Services
from truth_special import CASES as SPECIAL, Special
from truth_table import Table


class Story:
    def __init__(self, lab, options):
        self.table, self.lab, self.options = Table(lab), lab, options

    def tables(self, named, **how):
        t = self.table
        before, tables, begin, bad = t.cells, t.tables, time.monotonic(), []
        for name, stages in named:
            if self.options.only not in name:
                continue
            wrong = t.wrong
            t.run(name, stages, **how)
            if t.wrong > wrong:
                bad.append(f"{name}: {t.wrong - wrong} cells")
        if bad:
            raise LabError(f"{len(bad)} cases differ: " + "\n      ".join(bad[:20] + ["", *t.failures[:self.options.show]]))
        return f"{t.tables - tables} tables, {t.cells - before} cells"

    def counted(self, what):
        """A step of several tables, which notes its own cells."""
        t = self.table
        tables, cells, wrong = t.tables, t.cells, t.wrong
        t.failures.clear()
        what()
        if t.wrong > wrong:
            raise LabError(f"{t.wrong - wrong} cells differ\n      " + "\n      ".join(t.failures[:self.options.show]))
        return f"{t.tables - tables} tables, {t.cells - cells} cells"

    def balanced(self):
        wait_for("the books to balance", lambda: self.lab.json("status")["books"]["difference"] == 0, 10)
        drops = {}
        for row in self.lab.json("drops")["drops"]:
            drops[row["reason"]] = drops.get(row["reason"], 0) + row["packets"]
        for reason in ("new_rate", "connections_full", "connections_quota", "no_mbuf", "tx_full"):
            expect(reason not in drops, f"{drops.get(reason)} drops for {reason}: the tables were not fair")
        return ", ".join(f"{r} {n}" for r, n in sorted(drops.items()))


def story_with(options):
    def story(lab, s):
        t = Story(lab, options)
        s.step("pods in three namespaces, on two nodes, and another network", t.table.start)
        if s.failed:
            return
        for what, named in (
                ("isolation, rules and policies that add up", list(cases.BASIC.items())),
                ("every kind of peer with every kind of port", list(cases.crossed())),
                ("several policies at once", list(cases.drawn(options.seed, options.drawn))),
                ("changes under connections that stand", list(cases.CHANGES.items())),
                ("tiers admin and baseline", list(tiers.CASES.items())),
                ("all tiers at once", list(tiers.drawn(options.seed, options.drawn))),
                ("tiers under connections that stand", list(tiers.CHANGES.items()))):
            s.step(what, t.tables, named)
            t.table.failures.clear()
        services = Services(t.table)
        s.step("services: backends in every state, by every address", t.counted, services.states)
        s.step("services: source ranges, spread, affinity", t.counted, services.others)
        s.step("policies behind services", t.tables, list(BEHIND.items()), cells=services.behind, more=services.each())
        special = Special(t.table)
        s.step("what Weft adds to a policy", t.tables, list(SPECIAL.items()))
        for what, step in special.steps():
            s.step(what, t.counted, step)
        s.step("every packet is accounted for", t.balanced)
    return story


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--only", default="")
    p.add_argument("--seed", type=int, default=int(os.environ.get("WEFT_SEED", "1")))
    p.add_argument("--drawn", type=int, default=60)
    p.add_argument("--show", type=int, default=12)
    options = p.parse_args()
    steps = Steps()
    run(steps, story_with(options))
    sys.exit(steps.finish())


if __name__ == "__main__":
    main()
