# SPDX-License-Identifier: Apache-2.0
"""The main job, on real traffic: two kernel pods, a Linux guest, a DPDK application and a remote node that is a Linux kernel."""
import collections
import hashlib
import os
import sys
import time

from lab import GATEWAY, NODE_IP, ROOT, Lab, LabError, endpoint, sh, wait_for
from steps import Steps, expect

VIP, DNS_VIP = "10.96.0.10", "10.96.0.53"
CLIENT, WEB, GUEST, DPDK = "10.244.1.5", "10.244.1.6", "10.244.1.20", "10.244.1.30"
REMOTES = ("10.244.2.10", "10.244.2.11")


def service(name, vip, port, backends, protocol="TCP"):
    return {"kind": "Service", "name": name, "network": "default", "ips": [vip],
            "ports": [{"name": "main", "protocol": protocol, "port": port, "targetPort": port}],
            "backends": [{"ip": ip} for ip in backends]}


# One policy that cuts the client off from the web pod, one that lets DNS through to it.
ISOLATE_WEB = {"kind": "Policy", "name": "demo/web-only-from-dpdk", "network": "default", "tier": "network", "endpoints": ["demo/web"],
               "types": ["Ingress"], "ingress": [{"action": "accept", "from": [{"cidr": f"{DPDK}/32"}],
                                                  "ports": [{"protocol": "TCP", "port": 80}]}]}
ALLOW_DNS = {"kind": "Policy", "name": "demo/dns", "network": "default", "tier": "network", "endpoints": ["demo/web"],
             "types": ["Ingress"], "ingress": [{"action": "accept", "from": [], "ports": [{"protocol": "UDP", "port": 53}]}]}


def start(lab):
    lab.guest_image()
    lab.start_switch()
    objects = [lab.network(), *lab.node_objects(), lab.remote_node(),
               *lab.tap_pod("client", CLIENT, "fd00:244:1::5"), *lab.tap_pod("web", WEB, "fd00:244:1::6"),
               *lab.guest_pod("guest", GUEST, "fd00:244:1::20"), *lab.dpdk_pod("dpdk", DPDK),
               service("demo/web", VIP, 80, (GUEST,) + REMOTES), service("demo/dns", DNS_VIP, 53, (WEB,), "UDP")]
    out = lab.apply(*objects)
    lab.tap_up("client")
    lab.tap_up("web")
    web, remote = lab.pods["web"]["netns"], lab.netns("remote")
    lab.httpd("web", WEB, "web", web, big=True)
    lab.httpd("web6", "fd00:244:1::6", "web", web)
    for ip in REMOTES:
        lab.httpd(ip, ip, f"remote {ip}", remote)
    from lab import Process
    Process(lab, "dnsmasq", ["dnsmasq", "-k", "--no-daemon", "--user=root", "--pid-file=", "--no-resolv", "--no-hosts", "--log-facility=-",
                             f"--listen-address={WEB}", "--bind-interfaces", "--address=/weft.test/203.0.113.7"], netns=web)
    lab.testpmd_start("dpdk")
    lab.guest_start("guest", wait=False)
    return out.stdout.strip()


def says(lab, netns, url, text, timeout=20):
    got = wait_for(f"{url} to answer", lambda: lab.curl(netns, url, 2), timeout)
    expect(text in got, f"{url} answered {got!r}, not {text!r}")
    return f"{url} says {got!r}"


def pings(lab, netns, ip, timeout=20):
    wait_for(f"{ip} to answer a ping", lambda: lab.ping(netns, ip, timeout=1), timeout)
    return f"{ip} answers"


def shares(lab, n=60):
    """New connections through the ClusterIP: every backend must get some."""
    client = lab.pods["client"]["netns"]
    got = collections.Counter()
    script = f"for i in $(seq {n}); do curl -s --max-time 4 http://{VIP}/ || echo lost; done"
    for line in sh("sh", "-c", script, netns=client, timeout=180).stdout.split("\n"):
        if line:
            got[line] += 1
    expect(got["lost"] == 0, f"{got['lost']} of {n} requests failed: {dict(got)}")
    expect(len(got) == 3, f"not every backend was reached: {dict(got)}")
    return ", ".join(f"{name}: {count * 100 // n} %" for name, count in sorted(got.items()))


def download(lab):
    """100 MB, whole and unchanged."""
    client = lab.pods["client"]["netns"]
    web = next(p for p in lab.processes if p.name == "httpd-web")
    with open(os.path.join(web.www, "big"), "rb") as f:
        want = hashlib.sha256(f.read()).hexdigest()
    start_time = time.monotonic()
    got = sh("sh", "-c", f"curl -sS --max-time 100 http://{WEB}/big | sha256sum", netns=client, timeout=120).stdout.split()[0]
    seconds = time.monotonic() - start_time
    expect(got == want, "the download differs from the file")
    return f"sha256 {got[:12]}…, {800 / seconds:.0f} Mbit/s"


