# SPDX-License-Identifier: Apache-2.0
"""scripts/bench ndr: the highest rate at which a switch loses no frame at all, and the highest at which it loses 0.1 %; Weft beside a peer, taking turns.

A frame is lost that was due and did not arrive: also one that the port had no room for, as a wire would not have waited. Both rates are searched
by bisection to 1 % with short trials; a rate that failed is tried again, three times, since the machine may have been elsewhere. What came through
without loss is then confirmed over --seconds (30), at the second try at the latest; while that fails, the rate is lowered, by more each time, down to
1 % of the full rate: minutes, on a machine that is never quiet. A ring of 1,024 frames bridges 0.1 ms at
10 Mpps: on a machine that takes a core away for longer, the rate without loss says more about the machine than about the switch, so compare within
one run, and read the rate at 0.1 % beside it.
"""
from switch import median, rounded, say
from trial import Trials, kept_pace, lost, show, take_turns

TRIAL_S = 0.3
PRECISION = 0.01
TRIES, CONFIRMING_TRIES = 4, 2
ALLOWED = 0.001
COLUMNS = ("scenario", "port", "size", "flows", "weft_mpps", "peer", "peer_mpps", "ratio", "weft_ndr_mpps", "peer_ndr_mpps", "ndr_ratio", "weft_short_mpps", "peer_short_mpps",
           "weft_pdr_mpps", "peer_pdr_mpps", "pdr_ratio")


class Search:
    def __init__(self, args, trials):
        self.args, self.trials = args, trials

    def passes(self, rate, allowed, seconds, tries):
        """One that the generator could not offer does not pass either: nothing is known of it."""
        for _ in range(tries):
            r = self.trials.run(rate, seconds)
            good = kept_pace(r, self.trials.sides) and lost(r) <= allowed
            say(self.args, f"  {rate:.3f} Mpps for {seconds:g} s: {lost(r):.4%} lost, {1e3 * r['waited']:.0f} ms without a core" + ("" if kept_pace(r, self.trials.sides) else "; the generator fell behind"))
            if good:
                return True
        return False

    def highest(self, top, allowed):
        """By bisection, of the rates up to top; 0 when none passes."""
        low, high = 0.0, top
        while high - low > PRECISION * top:
            middle = (low + high) / 2
            if self.passes(middle, allowed, TRIAL_S, TRIES):
                low = middle
            else:
                high = middle
        return low

    def confirmed(self, rate):
        """The rate, or a lower one, without loss over the whole time; None when there was none. Steps: 3 %, 6 %, 11 %, 22 % ..."""
        step = 0.97
        while rate > 0.01 * self.trials.most:
            if self.passes(rate, 0, self.args.seconds, CONFIRMING_TRIES):
                return rate
            rate, step = rate * step, step * step
        return None


def measure(args, name, kind):
    with Trials(args, name, kind, args.scenario) as trials:
        search = Search(args, trials)
        say(args, f"{kind} {name}: {trials.most:.2f} Mpps of all that was sent; at {ALLOWED:.1%} loss:")
        pdr = search.highest(1.05 * trials.most, ALLOWED)
        say(args, f"{kind} {name}: without loss:")
        short = search.highest(pdr, 0)
        ndr = search.confirmed(short)
        say(args, f"{kind} {name}: {'no rate' if ndr is None else f'{ndr:.3f} Mpps'} without loss over {args.seconds:g} s, {pdr:.3f} at {ALLOWED:.1%}")
        return {"mpps": trials.most, "pdr": pdr, "short": short, "ndr": ndr, "steady": trials.steady()}


def row(args, kind, weft, peer):
    out = {"scenario": f"ndr, {args.scenario.name}", "port": kind, "size": args.scenario.size, "flows": args.scenario.flows, "peer": args.peer, "ndr_seconds": args.seconds}
    for key, prefix, suffix in (("mpps", "", ""), ("ndr", "ndr_", "_ndr"), ("pdr", "pdr_", "_pdr"), ("short", "short_", "_short")):
        ours, theirs = median(weft, key), median(peer, key)
        out.update({f"weft{suffix}_mpps": rounded(ours, 3), f"peer{suffix}_mpps": rounded(theirs, 3),
                    f"{prefix}ratio": rounded(ours / theirs if ours and theirs else None, 3)})
    out["steady"] = all(r["steady"] for r in weft + peer)  # the full rate was the same after as before
    out["weft_runs"], out["peer_runs"] = ([rounded(r["ndr"], 3) for r in runs] for runs in (weft, peer))
    return out


def ndr(args):
    rows = [row(args, kind, *take_turns(args, kind, measure)) for kind in args.ports]
    show(args, rows, COLUMNS, f"medians of {args.repeat} runs; Mpps of each direction; ndr: no loss over {args.seconds:g} s; short: no loss over {TRIAL_S} s; "
         f"pdr: {ALLOWED:.1%} loss")
