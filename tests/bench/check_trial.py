# SPDX-License-Identifier: Apache-2.0
"""Are series of rates measured and searched rightly? The searches on a switch that is made up, with a known limit; and a short real series: a
Service behind a tunnel, with stamps."""
import os
import types

import counted
import latency
import ndr
import scenarios
import trial

ARGS = types.SimpleNamespace(build=os.environ["WEFT_BUILD"], cores=sorted(os.sched_getaffinity(0))[:2], hugepages=False, huge=None, priority=False, quiet=True,
                             seconds=30, warmup=0.1, full_seconds=0.2, size=64, rate=0, peer="testpmd-mac", scenario=scenarios.by_name("route"))


class Switch:
    """Loses all that is due beyond its limit; over long runs it has less."""
    sides, most = 1, 10.0

    def __init__(self, limit, long_limit=None, disturbed=0):
        self.limit, self.long_limit, self.disturbed = limit, long_limit or limit, disturbed

    def run(self, rate, seconds):
        limit = self.long_limit if seconds > 1 else self.limit
        due = int(rate * 1e6 * seconds)
        arrived = min(due, int(limit * 1e6 * seconds))
        if self.disturbed:
            self.disturbed, arrived = self.disturbed - 1, arrived // 2
        return {"rate": rate, "seconds": seconds, "due": due, "a": {"rx": 0}, "b": {"rx": arrived}, "waited": 0}


def searched(switch):
    search = ndr.Search(ARGS, switch)
    short = search.highest(1.05 * switch.most, 0)
    return search.highest(1.05 * switch.most, 0.001), short, search.confirmed(short)


def the_limit_is_found():
    pdr, short, ndr_rate = searched(Switch(6))
    return 5.85 <= short == ndr_rate <= 6 and short <= pdr <= 6.01


def one_disturbance_is_forgiven():
    return searched(Switch(6, disturbed=1)) == searched(Switch(6))


def long_runs_decide():
    _, short, ndr_rate = searched(Switch(6, long_limit=4))
    return 5.85 <= short <= 6 and 3 < ndr_rate <= 4


def nothing_is_confirmed():
    return searched(Switch(6, long_limit=0.01))[2] is None


def what_had_no_room_is_lost():
    report = {"rate": 1, "seconds": 1, "due": 1_000_000, "a": {"rx": 0}, "b": {"rx": 900_000}}
    return abs(trial.lost(report) - 0.1) < 1e-9 and trial.kept_pace(report, 1) and not trial.kept_pace(report, 2)


def differences_are_of_turns():
    def turn(us):
        return {"mpps": 5, "lost": 0, "waited_ms": 0, "pace": True, "steady": True, **dict.fromkeys(latency.TIMES, us)}
    weft, peer = [turn(t) for t in (14, 104, 6)], [turn(t) for t in (10, 100, 3)]
    fast, slow = latency.row(ARGS, "memif", 0.5, weft, peer), latency.row(ARGS, "memif", 0.5, [turn(20)], [turn(10)])
    return fast["p50_beyond_us"] == 4 and fast["weft_max_us"] == 104 and fast["reached"] == "yes" and slow["reached"] == "no"


def a_series_is_measured():
    scenario = scenarios.by_name("clusterip+policy+vxlan", 10_000)
    with trial.Trials(ARGS, "weft", "memif", scenario, ["--latency"]) as trials:
        slow, slower = trials.run(0.05, 0.5), trials.run(0.02, 0.5)
        for r, rate in ((slow, 0.05), (slower, 0.02)):
            times = [r["latency"][f"{t}Us"] for t in latency.TIMES]
            arrived = r["a"]["rx"] + r["b"]["rx"]
            if not (r["rate"] == rate and 0 < r["due"] <= 1.1 * 2 * rate * 1e6 * r["seconds"] and r["latency"]["frames"] == arrived > 0 and times == sorted(times) and times[0] > 0):
                print(r)
                return False
        try:
            trials.gen.p.stdin.write(b"much\n")
            trials.gen.p.stdin.flush()
            trials.gen.p.wait(10)
        except OSError:
            pass
        return trials.gen.p.returncode == 2 and trials.most > 0


CHECKS = {
    "the limit is found": the_limit_is_found,
    "one disturbance is forgiven": one_disturbance_is_forgiven,
    "long runs decide": long_runs_decide,
    "nothing is confirmed": nothing_is_confirmed,
    "what had no room is lost": what_had_no_room_is_lost,
    "differences are of turns": differences_are_of_turns,
    "a series is measured": a_series_is_measured,
}
counted.run({name: check for name, check in CHECKS.items() if check is not a_series_is_measured or len(ARGS.cores) >= 2})
