# SPDX-License-Identifier: Apache-2.0
"""One core for everything: the worker keeps it, and control is answered all the same."""
import glob
import json
import os
import socket
import statistics
import time

from lab import wait_for
from steps import expect, main

A, B, DPDK = "10.244.1.5", "10.244.1.6", "10.244.1.30"
TICK = os.sysconf("SC_CLK_TCK")
ANSWER_MS, WORKER_SHARE = 100, 0.8


def busy_seconds(core):
    """How long the core has worked, whoever for: all but idle and waiting for a disk."""
    with open("/proc/stat") as f:
        fields = next(line.split()[1:9] for line in f if line.startswith(f"cpu{core} "))
    return (sum(map(int, fields)) - int(fields[3]) - int(fields[4])) / TICK


def quietest(cores):
    """Other people may have work on this machine, too."""
    before = {c: busy_seconds(c) for c in cores}
    time.sleep(0.5)
    return min(cores, key=lambda c: busy_seconds(c) - before[c])


class Client:
    """One connection, asked again and again."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)
        self.f = self.s.makefile("rw")

    def ask(self, method, **params):
        """How many milliseconds the answer took."""
        begin = time.monotonic()
        self.f.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n")
        self.f.flush()
        answer = json.loads(self.f.readline())
        expect("result" in answer, f"{method}: {answer}")
        return (time.monotonic() - begin) * 1000


def summary(ms):
    return f"median {statistics.median(ms):.1f} ms, worst {max(ms):.1f} ms of {len(ms)}"


class Story:
    def __init__(self, lab):
        self.lab = lab
        cores = sorted(os.sched_getaffinity(0))
        self.core = quietest(cores)
        # Whoever asks and whoever loads is elsewhere, where there is an elsewhere.
        self.elsewhere = [c for c in cores if c != self.core] or cores
        os.sched_setaffinity(0, self.elsewhere)

    def start(self):
        lab = self.lab
        lab.start_switch(f"workers = {{ cores = [{self.core}]; control_core = {self.core}; }};\n"
                         'memory = { megabytes = 96; mbufs = 8192; };\ntables = { connections = 65536; };\n',
                         under=("taskset", "-c", str(self.core)))
        lab.apply(lab.network(uplinks=[]), *lab.tap_pod("a", A), *lab.tap_pod("b", B), *lab.dpdk_pod("dpdk", DPDK))
        lab.tap_up("a")
        lab.tap_up("b")
        status = lab.json("status")
        expect([w["core"] for w in status["workers"]] == [self.core] and status["controlCore"] == self.core, f"cores: {status}")
        for task in glob.glob(f"/proc/{lab.switch.pid}/task/*"):
            with open(f"{task}/status") as f:
                allowed = next(line.split()[1] for line in f if line.startswith("Cpus_allowed_list"))
            expect(allowed == str(self.core), f"a thread may run on {allowed}")
        wait_for("a ping from a to b", lambda: lab.ping(lab.pods["a"]["netns"], B, timeout=1), 20)
        return f"core {self.core}, and {len(glob.glob(f'/proc/{lab.switch.pid}/task/*'))} threads on it"

    def threads(self):
        """CPU seconds of the worker, and of all threads together."""
        worker = total = 0.0
        for task in glob.glob(f"/proc/{self.lab.switch.pid}/task/*"):
            with open(f"{task}/comm") as f:
                name = f.read().strip()
            with open(f"{task}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            seconds = (int(fields[11]) + int(fields[12])) / TICK
            total += seconds
            worker += seconds if name == "weft-worker0" else 0
        return worker, total

    def shares(self, seconds, each, pause):
        """Call each() all the time; the answers' times, and the worker's part of what the core had for the switch."""
        (w0, t0), b0, begin = self.threads(), busy_seconds(self.core), time.monotonic()
        ms = []
        while time.monotonic() - begin < seconds:
            ms.append(each())
            time.sleep(pause)
        (w1, t1), b1, elapsed = self.threads(), busy_seconds(self.core), time.monotonic() - begin
        others = max(0.0, (b1 - b0) - (t1 - t0))
        return ms, (w1 - w0) / max(elapsed - others, 0.01), others / elapsed

    def judge(self, ms, share, others):
        """The limits hold for a core that is ours; when others work on it, the median must hold, and the worst is told."""
        said = f"{summary(ms)}; the worker has {share * 100:.0f} % of the core" + (
            f" (other programs' {others * 100:.0f} % set aside)" if others > 0.02 else "")
        expect(statistics.median(ms) <= ANSWER_MS, said)
        expect(max(ms) <= ANSWER_MS or others > 0.1, said)
        expect(share >= WORKER_SHARE, said)
        return said

    def command_line(self):
        ms = []
        for _ in range(50):
            begin = time.monotonic()
            self.lab.weft("status")
            ms.append((time.monotonic() - begin) * 1000)
        expect(statistics.median(ms) <= ANSWER_MS, summary(ms))
        return summary(ms) + ", the start of the program included"

    def idle(self):
        client = Client(self.lab.socket)
        return self.judge(*self.shares(2, lambda: client.ask("status"), 0.02))

    def loaded(self):
        blast = self.lab.testpmd_start("dpdk", "txonly")
        rx = lambda: next(p for p in self.lab.json("stats")["ports"] if p["name"] == "dpdk")["rx"]
        wait_for("load", lambda: rx() > 10000, 60)
        before, begin = rx(), time.monotonic()
        client = Client(self.lab.socket)
        said = self.judge(*self.shares(3, lambda: client.ask("status"), 0.02))
        rate = (rx() - before) / (time.monotonic() - begin)
        blast.kill()
        expect(rate > 1000, f"only {rate:.0f} packets a second came in")
        return f"{said}; {rate / 1e6:.2f} Mpps came in meanwhile"

    def changes(self):
        """A transaction of 500 objects again and again, beside status from another client, and a ping that must not lose."""
        ping = self.lab.steady_ping(self.lab.pods["a"]["netns"], B, 0.02)
        status, builder = Client(self.lab.socket), Client(self.lab.socket)
        turn = [0]

        def apply():
            turn[0] += 1
            return builder.ask("apply", objects=[
                {"kind": "AddressSet", "name": f"set-{i}", "network": "default", "members": [f"10.{turn[0] % 200}.{i % 250}.1"]}
                for i in range(500)])

        applied, asked = [], []
        begin = time.monotonic()
        while time.monotonic() - begin < 2:
            applied.append(apply())
            asked.append(status.ask("status"))
            time.sleep(0.02)
        sent, received = self.lab.steady_end(ping)
        expect(sent == received and sent > 20, f"{sent - received} of {sent} pings were lost")
        expect(statistics.median(asked) <= ANSWER_MS, f"status: {summary(asked)}")
        return f"apply of 500: {summary(applied)}; status: {summary(asked)}; {sent} pings, none lost"


def story(lab, s):
    t = Story(lab)
    s.step("the switch runs with one core for worker and control", t.start)
    if s.failed:
        return
    s.step("50 times weft status", t.command_line)
    s.step("steady requests while no packet comes", t.idle)
    s.step("steady requests while testpmd sends all that it can", t.loaded)
    s.step("large transactions disturb neither pings nor status", t.changes)


if __name__ == "__main__":
    main(story)
