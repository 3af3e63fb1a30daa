# SPDX-License-Identifier: Apache-2.0
"""scripts/bench forward and ceiling: pod to pod, beside dpdk-testpmd on the same kind of port, taking turns in one run."""
import json

from switch import GATEWAY_MAC, MACS, PUSHED, Bench, Testpmd, Weft, go_first, median, report_of, rounded, say, start_generator, table

IPS = ("10.0.0.10", "10.0.0.11")
COLUMNS = ("scenario", "port", "size", "flows", "weft_mpps", "peer", "peer_mpps", "ratio", "cycles_per_packet", "peer_cycles_per_packet", "loss")


def megabytes(args):
    """Of hugepages: a switch, its connections, the generator."""
    return 256 + 96 + 64 + max(65536, 4 * args.flows) * 192 // 10**6


def weft_forwarding(lab, args, kind, core, mode):
    weft = Weft(lab, args, kind, core, max(65536, 4 * args.flows))
    subnet = {"prefix": "10.0.0.0/24", "gateway": "10.0.0.1"}
    weft.apply({"kind": "Network", "name": "default", "vni": 1, "mode": "l3", "mtu": 1500, "gatewayMac": GATEWAY_MAC, "subnets": [subnet]}, *weft.ports,
               *({"kind": "Endpoint", "name": side, "network": "default", "port": side, "mac": mac, "ips": [ip]} for side, mac, ip in zip("ab", MACS, IPS)))
    weft.start_counting()
    return weft


def measure(subject, args, kind, mode="mac"):
    """One run with fresh processes; the generator's report and the switch's cycles for a packet."""
    core = args.cores
    with Bench(args) as lab:
        switch = subject(lab, args, kind, core, mode)
        go_first(args, lab.processes[0])
        gen = start_generator(lab, args, kind, core, {"flows": args.flows, "seconds": args.seconds, "warmup": args.warmup, "a-ip": IPS[0], "b-ip": IPS[1]},
                              ["--both"] if args.both else [])
        report = report_of(gen, args.seconds + args.warmup)
        report["switchCycles"] = switch.cycles()
        gen.p.stdin.close()
        return report


def row(args, kind, weft, peer):
    mpps, peer_mpps = median(weft, "mpps"), median(peer, "mpps")
    return {
        "scenario": "forward", "port": kind, "size": args.size, "flows": args.flows, "weft_mpps": rounded(mpps, 3), "peer": "testpmd",
        "peer_mpps": rounded(peer_mpps, 3), "ratio": rounded(mpps / peer_mpps if peer_mpps else None, 3),
        "cycles_per_packet": rounded(median(weft, "switchCycles"), 1), "loss": rounded(median(weft, "loss"), 6),
        "peer_cycles_per_packet": rounded(median(peer, "switchCycles"), 1), "peer_loss": rounded(median(peer, "loss"), 6),
        "limit": "switch" if median(weft, "full") > PUSHED else "generator",
        "peer_limit": "switch" if median(peer, "full") > PUSHED else "generator",
        "generator_mpps": rounded(median(weft + peer, "ceilingMpps"), 3),
        "weft_runs": [rounded(r["mpps"], 3) for r in weft], "peer_runs": [rounded(r["mpps"], 3) for r in peer],
    }


def show(rows, args, columns):
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    table(rows, columns)
    print(f"medians of {args.repeat} runs of {args.seconds:g} s; Mpps as received; {'hugepages' if args.hugepages else '4 KiB pages'}; "
          f"generator on core {args.cores[0]}, switch on core {args.cores[1]}")
    for r in rows:
        for who, limit in (("weft", r.get("limit")), (r.get("peer"), r.get("peer_limit"))):
            if limit == "generator":
                print(f"{r['port']}: {who} kept up with the generator ({r['generator_mpps']} Mpps at most): compare cycles per packet")


def forward(args):
    rows = []
    for kind in args.ports:
        runs = {"weft": [], "testpmd": []}
        for i in range(args.repeat):
            for name, subject in (("weft", weft_forwarding), ("testpmd", Testpmd)):
                r = measure(subject, args, kind)
                runs[name].append(r)
                say(args, f"{kind} {i + 1}/{args.repeat} {name}: {r['mpps']:.2f} Mpps, loss {r['loss']:.2%}, "
                          f"{r['switchCycles'] or 0:.0f} cycles/packet")
        rows.append(row(args, kind, runs["weft"], runs["testpmd"]))
    show(rows, args, COLUMNS)


def ceiling(args):
    """What the generator itself could do, when it has a switch that only hands buffers on."""
    rows = []
    for kind in args.ports:
        runs = []
        for i in range(args.repeat):
            runs.append(measure(Testpmd, args, kind, "io"))
            say(args, f"{kind} {i + 1}/{args.repeat}: {runs[-1]['mpps']:.2f} Mpps; the generator could do {runs[-1]['ceilingMpps']:.2f}")
        rows.append({"scenario": "ceiling", "port": kind, "size": args.size, "flows": args.flows, "mpps": rounded(median(runs, "mpps"), 3),
                     "generator_mpps": rounded(median(runs, "ceilingMpps"), 3),
                     "generator_cycles_per_packet": rounded(median(runs, "cyclesPerPacket"), 1),
                     "peer_cycles_per_packet": rounded(median(runs, "switchCycles"), 1), "loss": rounded(median(runs, "loss"), 6)})
    show(rows, args, tuple(rows[0]))
