# SPDX-License-Identifier: Apache-2.0
"""scripts/bench state: connections through Services with a policy, as the tables grow.

Rows with port memif: weft-gen plays clients and backends over two memif ports. Rows with port in-process: state_bench, the switch and
two pods made of memory in one process; what the pods cost is taken off its cycles.

All rows with three runs each take half an hour; --repeat 1 --seconds 1 --new-seconds 3 a few minutes.
"""
import functools
import json
import os
import statistics
import subprocess
import tempfile
import time

from objects import BACKEND, BACKENDS, CLIENT, QUOTA, RATES, SERVICES, SHORT, TIMEOUT, VIP, accepting_policy, other_rules, pods, services
from scale import COLUMNS as SCALE_COLUMNS, scale
from switch import PUSHED, Bench, LabError, Weft, go_first, median, report_of, rounded, say, start_generator, table, wait_for

FLOWS = [1000, 100_000, 1_000_000, 10_000_000]
COLUMNS = ("scenario", "protocol", "port", "workers", "flows", "services", "rules", "endpoints", "weft_mpps", "ratio", "cycles_per_packet", "connections_per_second",
           "cycles_per_connection", "cost_ratio", "expired_per_second", "loss", "table_bytes", "table_bytes_per_connection")


def table_size(flows):
    return max(65536, flows * 5 // 4)


def generator_options(flows):
    return {"scenario": "established", "flows": flows, "a-ip": CLIENT, "b-ip": BACKEND, "dst-ip": VIP, "dst-port": 80, "vips": SERVICES,
            "backends": SERVICES * BACKENDS, "backend-port": 800}


def measure_established(args, flows):
    core = args.cores
    with Bench(args) as lab:
        weft = Weft(lab, args, "memif", core, table_size(flows), RATES, QUOTA)
        weft.apply(*pods(weft.ports), *services(), *accepting_policy())
        go_first(args, lab.processes[0])
        seconds = args.warmup + args.seconds
        gen = start_generator(lab, args, "memif", core, dict(generator_options(flows), seconds=args.seconds, warmup=args.warmup))
        # Flows are opened first: counting starts when they are, in the warm-up.
        wait_for("the flows to be open", lambda: not gen.alive() or weft.control.call("status")["connections"]["used"] >= flows, 60 + flows / 20000, 0.2)
        weft.start_counting()
        report = report_of(gen, seconds + 30)
        report["switchCycles"] = weft.cycles()
        status = weft.control.call("status")
        report["hugepages"], report["connections"] = status["hugepages"], status["connections"]
        report["tableBytes"] = os.stat(lab.connection_files()[0]).st_size
        report["decided"] = sum(w["decided"] for w in weft.control.call("stats")["workers"])
        gen.p.stdin.close()
        return report


def in_turns(args, measures):
    """The runs of each; they take turns, as a machine changes its pace more between rounds than within one."""
    runs = [[] for _ in measures]
    for i in range(args.repeat):
        for measure, those in zip(measures, runs):
            those.append(measure(f"{i + 1}/{args.repeat}"))
    return runs


def ratio(runs, first, key):
    """The median of the rounds' ratios."""
    ratios = [a[key] / b[key] for a, b in zip(runs, first) if b[key]]
    return round(statistics.median(ratios), 3) if ratios else None


def run_established(args, flows, which):
    r = measure_established(args, flows)
    say(args, f"established, {flows:,} flows, {which}: {r['mpps']:.2f} Mpps, {r['switchCycles']:.0f} cycles/packet, loss {r['loss']:.2%}; "
              f"opened in {r['openSeconds']:.1f} s; {'hugepages' if r['hugepages'] else '4 KiB pages'}")
    return r


def established(args):
    rows = []
    all_runs = in_turns(args, [functools.partial(run_established, args, flows) for flows in args.flows])
    for flows, runs in zip(args.flows, all_runs):
        last = runs[-1]
        rows.append({
            "scenario": "established", "port": "memif", "protocol": "udp", "workers": 1, "flows": flows, "size": args.size, "services": SERVICES,
            "rules": 1, "weft_mpps": rounded(median(runs, "mpps"), 3), "cycles_per_packet": rounded(median(runs, "switchCycles"), 1),
            "loss": rounded(median(runs, "loss"), 6), "table_connections": last["connections"]["capacity"], "table_bytes": last["tableBytes"],
            "table_bytes_per_connection": round(last["tableBytes"] / last["connections"]["capacity"], 1),
            "open_seconds": rounded(median(runs, "openSeconds"), 3), "hugepages": last["hugepages"],
            "limit": "switch" if median(runs, "full") > PUSHED else "generator", "generator_mpps": rounded(median(runs, "ceilingMpps"), 3),
            "weft_runs": [rounded(r["mpps"], 3) for r in runs], "ratio": ratio(runs, all_runs[0], "mpps"),
        })
    return rows


def in_process(args, options):
    """One run of state_bench; its JSON object."""
    command = [os.path.join(args.build, "tests", "state_bench"), f"--size={args.size}", f"--core={args.cores[1]}"] + [f"--{k}" if v is True else f"--{k}={v}" for k, v in options.items()]
    if args.huge:
        command.append(f"--hugepages={args.huge.mount}")
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        go_first(args, p)
        out, err = p.communicate(timeout=900)
    except BaseException:
        p.kill()
        p.wait()
        raise
    if p.returncode != 0:
        raise LabError(f"{' '.join(command)}: {err.strip()[-800:]}")
    return json.loads(out)


def merged(runs):
    """Medians of what is measured, and what is the same in all."""
    return {k: (rounded(median(runs, k), 6) if isinstance(v, float) else v) for k, v in runs[0].items()}


def run_in_process(args, what, options, which):
    r = in_process(args, options)
    rate = f"{r['connections_per_second'] / 1e6:.3f} M/s, {r['expired_per_second'] / 1e6:.3f} M expired/s, {r['cycles_per_connection']:.0f} cycles each" \
        if r["scenario"] == "new" else f"{r['weft_mpps']:.2f} Mpps, {r['cycles_per_packet']:.0f} cycles/packet"
    say(args, f"{what}, in-process, {which}: {rate}; {r['cpu_share']:.0%} of the core")
    return r


def rows_in_process(args, what_and_options):
    """A row each, with its ratio to the first."""
    all_runs = in_turns(args, [functools.partial(run_in_process, args, what, options) for what, options in what_and_options])
    key = "connections_per_second" if all_runs[0][0]["scenario"] == "new" else "weft_mpps"
    return [dict(merged(runs), ratio=ratio(runs, all_runs[0], key)) for runs in all_runs], all_runs


def cycles(args):
    """Established connections without ports: what the switch alone spends."""
    return rows_in_process(args, [(f"established, {flows:,} flows", {"flows": flows, "seconds": args.seconds, "warmup": args.warmup}) for flows in args.flows])[0]


def workers(args):
    numbers = (1, 2)
    rows, runs = rows_in_process(args, [(f"{n} worker{'s' if n > 1 else ''}", {"flows": 100_000, "workers": n, "seconds": args.seconds, "warmup": args.warmup})
                                        for n in numbers])
    # By CPU time, too: what the ratio is when the cores are ours alone.
    return [dict(row, scenario="workers", ratio_of_cores=round(n * ratio(r, runs[0], "mpps_of_a_core"), 3)) for n, row, r in zip(numbers, rows, runs)]


GROWTH = {"rules": (10, 1000, 100_000), "services": (16, 1000, 50_000), "endpoints": (2, 50, 250)}


def growth(args):
    """Established connections and new ones as rules, services and endpoints become many; ratio: to the fewest."""
    rows = []
    for what, numbers in GROWTH.items():
        for kind, options in (("established", {"flows": 100_000, "seconds": args.seconds, "warmup": args.warmup}),
                              ("new", {"new": True, "seconds": args.new_seconds})):
            some, _ = rows_in_process(args, [(f"{kind}, {n:,} {what}", {**options, what: n}) for n in numbers])
            rows += [dict(r, scenario=f"growth, {what}") for r in some]
    return rows


def measure_new(args, protocol, size):
    core, lives = args.cores, protocol == "tcp"
    with Bench(args) as lab:
        weft = Weft(lab, args, "memif", core, 1 << 23, RATES, SHORT)
        weft.apply(*pods(weft.ports))
        weft.apply(*services(size["services"], size["backends"], protocol.upper()), *accepting_policy(protocol.upper()),
                   *other_rules(size["rules"], protocol.upper()))
        go_first(args, lab.processes[0])
        warmup = TIMEOUT + 3
        options = {"scenario": "lives" if lives else "new", "flows": 1, "a-ip": CLIENT, "b-ip": BACKEND, "dst-ip": VIP, "dst-port": 80,
                   "vips": size["services"], "backends": size["services"] * size["backends"], "backend-port": 800}
        gen = start_generator(lab, args, "memif", core, dict(options, seconds=args.new_seconds, warmup=warmup))
        # Counting begins in the warm-up, when what was opened first is over.
        wait_for("traffic", lambda: not gen.alive() or weft.control.call("status")["connections"]["used"] > 0, 30)
        time.sleep(warmup)
        weft.start_counting()
        report = report_of(gen, args.new_seconds + warmup)
        report["switchCycles"] = weft.cycles()
        report["connectionCycles"] = weft.cycles_per_connection
        report["rate"] = report["over"] / report["seconds"] if lives else report["mpps"] * 1e6 * weft.created_share
        report["expired"] = report["rate"] * weft.expired_share
        report["hugepages"] = weft.control.call("status")["hugepages"]
        report["tableBytes"] = os.stat(lab.connection_files()[0]).st_size
        gen.p.stdin.close()
        return report


def run_new(args, protocol, size, which):
    r = measure_new(args, protocol, size)
    say(args, f"{new_name(protocol, size)}, memif, {which}: {r['rate'] / 1e6:.3f} M/s, "
              f"{r['expired'] / 1e6:.3f} M expired/s, {r['connectionCycles'] or 0:.0f} busy cycles each, loss {r['loss']:.2%}")
    return r


def new_name(protocol, size):
    return f"new, {protocol}, {size['services']:,} services, {size['rules']:,} rules"


def new_memif(args, protocol):
    all_runs = in_turns(args, [functools.partial(run_new, args, protocol, size) for size in SIZES])
    return [{"scenario": "new", "port": "memif", "protocol": protocol, "workers": 1, "size": args.size, "services": size["services"],
             "backends": size["services"] * size["backends"], "rules": size["rules"], "weft_mpps": rounded(median(runs, "mpps"), 3),
             "cycles_per_packet": rounded(median(runs, "switchCycles"), 1), "loss": rounded(median(runs, "loss"), 6),
             "connections_per_second": rounded(median(runs, "rate"), 0), "cycles_per_connection": rounded(median(runs, "connectionCycles"), 1),
             "expired_per_second": rounded(median(runs, "expired"), 0), "hugepages": runs[-1]["hugepages"], "table_connections": 1 << 23,
             "table_bytes": runs[-1]["tableBytes"], "table_bytes_per_connection": round(runs[-1]["tableBytes"] / (1 << 23), 1),
             "limit": "switch" if median(runs, "full") > PUSHED else "generator",
             "ratio": ratio(runs, all_runs[0], "rate"), "cost_ratio": ratio(runs, all_runs[0], "connectionCycles")}
            for size, runs in zip(SIZES, all_runs)]


def new_in_process(args, protocol):
    options = {"new": True, "seconds": args.new_seconds, **({"tcp": True} if protocol == "tcp" else {})}
    rows, runs = rows_in_process(args, [(new_name(protocol, size), {**options, **size}) for size in SIZES])
    return [dict(row, cost_ratio=ratio(r, runs[0], "cycles_per_connection")) for row, r in zip(rows, runs)]


SIZES = ({"services": 1, "backends": 10, "rules": 10}, {"services": 50_000, "backends": 5, "rules": 100_000})


def new(args):
    """Connections a second, in a small configuration and in a large one; ratio and cost_ratio: to the small one."""
    measure = {"memif": new_memif, "in-process": new_in_process}
    return [row for port in args.ports for protocol in ("udp", "tcp") for row in measure[port](args, protocol)]


CHANGES_COLUMNS = ("scenario", "port", "flows", "services", "rules", "members", "changes_per_second", "mpps_without", "weft_mpps", "cost",
                   "apply_median_ms", "apply_p99_ms", "half_load_mpps", "half_load_lost", "half_load_longest_ms",
                   "half_load_lost_without", "half_load_longest_ms_without", "half_load_cpu_share", "big_apply_seconds", "big_apply_lost", "big_apply_longest_ms", "denied_median_ms", "denied_max_ms", "accepted_median_ms",
                   "accepted_max_ms")


def changes(args):
    """A million connections, 1,000 changes a second to objects of others, with all tables large."""
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as store:
        runs = []
        for i in range(args.repeat):
            r = in_process(args, {"flows": 1_000_000, "services": 50_000, "backends": 5, "rules": 100_000, "members": 100_000, "changes": 1000,
                                  "seconds": args.seconds, "state": os.path.join(store, str(i))})
            runs.append(r)
            say(args, f"changes, {i + 1}/{args.repeat}: {r['mpps_without']:.2f} Mpps, with {r['changes_per_second']:.0f} changes/s {r['weft_mpps']:.2f}; "
                      f"{r['half_load_lost']} lost at half load, {r['half_load_lost_without']} without changes, {r['big_apply_lost']} by a big apply; seen after {r['denied_median_ms']:.2f} and {r['accepted_median_ms']:.2f} ms")
    return [merged(runs)]


PORTS = ("memif", "in-process")
ROWS = {"established": established, "cycles": cycles, "workers": workers, "growth": growth, "new": new, "changes": changes, "scale": scale}


def megabytes(args):
    """Of hugepages: a table, the switch and the generator."""
    flows = max(max(args.flows), 1 << 23 if "new" in args.rows else 0, 10**6)
    return table_size(flows) * 192 // 10**6 + 64 + 256 + 96 + 64


def state(args):
    rows = []
    for name in args.rows:
        rows += ROWS[name](args)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    for columns, kinds in ((COLUMNS, ("established", "workers", "new", *(f"growth, {what}" for what in GROWTH))), (CHANGES_COLUMNS, ("changes",)), (SCALE_COLUMNS, ("apply", "patch"))):
        some = [r for r in rows if r["scenario"] in kinds]
        if some:
            table(some, columns)
            print()
    print(f"medians of {args.repeat} runs of {args.seconds:g} s; Mpps as received; on {'hugepages' if args.hugepages else '4 KiB pages'}; "
          f"ratio: to the first row of its kind, the median of the rounds'; in-process: without what the ports cost")
