# SPDX-License-Identifier: Apache-2.0
"""The interface that users and other programs depend on: an example of every kind with all of its fields, each word that a field may hold, and
what the node's kernel has of it, after a failure, a kill -9, a restart and the end. Fields and words are added here, never renamed."""
import copy
import glob
import json
import os
import signal

from lab import sh, wait_for
from steps import expect, main

SMALL = 'memory = { hugepages = "no"; megabytes = 96; mbufs = 4096; };\ntables = { connections = 16384; };\n'

NODE = {"kind": "Node", "name": "node-1", "self": True, "ips": ["192.0.2.1"], "nodePortAddresses": ["192.0.2.1"], "serviceCIDRs": ["10.96.0.0/12"]}
NETWORK = {"kind": "Network", "name": "default", "vni": 100, "mode": "l3", "mtu": 1450,
           "subnets": [{"prefix": "10.244.1.0/24", "gateway": "10.244.1.1"}], "gatewayMac": "02:00:00:00:00:01", "uplinks": ["uplink0"],
           "vxlanPort": 4789, "masquerade": {"ips": ["192.0.2.1"], "exclude": ["10.244.0.0/16"], "portRange": [32768, 60999]}}
WEB_PORT = {"kind": "Port", "name": "web-0", "type": "vhost-user", "socket": "web-0.sock", "role": "client", "queues": 2,
            "socketOwner": "nobody", "socketMode": "0660"}
FW_PORT = {"kind": "Port", "name": "fw-0", "type": "memif", "socket": "fw-0.sock", "id": 0, "role": "server", "secret": "between us", "ringSize": 1024}
DB_PORT = {"kind": "Port", "name": "db-0", "type": "tap", "netns": "/run/netns/NAME", "ifname": "eth0", "mac": "02:00:00:00:01:06", "mtu": 1450}
HOST_PORT = {"kind": "Port", "name": "host", "type": "tap", "ifname": "weft0", "host": True, "ips": ["192.0.2.1/24"]}
UPLINK = {"kind": "Port", "name": "uplink0", "type": "nic", "device": "net_af_packet0,iface=up0", "uplink": True, "ips": ["192.0.2.1/24"],
          "mtu": 1500, "vlan": 0}
ENDPOINT = {"kind": "Endpoint", "name": "shop/web-0", "network": "default", "port": "web-0", "mac": "02:00:00:00:01:05",
            "ips": ["10.244.1.5", "fd00:244:1::5"], "ports": [{"name": "http", "protocol": "TCP", "port": 8080}], "antiSpoof": "strict",
            "allowed": [{"ip": "10.244.1.200"}], "prefixes": [], "admit": "open", "rateLimit": {"ingressBps": 0, "egressBps": 0}}
REMOTE = {"kind": "Remote", "name": "node-2", "network": "default", "vtep": "192.0.2.2", "mac": "02:00:00:00:02:01",
          "prefixes": ["10.244.2.0/24", "fd00:244:2::/64"], "endpoints": [{"ip": "10.244.9.9", "mac": "02:00:00:00:02:02"}]}
ROUTE = {"kind": "Route", "name": "default", "network": "underlay", "prefix": "0.0.0.0/0",
         "nextHops": [{"ip": "192.0.2.254", "port": "uplink0", "weight": 1}]}
SERVICE = {"kind": "Service", "name": "shop/web", "network": "default", "ips": ["10.96.0.10"], "externalIPs": [], "loadBalancerIPs": [],
           "sourceRanges": [], "sessionAffinitySeconds": 0,
           "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080, "nodePort": 30080}],
           "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster", "onBackendGone": "reset",
           "backends": [{"ip": "10.244.1.5", "weight": 1, "state": "ready", "node": "node-1", "ports": {"http": 8080}}]}
SET = {"kind": "AddressSet", "name": "shop/app=frontend", "network": "default", "members": ["10.244.1.7", "10.0.0.0/8"]}
POLICY = {"kind": "Policy", "name": "shop/allow-frontend", "network": "default", "tier": "network", "priority": 100, "endpoints": ["shop/web-0"],
          "types": ["Ingress", "Egress"], "enforce": True, "semantics": "packet", "log": False,
          "ingress": [{"name": "from the shop", "action": "accept",
                       "from": [{"set": "shop/app=frontend"}, {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}],
                       "ports": [{"protocol": "TCP", "port": 8080, "endPort": 8090}, {"protocol": "ICMP", "icmp": {"type": 8}}]}],
          "egress": [{"name": "to the shop", "action": "accept", "to": [{"set": "shop/app=frontend"}], "ports": [{"protocol": "UDP", "port": "dns"}]}]}
