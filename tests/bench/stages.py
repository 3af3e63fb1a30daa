# SPDX-License-Identifier: Apache-2.0
"""scripts/bench stages: what a packet costs, stage by stage.

cycles: from the counters that a worker samples (one turn in 256), while the generator sends as fast as it can over real ports. `ports` is what
remains of the busy cycles: receiving, sending, polling; what is sent because a port's buffer is full is part of transmit.

instructions: counted by valgrind's callgrind on the whole switch inside one process (build/tests/state_bench --turns), without ports worth the
name; what the two pods of that program do is taken off. callgrind knows no AVX-512 and tells programs so: it sees the path that a machine without
it takes. The count is the same in every run of one build on one kind of machine, so small changes show. stages.json has the counts of an earlier
build; --update writes the present ones there. Another compiler counts differently: both are named, and a change is reported, never an error.
"""
import json
import os
import re
import shutil
import subprocess
import tempfile

import subjects
from callgrind import Profile
from switch import Bench, LabError, median, report_of, rounded, say, table, wait_for

BASELINE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stages.json")
STAGES = ("parse", "decap", "track", "relate", "decide", "respond", "rewrite", "forward", "encap", "transmit")
# Of state_bench: what is not the switch, and the root of what is counted.
PODS, ROOT = {"pod_rx", "pod_tx"}, "measured_turns"
TURNS = 2_000
# Options of state_bench.
COUNTED = {"route": ["--routed", "--flows=10000"], "clusterip+policy": ["--rules=1000", "--flows=10000"], "new connections": ["--new", "--rules=1000"]}
SCENARIOS = ("route", "clusterip+policy", "clusterip+policy+vxlan")  # for cycles
PARTS = ("cycles", "instructions")
FUNCTIONS = 20  # in the table


# -- cycles -------------------------------------------------------------------------------------------------------------
def sampled(weft):
    worker, = weft.switch.control.call("stats")["workers"]
    return {s["name"]: (s["cycles"], s["packets"]) for s in worker["stages"]}


def measure_cycles(args, scenario, kind):
    """{stage: cycles of each packet of the traffic}, with `ports` and `all`."""
    with Bench(args) as lab:
        weft = subjects.Weft(lab, args, kind, scenario)
        gen = weft.start_generator(args.seconds, args.warmup)
        # Flows are opened first, in a scenario with Services; then comes the warm-up.
        wait_for("the flows to be open", lambda: not gen.alive() or weft.used_connections() >= scenario.flows, 60 + scenario.flows / 5000, 0.1)
        weft.start_counting()
        before = sampled(weft)
        report = report_of(gen, args.seconds + args.warmup)
        now, every = sampled(weft), weft.cycles()
        weft.check(report)
        gen.p.stdin.close()
    spent = {s: tuple(b - a for a, b in zip(before[s], now[s])) for s in now}
    packets = spent["parse"][1]
    if not packets or every is None:
        raise LabError(f"{scenario.name}: no turn was sampled")
    out = {s: cycles * weft.switch.share / packets for s, (cycles, n) in spent.items() if n}
    out["ports"] = every - sum(out.values())
    out["all"] = every
    say(args, f"{scenario.name}, {kind}: {report['mpps']:.2f} Mpps, " + ", ".join(f"{s} {c:.0f}" for s, c in out.items()) + " cycles")
    return out


def cycles(args):
    for kind in args.ports:
        for scenario in args.scenarios:
            runs = [measure_cycles(args, scenario, kind) for _ in range(args.repeat)]
            for stage in runs[0]:
                values = [{"cycles": r.get(stage)} for r in runs]
                yield {"scenario": scenario.name, "measured": "cycles", "port": kind, "flows": scenario.flows, "stage": stage, "per_packet": rounded(median(values, "cycles"), 1)}


# -- instructions -------------------------------------------------------------------------------------------------------
def count(args, options):
    """(profile, packets) of one run."""
    with tempfile.TemporaryDirectory(prefix="weft-stages-") as folder:
        path = os.path.join(folder, "callgrind.out")
        command = ["valgrind", "--tool=callgrind", f"--toggle-collect={ROOT}", f"--callgrind-out-file={path}",
                   os.path.join(args.build, "tests", "state_bench"), f"--turns={TURNS}", "--warmup=0.01", *options]
        r = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if r.returncode != 0:
            raise LabError(f"{' '.join(command)}: {r.stderr.strip()[-800:]}")
        with open(path) as f:
            return Profile(f), json.loads(r.stdout)["packets"]


