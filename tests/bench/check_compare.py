# SPDX-License-Identifier: Apache-2.0
"""Does scripts/bench compare say what was measured? Its rows and its judgement of the goals from made-up runs; that a job which was not done gives no
row; and one short real run: a Service behind a tunnel, done by Weft and seen at the far side."""
import json
import os
import tempfile
import types

import compare
import counted
import scenarios
import subjects
from job import rules
from switch import LabError

ARGS = types.SimpleNamespace(build=os.environ["WEFT_BUILD"], cores=sorted(os.sched_getaffinity(0))[:2], hugepages=False, huge=None, priority=False, quiet=True,
                             seconds=0.3, warmup=0.1, repeat=1, size=64, rate=0)
ROUTE = scenarios.by_name("route")
OVERLAY = scenarios.by_name("clusterip+policy+vxlan", 10_000)


def run(mpps, cycles, full=1.0):
    return {"mpps": mpps, "switchCycles": cycles, "loss": 0, "full": full, "changesPerSecond": None}


def row(weft, peer, scenario=ROUTE, name="ovs"):
    return compare.row(ARGS, "memif", scenario, weft, name, peer)


def ratio_is_of_rounds():
    """Half the pace in one round: the ratio of each round is 2, that of the medians is not."""
    r = row([run(10, 100), run(5, 200), run(12, 90)], [run(5, 200), run(2.5, 400), run(6, 180)])
    return r["ratio"] == 2 and r["cycles_ratio"] == 2 and r["ratio_spread"] == 0 and r["weft_mpps"] == 10 and r["peer_mpps"] == 5 and r["weft_spread"] == 0.35


def verdict(weft, peer, name):
    lines = [g for g in compare.goals([row([weft], [peer], name=name)]) if g["against"] == name]
    return [(g["verdict"], g["by"], g["reached"]) for g in lines]


def goals_are_judged():
    return verdict(run(13, 100), run(6, 230), "ovs") == [("met", "rate", 2.167)] and verdict(run(11, 100), run(6, 180), "ovs") == [("missed", "rate", 1.833)]


def rounds_that_disagree_are_named():
    rounds = [compare.goals([row([run(a, 0), run(b, 0)], [run(5, 0), run(5, 0)])])[0]["verdict"] for a, b in ((10.4, 10.6), (9, 12))]
    return rounds == ["met", "met, unsure"]


def generator_s_limit_is_seen():
    """Where the generator could do no more, cycles decide."""
    return verdict(run(13, 100, full=0.01), run(13, 120), "testpmd-mac") == [("met", "cycles", 1.2)]


def results_are_saved():
    """What was printed, and a picture with both bars."""
    rows = [row([run(13, 100)], [run(6, 230)])]
    with tempfile.TemporaryDirectory() as d:
        compare.save(f"{d}/some", rows)
        with open(f"{d}/some.json") as j, open(f"{d}/some.svg") as svg:
            drawn = svg.read()
            return json.load(j) == rows and drawn.startswith("<svg") and drawn.count("cycles</text>") == 2


def refused(report, scenario):
    s = object.__new__(subjects.Weft)
    s.scenario, s.switch = scenario, None
    try:
        s.check(report)
    except LabError:
        return True
    return False


def undone_jobs_are_refused():
    def report(**more):
        side = {"rx": 1000, "wrong": 0, "hops": 1}
        return {"a": dict(side), "b": dict(side, **more), "outerPorts": 5000}
    return (not refused(report(), OVERLAY) and refused(report(wrong=1), OVERLAY) and refused(report(hops=0), OVERLAY) and refused(report(rx=0), OVERLAY)
            and refused(dict(report(), outerPorts=1), OVERLAY))


def all_have_the_same_rules():
    return all(len(set(rules(s))) == s.rules for s in scenarios.SCENARIOS if 0 < s.rules <= 1000)


def goals_name_what_is_there():
    def measured(g):
        s = next((s for s in scenarios.SCENARIOS if s.name == g.scenario and s.flows == g.flows), None)
        known = (*s.peers, f"weft, {s.against}", "at least, M/s") if s else ()
        return set(g.least) <= set(known)
    return all(measured(g) for g in scenarios.GOALS)


def weft_does_the_job():
    if len(ARGS.cores) < 2:
        return True
    r = compare.measure("weft", ARGS, "memif", OVERLAY)
    return r["opened"] == OVERLAY.flows and r["a"]["rx"] > 0 and r["b"]["rx"] > 0 and r["switchCycles"] > 0


def testpmd_does_not():
    """It hands on what it gets: the generator must see that nothing was routed."""
    if len(ARGS.cores) < 2:
        return True
    subjects.Testpmd.connections, before = True, subjects.Testpmd.connections
    try:
        compare.measure("testpmd-mac", ARGS, "memif", ROUTE)
    except LabError as e:
        return "side b" in str(e)
    finally:
        subjects.Testpmd.connections = before
    return False


counted.run({c.__name__: c for c in (
    ratio_is_of_rounds, goals_are_judged, rounds_that_disagree_are_named, generator_s_limit_is_seen, results_are_saved, undone_jobs_are_refused, all_have_the_same_rules,
    goals_name_what_is_there, weft_does_the_job, testpmd_does_not)})