EXAMPLES = [NODE, NETWORK, WEB_PORT, FW_PORT, DB_PORT, HOST_PORT, UPLINK, ENDPOINT, REMOTE, ROUTE, SERVICE, SET, POLICY]

# What a member may be beside what the example says: the path to it, and the words.
WORDS = [
    (WEB_PORT, ("role",), ("server", "client")),
    (FW_PORT, ("role",), ("client", "server")),
    (ENDPOINT, ("antiSpoof",), ("mac", "off", "strict")),
    (ENDPOINT, ("admit",), ("closed", "open")),
    (SERVICE, ("internalTrafficPolicy",), ("Local", "Cluster")),
    (SERVICE, ("externalTrafficPolicy",), ("Local", "Cluster")),
    (SERVICE, ("onBackendGone",), ("timeout", "reset")),
    (SERVICE, ("backends", 0, "state"), ("notReady", "terminating", "draining", "ready")),
    (SERVICE, ("ports", 0, "protocol"), ("UDP", "SCTP", "TCP")),
    (POLICY, ("tier",), ("admin", "baseline", "network")),
    (POLICY, ("semantics",), ("connection", "packet")),
    (POLICY, ("enforce",), (False, True)),
    (POLICY, ("log",), (True, False)),
    (POLICY, ("types",), (["Ingress"], ["Egress"], [], ["Ingress", "Egress"])),
    (POLICY, ("endpoints",), ([], ["shop/web-0"])),
    (POLICY, ("ingress", 0, "ports", 1, "protocol"), ("ICMPv6", "ICMP")),
    (POLICY, ("ingress", 0, "from"), ([],)),
]
# Refused: by whom, and with which words after the path.
WRONG = [
    (SERVICE, ("backends", 0, "ports", "http"), 70000, "objects[0].backends[0].ports.http: 70000 is not in 1..65535"),
    (SERVICE, ("backends", 0, "state"), "gone", 'objects[0].backends[0].state: "gone" is not one of ready, notReady, terminating, draining'),
    (SERVICE, ("colour",), "red", "objects[0].colour: unknown field"),
    (SERVICE, ("network",), "nowhere", 'objects[0].network: no network "nowhere"'),
    (POLICY, ("ingress", 0, "action"), "deny", "objects[0].ingress[0].action: "),
    (POLICY, ("ingress", 0, "from", 1, "except", 0), "192.168.0.0/16", "objects[0].ingress[0].from[1].except[0]: "),
    (NETWORK, ("masquerade", "portRange"), [1024, 65535], "objects[0].masquerade.portRange: "),
    (HOST_PORT, ("mtu",), 9216, "objects[0].mtu: 9216 is not in 68.."),
    (WEB_PORT, ("socket",), "../web-0.sock", "objects[0].socket: "),
    (ENDPOINT, ("mac",), "01:00:5e:00:00:01", "objects[0].mac: "),
    (ROUTE, ("nextHops", 0, "ip"), "2001:db8::1", "objects[0].nextHops[0].ip: "),
]
VERBS = {"apply", "patch", "delete", "get", "list", "watch", "schema", "status", "stats"}


def altered(example, path, value):
    """A copy of the example with the member at the path replaced."""
    o = copy.deepcopy(example)
    at = o
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return o


