# SPDX-License-Identifier: Apache-2.0
"""Weft measured: beside others (compare.py, forward.py), and as its tables grow (state.py). Called by scripts/bench.

Two cores, the first two of the process's cpuset: the switch under test has the one that serves fewer interrupts, the generator
(weft-gen) the other. No machine forwards at one rate twice, so numbers are medians over runs that take turns, each with fresh
processes. Where the generator is the limit, the cycles that a switch spends on a packet are what to compare.
"""
import argparse
import contextlib
import os
import shutil
import signal
import sys

import compare
import forward
import latency
import ndr
import scenarios
import stages
import state
import subjects
from switch import KINDS, Hugepages, LabError


def interrupts():
    """Of each CPU: how many from devices it has served. A disk's may all go to one, where some take half a millisecond."""
    with open("/proc/interrupts") as f:
        cpus = [int(name[3:]) for name in f.readline().split()]
        count = dict.fromkeys(cpus, 0)
        for line in f:
            name, *fields = line.split()
            if name[:-1].isdigit():
                for cpu, n in zip(cpus, fields):
                    count[cpu] += int(n)
    return count


def check(args):
    cpus = sorted(os.sched_getaffinity(0))
    if not args.cores:
        served = interrupts()
        args.cores = sorted(cpus[:2], key=lambda cpu: -served.get(cpu, 0))
    if len(args.cores) != 2 or args.cores[0] == args.cores[1] or not set(args.cores) <= set(cpus):
        raise LabError(f"needs two cores of {cpus}: one for the generator, one for the switch")
    for program in ("dpdk-testpmd",):
        if not shutil.which(program):
            raise LabError(f"{program} is missing: apt-get install dpdk-dev")


def words(allowed):
    def parse(text):
        unknown = set(text.split(",")) - set(allowed)
        if unknown:
            raise argparse.ArgumentTypeError(f"{','.join(sorted(unknown))} is not of {','.join(allowed)}")
        return text.split(",")
    return parse


def common_options():
    p = argparse.ArgumentParser(add_help=False)
    p.add_argument("--json", action="store_true", help="one JSON document, a list of results")
    p.add_argument("--quiet", action="store_true", help="no progress on stderr")
    p.add_argument("--seconds", type=float, default=3, help="of each run (%(default)s)")
    p.add_argument("--warmup", type=float, default=1, help="before each (%(default)s)")
    p.add_argument("--repeat", type=int, default=5, help="runs of each; medians are reported (5; state: 3)")
    p.add_argument("--size", type=int, default=64, help="of a frame in bytes, without FCS (%(default)s)")
    p.add_argument("--rate", type=float, default=0, help="Mpps that the generator sends in each direction; 0: all it can (%(default)s)")
    p.add_argument("--hugepages", action="store_true", help="use hugepages for all; they are set up, and put back as they were")
    p.add_argument("--priority", action="store_true", help="ahead of everything else on these cores (nice -20), on a machine that others use")
    p.add_argument("--cores", type=lambda s: [int(c) for c in s.split(",")], help="GENERATOR,SWITCH (the first two of the cpuset, the switch where fewer interrupts are served)")
    p.add_argument("--build", default=os.environ.get("WEFT_BUILD"), help="folder of the build ($WEFT_BUILD)")
    return p


def choose(parser, args):
    """The scenarios that were asked for."""
    names = [s.name for s in scenarios.SCENARIOS]
    for name in args.scenarios or []:
        if name not in names:
            parser.error(f"--scenarios: {name!r} is none of {', '.join(dict.fromkeys(names))}")
    args.scenarios = [s for s in scenarios.SCENARIOS if s.name in (args.scenarios or names) and (not args.flows or s.flows in args.flows)]
    if args.quick:
        args.repeat, args.seconds, args.warmup, args.ports = 1, 1, 0.5, args.ports[:1]
        args.scenarios = [s for s in args.scenarios if s.flows < 10**6]


