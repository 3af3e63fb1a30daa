# SPDX-License-Identifier: Apache-2.0
"""A cluster on one machine: the switch in a node's namespace, pods of every kind, and a remote node that is a Linux kernel.

Everything a Lab makes (namespaces, processes, sockets, files) bears its process id and goes away with it, also when a test fails.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GATEWAY, GATEWAY6 = "10.244.1.1", "fd00:244:1::1"
GATEWAY_MAC = "02:00:00:00:00:01"
NODE_IP6 = "fd00:192::1"
NODE_IP, REMOTE_IP = "192.0.2.1", "192.0.2.2"
REMOTE_VXLAN_MAC = "02:00:00:00:02:01"
VNI = 100

UDP_ECHO = """import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
while True:
    data, who = s.recvfrom(65536)
    s.sendto(data, who)
"""
# Asks again as a resolver does: the first question may find a neighbour that is not resolved yet.
UDP_ASK = """import socket, sys, time
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.5)
if int(sys.argv[5]):
    s.bind(("", int(sys.argv[5])))
s.connect((sys.argv[1], int(sys.argv[2])))
for i in range(int(2 * float(sys.argv[4]))):
    try:
        s.send(sys.argv[3].encode())
        print(s.recv(65536).decode(), end="")
        sys.exit(0)
    except socket.timeout:
        pass
    except OSError:
        time.sleep(0.5)
sys.exit(1)
"""


class LabError(Exception):
    pass


def sh(*args, check=True, timeout=60, input=None, netns=None):
    if netns:
        args = ("ip", "netns", "exec", netns) + args
    r = subprocess.run(args, capture_output=True, text=True, timeout=timeout, input=input)
    if check and r.returncode != 0:
        raise LabError(f"{' '.join(args)}: exit {r.returncode}: {(r.stderr or r.stdout).strip()[-600:]}")
    return r


def wait_for(what, condition, timeout=20.0, every=0.05):
    """The first true value of condition(); LabError naming `what` when there is none in time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(every)
    raise LabError(f"{what}: not within {timeout:.0f} s")


def endpoint(name, port, mac, *ips, **more):
    return dict({"kind": "Endpoint", "name": f"demo/{name}", "network": "default", "port": port, "mac": mac, "ips": list(ips)}, **more)


class Process:
    """A child with its output in a file; ended with its Lab."""

    def __init__(self, lab, name, args, netns=None, stdin=subprocess.DEVNULL):
        self.name, self.args, self.started = name, args, time.time()
        self.log = os.path.join(lab.dir, f"{name}.log")
        if netns:
            args = ["ip", "netns", "exec", netns] + list(args)
        with open(self.log, "ab") as out:
            self.begin = out.tell()
            self.p = subprocess.Popen(args, stdin=stdin, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                                      env=dict(os.environ, LSAN_OPTIONS=f"suppressions={lab.dir}/lsan:print_suppressions=0"))
        lab.processes.append(self)

    @property
    def pid(self):
        return self.p.pid

    def alive(self):
        return self.p.poll() is None

    def output(self):
        """What this process has said: an earlier one of the same name may have written to the file before."""
        with open(self.log, "rb") as f:
            f.seek(self.begin)
            return f.read().decode(errors="replace")

    def wait_output(self, text, timeout):
        def there():
            if text in self.output():
                return True
            if not self.alive():
                raise LabError(f"{self.name} ended with {self.p.returncode}: {self.output()[-800:]}")
            return False
        wait_for(f"{self.name} to say {text!r}", there, timeout)

    def stop(self, sig=signal.SIGTERM, timeout=5):
        if self.alive():
            try:
                os.killpg(self.p.pid, sig)
                self.p.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(self.p.pid, signal.SIGKILL)
                self.p.wait()
            except ProcessLookupError:
                self.p.wait()
        return self.p.returncode

    def kill(self):
        return self.stop(signal.SIGKILL)


class Control:
    """A connection to the control socket, for what changes too often for a program each time."""

    def __init__(self, lab):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(lab.socket)
        self.answers = self.socket.makefile("rb")

    def call(self, method, **params):
        self.socket.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
        answer = json.loads(self.answers.readline())
        if "error" in answer:
            raise LabError(f"{method}: {answer['error']}")
        return answer["result"]

    def close(self):
        self.answers.close()
        self.socket.close()