def per_packet(profile, packets):
    """({stage: instructions of a packet, all that it calls included}, {function: its own}), without the pods."""
    by_stage = {}
    for stage in STAGES:
        function = f"{stage}_run"
        cost = profile.inclusive(function) * (1 - profile.share(function, PODS))
        if cost:
            by_stage[stage] = cost / packets
    functions = profile.own_without(PODS)
    every = sum(functions.values()) / packets
    by_stage["turn"] = every - sum(by_stage.values())
    by_stage["all"] = every
    functions = {f: round(cost / packets, 2) for f, cost in sorted(functions.items(), key=lambda item: -item[1]) if cost / packets >= 0.05}
    return {s: round(c, 2) for s, c in by_stage.items()}, functions


def instructions(args):
    if not shutil.which("valgrind"):
        raise LabError("valgrind is missing: apt-get install valgrind")
    for scenario, options in COUNTED.items():
        by_stage, functions = per_packet(*count(args, options))
        say(args, f"{scenario}: {by_stage['all']:.1f} instructions a packet")
        common = {"scenario": scenario, "measured": "instructions", "port": "in-process"}
        yield from (dict(common, stage=stage, per_packet=n) for stage, n in by_stage.items())
        yield from (dict(common, function=function, per_packet=n) for function, n in functions.items())


def tools():
    """What decides, beside the source, how many instructions there are."""
    def first_line(*command):
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0].strip()
    with open("/proc/cpuinfo") as f:
        flags = set(re.search(r"^flags\s*:(.*)$", f.read(), re.M).group(1).split())
    return {"compiler": first_line(os.environ.get("CC", "cc"), "--version"), "valgrind": first_line("valgrind", "--version"), "avx2": "avx2" in flags}


def key(row):
    return f"{row['scenario']}: {row['stage']}" if "stage" in row else f"{row['scenario']}: {row['function']}()"


def add_changes(rows):
    """To rows of instructions: what the baseline has, and the change in percent. Returns what there is to say about it."""
    try:
        with open(BASELINE) as f:
            baseline = json.load(f)
    except FileNotFoundError:
        return ["no baseline: --update writes it"]
    for r in rows:
        was = baseline["per_packet"].get(key(r))
        if r["measured"] == "instructions" and was is not None:
            r["baseline"], r["change_percent"] = was, round(100 * (r["per_packet"] - was) / was, 2) if was else None
    remarks = [f"the baseline was counted with {name} {baseline['tools'].get(name)}, this with {value}: changes may be its" for name, value in tools().items()
               if baseline["tools"].get(name) != value]
    stages = [r for r in rows if r["measured"] == "instructions" and "stage" in r and r.get("baseline") is not None]
    changed = [r for r in stages if abs(r["per_packet"] - r["baseline"]) >= 0.01 * r["baseline"] and abs(r["per_packet"] - r["baseline"]) >= 0.5]
    remarks += [f"changed: {key(r)} {r['baseline']} -> {r['per_packet']} instructions a packet ({r['change_percent']:+.1f} %)" for r in changed]
    return remarks or ["as the baseline: no stage changed by 1 % and half an instruction"]


def update(rows):
    counted = {key(r): r["per_packet"] for r in rows if r["measured"] == "instructions" and ("stage" in r or r["per_packet"] >= 1)}
    with open(BASELINE, "w") as f:
        json.dump({"tools": tools(), "per_packet": counted}, f, indent=1)
        f.write("\n")


# -- what is printed ----------------------------------------------------------------------------------------------------
def heading(row):
    return f"{row['scenario']}, {row['port']}, {row['measured']}" if row["measured"] == "cycles" else f"{row['scenario']}, {row['measured']}"


def pivot(rows, name, order=None):
    """One line for each stage or function, one column for each measurement."""
    columns = list(dict.fromkeys(heading(r) for r in rows))
    names = [n for n in order if any(r[name] == n for r in rows)] if order else list(dict.fromkeys(r[name] for r in rows))
    lines = [{name: n, **{heading(r): r["per_packet"] for r in rows if r[name] == n}} for n in names]
    return lines, [name, *columns]


def show(rows, remarks):
    stages = [r for r in rows if "stage" in r]
    table(*pivot(stages, "stage", [*STAGES, "turn", "ports", "all"]))
    functions = [r for r in rows if "function" in r]
    if functions:
        print("\ninstructions of functions themselves, without what they call")
        largest = sorted(dict.fromkeys(r["function"] for r in functions), key=lambda f: -max(r["per_packet"] for r in functions if r["function"] == f))
        table(*pivot(functions, "function", largest[:FUNCTIONS]))
    print("\nall is per packet; turn and ports: what is outside the stages; callgrind sees the path without AVX-512")
    for text in remarks:
        print(text)


def stages(args):
    rows, remarks = [], []
    if "cycles" in args.parts:
        rows += cycles(args)
    if "instructions" in args.parts:
        rows += instructions(args)
        if args.update:
            update(rows)
        remarks = add_changes(rows)
    if args.json:
        print(json.dumps({"rows": rows, "remarks": remarks}, indent=1))
    else:
        show(rows, remarks)
