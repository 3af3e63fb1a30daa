# SPDX-License-Identifier: Apache-2.0
"""Weft beside dpdk-testpmd: the same kind of port, the same generator, interleaved in one run. Called by scripts/bench.

Two cores: the generator (tests/bench/gen.c) has the first of the process's cpuset, the switch under test the second. No machine forwards
at one rate twice, so numbers are medians over runs that take turns, each with fresh processes. Where the generator is the limit,
the cycles that a switch spends on a packet are what to compare.
"""
import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from lab import GATEWAY_MAC, Lab, LabError, Process, wait_for  # noqa: E402

KINDS = {"memif": "memif", "vhost": "vhost-user"}
MACS = ("02:00:00:00:00:0a", "02:00:00:00:00:0b")
IPS = ("10.0.0.10", "10.0.0.11")
RING = 1024
# A generator that could not place this share of its bursts was faster than the switch.
PUSHED = 0.05


def eal(lab, name, lcores, hugepages, megabytes):
    memory = ["--in-memory", "--single-file-segments"] if hugepages else ["--no-huge", "--no-shconf"]
    return memory + ["--no-pci", "--no-telemetry", "-m", str(megabytes), "--lcores", lcores,
                     f"--file-prefix={lab.tag}-{name}", "--log-level=pmd.net.memif:error"]


def sockets(lab):
    return [os.path.join(lab.dir, "ports", f"{side}.sock") for side in "ab"]


def memif_vdev(i, path, role):
    return f"--vdev=net_memif{i},role={role},id=0,socket={path},socket-abstract=no,rsize={RING.bit_length() - 1}"


def go_first(args, process):
    """Nice alone decides nothing between sessions, and each process of a lab is one of its own (sched(7), autogroup)."""
    if args.priority:
        os.setpriority(os.PRIO_PGRP, process.pid, -20)
        try:
            with open(f"/proc/{process.pid}/autogroup", "w") as f:
                f.write("-20")
        except FileNotFoundError:
            pass


class Testpmd:
    name = "testpmd"

    def __init__(self, lab, args, kind, core, mode):
        os.makedirs(os.path.join(lab.dir, "ports"))
        paths = sockets(lab)
        if kind == "memif":
            vdevs = [memif_vdev(i, path, "server") for i, path in enumerate(paths)]
        else:
            vdevs = [f"--vdev=net_vhost{i},iface={path}" for i, path in enumerate(paths)]
        # Its main thread only waits for the key that ends it.
        self.process = Process(lab, self.name, ["dpdk-testpmd", *eal(lab, self.name, f"0@{core[0]},1@{core[1]}", args.hugepages, 192), *vdevs, "--",
                               f"--forward-mode={mode}", f"--eth-peer=0,{MACS[0]}", f"--eth-peer=1,{MACS[1]}", f"--rxd={RING}", f"--txd={RING}",
                               "--total-num-mbufs=16384", "--disable-link-check", "--record-core-cycles", "--auto-start"], stdin=subprocess.PIPE)

    def cycles(self):
        """Its own count, from what it prints at its end (nothing sooner: its stdout is a file). The generator must be there still: a memif's counters go with the peer."""
        self.process.p.stdin.write(b"\n")
        self.process.p.stdin.flush()
        wait_for("testpmd to end", lambda: not self.process.alive(), 15)
        m = re.search(r"CPU cycles/packet=([\d.]+)", self.process.output())
        return float(m.group(1)) if m else None