def parse():
    p = argparse.ArgumentParser(prog="scripts/bench", description="What Weft can do: beside others on the same ports, with the same generator, in the "
                                "same run; and as connections, services and rules become many.")
    sub = p.add_subparsers(dest="what", required=True)
    c = sub.add_parser("compare", parents=[common_options()], help="every scenario, beside every peer (this is what scripts/bench does without arguments)",
                       description=compare.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(dict.fromkeys(s.name for s in scenarios.SCENARIOS))
    c.add_argument("--scenarios", action="append", metavar="NAME", help=f"of {' | '.join(names)}; may be given often (all)")
    c.add_argument("--flows", type=lambda t: [int(float(n)) for n in t.split(",")], help="only with so many connections (all)")
    c.add_argument("--ports", type=words((*KINDS, "veth")), default=[*KINDS, "veth"], help="of memif,vhost,veth (all); veth is beside the Linux kernel")
    c.add_argument("--subjects", type=words(subjects.table()), default=list(subjects.table()), help=f"of {','.join(subjects.table())} (all)")
    c.add_argument("--quick", action="store_true", help="one run of a second of each, over memif, without a million connections: some minutes")
    c.add_argument("--save", metavar="NAME", help="write the results to NAME.json, and a picture of them to NAME.svg, too")
    c.set_defaults(run=compare.compare, megabytes=compare.megabytes)
    beside = argparse.ArgumentParser(add_help=False)
    beside.add_argument("--ports", type=words(KINDS), default=list(KINDS), help="of memif,vhost (both)")
    beside.add_argument("--flows", type=int, default=10000, help="UDP flows (%(default)s)")
    beside.add_argument("--both", action="store_true", help="traffic in both directions")
    sub.add_parser("forward", parents=[common_options(), beside], help="pod to pod, routed; beside testpmd's mac forwarding").set_defaults(run=forward.forward, megabytes=forward.megabytes)
    sub.add_parser("ceiling", parents=[common_options(), beside],
                   help="what the generator can do, through testpmd's io forwarding").set_defaults(run=forward.ceiling, megabytes=forward.megabytes)
    pair = argparse.ArgumentParser(add_help=False)
    pair.add_argument("--ports", type=words(KINDS), default=list(KINDS), help="of memif,vhost (both)")
    steady = list(dict.fromkeys(s.name for s in scenarios.SCENARIOS if not s.new and not s.changes))
    pair.add_argument("--scenario", default="route", choices=steady, metavar="NAME", help=f"of {' | '.join(steady)} (route)")
    pair.add_argument("--peer", default="testpmd-mac", choices=[n for n in subjects.table() if n != "weft"], help="beside Weft (%(default)s)")
    s = sub.add_parser("latency", parents=[common_options(), pair], help="how long frames are under way at a part of the full rate, beside a peer",
                       description=latency.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    s.add_argument("--loads", type=lambda t: [float(n) for n in t.split(",")], default=[0.5, 0.9], help="shares of the full rate (0.5,0.9)")
    s.set_defaults(repeat=3, full_seconds=2, run=latency.latency, megabytes=compare.megabytes)
    s = sub.add_parser("ndr", parents=[common_options(), pair], help="the highest rates without loss and with 0.1 %%, beside a peer", description=ndr.__doc__.replace("%", "%%"),
                       formatter_class=argparse.RawDescriptionHelpFormatter)
    s.set_defaults(seconds=30, repeat=1, full_seconds=2, run=ndr.ndr, megabytes=compare.megabytes)
    s = sub.add_parser("stages", parents=[common_options()], help="cycles and instructions of a packet, stage by stage", description=stages.__doc__,
                       formatter_class=argparse.RawDescriptionHelpFormatter)
    s.add_argument("--parts", type=words(stages.PARTS), default=list(stages.PARTS), help="of cycles,instructions (both)")
    s.add_argument("--ports", type=words(KINDS), default=["memif"], help="of memif,vhost: for cycles (memif)")
    s.add_argument("--scenarios", action="append", choices=steady, metavar="NAME", help=f"for cycles, as of latency; may be given often ({', '.join(stages.SCENARIOS)})")
    s.add_argument("--update", action="store_true", help="write the instructions to tests/bench/stages.json, for later runs to be compared with")
    s.set_defaults(repeat=3, run=stages.stages, megabytes=compare.megabytes)
    s = sub.add_parser("state", parents=[common_options()], help="connections through Services with a policy, as they become many; new ones; two workers",
                       description=state.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    s.add_argument("--rows", type=words(state.ROWS), default=list(state.ROWS),
                   help="of established (memif), cycles (the same in-process), workers (1 and 2, in-process), growth (rules, services, endpoints; in-process), new (both), "
                   "changes (1,000 a second, in-process), scale (apply and patch by the control socket) (all)")
    s.add_argument("--flows", type=lambda t: [int(float(n)) for n in t.split(",")], default=state.FLOWS, help="established connections (1e3,1e5,1e6,1e7)")
    s.add_argument("--new-seconds", type=float, default=10, help="of a run of row new (%(default)s)")
    s.add_argument("--ports", type=words(state.PORTS), default=list(state.PORTS), help="of memif,in-process: for row new (both)")
    s.add_argument("--patches", type=int, default=200, help="of each patch in row scale (%(default)s)")
    s.set_defaults(repeat=3, run=state.state, megabytes=state.megabytes)
    args = p.parse_args(sys.argv[1:] or ["compare"])
    if args.what == "compare":
        choose(p, args)
    if args.what == "stages":
        args.scenarios = [scenarios.by_name(name) for name in args.scenarios or stages.SCENARIOS]
    if args.what in ("latency", "ndr"):
        args.scenario = scenarios.by_name(args.scenario)
        args.scenarios = [args.scenario]  # for the memory
    if args.repeat < 1 or not args.build:
        p.error("--repeat must be 1 or more, --build a folder")
    return args


def main():
    args = parse()
    # As an error: what was set up is put back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        if getattr(args, "parts", None) != ["instructions"]:
            check(args)
        with Hugepages(args.megabytes(args)) if args.hugepages else contextlib.nullcontext() as args.huge:
            args.run(args)
    except (LabError, OSError) as e:
        print(f"scripts/bench: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
