# SPDX-License-Identifier: Apache-2.0
"""What the scenarios of scripts/bench share: the switches that are measured, the generator, memory, tables of results."""
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from lab import GATEWAY_MAC, Lab, LabError, Process, sh, wait_for  # noqa: E402,F401

KINDS = {"memif": "memif", "vhost": "vhost-user"}
MACS = ("02:00:00:00:00:0a", "02:00:00:00:00:0b")
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


class Hugepages:
    """2 MiB pages and a hugetlbfs mount of our own while a scenario runs; both as before when it is over."""
    NR = "/proc/sys/vm/nr_hugepages"

    def __init__(self, megabytes):
        self.pages, self.before, self.mount = megabytes // 2, None, None

    def __enter__(self):
        with open(self.NR) as f:
            self.before = int(f.read())
        with open("/proc/meminfo") as f:
            free = int(re.search(r"HugePages_Free:\s+(\d+)", f.read()).group(1))
        try:
            self.set(self.before + max(0, self.pages - free))
            with open("/proc/meminfo") as f:
                free = int(re.search(r"HugePages_Free:\s+(\d+)", f.read()).group(1))
            if free < self.pages:
                raise LabError(f"--hugepages: the kernel has {free} free hugepages, {self.pages} are needed")
            path = f"/tmp/weft-huge-{os.getpid()}"
            os.makedirs(path)
            sh("mount", "-t", "hugetlbfs", "none", path)
            self.mount = path
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.mount:
            sh("umount", self.mount)
            os.rmdir(self.mount)
        self.set(self.before)

    def set(self, pages):
        with open(self.NR, "w") as f:
            f.write(str(pages))


class Control:
    """One connection to the control socket; answers as Python objects."""

    def __init__(self, lab):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(lab.socket)
        self.lines = self.socket.makefile("rb")

    def send(self, method, params=None):
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params is not None:
            request["params"] = params
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    def answer(self, method):
        line = self.lines.readline()
        if not line:
            raise LabError(f"{method}: the switch hung up")
        reply = json.loads(line)
        if "error" in reply:
            raise LabError(f"{method}: {reply['error']['message']}")
        return reply["result"]

    def call(self, method, params=None):
        self.send(method, params)
        return self.answer(method)

    def close(self):
        self.lines.close()
        self.socket.close()


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
    """The switch with ports a and b of a kind, and whatever more is applied."""
    name = "weft"

    def __init__(self, lab, args, kind, core, connections, workers="", limits="", uplink=None):
        """Kind veth: the devices wa and wb of the node's namespace. `uplink`: the node's address with its network; port b is then a NIC of the kind that carries the underlay, not a pod's port."""
        self.lab = lab
        lab.start_switch(f'workers = {{ cores = [ {core[1]} ]; control_core = {core[0]}; {workers} }};\n'
                         f'memory = {{ hugepages = "{"yes" if args.hugepages else "no"}"; megabytes = 256; mbufs = 32768; }};\n'
                         f'tables = {{ connections = {connections}; }};\n{limits}', node=kind == "veth")
        self.control = Control(lab)
        self.ports = []
        for side in "ab":
            port = {"kind": "Port", "name": side, "type": KINDS.get(kind), "socket": f"{side}.sock", "role": "server"}
            if kind == "memif":
                port.update(id=0, ringSize=RING)
            if kind == "veth":
                port = {"kind": "Port", "name": side, "type": "nic", "device": f"net_af_packet{'ab'.index(side)},iface=w{side}"}
            if uplink and side == "b":
                device = {"memif": memif_vdev(1, sockets(lab)[1], "server").split("=", 1)[1], "vhost": f"net_vhost1,iface={sockets(lab)[1]}",
                          "veth": "net_af_packet1,iface=wb"}[kind]
                port = {"kind": "Port", "name": side, "type": "nic", "device": device, "uplink": True, "ips": [uplink]}
            self.ports.append(port)

    def apply(self, *objects):
        return self.control.call("apply", {"objects": list(objects)})

    def worker_cpu(self):
        """Seconds that the workers' threads had a CPU."""
        total, pid = 0, self.lab.switch.pid
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/comm") as comm, open(f"/proc/{pid}/task/{task}/schedstat") as stat:
                if comm.read().startswith("weft-worker"):
                    total += int(stat.read().split()[0]) / 1e9
        return total

    def busy(self):
        workers = self.control.call("stats")["workers"]
        return *(sum(w[key] for w in workers) for key in ("busyCycles", "packets", "connCreated", "connExpired")), self.worker_cpu(), time.monotonic()

    def start_counting(self):
        self.before = self.busy()

    def cycles(self):
        """Busy cycles of a packet, less those in which the machine was busy with others: a worker has its core whole or shares it all the time."""
        cycles, packets, created, expired, cpu, wall = (now - then for now, then in zip(self.busy(), self.before))
        self.share = min(1, cpu / wall)
        # Of a packet, of a connection: the answer may have been long on its way when the generator has the control core.
        self.created_share = created / packets if packets else 0
        self.expired_share = expired / created if created else 0
        self.cycles_per_connection = cycles * self.share / created if created else None
        return cycles * self.share / packets if packets else None


