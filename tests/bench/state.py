# SPDX-License-Identifier: Apache-2.0
"""scripts/bench state: connections through Services with a policy, as the tables grow.

Rows with port memif: weft-gen plays clients and backends over two memif ports. Rows with port in-process: state_bench, the switch and
two pods made of memory in one process; what the pods cost is taken off its cycles.

All rows with three runs each take half an hour; --repeat 1 --seconds 1 --new-seconds 3 a few minutes.
"""
import json
import os
import subprocess
import tempfile
import time

from objects import BACKEND, BACKENDS, CLIENT, QUOTA, RATES, SERVICES, SHORT, TIMEOUT, VIP, accepting_policy, other_rules, pods, services
from scale import COLUMNS as SCALE_COLUMNS, scale
from switch import PUSHED, Bench, LabError, Weft, go_first, median, report_of, rounded, say, start_generator, table, wait_for

FLOWS = [1000, 100_000, 1_000_000, 10_000_000]
COLUMNS = ("scenario", "protocol", "port", "workers", "flows", "services", "rules", "weft_mpps", "ratio", "cycles_per_packet", "connections_per_second",
           "cycles_per_connection", "expired_per_second", "loss", "table_bytes", "table_bytes_per_connection")


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


def established(args):
    rows = []
    for flows in args.flows:
        runs = []
        for i in range(args.repeat):
            r = measure_established(args, flows)
            runs.append(r)
            say(args, f"established, {flows:,} flows, {i + 1}/{args.repeat}: {r['mpps']:.2f} Mpps, {r['switchCycles']:.0f} cycles/packet, loss {r['loss']:.2%}; "
                      f"opened in {r['openSeconds']:.1f} s; {'hugepages' if r['hugepages'] else '4 KiB pages'}")
        last = runs[-1]
        rows.append({
            "scenario": "established", "port": "memif", "protocol": "udp", "workers": 1, "flows": flows, "size": args.size, "services": SERVICES,
            "rules": 1, "weft_mpps": rounded(median(runs, "mpps"), 3), "cycles_per_packet": rounded(median(runs, "switchCycles"), 1),
            "loss": rounded(median(runs, "loss"), 6), "table_connections": last["connections"]["capacity"], "table_bytes": last["tableBytes"],
            "table_bytes_per_connection": round(last["tableBytes"] / last["connections"]["capacity"], 1),
            "open_seconds": rounded(median(runs, "openSeconds"), 3), "hugepages": last["hugepages"],
            "limit": "switch" if median(runs, "full") > PUSHED else "generator", "generator_mpps": rounded(median(runs, "ceilingMpps"), 3),
            "weft_runs": [rounded(r["mpps"], 3) for r in runs],
        })
        add_ratio(rows, "weft_mpps")
    return rows


def add_ratio(rows, key):
    """Of the last row to the first: 1 k connections, or one worker."""
    rows[-1][f"ratio_to_{rows[0]['flows'] // 1000}k"] = rows[-1]["ratio"] = round(rows[-1][key] / rows[0][key], 3) if rows[0][key] else None


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


def repeat(args, what, options):
    runs = []
    for i in range(args.repeat):
        r = in_process(args, options)
        runs.append(r)
        rate = f"{r['connections_per_second'] / 1e6:.3f} M/s, {r['expired_per_second'] / 1e6:.3f} M expired/s, {r['cycles_per_connection']:.0f} cycles each" \
            if r["scenario"] == "new" else f"{r['weft_mpps']:.2f} Mpps, {r['cycles_per_packet']:.0f} cycles/packet"
        say(args, f"{what}, in-process, {i + 1}/{args.repeat}: {rate}; {r['cpu_share']:.0%} of the core")
    return merged(runs)


def cycles(args):
    """Established connections without ports: what the switch alone spends."""
    rows = []
    for flows in args.flows:
        rows.append(repeat(args, f"established, {flows:,} flows", {"flows": flows, "seconds": args.seconds, "warmup": args.warmup}))
        add_ratio(rows, "weft_mpps")
    return rows


