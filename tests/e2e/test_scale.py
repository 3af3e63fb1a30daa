# SPDX-License-Identifier: Apache-2.0
"""Many ports and large batches: 200 pod ports of mixed kinds at once, a thousand objects all or nothing, ports that come and go under load."""
import json
import signal
import time

from lab import GATEWAY, LabError, Process, endpoint, sh, wait_for
from steps import expect, main

NAMESPACES, IN_EACH = 20, 6
TAPS, MEMIFS, VHOSTS = NAMESPACES * IN_EACH, 40, 40


def tap(lab, i):
    """The i-th TAP: its namespace, device and address. A namespace has several."""
    return lab.netns(f"n{i % NAMESPACES}"), f"eth{i // NAMESPACES}", f"10.244.1.{2 + i}"


class Story:
    def __init__(self, lab):
        self.lab = lab

    def start(self):
        lab = self.lab
        lab.start_switch()
        objects = [lab.network(uplinks=[])]
        for i in range(TAPS):
            ns, ifname, ip = tap(lab, i)
            objects += [{"kind": "Port", "name": f"tap-{i}", "type": "tap", "netns": f"/run/netns/{ns}", "ifname": ifname},
                        endpoint(f"tap-{i}", f"tap-{i}", f"02:00:00:00:01:{2 + i:02x}", ip)]
            objects[-2]["mac"] = objects[-1]["mac"]
        self.memifs = [f"memif-{i}" for i in range(MEMIFS)]
        self.vhosts = [f"vhost-{i}" for i in range(VHOSTS)]
        for i, name in enumerate(self.memifs):
            objects += lab.dpdk_pod(name, f"10.244.1.{2 + TAPS + i}")
        for i, name in enumerate(self.vhosts):
            objects += lab.virtio_pod(name, f"10.244.1.{2 + TAPS + MEMIFS + i}", role="server")
        begin = time.monotonic()
        lab.apply(*objects)
        seconds = time.monotonic() - begin
        ports = lab.json("get", "Port")["objects"]
        expect(len(ports) == 200, f"{len(ports)} ports")
        not_ready = [p["name"] for p in ports if p["status"]["phase"] != "ready"]
        expect(not not_ready, f"not ready: {not_ready}")
        return f"{len(objects)} objects in one transaction, {seconds:.1f} s"

    def taps_up(self):
        """Each device of a namespace is a pod of its own: it sends from its own address by a table of its own."""
        for n in range(NAMESPACES):
            batch = []
            for i in range(n, TAPS, NAMESPACES):
                ns, dev, ip = tap(self.lab, i)
                table = 100 + i
                batch += [f"link set {dev} up", f"addr add {ip}/32 dev {dev}", f"route add default via {GATEWAY} dev {dev} onlink table {table}",
                          f"rule add from {ip} lookup {table}"]
            sh("ip", "-batch", "-", input="\n".join(batch) + "\n", netns=ns)

    def taps_talk(self):
        """Every TAP pings the next one, which lives in another namespace."""
        lost = []
        for n in range(NAMESPACES):
            mine = [(tap(self.lab, i)[2], tap(self.lab, (i + 1) % TAPS)[2]) for i in range(n, TAPS, NAMESPACES)]
            script = "".join(f"ping -n -q -c 1 -W 2 -I {a} {b} >/dev/null || ping -n -q -c 1 -W 5 -I {a} {b} >/dev/null || echo {a} {b}\n"
                             for a, b in mine)
            lost += sh("sh", "-c", script, netns=tap(self.lab, n)[0], timeout=90).stdout.splitlines()
        expect(not lost, f"no answer: {lost}")
        return f"{TAPS} pairs"

    def others_talk(self):
        ns, _, me = tap(self.lab, 0)
        names = (self.memifs[0], self.memifs[-1], self.vhosts[0], self.vhosts[-1])
        started = [self.lab.testpmd_start(name) if name in self.memifs else self.lab.virtio_start(name) for name in names]
        for name in names:
            ip = self.lab.pods[name]["ip"]
            wait_for(f"{name} to answer {me}", lambda: sh("ping", "-n", "-c", "1", "-W", "1", "-I", me, ip, netns=ns, check=False).returncode == 0, 60)
        for p in started:
            p.kill()
        return ", ".join(names)

    def counts(self):
        status = self.lab.json("status")
        return status["epoch"], status["objects"]

    def thousand(self, bad_index=None, bad=None):
        objects = []
        for i in range(1000):
            objects.append({"kind": "Service", "name": f"bulk/{i}", "network": "default", "ips": [f"10.96.{4 + i // 250}.{1 + i % 250}"],
                            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
                            "backends": [{"ip": f"10.244.1.{2 + i % TAPS}"}]})
        if bad_index is not None:
            bad(objects[bad_index])
        return json.dumps({"objects": objects})

    def one_bad_field(self):
        def port(o): o["ports"][0]["port"] = 70000
        def ip(o): o["backends"][0]["ip"] = "10.244.1.300"
        def unknown(o): o["ports"][0]["targetport"] = 1
        def network(o): o["network"] = "elsewhere"
        def kind(o): o["kind"] = "Servise"
        before, said = self.counts(), []
        for index, bad, path in ((776, port, "objects[776].ports[0].port"), (999, ip, "objects[999].backends[0].ip"),
                                 (0, unknown, "objects[0].ports[0].targetport"), (500, network, "objects[500].network"),
                                 (123, kind, "objects[123].kind")):
            r = self.lab.weft("apply", "-f", "-", input=self.thousand(index, bad), check=False)
            expect(r.returncode == 1, f"{path}: exit {r.returncode}: {r.stderr}")
            expect(path in r.stderr, f"{path} is not named: {r.stderr!r}")
            expect(self.counts() == before, f"{path}: something changed: {before} became {self.counts()}")
            said.append(r.stderr.strip())
        return said[0]

    def port_fails(self):
        """A fault that shows only when the batch is carried out: what it had opened by then is closed again."""
        before = self.counts()
        objects = [{"kind": "Port", "name": f"extra-{i}", "type": "memif", "socket": f"extra-{i}.sock"} for i in range(20)]
        objects.append({"kind": "Port", "name": "bad", "type": "tap", "netns": "/proc/self/ns/uts", "ifname": "eth0"})
        r = self.lab.weft("apply", "-f", "-", input=json.dumps({"objects": objects}), check=False)
        expect(r.returncode == 1 and "objects[20].netns" in r.stderr, f"exit {r.returncode}: {r.stderr}")
        expect(self.counts() == before, f"{before} became {self.counts()}")
        left = sh("sh", "-c", f"ls {self.lab.dir}/ports | grep extra || true").stdout.split()
        expect(not left, f"sockets left: {left}")
        return r.stderr.strip()

    def all_good(self):
        begin = time.monotonic()
        self.lab.weft("apply", "-f", "-", input=self.thousand())
        seconds = time.monotonic() - begin
        expect(self.counts()[1]["Service"] == 1000, f"{self.counts()}")
        begin = time.monotonic()
        again = self.lab.weft("apply", "-f", "-", input=self.thousand()).stdout
        expect("1000 unchanged" in again, again)
        return f"{seconds * 1000:.0f} ms; again: {(time.monotonic() - begin) * 1000:.0f} ms, nothing changed"

    def come_and_go(self):
        """A flood of pings between two pods while other ports come and go, alone and in batches."""
        lab = self.lab
        (ns, _, me), (_, _, other) = tap(lab, 0), tap(lab, 1)
        more = lab.netns("more")
        flood = Process(lab, "flood", ["ping", "-q", "-f", "-I", me, other], netns=ns)
        begin, changes = time.monotonic(), 0
        for _ in range(30):
            ports = [{"kind": "Port", "name": "t0", "type": "tap", "netns": f"/run/netns/{more}", "ifname": "t0"},
                     {"kind": "Port", "name": "t1", "type": "tap", "netns": f"/run/netns/{more}", "ifname": "t1"},
                     {"kind": "Port", "name": "m0", "type": "memif", "socket": "m0.sock"},
                     {"kind": "Port", "name": "v0", "type": "vhost-user", "socket": "v0.sock", "queues": 2}]
            lab.apply(*ports, endpoint("t0", "t0", "02:00:00:00:09:01", "10.244.1.230"))
            lab.weft("delete", "-f", "-", input=json.dumps({"objects": [endpoint("t0", "t0", "02:00:00:00:09:01", "10.244.1.230")] + ports}))
            changes += 2
        seconds = time.monotonic() - begin
        # The last ping is under way when the flood ends: it may be the one that is missing.
        flood.stop(signal.SIGINT)
        words = flood.output().split("packets transmitted,")
        if len(words) != 2:
            raise LabError(f"ping said {flood.output()!r}")
        sent, received = int(words[0].split()[-1]), int(words[1].split()[0])
        expect(sent > 500, f"only {sent} pings in {seconds:.1f} s")
        expect(sent - received <= 1, f"{sent - received} of {sent} pings were lost")
        return f"{changes} transactions, {2 * changes} ports opened and closed in {seconds:.1f} s, {sent} pings, {sent - received} missing"

    def restart(self):
        begin = time.monotonic()
        code = self.lab.switch.stop(signal.SIGTERM, 30)
        stop = time.monotonic() - begin
        expect(code == 0, f"exit {code}: {self.lab.switch.output()[-500:]}")
        begin = time.monotonic()
        self.lab.run_switch()
        start = time.monotonic() - begin
        ports = self.lab.json("get", "Port")["objects"]
        not_ready = [p["name"] for p in ports if p["status"]["phase"] != "ready"]
        expect(len(ports) == 200 and not not_ready, f"{len(ports)} ports, not ready: {not_ready}")
        return f"stopped in {stop:.2f} s" + ("" if stop <= 2 else " (more than the 2 s that it should take)") + f", started in {start:.1f} s"

    def balanced(self):
        wait_for("the books to balance", lambda: self.lab.json("status")["books"]["difference"] == 0, 10)


def story(lab, s):
    t = Story(lab)
    s.step(f"200 pod ports at once: {TAPS} TAP, {MEMIFS} memif, {VHOSTS} vhost-user", t.start)
    if s.failed:
        return
    s.step(f"{NAMESPACES} namespaces configure their devices", t.taps_up)
    s.step("every TAP reaches the next", t.taps_talk)
    s.step("DPDK applications on the first and the last memif and vhost-user port answer", t.others_talk)
    s.step("1,000 objects with one bad field change nothing, and the field is named", t.one_bad_field)
    s.step("so does a batch with a port that cannot be opened", t.port_fails)
    s.step("1,000 good ones are applied", t.all_good)
    s.step("ports come and go, a flood of pings between two others loses nothing", t.come_and_go)
    s.step("all of it stops, and is back after a restart", t.restart)
    s.step("every TAP reaches the next again", t.taps_talk)
    s.step("every packet is accounted for", t.balanced)


if __name__ == "__main__":
    main(story)
