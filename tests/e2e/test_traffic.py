# SPDX-License-Identifier: Apache-2.0
"""Real programs through Services with backends on both nodes: iperf3, dnsperf, redis-benchmark, curl, SCTP, from kernel pods and guests, over
IPv4 and IPv6, at rest and while backends come and go every 100 ms."""
import concurrent.futures
import json
import os
import re
import sys
import threading
import time

from lab import Control, Process, sh, wait_for
from steps import expect, main

HERE = os.path.dirname(os.path.abspath(__file__))
POD6 = "fd00:244:1::"
CLIENT, ONE, TWO = "10.244.1.5", "10.244.1.6", "10.244.1.7"
GUESTS = {"g1": ("10.244.1.20", "fd00:244:1::20"), "g2": ("10.244.1.21", "fd00:244:1::21")}
REMOTE, REMOTE_TWO = ("10.244.2.10", "fd00:244:2::10"), ("10.244.2.11", "fd00:244:2::11")
LOCAL, LOCAL_TWO = (ONE, POD6 + "6"), (TWO, POD6 + "7")
ECHO, IPERF, REDIS, SCTP = 7000, 5201, 6379, 5000
SECONDS = 10

# name: (last byte of the addresses, protocol, port, backends that stay, backends that come and go)
SERVICES = {
    "dns": (53, ("UDP", "TCP"), 53, (LOCAL, REMOTE), (LOCAL_TWO, REMOTE_TWO)),
    "web": (80, ("TCP",), 80, (LOCAL, REMOTE, GUESTS["g2"]), (LOCAL_TWO, REMOTE_TWO)),
    "redis": (79, ("TCP",), REDIS, (LOCAL, REMOTE), (LOCAL_TWO, REMOTE_TWO)),
    "echo": (70, ("TCP",), ECHO, (LOCAL, REMOTE), (LOCAL_TWO, REMOTE_TWO)),
    # Control and data are connections of their own and must meet: whoever comes and goes beside has no share.
    "iperf": (51, ("TCP", "UDP"), IPERF, (LOCAL,), (LOCAL_TWO,)),
    "iperf-remote": (52, ("TCP", "UDP"), IPERF, (REMOTE,), (LOCAL_TWO,)),
    "sctp": (50, ("SCTP",), SCTP, (GUESTS["g2"],), (LOCAL_TWO,)),
}
ALONE = ("iperf", "iperf-remote", "sctp")


def vip(service, six):
    return f"fd00:96::{SERVICES[service][0]}" if six else f"10.96.0.{SERVICES[service][0]}"


def url(ip):
    return f"http://[{ip}]/" if ":" in ip else f"http://{ip}/"


def backend(name, ip):
    return {"ip": ip, "weight": 0} if name in ALONE else {"ip": ip}


def services():
    for name, (_, protocols, port, stay, _) in SERVICES.items():
        for six in (0, 1):
            yield {"kind": "Service", "name": f"{name}-{'six' if six else 'four'}", "network": "default", "ips": [vip(name, six)],
                   "ports": [{"name": p.lower(), "protocol": p, "port": port} for p in protocols], "backends": [{"ip": b[six]} for b in stay]}