class Interface:
    def __init__(self, lab):
        self.lab = lab
        lab.start_switch(SMALL)
        u = lab.tag[:12] + "u"
        sh("ip", "link", "add", u, "netns", lab.node, "type", "veth", "peer", "name", "up0", "netns", lab.netns("remote"))
        sh("ip", "link", "set", u, "name", "up0", netns=lab.node)
        sh("ip", "link", "set", "up0", "up", netns=lab.node)
        DB_PORT["netns"] = "/run/netns/" + lab.netns("db-0")
        self.pristine = self.kernel()

    def apply(self, *objects):
        r = self.lab.weft("apply", "-f", "-", "-o", "json", input=json.dumps({"objects": list(objects)}))
        return json.loads(r.stdout)

    def refused(self, *objects):
        r = self.lab.weft("apply", "-f", "-", input=json.dumps({"objects": list(objects)}), check=False)
        expect(r.returncode == 1, f"exit {r.returncode}, not 1: {r.stdout}{r.stderr}")
        return r.stderr.removeprefix("weft: ").strip()

    def kernel(self):
        """What the node has of the switch."""
        sysctl = lambda name: sh("sysctl", "-n", f"net.ipv4.{name}", netns=self.lab.node).stdout.split()
        links = json.loads(sh("ip", "-j", "link", netns=self.lab.node).stdout)
        return {"reserved": sysctl("ip_local_reserved_ports"), "range": sysctl("ip_local_port_range"),
                "links": sorted(l["ifname"] for l in links), "routes": self.routes(),
                "sockets": sorted(os.path.basename(p) for p in glob.glob(f"{self.lab.dir}/ports/*"))}

    def routes(self):
        return sorted(r["dst"] for r in json.loads(sh("ip", "-j", "route", netns=self.lab.node).stdout))

    def pod_links(self):
        return [l["ifname"] for l in json.loads(sh("ip", "-j", "link", netns=self.lab.netns("db-0")).stdout)]

    # -- steps --------------------------------------------------------------------------------------------------------
    def examples(self):
        got = self.apply(*EXAMPLES)
        expect(got == {"epoch": 1, "applied": len(EXAMPLES), "unchanged": 0, "deleted": 0}, str(got))
        for o in EXAMPLES:
            back = self.lab.json("get", o["kind"], o["name"])
            status = back.pop("status")
            expect(back == o, f"{o} came back as {back}")
            expect(status["phase"] == "ready" and "warnings" not in status, f"{o['kind']} {o['name']}: {status}")
        self.full = self.kernel()
        expect(self.full == {"reserved": ["30080,32768-60999"], "range": ["10000", "60999"], "links": ["lo", "up0", "weft0"],
                             "routes": ["10.244.1.0/24", "10.244.2.0/24", "10.244.9.9", "10.96.0.0/12", "192.0.2.0/24"],
                             "sockets": ["fw-0.sock"]}, f"the node: {self.full}")
        return f"{len(EXAMPLES)} objects"

    def again(self):
        got = self.apply(*EXAMPLES)
        expect(got == {"epoch": 1, "applied": 0, "unchanged": len(EXAMPLES), "deleted": 0}, str(got))
        shown = [self.lab.json("get", o["kind"], o["name"]) for o in EXAMPLES]
        expect(self.apply(*shown)["unchanged"] == len(EXAMPLES), "what get shows is not what it was made of")

    def words(self):
        n = 0
        for example, path, values in WORDS:
            for value in values:
                o = altered(example, path, value)
                self.apply(o)
                back = self.lab.json("get", o["kind"], o["name"])
                back.pop("status")
                expect(back == o, f"{o} came back as {back}")
                n += 1
        self.apply(*EXAMPLES)
        expect(self.kernel() == self.full, f"{self.kernel()}, not {self.full}")
        return f"{n} objects"

    def wrong(self):
        epoch = self.lab.json("status")["epoch"]
        new = [{"kind": "Port", "name": "new-tap", "type": "tap", "ifname": "newtap"},
               {"kind": "Port", "name": "new-vhost", "type": "vhost-user", "socket": "new.sock", "role": "server"},
               altered(altered(SERVICE, ("name",), "shop/new"), ("ips",), ["10.96.0.11"]) | {"ports": [{"port": 80, "nodePort": 31111}], "backends": []}]
        for example, path, value, words in WRONG:
            o = altered(example, path, value)
            said = self.refused(o)
            expect(said.startswith(words), f"{said!r} does not begin with {words!r}")
            # With others that are right: none of them leaves anything behind.
            self.refused(*new, o)
            expect(self.kernel() == self.full, f"after {said!r} the node has {self.kernel()}, not {self.full}")
        expect(self.lab.json("status")["epoch"] == epoch, "something was applied")
        return f"{len(WRONG)} batches"

    def in_use(self):
        for o in (NETWORK, WEB_PORT, UPLINK, SET):
            r = self.lab.weft("delete", o["kind"], o["name"], check=False)
            expect(r.returncode == 1 and "is used by" in r.stderr, f"{o['kind']} {o['name']}: {r.returncode} {r.stderr}")

    def schema(self):
        schema = self.lab.json("schema")
        missing = VERBS - {v["verb"] for v in schema["verbs"]}
        expect(not missing, f"no verbs {missing}")

        def compare(where, example, fields):
            known = {f["name"]: f for f in fields}
            for name, value in example.items():
                expect(name in known, f"{where} has no {name}")
                for entry in value if isinstance(value, list) else [value]:
                    if isinstance(entry, dict) and "fields" in known[name]:
                        compare(f"{where}.{name}", entry, known[name]["fields"])
        for o in EXAMPLES:
            kind = next(k for k in schema["kinds"] if k["kind"] == o["kind"])
            compare(o["kind"], o, kind["fields"] + schema["common"])

    def device_deleted(self):
        """Somebody deletes the host port's device: it comes back, and so do the routes."""
        sh("ip", "link", "del", "weft0", netns=self.lab.node)
        wait_for("the device with its routes", lambda: self.kernel() == self.full, 30)

    def killed(self):
        self.lab.switch.kill()
        self.lab.run_switch()
        expect(self.kernel() == self.full, f"{self.kernel()}, not {self.full}")
        self.again_after_restart()

    def again_after_restart(self):
        got = self.apply(*EXAMPLES)
        expect(got["unchanged"] == len(EXAMPLES), str(got))

    def ended(self):
        code = self.lab.switch.stop(signal.SIGTERM, 20)
        expect(code == 0, f"exit {code}")
        expect(self.kernel() == self.pristine, f"left behind: {self.kernel()}, not {self.pristine}")
        expect("eth0" in self.pod_links(), "the pod has lost its device")
        self.lab.run_switch()
        expect(self.kernel() == self.full, f"{self.kernel()}, not {self.full}")
        self.again_after_restart()

    def cannot_reserve(self):
        """A start that cannot keep the ports from the kernel says so, and goes on."""
        self.lab.switch.stop(signal.SIGTERM, 20)
        sh("sysctl", "-w", "net.ipv4.ip_local_port_range=40000 49999", netns=self.lab.node)
        sh("sysctl", "-w", "net.ipv4.ip_local_reserved_ports=1-39999", netns=self.lab.node)
        self.lab.run_switch()
        status = self.lab.json("get", "Network", "default")["status"]
        expect(status["phase"] == "ready" and "net.ipv4.ip_local_port_range" in status["warnings"][0], str(status))
        expect("warning: masquerade.portRange" in self.lab.weft("get", "network").stdout, "the table does not show it")
        sh("sysctl", "-w", "net.ipv4.ip_local_port_range=32768 60999", netns=self.lab.node)
        sh("sysctl", "-w", "net.ipv4.ip_local_reserved_ports=", netns=self.lab.node)
        self.apply(altered(NETWORK, ("mtu",), 1400))
        self.apply(NETWORK)
        expect("warnings" not in self.lab.json("get", "Network", "default")["status"], "it still warns")
        expect(self.kernel() == self.full, f"{self.kernel()}, not {self.full}")

    def deleted(self):
        targets = [{"kind": o["kind"], "name": o["name"]} for o in EXAMPLES]
        self.lab.weft("delete", "-f", "-", input=json.dumps(targets))
        expect(self.kernel() == self.pristine, f"left behind: {self.kernel()}, not {self.pristine}")
        expect("eth0" not in self.pod_links(), "the pod still has its device")


def story(lab, s):
    i = Interface(lab)
    s.step("an example of every kind, with every field, is applied, comes back as it was, and is in force", i.examples)
    if s.failed:
        return
    s.step("the same again changes nothing, as get shows it or as it was written", i.again)
    s.step("every word that a field may hold is taken", i.words)
    s.step("what is wrong is refused with its path, and nothing of the batch stays: ports, routes, sockets, devices", i.wrong)
    s.step("what is in use is not deleted", i.in_use)
    s.step("the schema knows every field and verb", i.schema)
    s.step("the host port's device is deleted behind its back: it comes back with its routes", i.device_deleted)
    s.step("kill -9 and a restart: the node has what it had", i.killed)
    s.step("SIGTERM gives the node everything back, and a restart takes it again", i.ended)
    s.step("a start that cannot have its ports warns", i.cannot_reserve)
    s.step("all deleted: the node has nothing of it any more", i.deleted)


if __name__ == "__main__":
    main(story)
