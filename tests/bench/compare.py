# SPDX-License-Identifier: Apache-2.0
"""scripts/bench compare: every scenario side by side: the subjects take turns, each run with fresh processes; medians with their spread.
A ratio is the median of the rounds' ratios, as a machine changes its pace more between rounds than within one.

A run counts only when the job was done: what arrives at the far side is addressed as it must be (translated, one hop further, in the right
tunnel), with right checksums, and the subject says that it tracks as many connections as were opened.
"""
import contextlib
import json
import statistics
import sys
import time

import picture
import scenarios
import subjects
from job import sides_that_receive
from objects import TIMEOUT
from switch import PUSHED, Bench, LabError, median, report_of, rounded, say, table, wait_for
from trial import Trials, kept_pace, lost

COLUMNS = ("scenario", "port", "size", "flows", "weft_mpps", "weft_spread", "peer", "peer_mpps", "peer_spread", "ratio", "ratio_spread", "cycles_per_packet",
           "peer_cycles_per_packet", "cycles_ratio", "cycles_ratio_spread", "loss", "peer_loss", "changes_per_second")
MOST_LOST = 0.5


def megabytes(args):
    """Of hugepages: the largest subject, the largest table, the generator."""
    flows = max([1 << 23] * any(s.new for s in args.scenarios) + [s.flows for s in args.scenarios])
    return max(1024 + 64, 256 + 64 + max(65536, flows * 5 // 4) * 192 // 10**6 + 64) + 96 + 64


class Offered(Trials):
    """Of a generator that runs: the highest rate at which little is lost. A wire of the kernel's takes all that is sent, and drops what is too much
    where it costs the switch's core most: what arrives of a flood says nothing."""
    STEPS, SECONDS, LOST, MOST = 7, 0.4, 0.01, 1.0

    def __init__(self, gen, processes):
        self.gen, self.processes, self.reports = gen, processes, 0

    def highest(self, sides):
        best, low, high = self.report(0), 0, self.MOST
        if lost(best) > self.LOST:
            raise LabError(f"{lost(best):.1%} of {best['rate']} Mpps were lost")
        for _ in range(self.STEPS):
            r = self.run((low + high) / 2, self.SECONDS)
            if lost(r) <= self.LOST and kept_pace(r, sides):
                best, low = r, (low + high) / 2
            else:
                high = (low + high) / 2
        return dict(best, full=1)


def measure(name, args, kind, scenario):
    """One run; the generator's report with what the subject says of itself."""
    with Bench(args) as lab:
        subject = subjects.table()[name](lab, args, kind, scenario)
        warmup = args.warmup + (TIMEOUT + 2 if scenario.new else 0)
        gen = subject.start_generator(args.seconds, warmup)
        opened = subject.connections and scenario.service and not scenario.new
        if opened:
            wait_for("the flows to be open", lambda: not gen.alive() or subject.used_connections() >= scenario.flows, 60 + scenario.flows / 5000, 0.2)
        changes = subject.changes() if subject.connections else None
        with contextlib.ExitStack() as stack:
            if changes:
                stack.callback(changes.ended.set)
                changes.mark()
            if not opened:
                time.sleep(min(1, warmup) if not scenario.new else warmup)
            subject.start_counting()
            report = report_of(gen, args.seconds + warmup + 60)
            if kind == "veth":
                report = Offered(gen, lab.processes).highest(len(sides_that_receive(scenario)))
            report["changesPerSecond"] = changes.stop() if changes else None
        report["switchCycles"] = subject.cycles()
        if report["loss"] > MOST_LOST:
            raise LabError(f"{name}: {scenario.name}, {kind}: {report['loss']:.1%} lost: not what it can do")
        subject.check(report)
        gen.p.stdin.close()
        return report


def spread(runs, key="mpps"):
    """Half of the range of the runs, as a share of the median."""
    values = [r[key] for r in runs if r[key] is not None]
    middle = statistics.median(values) if values else 0
    return round((max(values) - min(values)) / 2 / middle, 3) if middle else None


def paired(mine, theirs, key):
    """Median and spread of the ratios of the rounds: a machine that changes its pace between rounds changes both."""
    ratios = [{"ratio": m[key] / t[key]} for m, t in zip(mine, theirs) if m[key] and t[key]]
    return rounded(median(ratios, "ratio"), 3), spread(ratios, "ratio")


def row(args, kind, scenario, weft, peer, runs):
    mine, cycles = median(weft, "mpps"), median(weft, "switchCycles")
    out = {"scenario": scenario.name, "port": kind, "size": scenario.size, "mix": scenario.mix, "flows": scenario.flows, "rules": scenario.rules,
           "weft_mpps": rounded(mine, 3), "peer": peer, "peer_mpps": None, "ratio": None, "cycles_per_packet": rounded(cycles, 1),
           "peer_cycles_per_packet": None, "cycles_ratio": None, "loss": rounded(median(weft, "loss"), 6), "weft_spread": spread(weft),
           "cycles_spread": spread(weft, "switchCycles"), "weft_limit": limit(weft), "weft_runs": [rounded(r["mpps"], 3) for r in weft],
           "weft_cycles_runs": [rounded(r["switchCycles"], 1) for r in weft], "changes_per_second": rounded(median(weft, "changesPerSecond"), 0),
           "hugepages": bool(args.hugepages)}
    if runs:
        theirs, their_cycles = median(runs, "mpps"), median(runs, "switchCycles")
        ratio, ratio_spread = paired(weft, runs, "mpps")
        cycles_ratio, cycles_ratio_spread = paired(runs, weft, "switchCycles")
        out.update({"peer_mpps": rounded(theirs, 3), "ratio": ratio, "ratio_spread": ratio_spread, "peer_cycles_per_packet": rounded(their_cycles, 1),
                    "cycles_ratio": cycles_ratio, "cycles_ratio_spread": cycles_ratio_spread,
                    "peer_loss": rounded(median(runs, "loss"), 6), "peer_spread": spread(runs), "peer_cycles_spread": spread(runs, "switchCycles"),
                    "peer_limit": limit(runs), "peer_runs": [rounded(r["mpps"], 3) for r in runs],
                    "peer_cycles_runs": [rounded(r["switchCycles"], 1) for r in runs]})
    return out


def limit(runs):
    return "switch" if median(runs, "full") > PUSHED else "generator"


def pairs(args, kind, scenario):
    """(label, subject, scenario) of all that take turns; Weft first."""
    table = subjects.table()
    if kind == "veth" and not table["kernel"].can(args, scenario):
        return []
    some = [("weft", "weft", scenario)]
    if scenario.against and "weft" in args.subjects:
        some.append((f"weft, {scenario.against}", "weft", scenarios.by_name(scenario.against)))
    some += [(n, n, scenario) for n in scenario.peers if n in args.subjects and n in table and kind in table[n].kinds and table[n].can(args, scenario)]
    return some


def compare_one(args, kind, scenario):
    turns = pairs(args, kind, scenario)
    if not turns:
        return []
    runs, failed = {label: [] for label, *_ in turns}, {}
    for i in range(args.repeat):
        for label, name, job in turns:
            if label in failed:
                continue
            try:
                r = measure(name, args, kind, job)
            except LabError as e:
                # No row of what was not done; the others go on.
                failed[label] = e
                print(f"scripts/bench: {e}", file=sys.stderr)
                continue
            runs[label].append(r)
            say(args, f"{scenario.name}, {scenario.flows:,} flows, {kind}, {i + 1}/{args.repeat}, {label}: {r['mpps']:.3f} Mpps, "
                      f"{r['switchCycles'] or 0:.0f} cycles/packet, loss {r['loss']:.2%}")
    if "weft" in failed:
        return []
    peers = [label for label, *_ in turns[1:] if label not in failed]
    return [row(args, kind, scenario, runs["weft"], p, runs[p]) for p in peers] or [row(args, kind, scenario, runs["weft"], None, [])]


def reached(r):
    """The ratio that a goal is judged by: of rates, but of cycles where the generator was the limit of one of the two."""
    if r["cycles_ratio"] is not None and ("generator" in (r["weft_limit"], r["peer_limit"]) or r["peer"].startswith("weft")):
        return r["cycles_ratio"], r["cycles_ratio_spread"], "cycles"
    return r["ratio"], r["ratio_spread"], "rate"


def verdict(value, spread, least):
    """Unsure: the rounds do not agree."""
    return ("met" if value >= least else "missed") + (", unsure" if spread and abs(value - least) < spread * value else "")


def goals(rows):
    """A line for each goal that was measured."""
    out = []
    for g in scenarios.GOALS:
        some = [r for r in rows if r["scenario"] == g.scenario and r["flows"] == g.flows and g.port in (None, r["port"])]
        for port in dict.fromkeys(r["port"] for r in some):
            for peer, least in g.least.items():
                if peer == "at least, M/s":
                    value, apart, by = next((r["weft_mpps"], r["weft_spread"], "M/s") for r in some if r["port"] == port)
                else:
                    r = next((r for r in some if r["port"] == port and r["peer"] == peer), None)
                    if r is None:
                        continue
                    value, apart, by = reached(r)
                if value is not None:
                    out.append({"goal": g.what, "port": port, "against": peer, "least": round(least, 2), "reached": value, "spread": apart, "by": by,
                                "verdict": verdict(value, apart, least)})
    return out


def save(name, rows):
    """As name.json and, when a rate was measured, as a picture in name.svg."""
    with open(f"{name}.json", "w") as f:
        json.dump(rows, f, indent=1)
    if rows:
        with open(f"{name}.svg", "w") as f:
            f.write(picture.draw(rows, picture.machine()))


def compare(args):
    rows = []
    for scenario in args.scenarios:
        for kind in args.ports:
            rows += compare_one(args, kind, scenario)
    if args.save:
        save(args.save, rows)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    table(rows, COLUMNS)
    print(f"\nmedians of {args.repeat} runs of {args.seconds:g} s, spread: half the range; Mpps as received; {'hugepages' if args.hugepages else '4 KiB pages'}; "
          f"generator on core {args.cores[0]}, switch on core {args.cores[1]}\n")
    lines = goals(rows)
    if lines:
        table(lines, ("goal", "port", "against", "least", "reached", "spread", "by", "verdict"))
