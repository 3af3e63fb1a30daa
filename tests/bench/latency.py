# SPDX-License-Identifier: Apache-2.0
"""scripts/bench latency: how long frames are under way at a part of each switch's own full rate, Weft's beside a peer's, taking turns.

Full is what a switch forwarded of all that the generator could send, measured just before with the same processes, and again after: when the two
differ by more than a quarter, the machine changed meanwhile, and the run is done again (three times at most). The generator stamps each frame;
tests/bench/gen_latency.h says what a time includes and what a percentile is. Given are medians over the runs, of the difference, too, from turn to
turn; but the longest of all as the maximum. Frames are sent in bursts of 32, so at low rates the burst itself is most of the time: the difference is
what to look at.
"""
from switch import median, rounded, say
from trial import Trials, kept_pace, lost, show, take_turns

COLUMNS = ("scenario", "port", "load", "size", "flows", "weft_mpps", "peer", "peer_mpps", "weft_p50_us", "peer_p50_us", "p50_beyond_us", "weft_p99_us", "peer_p99_us",
           "p99_beyond_us", "weft_p999_us", "peer_p999_us", "weft_max_us", "peer_max_us", "loss", "peer_loss", "waited_ms", "reached")
TIMES = ("p50", "p99", "p999", "max")
# Beyond testpmd's own, at half load; microseconds.
GOALS = {("p50", 0.5): 10, ("p99", 0.5): 30}


ATTEMPTS = 3


def measure(args, name, kind):
    """{load: a flat row of figures} of one run."""
    for _ in range(ATTEMPTS):
        rows = attempt(args, name, kind)
        if all(r["steady"] for r in rows.values()):
            break
        say(args, f"{kind} {name}: the full rate changed meanwhile")
    return rows


def attempt(args, name, kind):
    with Trials(args, name, kind, args.scenario, ["--latency"]) as trials:
        rows = {}
        for load in args.loads:
            r = trials.run(load * trials.most, args.seconds, args.warmup)
            rows[load] = {"mpps": r["mpps"], "lost": lost(r), "waited_ms": 1e3 * r["waited"], "pace": kept_pace(r, trials.sides), **{t: r["latency"][f"{t}Us"] for t in TIMES}}
            say(args, f"{kind} {name} at {load:.0%} of {trials.most:.2f} Mpps: " + ", ".join(f"{t} {rows[load][t]:.1f} us" for t in TIMES) +
                f", loss {rows[load]['lost']:.3%}" + ("" if rows[load]["pace"] else "; the generator fell behind") +
                f"; {rows[load]['waited_ms']:.0f} ms without a core")
        steady = trials.steady()
        return {load: dict(r, steady=steady) for load, r in rows.items()}


def row(args, kind, load, weft, peer):
    out = {"scenario": f"latency, {args.scenario.name}", "port": kind, "load": load, "size": args.scenario.size, "flows": args.scenario.flows, "weft_mpps": rounded(median(weft, "mpps"), 3),
           "peer": args.peer, "peer_mpps": rounded(median(peer, "mpps"), 3), "loss": rounded(median(weft, "lost"), 6),
           "peer_loss": rounded(median(peer, "lost"), 6), "waited_ms": rounded(max(r["waited_ms"] for r in weft + peer), 1),
           "kept_pace": all(r["pace"] for r in weft + peer), "steady": all(r["steady"] for r in weft + peer)}
    for t in TIMES:
        ours, theirs = ((max(r[t] for r in runs) if t == "max" else median(runs, t)) for runs in (weft, peer))
        beyond = [{t: w[t] - p[t]} for w, p in zip(weft, peer)]
        out.update({f"weft_{t}_us": round(ours, 2), f"peer_{t}_us": round(theirs, 2), f"{t}_beyond_us": round(median(beyond, t), 2)})
    goals = {t: most for (t, at), most in GOALS.items() if at == load and args.peer == "testpmd-mac"}
    if goals:
        out["goals_us"] = goals
        out["reached"] = "yes" if all(out[f"{t}_beyond_us"] < most for t, most in goals.items()) else "no"
    return out


def latency(args):
    rows = []
    for kind in args.ports:
        runs = take_turns(args, kind, measure)
        rows += [row(args, kind, load, *([r[load] for r in those] for those in runs)) for load in args.loads]
    show(args, rows, COLUMNS, f"medians of {args.repeat} runs of {args.seconds:g} s, maxima of all; load: of the switch's own full rate; beyond: Weft's less the peer's; "
         f"reached: at half load less than {GOALS['p50', 0.5]} us (p50) and {GOALS['p99', 0.5]} us (p99) beyond testpmd's")