class Weft:
    name = "weft"

    def __init__(self, lab, args, kind, core, mode):
        self.lab = lab
        lab.start_switch(f'workers = {{ cores = [ {core[1]} ]; control_core = {core[0]}; }};\n'
                         f'memory = {{ hugepages = "{"yes" if args.hugepages else "no"}"; megabytes = 256; mbufs = 32768; }};\n'
                         f'tables = {{ connections = {max(65536, 4 * args.flows)}; }};\n', node=False)
        subnet = {"prefix": "10.0.0.0/24", "gateway": "10.0.0.1"}
        objects = [{"kind": "Network", "name": "default", "vni": 1, "mode": "l3", "mtu": 1500, "gatewayMac": GATEWAY_MAC, "subnets": [subnet]}]
        for side, mac, ip in zip("ab", MACS, IPS):
            port = {"kind": "Port", "name": side, "type": KINDS[kind], "socket": f"{side}.sock", "role": "server"}
            if kind == "memif":
                port.update(id=0, ringSize=RING)
            objects += [port, {"kind": "Endpoint", "name": side, "network": "default", "port": side, "mac": mac, "ips": [ip]}]
        lab.apply(*objects)
        self.before = self.busy()

    def busy(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self.lab.socket)
            s.sendall(b'{"jsonrpc":"2.0","id":1,"method":"stats"}\n')
            reply = json.loads(s.makefile().readline())
        if "error" in reply:
            raise LabError(f"stats: {reply['error']['message']}")
        workers = reply["result"]["workers"]
        return sum(w["busyCycles"] for w in workers), sum(w["packets"] for w in workers)

    def cycles(self):
        cycles, packets = (now - then for now, then in zip(self.busy(), self.before))
        return cycles / packets if packets else None


def generate(lab, args, kind, core, gateway):
    """Run the generator against the switch's sockets. Returns its report and the process, which stays connected."""
    paths = sockets(lab)
    for path in paths:
        wait_for(path, lambda: os.path.exists(path), 10)
    if kind == "memif":
        vdevs = [memif_vdev(i, path, "client") for i, path in enumerate(paths)]
    else:
        vdevs = [f"--vdev=net_virtio_user{i},path={path},mac={mac},queue_size={RING}" for i, (path, mac) in enumerate(zip(paths, MACS))]
    options = {"size": args.size, "flows": args.flows, "seconds": args.seconds, "warmup": args.warmup, "rate": args.rate, "a-mac": MACS[0],
               "b-mac": MACS[1], "a-ip": IPS[0], "b-ip": IPS[1], "gateway-mac": gateway, "descriptors": RING}
    gen = Process(lab, "gen", [os.path.join(lab.build, "tests", "weft-gen"), *eal(lab, "gen", f"0@{core[0]}", args.hugepages, 96), *vdevs, "--", "--hold",
                  *(["--both"] if args.both else []), *[f"--{k}={v}" for k, v in options.items()]], stdin=subprocess.PIPE)
    go_first(args, gen)
    gen.wait_output('{"size":', args.seconds + args.warmup + 30)
    return json.loads(wait_for("the report", lambda: re.search(r'^(\{"size":.*\})$', gen.output(), re.M), 5).group(1)), gen


def measure(subject, args, kind, mode="mac"):
    """One run with fresh processes; the generator's report and the switch's cycles for a packet."""
    core = args.cores
    os.environ["WEFT_BUILD"] = args.build
    with Lab() as lab:
        # DPDK's folder for what it shares between processes: in ours, and gone with it.
        os.environ["RUNTIME_DIRECTORY"] = lab.dir
        try:
            switch = subject(lab, args, kind, core, mode)
            go_first(args, lab.processes[0])
            report, gen = generate(lab, args, kind, core, GATEWAY_MAC)
            report["switchCycles"] = switch.cycles()
            gen.p.stdin.close()
        except LabError:
            for p in lab.processes:
                sys.stderr.write(f"--- {p.name}\n" + "\n".join(p.output().splitlines()[-20:]) + "\n")
            raise
        if report["a"]["badChecksums"] or report["b"]["badChecksums"]:
            raise LabError(f"{subject.name}: frames arrived with wrong checksums: {report}")
        return report


def median(runs, key):
    values = [r[key] for r in runs if r[key] is not None]
    return statistics.median(values) if values else None


def rounded(value, digits):
    return None if value is None else round(value, digits)


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


COLUMNS = ("scenario", "port", "size", "flows", "weft_mpps", "peer", "peer_mpps", "ratio", "cycles_per_packet", "peer_cycles_per_packet", "loss")


