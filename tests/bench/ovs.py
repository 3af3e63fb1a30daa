# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch with DPDK (Debian: openvswitch-switch-dpdk) as a subject: its own database and daemon in the lab's folder, no system service.

It is set up as its documentation teaches: one PMD thread pinned to the switch's core; connection tracking in one recirculation, ACLs for first
packets only; Services by select groups of ct(commit,nat); tunnels by a bridge for the underlay with a static neighbour.
"""
import glob
import os
import re

import job
import switch
from lab import Process, sh, wait_for
from objects import TIMEOUT
from subjects import Share, Subject
from switch import GATEWAY_MAC, MACS, RING, LabError

DAEMON = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
MEGABYTES = 2048
FIRST, RULES, ROUTES = 1, 2, 3  # tables after connection tracking


class Ovs(Subject):
    name = "ovs"

    @classmethod
    def can(cls, args, scenario):
        return os.path.exists(DAEMON)

    # -- life ---------------------------------------------------------------------------------------------------
    def start(self):
        s = self.scenario
        self.dir = os.path.join(self.lab.dir, "ovs")
        os.makedirs(self.dir)
        os.makedirs(os.path.join(self.lab.dir, "ports"), exist_ok=True)
        self.db = f"unix:{self.dir}/db.sock"
        for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"):
            os.environ[name] = self.dir
        self.netns = self.lab.netns("ovs")
        sh("ovsdb-tool", "create", f"{self.dir}/conf.db", SCHEMA)
        Process(self.lab, "ovsdb-server", ["ovsdb-server", f"{self.dir}/conf.db", f"--remote=p{self.db}", "--no-chdir"])
        wait_for("ovsdb-server", lambda: os.path.exists(f"{self.dir}/db.sock"), 10)
        memory = "--no-huge --legacy-mem --no-shconf" if not self.args.hugepages else "--in-memory --single-file-segments"
        self.vsctl("--no-wait", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true", f"other_config:dpdk-lcore-mask={1 << self.args.cores[0]:#x}",
                   f"other_config:pmd-cpu-mask={1 << self.args.cores[1]:#x}",
                   f"other_config:dpdk-extra={memory} --no-pci --no-telemetry -m {MEGABYTES} --file-prefix={self.lab.tag}-ovs")
        # Its other threads keep off the switch's core; the PMD thread pins itself.
        self.process = Process(self.lab, "ovs-vswitchd", ["taskset", "-c", str(self.args.cores[0]), DAEMON, self.db, "--no-chdir", "-vconsole:warn"], netns=self.netns)
        wait_for("ovs-vswitchd", lambda: self.control() and self.vsctl("get", "Open_vSwitch", ".", "dpdk_initialized").strip() == "true", 20, 0.2)
        switch.go_first(self.args, self.process)
        self.bridges()
        if s.service:
            self.appctl("dpctl/ct-set-maxconns", str(max(100_000, 8_000_000 if s.new else 2 * s.flows)))
        if s.new:
            self.vsctl("--", "--id=@d", "create", "Datapath", "datapath_version=0", "--", "set", "Open_vSwitch", ".", "datapaths:netdev=@d")
            self.vsctl("add-zone-tp", "netdev", "zone=0", *(f"udp_{state}={TIMEOUT}" for state in ("first", "single", "multiple")))
        self.flows()

    def vsctl(self, *args):
        return sh("ovs-vsctl", f"--db={self.db}", "--timeout=30", *args).stdout

    def control(self):
        return next(iter(glob.glob(f"{self.dir}/ovs-vswitchd*.ctl")), None)

    def appctl(self, *args):
        return sh("ovs-appctl", "--timeout=30", "-t", self.control(), *args).stdout

    def ofctl(self, command, what, bridge="br0", input=None):
        return sh("ovs-ofctl", command, f"unix:{self.dir}/{bridge}.mgmt", what, input=input)

    # -- its job ------------------------------------------------------------------------------------------------
    def bridges(self):
        s = self.scenario
        self.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail-mode=secure")
        if s.tunnel:
            self.vsctl("add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev")
        for i, side in enumerate("ab"):
            path = switch.sockets(self.lab)[i]
            if self.kind == "memif":
                devargs = switch.memif_vdev(i, path, "server").split("=", 1)[1]
                options = ["type=dpdk", f"options:dpdk-devargs={devargs}",
                           f"options:n_rxq_desc={RING}", f"options:n_txq_desc={RING}"]
            else:
                options = ["type=dpdkvhostuserclient", f"options:vhost-server-path={path}"]
            self.vsctl("add-port", "br-phy" if s.tunnel and side == "b" else "br0", side, "--", "set", "Interface", side, *options)
        if s.tunnel:
            self.vsctl("add-port", "br0", "tunnel", "--", "set", "Interface", "tunnel", "type=vxlan", f"options:remote_ip={job.REMOTE_IP}",
                       f"options:key={job.VNI}")
            sh("ip", "addr", "add", f"{job.NODE_IP}/{job.UNDERLAY}", "dev", "br-phy", netns=self.netns)
            sh("ip", "link", "set", "br-phy", "up", netns=self.netns)
            wait_for("the route of the tunnel", lambda: job.NODE_IP in self.appctl("ovs/route/show"), 10)
            self.appctl("tnl/arp/set", "br-phy", job.REMOTE_IP, job.REMOTE_MAC)

    def flows(self):
        s = self.scenario
        out = "tunnel" if s.tunnel else "b"
        tracked = s.service or s.rules
        route = ["priority=10,ip,nw_dst={} actions=set_field:{}->eth_src,set_field:{}->eth_dst,dec_ttl,output:{}".format(prefix, GATEWAY_MAC, mac, port)
                 for prefix, mac, port in ((job.CLIENTS, MACS[0], "a"), (job.BACKENDS_PREFIX, MACS[1], out))]
        if not tracked:
            return self.add([f"table=0,{f}" for f in route])
        nat = ",nat" if s.service else ""
        lines = [f"table=0,priority=10,in_port={port},ip,nw_src={prefix} actions=ct(table={FIRST}{nat})"
                 for prefix, port in ((job.CLIENTS, "a"), (job.BACKENDS_PREFIX, out))]
        lines += [f"table={FIRST},priority=100,ct_state=+trk+est,ip actions=goto_table:{ROUTES}"] + [f"table={ROUTES},{f}" for f in route]
        after = RULES if s.rules else ROUTES
        if s.service:
            groups = []
            for i, (vip, backends) in enumerate(job.services(), 1):
                buckets = ",".join(f"bucket=weight:1,actions=ct(commit,table={after},nat(dst={b}:{job.BACKEND_PORT}))" for b in backends)
                groups.append(f"group_id={i},type=select,{buckets}")
                lines.append(f"table={FIRST},priority=50,ct_state=+trk+new,udp,nw_dst={vip},tp_dst={job.VIP_PORT} actions=group:{i}")
            # To a backend itself; or a first packet once more, which is translated already but new until it is answered.
            lines.append(f"table={FIRST},priority=40,ct_state=+trk+new,udp,in_port=a,nw_dst={job.BACKENDS_PREFIX} actions=ct(commit,table={after})")
            self.ofctl("add-groups", "-", input="\n".join(groups) + "\n")
            allow = f"goto_table:{ROUTES}"
        else:
            lines.append(f"table={FIRST},priority=50,ct_state=+trk+new,udp,in_port=a actions=goto_table:{RULES}")
            allow = f"ct(commit,table={ROUTES})"
        if s.rules:
            lines += [f"table={RULES},priority=10,udp,nw_dst={prefix},tp_dst={port} actions={allow}" for prefix, port in job.rules(s)]
        self.add(lines)

    def add(self, lines):
        self.ofctl("add-flows", "-", input="\n".join(lines) + "\n")

    def change(self, first, n):
        """Rules of other pods."""
        self.add([f"table={RULES},priority=10,udp,nw_dst=10.48.{i // 250 % 4}.{i % 250 + 1},tp_dst={1000 + i // 1000 % 2} actions=goto_table:{ROUTES}"
                  for i in range(first, first + n)])

    # -- measuring ----------------------------------------------------------------------------------------------
    def generator(self):
        options, flags, more = super().generator()
        # Its PMD thread sends at the second queue: the first is the main thread's.
        if self.kind == "memif":
            options["rx-queues"] = 2
        return options, flags, dict(more, listens=self.kind == "vhost")

    def used_connections(self):
        return int(self.appctl("dpctl/ct-get-nconns").split()[-1])

    def start_counting(self):
        self.share = Share(self.process, self.args.cores[1])
        self.appctl("dpif-netdev/pmd-stats-clear")

    def cycles(self):
        if self.scenario.service:
            self.tracked = self.used_connections()
        share = self.share.value()
        pmd = self.appctl("dpif-netdev/pmd-stats-show").split("main thread")[0]
        m = re.search(r"avg processing cycles per packet: ([\d.]+)", pmd)
        return float(m.group(1)) * share if m else None

    def check(self, report):
        super().check(report)
        s = self.scenario
        if s.service and self.tracked < (0.5 * TIMEOUT * report["mpps"] * 1e6 if s.new else s.flows):
            raise LabError(f"ovs: {self.tracked} connections are tracked")
        if s.rules:
            flows = self.ofctl("dump-flows", f"table={RULES},ip").stdout
            hit = [line for line in flows.splitlines() if job.BACKENDS_PREFIX in line and "n_packets=0," not in line]
            if not hit:
                raise LabError("ovs: no packet was let in by the rules")