def start_generator(lab, args, kind, core, options, flags=(), listens=False, netns=None):
    """weft-gen at the switch's sockets; `listens`: they are its own, and the switch comes to them. Kind veth: at ga and gb of a namespace."""
    paths = sockets(lab)
    for path in paths:
        if not listens and kind != "veth":
            wait_for(path, lambda: os.path.exists(path), 10)
    if kind == "memif":
        vdevs = [memif_vdev(i, path, "client") for i, path in enumerate(paths)]
    elif kind == "veth":
        vdevs = [f"--vdev=net_af_packet{i},iface=g{side}" for i, side in enumerate("ab")]
    else:
        server = ",server=1" if listens else ""
        vdevs = [f"--vdev=net_virtio_user{i},path={path},mac={mac},queue_size={RING}{server}" for i, (path, mac) in enumerate(zip(paths, MACS))]
    options = dict({"a-mac": MACS[0], "b-mac": MACS[1], "gateway-mac": GATEWAY_MAC, "descriptors": RING, "size": args.size, "rate": args.rate}, **options)
    gen = Process(lab, "gen", [os.path.join(lab.build, "tests", "weft-gen"), *eal(lab, "gen", f"0@{core[0]}", args.hugepages, 96), *vdevs, "--", "--hold",
                  *flags, *[f"--{k}={v}" for k, v in options.items()]], netns=netns, stdin=subprocess.PIPE)
    go_first(args, gen)
    return gen


def report_of(gen, seconds):
    """What it reports; it stays connected until its stdin is closed."""
    gen.wait_output('{"size":', seconds + 30)
    report = json.loads(wait_for("the report", lambda: re.search(r'^(\{"size":.*\})$', gen.output(), re.M), 5).group(1))
    if report["a"]["badChecksums"] or report["b"]["badChecksums"]:
        raise LabError(f"frames arrived with wrong checksums: {report}")
    return report


class Bench:
    """A Lab in which DPDK's files lie too, and that shows what everybody said when something goes wrong."""

    def __init__(self, args):
        os.environ["WEFT_BUILD"] = args.build
        self.lab = Lab()

    def __enter__(self):
        self.lab.__enter__()
        # DPDK's folder for what it shares between processes: in ours, and gone with it.
        os.environ["RUNTIME_DIRECTORY"] = self.lab.dir
        return self.lab

    def __exit__(self, kind, value, trace):
        if kind is not None and issubclass(kind, LabError):
            for p in self.lab.processes:
                sys.stderr.write(f"--- {p.name}\n" + "\n".join(p.output().splitlines()[-20:]) + "\n")
        self.lab.__exit__(kind, value, trace)


def median(runs, key):
    values = [r[key] for r in runs if r[key] is not None]
    return statistics.median(values) if values else None


def rounded(value, digits):
    return None if value is None else round(value, digits)


def say(args, text):
    if not args.quiet:
        print(text, file=sys.stderr, flush=True)


def text_of(value):
    if value is None:
        return "-"
    if isinstance(value, int) and abs(value) >= 10000:
        return f"{value:,}"
    return str(value)


def table(rows, columns):
    """Columns that no row has a value for are left out."""
    columns = [c for c in columns if any(r.get(c) is not None for r in rows)]
    cells = [[text_of(r.get(c)) for c in columns] for r in rows]
    widths = [max(len(c), *(len(line[i]) for line in cells)) for i, c in enumerate(columns)]
    for line in [columns, *cells]:
        print("  ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths))))