def table(rows, columns):
    cells = [[str("-" if r[c] is None else r[c]) for c in columns] for r in rows]
    widths = [max(len(c), *(len(line[i]) for line in cells)) for i, c in enumerate(columns)]
    for line in [columns, *cells]:
        print("  ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths))))


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


def say(args, text):
    if not args.quiet:
        print(text, file=sys.stderr, flush=True)


def forward(args):
    rows = []
    for kind in args.ports:
        runs = {Weft: [], Testpmd: []}
        for i in range(args.repeat):
            for subject in runs:
                r = measure(subject, args, kind)
                runs[subject].append(r)
                say(args, f"{kind} {i + 1}/{args.repeat} {subject.name}: {r['mpps']:.2f} Mpps, loss {r['loss']:.2%}, "
                          f"{r['switchCycles'] or 0:.0f} cycles/packet")
        rows.append(row(args, kind, runs[Weft], runs[Testpmd]))
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


def check(args):
    cpus = sorted(os.sched_getaffinity(0))
    args.cores = args.cores or cpus[:2]
    if len(args.cores) != 2 or args.cores[0] == args.cores[1] or not set(args.cores) <= set(cpus):
        raise LabError(f"needs two cores of {cpus}: one for the generator, one for the switch")
    for program in ("dpdk-testpmd",):
        if not shutil.which(program):
            raise LabError(f"{program} is missing: apt-get install dpdk-dev")
    if args.hugepages:
        with open("/proc/meminfo") as f:
            free = int(re.search(r"HugePages_Free:\s+(\d+)", f.read()).group(1))
        if free < 256:
            raise LabError(f"--hugepages: {free} hugepages are free, 256 are needed: echo 512 > /proc/sys/vm/nr_hugepages")


def main():
    p = argparse.ArgumentParser(prog="scripts/bench", description="Weft beside others on the same ports, with the same generator, in the same run.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON document, a list of results")
    common.add_argument("--quiet", action="store_true", help="no progress on stderr")
    common.add_argument("--seconds", type=float, default=3, help="of each run (%(default)s)")
    common.add_argument("--warmup", type=float, default=1, help="before each (%(default)s)")
    common.add_argument("--repeat", type=int, default=5, help="runs of each; medians are reported (%(default)s)")
    common.add_argument("--ports", type=lambda s: s.split(","), default=list(KINDS), help="of memif,vhost (both)")
    common.add_argument("--size", type=int, default=64, help="of a frame in bytes, without FCS (%(default)s)")
    common.add_argument("--flows", type=int, default=10000, help="UDP flows (%(default)s)")
    common.add_argument("--rate", type=float, default=0, help="Mpps that the generator sends; 0: all it can (%(default)s)")
    common.add_argument("--both", action="store_true", help="traffic in both directions")
    common.add_argument("--hugepages", action="store_true", help="use hugepages for all")
    common.add_argument("--priority", action="store_true", help="ahead of everything else on these cores (nice -20), on a machine that others use")
    common.add_argument("--cores", type=lambda s: [int(c) for c in s.split(",")], help="GENERATOR,SWITCH (the first two of the cpuset)")
    common.add_argument("--build", default=os.environ.get("WEFT_BUILD"), help="folder of the build ($WEFT_BUILD)")
    sub = p.add_subparsers(dest="what", required=True)
    sub.add_parser("forward", parents=[common], help="pod to pod, routed; beside testpmd's mac forwarding").set_defaults(run=forward)
    sub.add_parser("ceiling", parents=[common], help="what the generator can do, through testpmd's io forwarding").set_defaults(run=ceiling)
    args = p.parse_args()
    unknown = set(args.ports) - set(KINDS)
    if unknown:
        p.error(f"--ports: {','.join(unknown)} is not of {','.join(KINDS)}")
    if args.repeat < 1 or not args.build:
        p.error("--repeat must be 1 or more, --build a folder")
    try:
        check(args)
        args.run(args)
    except LabError as e:
        print(f"scripts/bench: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