def dns(lab):
    client = lab.pods["client"]["netns"]
    out = sh("dig", "+short", "+time=2", "+tries=3", f"@{DNS_VIP}", "weft.test", netns=client, check=False, timeout=20).stdout.strip()
    expect(out == "203.0.113.7", f"dig through {DNS_VIP} said {out!r}")
    return f"weft.test is {out}"


def cut_off(lab):
    client = lab.pods["client"]["netns"]
    expect(lab.curl(client, f"http://{WEB}/", 3) == "web", "the client should reach the web pod before the policy")
    before = drops(lab, "policy_ingress")
    lab.apply(ISOLATE_WEB, ALLOW_DNS)
    expect(lab.curl(client, f"http://{WEB}/", 1) is None, "the client still reaches the web pod")
    dropped = drops(lab, "policy_ingress") - before
    expect(dropped > 0, "no packet was counted as policy_ingress")
    return f"{dropped} packets dropped as policy_ingress"


def restored(lab):
    client = lab.pods["client"]["netns"]
    lab.delete("Policy", ISOLATE_WEB["name"])
    lab.delete("Policy", ALLOW_DNS["name"])
    got = lab.curl(client, f"http://{WEB}/", 3)
    expect(got == "web", f"the client got {got!r} after the policies were deleted")
    return f"says {got!r} again"


def drops(lab, reason):
    return sum(row["packets"] for row in lab.json("drops")["drops"] if row["reason"] == reason)


def balanced(lab):
    """rx + created = tx + dropped + merged + punted + held, as soon as nothing is under way."""
    def books():
        b = lab.json("status")["books"]
        return b if b["difference"] == 0 else None
    b = wait_for("the books to balance", books, 10)
    return f"{b['rx']} received, {b['tx']} sent, {b['punted']} to the host, {b['dropped']} dropped, difference 0"


def story(lab, s, keep=False):
    s.step("the switch starts and takes all objects in one transaction", start, lab)
    if s.failed:
        return
    client, node, remote = lab.pods["client"]["netns"], lab.node, lab.netns("remote")
    print("pod to pod")
    s.step("TAP pod to TAP pod, HTTP", says, lab, client, f"http://{WEB}/", "web")
    s.step("the same over IPv6", says, lab, client, "http://[fd00:244:1::6]/", "web")
    s.step("TAP pod to the DPDK pod (testpmd over memif), ping", pings, lab, client, DPDK)
    s.step("TAP pod to the remote node through VXLAN (Linux kernel), HTTP", says, lab, client, f"http://{REMOTES[0]}/", "remote")
    s.step("the remote node to a TAP pod through VXLAN, HTTP", says, lab, remote, f"http://{WEB}/", "web")
    s.step("TAP pod to its gateway, ping", pings, lab, client, GATEWAY)
    s.step("a 100 MB download through the switch is intact", download, lab)
    s.step("the guest boots (QEMU, virtio-net over vhost-user) and answers HTTP", says, lab, client, f"http://{GUEST}/", "guest", 90)
    s.step("the guest over IPv6", says, lab, client, "http://[fd00:244:1::20]/", "guest")
    print("the node itself")
    s.step("the host probes the guest, as a kubelet would", says, lab, node, f"http://{GUEST}/", "guest")
    s.step("a pod reaches the node's own address", pings, lab, client, NODE_IP)
    s.step("the remote node reaches the node's own address through the uplink", pings, lab, remote, NODE_IP)
    print("a Service")
    s.step(f"ClusterIP {VIP}: backends in the guest and on the remote node", shares, lab)
    s.step(f"DNS through ClusterIP {DNS_VIP}, UDP", dns, lab)
    print("policy")
    s.step("a policy cuts the client off from the web pod", cut_off, lab)
    s.step("another lets DNS through all the while", dns, lab)
    s.step("deleting them restores the client", restored, lab)
    print("the books")
    s.step("every packet is accounted for", balanced, lab)
    print("\n$ weft status\n" + lab.weft("status").stdout)
    print("$ weft drops\n" + lab.weft("drops").stdout)


def play(lab):
    weft = f"{lab.build}/mgmt/weft --socket {lab.socket}"
    print(f"""It goes on running. Play with it from another terminal:
  {weft} get endpoints
  {weft} status
  ip netns exec {lab.pods['client']['netns']} curl http://{VIP}/
  ip netns exec {lab.pods['client']['netns']} ping {DPDK}
  {weft} watch
Enter or Ctrl-C here takes all of it down.""", flush=True)
    try:
        if not sys.stdin.readline():
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        pass


def main():
    s = Steps()
    try:
        with Lab() as lab:
            try:
                story(lab, s)
            finally:
                if s.failed and lab.switch is not None:
                    print("weftd said:\n" + lab.switch.output()[-3000:])
            if "--keep" in sys.argv:
                s.finish()
                play(lab)
    except LabError as e:
        print(f"lab: {e}")
        s.failed += 1
    sys.exit(s.finish())


if __name__ == "__main__":
    main()