class Churn:
    """Every 100 ms a backend of every service comes or goes: of its IPv4 or its IPv6 addresses, here or on the other node, in turn."""

    def __init__(self, lab):
        self.control, self.going, self.changes, self.error = Control(lab), True, 0, None
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        self.thread.join()
        self.control.close()

    def run(self):
        there, turn, next_time = set(), 0, time.monotonic()
        try:
            while self.going:
                for name, (_, _, _, _, come) in SERVICES.items():
                    six, which = turn & 1, come[turn // 2 % len(come)]
                    service, ip = f"{name}-{'six' if six else 'four'}", which[six]
                    if (service, ip) in there:
                        self.control.call("patch", kind="Service", name=service, remove={"backends": [ip]})
                    else:
                        self.control.call("patch", kind="Service", name=service, add={"backends": [backend(name, ip)]})
                    there ^= {(service, ip)}
                    self.changes += 1
                turn += 1
                next_time += 0.1
                time.sleep(max(0.0, next_time - time.monotonic()))
            for service, ip in there:
                self.control.call("patch", kind="Service", name=service, remove={"backends": [ip]})
        except Exception as e:  # told by the step that this ran beside
            self.error = e


class Story:
    def __init__(self, lab):
        self.lab = lab
        self.pool = concurrent.futures.ThreadPoolExecutor(16)
        # A build with sanitizers is some times slower.
        self.scale = 0.25 if "asan" in sh("ldd", lab.weftd()).stdout else 1.0

    # -- the cluster -------------------------------------------------------------------------------------------------
    def start(self):
        lab = self.lab
        lab.guest_image()
        lab.start_switch()
        node = lab.node_objects()
        node[0]["serviceCIDRs"] = ["10.96.0.0/24", "fd00:96::/112"]
        objects = [lab.network(), *node, lab.remote_node()]
        # Deprecated, so that nobody answers from it who was asked at the other.
        sh("ip", "-6", "addr", "add", f"{REMOTE_TWO[1]}/128", "dev", "vx0", "nodad", "preferred_lft", "0", netns=lab.netns("remote"))
        for name, ip in (("client", CLIENT), ("one", ONE), ("two", TWO)):
            objects += lab.tap_pod(name, ip, POD6 + ip[-1])
        for name, ips in GUESTS.items():
            objects += lab.guest_pod(name, *ips)
        lab.apply(*objects, *services())
        for name in GUESTS:
            lab.guest_start(name, wait=False)
        for name in ("client", "one", "two"):
            lab.tap_up(name)
        self.client = lab.pods["client"]["netns"]
        # redis-server is another name of this program; Debian's package of that name would start a server on the machine itself.
        redis = os.path.join(lab.dir, "redis-server")
        os.symlink("/usr/bin/redis-check-rdb", redis)
        for where, ns in (("one", lab.pods["one"]["netns"]), ("two", lab.pods["two"]["netns"]), ("remote", lab.netns("remote"))):
            dns = ["dnsmasq", "-k", "--user=root", "--pid-file=", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                   "--log-facility=-", "--address=/weft.test/203.0.113.7", f"--txt-record=who.test,{where}"]
            for name, args in (("dns", dns), ("iperf", ["iperf3", "-s", "-p", str(IPERF)]),
                               ("redis", [redis, "--port", str(REDIS), "--bind", "*", "-::*", "--protected-mode", "no", "--save", "",
                                          "--dir", lab.dir]),
                               ("echo", [sys.executable, "-B", os.path.join(HERE, "traffic_echo.py"), "serve", str(ECHO)])):
                Process(lab, f"{name}-{where}", args, netns=ns)
        for ips, ns in ((LOCAL, lab.pods["one"]["netns"]), (LOCAL_TWO, lab.pods["two"]["netns"]), (REMOTE, lab.netns("remote")),
                        (REMOTE_TWO, lab.netns("remote"))):
            for ip in ips:
                lab.httpd(ip.replace(":", "-"), ip, ip, ns)
        self.queries = os.path.join(lab.dir, "queries")
        with open(self.queries, "w") as f:
            f.write("".join(f"n{i}.weft.test A\n" for i in range(500)))
        for ip in (*LOCAL, *LOCAL_TWO, *REMOTE, *REMOTE_TWO):
            wait_for(f"{url(ip)} to answer", lambda: lab.curl(self.client, url(ip), 2), 30)

    def everywhere(self):
        """Each server answers directly, so that nothing is blamed on a Service that was not there yet."""
        ask = lambda *args: sh(*args, netns=self.client, check=False, timeout=20)
        for six in (0, 1):
            for where, ips in (("one", LOCAL), ("two", LOCAL_TWO), ("remote", REMOTE)):
                wait_for(f"DNS in {where}", lambda: where in ask("dig", "+short", "+time=1", "+tries=1", f"@{ips[six]}", "who.test", "TXT").stdout, 20)
                wait_for(f"redis in {where}", lambda: "PONG" in ask("redis-cli", "-h", ips[six], "-p", str(REDIS), "ping").stdout, 20)

    # -- programs ----------------------------------------------------------------------------------------------------
    def iperf(self, to, *more, seconds=1.5):
        # One test at a time: the server may still be putting the last one away, and listens anew after that.
        for _ in range(20):
            r = sh("iperf3", "-c", to, "-p", str(IPERF), "-t", str(seconds), "-J", "--connect-timeout", "5000", *more,
                   netns=self.client, check=False, timeout=60)
            end = json.loads(r.stdout)
            if not any(why in end.get("error", "") for why in ("busy", "reset by peer", "refused")):
                break
            time.sleep(0.2)
        expect("error" not in end, f"iperf3 {to} {' '.join(more)}: {end.get('error')}")
        got = end["end"].get("sum_received") or end["end"]["sum"]
        expect(got["bytes"] > 0, f"iperf3 {to}: nothing arrived")
        if "-u" in more:
            expect(got["lost_percent"] < 5, f"iperf3 {to} over UDP: {got['lost_percent']:.1f} % lost")
        return f"{got['bits_per_second'] / 1e6:.0f}"

    def iperf_all(self):
        out = []
        for what, to in (("pod", LOCAL), ("remote pod", REMOTE), ("ClusterIP", (vip("iperf", 0), vip("iperf", 1))),
                         ("ClusterIP to the remote node", (vip("iperf-remote", 0), vip("iperf-remote", 1)))):
            rates = [self.iperf(ip) for ip in to] + [self.iperf(ip, "-u", "-b", f"{40 * self.scale:.0f}M", "-l", "1200", seconds=1) for ip in to]
            back = self.iperf(to[0], "-R", seconds=1)
            out.append(f"{what} TCP {rates[0]}/{rates[1]} and back {back}, UDP {rates[2]}/{rates[3]}")
        return "Mbit/s, IPv4/IPv6: " + "; ".join(out)

    def dnsperf(self, six, *more, seconds=2):
        """(answers, lost, a second)"""
        r = sh("dnsperf", "-s", vip("dns", six), "-f", "inet6" if six else "inet", "-d", self.queries, "-c", "20", "-q", "50", "-t", "2",
               "-l", str(seconds), "-W", *more, netns=self.client, timeout=60)
        number = lambda name: float(re.search(rf"{name}:\s+([\d.]+)", r.stdout).group(1))
        expect("NOERROR" in r.stdout, f"dnsperf: {r.stdout}")
        return int(number("Queries completed")), int(number("Queries lost")), number("Queries per second")

    def dns_all(self):
        out = []
        for six in (0, 1):
            who = {sh("dig", "+short", f"@{vip('dns', six)}", "who.test", "TXT", netns=self.client).stdout.strip() for _ in range(30)}
            expect(who == {'"one"', '"remote"'}, f"{who} answer")
            for how in ((), ("-m", "tcp", "-c", "8", "-q", "8")):
                done, lost, rate = self.dnsperf(six, *how)
                # dnsmasq closes a TCP connection after 100 questions, whether one more is on its way or not.
                expect(lost <= (done // 200 if how else 0) and done > 100, f"dnsperf {how} IPv{6 if six else 4}: {lost} of {done + lost} lost")
                out.append(f"{rate:.0f}")
        return f"answers a second over IPv4 UDP, TCP, IPv6 UDP, TCP: {', '.join(out)}; none lost"

    def redis(self, six, n):
        r = sh("redis-benchmark", "-h", vip("redis", six), "-p", str(REDIS), "-n", str(n), "-c", "50", "-t", "set,get", "--csv", "-d", "100",
               netns=self.client, check=False, timeout=90)
        rates = re.findall(r'^"(?:SET|GET)","([\d.]+)"', r.stdout, re.M)
        expect(r.returncode == 0 and len(rates) == 2 and "rror" not in r.stderr, f"redis-benchmark: {r.stdout[-200:]} {r.stderr[-300:]}")
        return f"{float(rates[0]):.0f}"

    def redis_all(self):
        return "SET a second, IPv4 and IPv6: " + ", ".join(self.redis(six, int(10000 * self.scale)) for six in (0, 1))

    def guests_ready(self):
        for name in GUESTS:
            self.lab.pods[name]["process"].wait_output("ready", 120)
        for name, ips in GUESTS.items():
            for ip in ips:
                got = wait_for(f"{name} at {ip}", lambda: self.lab.curl(self.client, url(ip), 5), 30)
                expect(got == name, f"{ip} is {got!r}")

    def from_guest(self, name, times):
        """The guest's own wget through the Service, over IPv4 and IPv6 in turn; what answered."""
        script = "".join(f"guest-net get {vip('web', i & 1)} 80 || echo failed {i}\n" for i in range(times))
        said = self.lab.in_guest(self.client, GUESTS[name][0], script, timeout=90).split("\n")
        expect(len(said) == times and not any("failed" in x for x in said), f"{name} got {said}")
        return set(said)

    def guests_ask(self):
        said = self.from_guest("g1", 80)
        expect(said == {"g2", *LOCAL, *REMOTE}, f"only {sorted(said)} answer")
        return f"{', '.join(sorted(said))} answer"

    def sctp(self, to, n):
        said = self.lab.in_guest(self.client, GUESTS["g1"][0], f"guest-net ask {to} {SCTP} {n}\n", timeout=90)
        expect(said == f"{n} from g2", f"{to}: {said!r}")

    def sctp_all(self):
        for ip in (*GUESTS["g2"], vip("sctp", 0), vip("sctp", 1)):
            self.sctp(ip, 30)
        return "30 messages of 1 KiB each over IPv4, IPv6, and through the ClusterIPs"

    # -- while backends come and go ----------------------------------------------------------------------------------
    def crowd(self):
        r = sh(sys.executable, "-B", os.path.join(HERE, "traffic_echo.py"), "ask", str(SECONDS), str(int(200 * self.scale)), str(ECHO),
               vip("echo", 0), vip("echo", 1), netns=self.client, timeout=SECONDS + 60)
        return json.loads(r.stdout)

    def curls(self):
        n, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end:
            got = self.lab.curl(self.client, url(vip("web", n & 1)), 8)
            expect(got, f"curl {vip('web', n & 1)} failed after {n} others")
            n += 1
        return n

    def repeat(self, fn):
        """fn() until the time is over; how often."""
        n, end = 0, time.monotonic() + SECONDS - 2
        while time.monotonic() < end:
            fn()
            n += 1
        return n

    def churn(self):
        with Churn(self.lab) as churn:
            jobs = {
                "echo": self.pool.submit(self.crowd),
                "curl": self.pool.submit(self.curls),
                "dnsperf": self.pool.submit(lambda: [self.dnsperf(six, "-Q", f"{2000 * self.scale:.0f}", seconds=SECONDS / 2 - 1) for six in (0, 1)]),
                "redis": self.pool.submit(lambda: self.repeat(lambda: self.redis(0, 1000) and self.redis(1, 1000))),
                "iperf": self.pool.submit(lambda: self.repeat(lambda: self.iperf(vip("iperf", 0), "-b", "50M") and self.iperf(vip("iperf-remote", 1),
                                                                                                                           "-b", "50M"))),
                "guest": self.pool.submit(self.from_guest, "g1", 12),
                "sctp": self.pool.submit(lambda: self.sctp(vip("sctp", 0), 200)),
            }
            out, wrong = {}, []
            for name, job in jobs.items():
                try:
                    out[name] = job.result()
                except Exception as e:
                    wrong.append(f"{name}: {e}")
        expect(churn.error is None, f"churn: {churn.error}")
        crowd = out.get("echo")
        if crowd:
            wrong += self.broken(crowd)
        expect(not wrong, "; ".join(wrong))
        lost = sum(d[1] for d in out["dnsperf"])
        return (f"{churn.changes} changes; {crowd['opened']} connections with {crowd['messages']} messages, {out['curl']} curl, "
                f"{sum(d[0] for d in out['dnsperf'])} DNS answers ({lost} lost), {out['redis']} times redis-benchmark, {out['iperf']} iperf3")

    def broken(self, crowd):
        """What broke, by backend; every backend must have had its share."""
        for ips in (LOCAL, REMOTE, LOCAL_TWO, REMOTE_TWO):
            for ip in ips:
                if ip not in crowd["backends"]:
                    return [f"{ip} had no connection: {crowd['backends']}"]
        count = {}
        for b in crowd["broken"]:
            key = (b["backend"], b["why"])
            count[key] = count.get(key, 0) + 1
        return [f"{n} connections to {backend} broke: {why}" for (backend, why), n in count.items()]

    def balanced(self):
        wait_for("the books to balance", lambda: self.lab.json("status")["books"]["difference"] == 0, 10)
        drops = {row["reason"]: row["packets"] for row in self.lab.json("drops")["drops"]}
        refused = {r: n for r, n in drops.items() if r in ("service_no_backend", "service_unknown", "nat_clash", "connections_full", "no_mbuf")}
        expect(not refused, f"refused: {refused}")


def story(lab, s):
    t = Story(lab)
    s.step("three kernel pods, two guests and a remote node with their servers", t.start)
    if s.failed:
        return
    s.step("every server answers directly", t.everywhere)
    s.step("iperf3", t.iperf_all)
    s.step("dnsperf through a ClusterIP, dnsmasq on both nodes behind it", t.dns_all)
    s.step("redis-benchmark through a ClusterIP, servers on both nodes behind it", t.redis_all)
    s.step("two guests are up and reached over IPv4 and IPv6", t.guests_ready)
    s.step("a guest reaches a ClusterIP's backends: kernel pod, guest, remote node", t.guests_ask)
    s.step("SCTP between two guests", t.sctp_all)
    s.step("backends come and go every 100 ms, and nothing breaks", t.churn)
    s.step("every packet is accounted for", t.balanced)


if __name__ == "__main__":
    main(story)
