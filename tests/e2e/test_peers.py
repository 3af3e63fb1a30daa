# SPDX-License-Identifier: Apache-2.0
"""Peers that die and come back, at any moment and of every kind, and are served again without a command. Their neighbours notice nothing."""
import time

from lab import sh, wait_for
from steps import expect, main

A, B = "10.244.1.5", "10.244.1.6"
IP = {"memif": "10.244.1.30", "virtio": "10.244.1.31", "guest": "10.244.1.20", "guest2": "10.244.1.21", "moving": "10.244.1.7"}


class Story:
    def __init__(self, lab):
        self.lab = lab
        self.watch = None

    def start(self):
        lab = self.lab
        lab.guest_image()
        lab.start_switch()
        lab.apply(lab.network(uplinks=[]), *lab.tap_pod("a", A), *lab.tap_pod("b", B), *lab.tap_pod("moving", IP["moving"]),
                  *lab.dpdk_pod("memif", IP["memif"]), *lab.virtio_pod("virtio", IP["virtio"]),
                  *lab.guest_pod("guest", IP["guest"]), *lab.guest_pod("guest2", IP["guest2"], role="client"))
        for name in ("a", "b", "moving"):
            lab.tap_up(name)
        self.run = {"memif": lambda: lab.testpmd_start("memif"), "virtio": lambda: lab.virtio_start("virtio"),
                    "guest": lambda: lab.guest_start("guest", wait=False), "guest2": lambda: lab.guest_start("guest2", wait=False)}
        self.client = lab.pods["a"]["netns"]
        wait_for("a ping from a to b", lambda: lab.ping(self.client, B, timeout=1), 20)
        self.watch = lab.steady_ping(self.client, B)
        self.epoch = lab.json("status")["epoch"]

    def port(self, name):
        return next(o for o in self.lab.json("get", "Port")["objects"] if o["name"] == name)["status"]["port"]

    def answers(self, name, timeout=90):
        wait_for(f"{name} to answer a ping (port: {self.port(name)})", lambda: self.lab.ping(self.client, IP[name], timeout=1), timeout)

    def begin(self, *names):
        for name in names:
            self.run[name]()
        for name in names:
            self.answers(name)

    def die_and_return(self, *names):
        """kill -9, and again; the seconds count from the start of the process, its own start included."""
        lab, said = self.lab, []
        for name in names:
            lab.pods[name]["process"].kill()
        for name in names:
            wait_for(f"{name}'s port to be down", lambda: not self.port(name)["up"], 10)
            expect(not lab.ping(self.client, IP[name], timeout=1), f"{name} answers although it is dead")
        begin = time.monotonic()
        for name in names:
            self.run[name]()
        for name in names:
            self.answers(name)
            said.append(f"{name} {time.monotonic() - begin:.1f} s")
        return "answers again after " + ", ".join(said)

    def often(self, name, n):
        """Over and over, not waiting for it to be ready: whatever state the ports were in, the last one works."""
        for i in range(n):
            p = self.run[name]()
            time.sleep(0.1 * (i % 8))
            p.kill()
        self.run[name]()
        self.answers(name)

    def flooded(self, name):
        """It dies while the switch sends to it as fast as a ping flood does."""
        flood = self.lab.steady_ping(self.client, IP[name], 0)
        try:
            wait_for(f"load on {name}", lambda: self.port(name)["tx"] > 2000, 30)
            said = self.die_and_return(name)
        finally:
            flood.kill()
        return said

    def http(self, *names):
        for name in names:
            got = wait_for(f"{name}'s web server", lambda: self.lab.curl(self.client, f"http://{IP[name]}/", 3), 60)
            expect(got == name, f"{name} says {got!r}")

    def namespace_again(self):
        lab, ns = self.lab, self.lab.pods["moving"]["netns"]
        self.answers("moving")
        sh("ip", "netns", "del", ns)
        wait_for("the port to be down", lambda: not self.port("moving")["up"], 20)
        down = self.port("moving")["peer"]
        begin = time.monotonic()
        sh("ip", "netns", "add", ns)
        sh("ip", "link", "set", "lo", "up", netns=ns)
        wait_for("its device", lambda: sh("ip", "link", "show", "eth0", netns=ns, check=False).returncode == 0, 20)
        lab.tap_up("moving")
        self.answers("moving")
        return f"meanwhile the port says {down!r}; back after {time.monotonic() - begin:.1f} s"

    def device_again(self):
        lab, ns = self.lab, self.lab.pods["moving"]["netns"]
        index = lambda: sh("cat", "/sys/class/net/eth0/ifindex", netns=ns, check=False).stdout.strip()
        old = index()
        sh("ip", "link", "del", "eth0", netns=ns)
        wait_for("another device", lambda: index() not in ("", old), 20)
        lab.tap_up("moving")
        self.answers("moving")

    def undisturbed(self):
        sent, received = self.lab.steady_end(self.watch)
        expect(sent > 100, f"only {sent} pings were sent")
        expect(sent == received, f"{sent - received} of {sent} pings were lost")
        expect(self.lab.json("status")["epoch"] == self.epoch, "somebody gave the switch a command")
        return f"{sent} pings, none lost"

    def switch_again(self):
        """The other way round: the switch is killed. A memif client does not come back by itself (net_memif cannot), the others do."""
        self.lab.switch.kill()
        begin = time.monotonic()
        self.lab.run_switch()
        said = []
        for name in ("moving", "guest", "guest2", "virtio"):
            self.answers(name)
            said.append(f"{name} {time.monotonic() - begin:.1f} s")
        self.http("guest", "guest2")
        self.run["memif"]()
        self.answers("memif")
        return "answer again after " + ", ".join(said)

    def balanced(self):
        wait_for("the books to balance", lambda: self.lab.json("status")["books"]["difference"] == 0, 10)


def story(lab, s):
    t = Story(lab)
    s.step("the switch and seven pods", t.start)
    if s.failed:
        return
    s.step("two guests boot: QEMU as vhost-user client, and as server", t.begin, "guest", "guest2")
    s.step("both serve HTTP", t.http, "guest", "guest2")
    s.step("testpmd over memif, and over virtio-user in server mode", t.begin, "memif", "virtio")
    s.step("memif: kill -9 and start again", t.die_and_return, "memif")
    s.step("the same under a flood of packets to it", t.flooded, "memif")
    s.step("the same ten times in a hurry", t.often, "memif", 10)
    s.step("virtio-user: kill -9 and start again", t.die_and_return, "virtio")
    s.step("the same under a flood of packets to it", t.flooded, "virtio")
    s.step("the same ten times in a hurry", t.often, "virtio", 10)
    s.step("both guests: kill -9 and start again", t.die_and_return, "guest", "guest2")
    s.step("both serve HTTP again", t.http, "guest", "guest2")
    s.step("a pod's namespace is deleted and made again", t.namespace_again)
    s.step("a pod's device is deleted: it is made again", t.device_again)
    s.step("two other pods were undisturbed all the while, and the switch got no command", t.undisturbed)
    s.step("kill -9 of the switch: its peers come back", t.switch_again)
    s.step("every packet is accounted for", t.balanced)


if __name__ == "__main__":
    main(story)