def workers(args):
    rows = []
    for n in (1, 2):
        r = repeat(args, f"{n} worker{'s' if n > 1 else ''}", {"flows": 100_000, "workers": n, "seconds": args.seconds, "warmup": args.warmup})
        rows.append(dict(r, scenario="workers"))
        rows[-1]["ratio"] = round(rows[-1]["weft_mpps"] / rows[0]["weft_mpps"], 3)
        # By CPU time: what the ratio is when the cores are ours alone.
        rows[-1]["ratio_of_cores"] = round(n * rows[-1]["mpps_of_a_core"] / rows[0]["mpps_of_a_core"], 3)
    return rows


GROWTH = {"rules": (10, 1000, 100_000), "services": (16, 1000, 50_000)}


def growth(args):
    """Established connections and new ones as rules and services become many; ratio: to the fewest."""
    rows = []
    for what, numbers in GROWTH.items():
        for fresh in (False, True):
            first = None
            for n in numbers:
                options = {what: n, "new": True, "seconds": args.new_seconds} if fresh else \
                    {what: n, "flows": 100_000, "seconds": args.seconds, "warmup": args.warmup}
                r = dict(repeat(args, f"{'new' if fresh else 'established'}, {n:,} {what}", options), scenario=f"growth, {what}")
                first = first or r
                key = "connections_per_second" if fresh else "weft_mpps"
                rows.append(dict(r, ratio=round(r[key] / first[key], 3)))
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


def new_memif(args, protocol, size):
    runs = []
    for i in range(args.repeat):
        r = measure_new(args, protocol, size)
        runs.append(r)
        say(args, f"new, {protocol}, {size['services']:,} services, {size['rules']:,} rules, memif, {i + 1}/{args.repeat}: {r['rate'] / 1e6:.3f} M/s, "
                  f"{r['expired'] / 1e6:.3f} M expired/s, {r['connectionCycles'] or 0:.0f} busy cycles each, loss {r['loss']:.2%}")
    return {"scenario": "new", "port": "memif", "protocol": protocol, "workers": 1, "size": args.size, "services": size["services"],
            "backends": size["services"] * size["backends"], "rules": size["rules"], "weft_mpps": rounded(median(runs, "mpps"), 3),
            "cycles_per_packet": rounded(median(runs, "switchCycles"), 1), "loss": rounded(median(runs, "loss"), 6),
            "connections_per_second": rounded(median(runs, "rate"), 0), "cycles_per_connection": rounded(median(runs, "connectionCycles"), 1),
            "expired_per_second": rounded(median(runs, "expired"), 0), "hugepages": runs[-1]["hugepages"], "table_connections": 1 << 23,
            "table_bytes": runs[-1]["tableBytes"], "table_bytes_per_connection": round(runs[-1]["tableBytes"] / (1 << 23), 1),
            "limit": "switch" if median(runs, "full") > PUSHED else "generator"}


SMALL, LARGE = {"services": 1, "backends": 10, "rules": 10}, {"services": 50_000, "backends": 5, "rules": 100_000}


def new(args):
    rows = []
    for port, protocol in ((port, protocol) for port in args.ports for protocol in ("udp", "tcp")):
        for size in (SMALL, LARGE):
            r = new_memif(args, protocol, size) if port == "memif" else repeat(
                args, f"new, {protocol}, {size['services']:,} services, {size['rules']:,} rules",
                dict(size, new=True, seconds=args.new_seconds, **({"tcp": True} if protocol == "tcp" else {})))
            first = rows[-1] if size is LARGE else r
            rows.append(dict(r, cost_ratio=round(r["cycles_per_connection"] / first["cycles_per_connection"], 3), ratio=round(
                r["connections_per_second"] / first["connections_per_second"], 3)))
    return rows


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
          f"ratio: to the first row of its kind; in-process: without what the ports cost")