class Lab:
    def __init__(self, build=None, uplink=None):
        self.build = build or os.environ.get("WEFT_BUILD") or os.path.join(ROOT, "build")
        self.cache = os.environ.get("WEFT_LAB_CACHE", "/var/tmp/weft-lab")
        # Unix socket paths are short: keep the folder near the root.
        self.dir = tempfile.mkdtemp(prefix="weft-", dir="/tmp")
        with open(os.path.join(self.dir, "lsan"), "w") as f:
            # DPDK 22.11's af_xdp driver never gives it back.
            f.write("leak:xsk_umem__create\n")
        self.tag = f"w{os.getpid()}{os.path.basename(self.dir)[-3:].lower()}"
        self.processes, self.namespaces, self.pods = [], [], {}
        self.socket = os.path.join(self.dir, "control.sock")
        self.switch = None
        self.node = None
        self.uplink = uplink or "net_af_packet0,iface=up0"

    # -- life ---------------------------------------------------------------------------------------------------
    def __enter__(self):
        if os.geteuid() != 0:
            raise LabError("the lab needs root (namespaces, TAP devices)")
        for s in (signal.SIGTERM, signal.SIGHUP):
            if threading.current_thread() is threading.main_thread():
                signal.signal(s, self._leave)
        return self

    @staticmethod
    def _leave(*_):
        # Once: a second signal (timeout(1) sends two) must not cut the cleaning up short.
        for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(s, signal.SIG_IGN)
        raise SystemExit(1)

    def __exit__(self, kind, value, trace):
        self.close()

    def close(self):
        # One signal more must not end the cleaning up.
        before = {}
        if threading.current_thread() is threading.main_thread():
            before = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
        for p in reversed(self.processes):
            if p.alive():
                p.p.send_signal(signal.SIGTERM)
        for p in reversed(self.processes):
            p.stop(timeout=15 if p.name.startswith("weftd") else 5)
        # A build with sanitizers says on its way out what it found.
        found = [line for p in self.processes if p.name.startswith("weftd") for line in p.output().splitlines()
                 if "Sanitizer" in line or "runtime error:" in line]
        for ns in self.namespaces:
            pids = sh("ip", "netns", "pids", ns, check=False).stdout.split()
            for pid in pids:
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            sh("ip", "netns", "del", ns, check=False)
        for path in self.connection_files():
            os.unlink(path)
        shutil.rmtree(f"/run/dpdk/weft-{self.state_tag()}", ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)
        for s, handler in before.items():
            signal.signal(s, handler)
        if found:
            raise LabError("weftd: " + "; ".join(found[:5]))

    def state_tag(self):
        """The state folder's name as the switch puts it into names of files elsewhere."""
        fnv = 0xcbf29ce484222325
        for c in f"{self.dir}/state".encode():
            fnv = (fnv ^ c) * 0x100000001b3 & (1 << 64) - 1
        return f"{fnv:016x}"

    def connection_files(self):
        """The one file that a killed switch leaves behind: its connection table, named after the state folder."""
        name = f"weft-{self.state_tag()}.connections"
        with open("/proc/mounts") as f:
            folders = [line.split()[1] for line in f if line.split()[2] in ("hugetlbfs", "tmpfs")]
        return sorted({p for p in (os.path.join(d, name) for d in folders) if os.path.exists(p)})

    def netns(self, name):
        ns = f"{self.tag}-{name}"
        if ns not in self.namespaces:
            self.namespaces.append(ns)
            sh("ip", "netns", "add", ns)
            sh("ip", "link", "set", "lo", "up", netns=ns)
        return ns

    # -- the switch ---------------------------------------------------------------------------------------------
    def start_switch(self, settings="", node=True, timeout=60, under=()):
        """weftd in the node's namespace, so that its host port, routes and sysctls are nobody else's."""
        self.node = self.netns("node") if node else None
        self.write_settings(settings)
        self.run_switch(timeout, under)

    def write_settings(self, settings=""):
        conf = os.path.join(self.dir, "weft.conf")
        with open(conf, "w") as f:
            f.write(f'control = {{ socket = "{self.socket}"; group = ""; }};\n'
                    f'state = {{ directory = "{self.dir}/state"; }};\n'
                    f'ports = {{ socket_directory = "{self.dir}/ports"; }};\n')
            f.write(settings or 'memory = { megabytes = 320; mbufs = 32768; };\ntables = { connections = 65536; };\n')
        os.makedirs(os.path.join(self.dir, "ports"), exist_ok=True)
        return conf

    def weftd(self):
        return os.path.join(self.build, "mgmt", "weftd")

    def run_switch(self, timeout=60, under=()):
        """Start it, or start it again. `under`: a command that runs it, such as taskset."""
        conf = os.path.join(self.dir, "weft.conf")
        self.switch = Process(self, "weftd", [*under, self.weftd(), "-c", conf], netns=self.node)
        self.switch.wait_output("control socket", timeout)

    def weft(self, *args, input=None, check=True):
        return sh(os.path.join(self.build, "mgmt", "weft"), "--socket", self.socket, *args, input=input, check=check)

    def apply(self, *objects):
        return self.weft("apply", "-f", "-", input=json.dumps({"objects": list(objects)}))

    def delete(self, kind, name):
        return self.weft("delete", kind, name)

    def json(self, *args):
        return json.loads(self.weft(*args, "-o", "json").stdout)

    # -- networks and pods --------------------------------------------------------------------------------------
    def network(self, **more):
        return dict({"kind": "Network", "name": "default", "vni": VNI, "mode": "l3", "mtu": 1450, "uplinks": ["uplink0"],
                     "subnets": [{"prefix": "10.244.1.0/24", "gateway": GATEWAY}, {"prefix": "fd00:244:1::/64", "gateway": GATEWAY6}]},
                    **more)

    def node_objects(self):
        """The node itself: its uplink (one end of a veth pair) and its host port. Makes the wire to the remote node."""
        # One queue at both ends, or af_xdp is refused, or loses the flows of the others (LAB).
        one = ("numtxqueues", "1", "numrxqueues", "1")
        sh("ip", "link", "add", f"{self.tag[:12]}u", *one, "netns", self.node, "type", "veth", "peer", "name", "up0", *one,
           "netns", self.netns("remote"))
        sh("ip", "link", "set", f"{self.tag[:12]}u", "name", "up0", netns=self.node)
        sh("ip", "link", "set", "up0", "up", netns=self.node)
        return [
            {"kind": "Node", "name": "node-1", "self": True, "ips": [NODE_IP, NODE_IP6], "serviceCIDRs": ["10.96.0.0/12"]},
            {"kind": "Port", "name": "uplink0", "type": "nic", "device": self.uplink, "uplink": True, "ips": [f"{NODE_IP}/24"]},
            {"kind": "Port", "name": "host", "type": "tap", "ifname": "weft0", "host": True, "ips": [f"{NODE_IP}/24", f"{NODE_IP6}/64"]},
        ]

    def remote_node(self):
        """A node that is not ours: a Linux kernel's VXLAN. Pods 10.244.2.10 and .11 live on it. Returns the Remote object."""
        ns = self.netns("remote")
        for args in (
                ("ip", "link", "set", "up0", "up"),
                # The peer of an af_packet or af_xdp port must not leave checksums to hardware that is not there.
                ("ethtool", "-K", "up0", "tx", "off"),
                ("ip", "addr", "add", f"{REMOTE_IP}/24", "dev", "up0"),
                ("ip", "link", "add", "vx0", "address", REMOTE_VXLAN_MAC, "mtu", "1450", "type", "vxlan", "id", str(VNI), "dstport", "4789",
                 "local", REMOTE_IP, "remote", NODE_IP, "nolearning"),
                ("ip", "link", "set", "vx0", "up"),
                ("ip", "addr", "add", "10.244.2.10/32", "dev", "vx0"),
                ("ip", "addr", "add", "10.244.2.11/32", "dev", "vx0"),
                ("ip", "-6", "addr", "add", "fd00:244:2::10/128", "dev", "vx0", "nodad"),
                ("ip", "route", "add", "10.244.1.0/24", "via", GATEWAY, "dev", "vx0", "onlink"),
                ("ip", "-6", "route", "add", "fd00:244:1::/64", "via", GATEWAY6, "dev", "vx0", "onlink"),
        ):
            sh(*args, netns=ns)
        return {"kind": "Remote", "name": "node-2", "network": "default", "vtep": REMOTE_IP, "mac": REMOTE_VXLAN_MAC,
                "prefixes": ["10.244.2.0/24", "fd00:244:2::/64"]}

    def tap_pod(self, name, ip, ip6=None):
        """A pod of the kernel's: a namespace with a TAP that Weft makes in it. Returns its objects; call tap_up after apply."""
        ns = self.netns(name)
        last = int(ip.split(".")[-1])
        mac = f"02:00:00:00:01:{last:02x}"
        self.pods[name] = {"netns": ns, "ip": ip, "ip6": ip6}
        return [{"kind": "Port", "name": name, "type": "tap", "netns": f"/run/netns/{ns}", "ifname": "eth0", "mac": mac, "mtu": 1450},
                endpoint(name, name, mac, *([ip] + ([ip6] if ip6 else [])))]

    def tap_up(self, name):
        pod = self.pods[name]
        ns = pod["netns"]
        sh("ip", "addr", "replace", f"{pod['ip']}/24", "dev", "eth0", netns=ns)
        sh("ip", "link", "set", "eth0", "up", netns=ns)
        sh("ip", "route", "replace", "default", "via", GATEWAY, "dev", "eth0", netns=ns)
        if pod["ip6"]:
            sh("ip", "-6", "addr", "replace", f"{pod['ip6']}/64", "dev", "eth0", netns=ns)
            sh("ip", "-6", "route", "replace", "default", "via", GATEWAY6, "dev", "eth0", netns=ns)
            # Not an address to bind to until duplicate address detection is through.
            wait_for(f"{name}'s address", lambda: "tentative" not in sh("ip", "-6", "addr", "show", "dev", "eth0", netns=ns).stdout)

    def in_guest(self, netns, ip, script, timeout=60):
        """What the guest's shell says to a script. It is asked by HTTP, from a pod's namespace."""
        r = sh("curl", "-sS", "-g", "--max-time", str(timeout), "--data-binary", "@-", f"http://{ip}/cgi-bin/run", netns=netns, input=script,
               timeout=timeout + 10)
        return r.stdout.strip()

    def guest_image(self):
        sh(os.path.join(ROOT, "scripts", "guest-image"), self.cache, timeout=300)

    def guest_pod(self, name, ip, ip6=None, role="server"):
        mac = f"02:00:00:00:01:{int(ip.split('.')[-1]):02x}"
        self.pods[name] = {"ip": ip, "ip6": ip6, "mac": mac, "role": role}
        return [{"kind": "Port", "name": name, "type": "vhost-user", "socket": f"{name}.sock", "role": role},
                endpoint(name, name, mac, *([ip] + ([ip6] if ip6 else [])))]

    def guest_start(self, name, big=False, wait=True, timeout=90):
        """A Linux guest with virtio-net over vhost-user, under emulation. vectors=0: MSI-X crashes this QEMU (LAB)."""
        pod = self.pods[name]
        append = f"console=ttyS0 quiet panic=-1 weft.name={name} weft.ip={pod['ip']}/24 weft.gw={GATEWAY} weft.mtu=1450"
        if pod["ip6"]:
            append += f" weft.ip={pod['ip6']}/64 weft.gw={GATEWAY6}"
        if big:
            append += " weft.big=1"
        sock = os.path.join(self.dir, "ports", f"{name}.sock")
        chardev = f"socket,id=c0,path={sock}," + ("reconnect=1" if pod["role"] == "server" else "server=on,wait=off")
        memory = 384 if big else 160
        p = Process(self, f"guest-{name}-{len(self.processes)}", [
            "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", str(memory), "-nographic", "-nodefaults",
            "-serial", "stdio", "-no-reboot", "-kernel", f"{self.cache}/vmlinuz", "-initrd", f"{self.cache}/initramfs",
            "-append", append, "-object", f"memory-backend-memfd,id=mem,size={memory}M,share=on", "-numa", "node,memdev=mem",
            "-chardev", chardev, "-netdev", "vhost-user,id=n0,chardev=c0",
            "-device", f"virtio-net-pci,netdev=n0,mac={pod['mac']},vectors=0"])
        pod["process"] = p
        if wait:
            p.wait_output("ready", timeout)
        return p

    def virtio_pod(self, name, ip, role="client"):
        """A DPDK application over virtio-user. Role is Weft's: a client's peer is virtio-user in server mode, which may come back."""
        return self.guest_pod(name, ip, role=role)

    def virtio_start(self, name, mode="icmpecho"):
        pod = self.pods[name]
        path, server = f"{self.dir}/ports/{name}.sock", ""
        if pod["role"] == "client":
            server = ",server=1"
            # Its own that an earlier one left: virtio-user does not bind over it.
            if os.path.exists(path):
                os.unlink(path)
        return self._testpmd(name, f"net_virtio_user0,path={path}{server},queues=1,mac={pod['mac']}", mode)

    def dpdk_pod(self, name, ip, memif_id=0):
        mac = f"02:00:00:00:01:{int(ip.split('.')[-1]):02x}"
        self.pods[name] = {"ip": ip, "mac": mac, "id": memif_id}
        return [{"kind": "Port", "name": name, "type": "memif", "socket": f"{name}.sock", "id": memif_id, "role": "server"},
                endpoint(name, name, mac, ip)]

    def testpmd_start(self, name, mode="icmpecho"):
        """A DPDK application over memif that answers ARP and ping."""
        pod = self.pods[name]
        return self._testpmd(name, f"net_memif0,role=client,id={pod['id']},socket={self.dir}/ports/{name}.sock,socket-abstract=no,"
                                   f"mac={pod['mac']}", mode)

    def _testpmd(self, name, vdev, mode):
        self.pods[name]["process"] = Process(self, f"testpmd-{name}-{len(self.processes)}", [
            "dpdk-testpmd", "--no-huge", "-m", "64", "--no-shconf", "--no-telemetry", "--no-pci", "--lcores", "0@0,1@0", f"--vdev={vdev}",
            "--", f"--forward-mode={mode}", "--auto-start", "--no-mlockall", "--total-num-mbufs=2048", "--stats-period=3600"])
        return self.pods[name]["process"]

    # -- traffic ------------------------------------------------------------------------------------------------
    def httpd(self, name, ip, text, netns, port=80, big=False):
        """A web server of busybox: / answers `text`, /big 100 MB, or `big` MB."""
        www = os.path.join(self.dir, f"www-{name}")
        os.makedirs(www, exist_ok=True)
        with open(os.path.join(www, "index.html"), "w") as f:
            f.write(text + "\n")
        if big:
            sh("dd", "if=/dev/urandom", f"of={www}/big", "bs=1M", f"count={100 if big is True else big}")
        bind = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
        p = Process(self, f"httpd-{name}", ["busybox", "httpd", "-f", "-p", bind, "-h", www], netns=netns)
        p.www = www
        return p

    def curl(self, netns, url, timeout=5):
        """The answer's text, or None."""
        r = sh("curl", "-sS", "-g", "--max-time", str(timeout), url, netns=netns, check=False, timeout=timeout + 10)
        return r.stdout.strip() if r.returncode == 0 else None

    def ping(self, netns, ip, count=1, timeout=2, size=56):
        r = sh("ping", "-n", "-q", "-c", str(count), "-W", str(timeout), "-s", str(size), ip, netns=netns, check=False, timeout=count * (timeout + 1) + 10)
        return r.returncode == 0

    def steady_ping(self, netns, ip, interval=0.05):
        """A ping that goes on until steady_end, which says how many were sent and how many came back."""
        return Process(self, f"ping-{ip}-{len(self.processes)}", ["ping", "-n", "-i", str(interval), ip], netns=netns)

    def steady_end(self, p):
        p.stop(signal.SIGINT)
        m = re.search(r"(\d+) packets transmitted, (\d+) received", p.output())
        if not m:
            raise LabError(f"ping said {p.output()[-500:]!r}")
        sent, last = int(m.group(1)), max(map(int, re.findall(r"icmp_seq=(\d+) ttl", p.output())), default=0)
        # What was under way when it was stopped is not lost; more than a moment's worth of them is.
        return (last if sent - last <= 3 else sent), int(m.group(2))

    def python(self, name, netns, script, *args):
        """A Python program of a few lines in a namespace, going on until it is stopped."""
        return Process(self, f"{name}-{len(self.processes)}", [sys.executable, "-u", "-c", script, *map(str, args)], netns=netns)

    def udp_echo(self, name, netns, ip, port):
        return self.python(f"echo-{name}", netns, UDP_ECHO, ip, port)

    def udp_ask(self, netns, ip, port, text="hello", timeout=5, source=0):
        """What comes back from a UDP echo server, or None."""
        r = sh(sys.executable, "-c", UDP_ASK, ip, str(port), text, str(timeout), str(source), netns=netns, check=False, timeout=timeout + 10)
        return r.stdout if r.returncode == 0 else None
