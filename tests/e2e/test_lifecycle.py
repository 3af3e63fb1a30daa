# SPDX-License-Identifier: Apache-2.0
"""The switch's life: its settings, one instance only, SIGTERM under load, kill -9 and restart, and a state file that cannot be trusted."""
import glob
import os
import re
import shutil
import signal
import sqlite3
import time

from lab import Process, sh, wait_for
from steps import expect, main

A, B, DPDK = "10.244.1.5", "10.244.1.6", "10.244.1.30"
SMALL = 'memory = { hugepages = "%s"; megabytes = 96; mbufs = 4096; };\ntables = { connections = 16384; };\n'
HUGE_NEED = (96 + 5 + 1) // 2 # of 2 MiB, for memory and table of SMALL
KILLS = int(os.environ.get("WEFT_KILLS", "20"))


def run_weftd(lab, *args, timeout=60):
    """weftd as a second instance would be started: to its end."""
    return sh(lab.weftd(), *args, check=False, timeout=timeout, netns=lab.node)


def settings(lab):
    """weftd --check: a right file, and what is said of wrong ones."""
    conf = os.path.join(lab.dir, "check.conf")

    def check(text):
        with open(conf, "w") as f:
            f.write(text)
        r = run_weftd(lab, "--check", "-c", conf)
        return r.returncode, r.stdout + r.stderr

    for text in ("", SMALL % "no", 'log = { level = "debug"; };\nports = { any_socket_path = true; };\n'):
        code, said = check(text)
        expect(code == 0 and "is right" in said, f"{text!r} should be right, but: {code} {said}")
    for text, line, words in (
            ("memory = { megabytes = 512; };\nmemroy = { mbufs = 4096; };\n", 2, ("memroy",)),
            ("memory = {\n\tmegabytes = 512;\n\tmbuffs = 4096;\n};\n", 3, ("memory.mbuffs",)),
            ("memory = {\n\tmbufs = 5;\n};\n", 2, ("memory.mbufs", "1024")),
            ('memory = {\n\n\thugepages = "maybe";\n};\n', 3, ("memory.hugepages", "auto", "yes", "no")),
            ("workers = {\n\tcores = [0, 0];\n};\n", 2, ("workers.cores",)),
            ("workers = {\n\tcores = [4095];\n};\n", 2, ("workers.cores",)),
            ('control = { roles = ( { who = "*"; role = "king"; } ); };\n', 1, ("role", "admin", "read-only")),
            ('control = {\n\tmode = "0999";\n};\n', 2, ("control.mode",)),
            ('state = { directory = "here"; };\n', 1, ("state.directory", "absolute")),
            ("memory = {\n\tmbufs = ;\n};\n", 2, ("syntax",)),
    ):
        code, said = check(text)
        expect(code == 1, f"{text!r}: exit {code}: {said}")
        for word in (f"{conf}:{line}:", *words):
            expect(word in said, f"{text!r}: {word!r} is not in {said!r}")
    expect(run_weftd(lab, "--check", "-c", conf + ".not-there").returncode == 1, "a missing file should be refused when it is named")


def start(lab):
    lab.start_switch(SMALL % "no")
    lab.apply(lab.network(uplinks=[]), *lab.tap_pod("a", A), *lab.tap_pod("b", B), *lab.dpdk_pod("dpdk", DPDK),
              {"kind": "Port", "name": "idle", "type": "vhost-user", "socket": "idle.sock"})
    lab.tap_up("a")
    lab.tap_up("b")
    reaches(lab)


def reaches(lab, timeout=30):
    ns = lab.pods["a"]["netns"]
    wait_for("a ping from a to b", lambda: lab.ping(ns, B, timeout=1), timeout)


def first_is_untouched(lab):
    expect(lab.switch.alive(), "the first instance died")
    expect(lab.json("status")["epoch"] == 1, "the first instance's epoch moved")
    expect(lab.ping(lab.pods["a"]["netns"], B, 3), "the first instance's pods cannot talk any more")


def same_state(lab):
    conf = os.path.join(lab.dir, "second.conf")
    with open(conf, "w") as f:
        f.write(f'control = {{ socket = "{lab.dir}/second.sock"; group = ""; }};\nstate = {{ directory = "{lab.dir}/state"; }};\n'
                f'ports = {{ socket_directory = "{lab.dir}/ports2"; }};\n' + SMALL % "no")
    r = run_weftd(lab, "-c", conf)
    expect(r.returncode == 1, f"exit {r.returncode}: {r.stderr}")
    expect(f"{lab.dir}/state" in r.stderr, f"it does not name the folder: {r.stderr!r}")
    first_is_untouched(lab)
    return r.stderr.strip()


def same_socket(lab):
    conf = os.path.join(lab.dir, "second.conf")
    with open(conf, "w") as f:
        f.write(f'control = {{ socket = "{lab.socket}"; group = ""; }};\nstate = {{ directory = "{lab.dir}/state2"; }};\n'
                f'ports = {{ socket_directory = "{lab.dir}/ports2"; }};\n' + SMALL % "no")
    r = run_weftd(lab, "-c", conf)
    expect(r.returncode == 1, f"exit {r.returncode}: {r.stderr}")
    expect(lab.socket in r.stderr, f"it does not name the socket: {r.stderr!r}")
    first_is_untouched(lab)
    return r.stderr.strip()


def sigterm(lab):
    """SIGTERM in the middle of traffic on every port."""
    flood = Process(lab, "flood", ["ping", "-q", "-f", B], netns=lab.pods["a"]["netns"])
    blast = lab.testpmd_start("dpdk", "txonly")
    rx = lambda name: next(p for p in lab.json("stats")["ports"] if p["name"] == name)["rx"]
    wait_for("load on both ports", lambda: rx("a") > 1000 and rx("dpdk") > 10000, 60)
    sockets = glob.glob(f"{lab.dir}/ports/*.sock")
    expect(len(sockets) == 2, f"expected the memif and the vhost-user socket, found {sockets}")
    begin = time.monotonic()
    code = lab.switch.stop(signal.SIGTERM, 20)
    seconds = time.monotonic() - begin
    flood.stop()
    blast.stop()
    expect(code == 0, f"exit {code} after {seconds:.1f} s: {lab.switch.output()[-600:]}")
    left = glob.glob(f"{lab.dir}/ports/*") + glob.glob(lab.socket) + lab.connection_files()
    expect(not left, f"left behind: {left}")
    return f"exit 0 after {seconds:.2f} s" + ("" if seconds <= 2 else ", which is more than the 2 s that it should take")


def restart_keeps(lab):
    """After a clean stop all objects are there again and pods talk, without a command."""
    lab.run_switch()
    reaches(lab)
    objects = lab.json("status")["objects"]
    expect((objects["Network"], objects["Port"], objects["Endpoint"]) == (1, 4, 3), f"objects: {objects}")
    return f"{sum(objects.values())} objects"


def names(lab):
    return {kind: {o["name"]: {k: v for k, v in o.items() if k != "status"} for o in lab.json("get", kind)["objects"]}
            for kind in ("Network", "Port", "Endpoint")}


def killed(lab):
    """The same objects, and the same pods talk, without a command."""
    before = names(lab)
    ns = lab.pods["a"]["netns"]
    web = lab.httpd("b", B, "b", lab.pods["b"]["netns"])
    wait_for("b's web server", lambda: lab.curl(ns, f"http://{B}/", 2) == "b", 20)
    lab.switch.kill()
    begin = time.monotonic()
    lab.run_switch()
    up = time.monotonic() - begin
    reaches(lab)
    talk = time.monotonic() - begin
    expect(lab.curl(ns, f"http://{B}/", 5) == "b", "TCP does not pass after the restart")
    after = names(lab)
    expect(after == before, f"objects differ: {before} became {after}")
    web.stop()
    return f"control socket after {up:.1f} s, ping after {talk:.1f} s"


def leftovers(lab):
    """Whatever a killed switch might leave besides its connection table and DPDK's one empty folder for it, by all names that it goes by."""
    pid = re.compile(rf"(?<!\d){lab.switch.pid}(?!\d)")

    def names_us(path):
        # Others may have had the process id before.
        return lab.state_tag() in path or (pid.search(os.path.basename(path)) and os.stat(path).st_ctime >= lab.switch.started)

    with open("/proc/mounts") as f:
        huge = [line.split()[1] for line in f if line.split()[2] == "hugetlbfs"]
    own = {*lab.connection_files(), *(d for d in (f"/run/dpdk/weft-{lab.state_tag()}",) if not os.listdir(d))}
    return sorted(p for d in ("/dev/shm", "/tmp", "/run/dpdk", *huge) for p in glob.glob(f"{d}/*")
                  if p not in own and names_us(p))


def huge_free():
    with open("/proc/meminfo") as f:
        return int(next(line.split()[1] for line in f if line.startswith("HugePages_Free")))


def kill_often(lab, n):
    """n times kill -9 and restart: each start finds the objects, and nothing piles up."""
    free = None
    for i in range(n):
        lab.switch.kill()
        left = leftovers(lab)
        expect(not left, f"kill {i + 1} left {left}")
        files = lab.connection_files()
        expect(len(files) == 1, f"kill {i + 1}: there should be one state file: {files}")
        if free is None:
            free = huge_free()
        else:
            wait_for(f"HugePages_Free to be {free} again after kill {i + 1}, not {huge_free()}", lambda: huge_free() == free, 5)
        lab.run_switch()
    expect(lab.json("status")["objects"]["Port"] == 4, "objects were lost")
    reaches(lab)
    return f"{n} kills, HugePages_Free {free} after each, one file: {files[0]}"


def hugepages(lab):
    """The same on hugepages, the table in a hugetlbfs of its own; the machine's number of them is put back."""
    nr = "/proc/sys/vm/nr_hugepages"
    with open(nr) as f:
        before = int(f.read())
    mount = os.path.join(lab.dir, "huge")
    lab.switch.stop(signal.SIGTERM, 20)
    try:
        try:
            with open(nr, "w") as f:
                f.write(str(before + HUGE_NEED))
        except OSError as e:
            return f"not shown: this machine does not reserve hugepages ({e})"
        if huge_free() < HUGE_NEED:
            return f"not shown: this machine has room for {huge_free()} hugepages only"
        os.makedirs(mount, exist_ok=True)
        sh("mount", "-t", "hugetlbfs", "none", mount)
        lab.write_settings(SMALL % "yes")
        lab.run_switch()
        expect("MiB of hugepages" in lab.switch.output(), lab.switch.output())
        expect(lab.json("status")["hugepages"] is True, "status does not say that it runs on hugepages")
        reaches(lab)
        # There is no room for a second table: each start must take the place of the killed one's.
        said = kill_often(lab, max(KILLS // 2, 1))
        expect("connection table on hugepages too" in lab.switch.output(), lab.switch.output())
        lab.switch.stop(signal.SIGTERM, 20)
        expect(not lab.connection_files(), "the state file is still there after a clean stop")
        return said
    finally:
        lab.switch.stop(signal.SIGKILL)
        sh("umount", mount, check=False)
        with open(nr, "w") as f:
            f.write(str(before))
        lab.write_settings(SMALL % "no")


def refuses(lab, damage, *words):
    """Damage the store of a stopped switch: it must not start, say why, and leave the file as it is."""
    state, safe = f"{lab.dir}/state", f"{lab.dir}/state.safe"
    if lab.switch.alive():
        lab.switch.stop(signal.SIGTERM, 20)
    shutil.rmtree(safe, ignore_errors=True)
    shutil.copytree(state, safe)
    try:
        damage(f"{state}/objects.db")
        with open(f"{state}/objects.db", "rb") as f:
            damaged = f.read()
        r = run_weftd(lab, "-c", os.path.join(lab.dir, "weft.conf"))
        expect(r.returncode == 1, f"exit {r.returncode}: {r.stderr}")
        for word in ("objects.db", *words):
            expect(word in r.stderr, f"{word!r} is not in {r.stderr!r}")
        with open(f"{state}/objects.db", "rb") as f:
            expect(f.read() == damaged, "it changed the file that it refused")
        return r.stderr.strip().replace(lab.dir, "…")
    finally:
        shutil.rmtree(state)
        os.rename(safe, state)


def newer(path):
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET version = 99")
    db.close()


def garbage(path):
    with open(path, "r+b") as f:
        f.write(b"no database at all" * 50)


def empty(path):
    os.truncate(path, 0)


def torn(path):
    """The middle of the file overwritten, its header intact."""
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        f.seek(size // 3)
        f.write(b"\xa5" * (size // 3))


def unprivileged(lab):
    """As a user of no rights: vhost-user and memif ports work; a TAP says what it lacks."""
    home = f"{lab.dir}/nobody"
    os.chmod(lab.dir, 0o755)
    os.makedirs(home)
    os.chown(home, 65534, 65534)
    conf, socket = f"{home}/weft.conf", f"{home}/control.sock"
    with open(conf, "w") as f:
        f.write(f'control = {{ socket = "{socket}"; group = ""; }};\nstate = {{ directory = "{home}/state"; }};\n'
                f'ports = {{ socket_directory = "{home}/ports"; }};\n' + SMALL % "no")
    p = Process(lab, "weftd-nobody", ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all",
                                      lab.weftd(), "-c", conf])
    p.wait_output("control socket", 60)
    socket_of_the_lab, lab.socket = lab.socket, socket
    try:
        lab.apply(lab.network(uplinks=[]), *lab.dpdk_pod("unpriv", "10.244.1.40"),
                  {"kind": "Port", "name": "v", "type": "vhost-user", "socket": "v.sock"})
        r = lab.weft("apply", "-f", "-", check=False,
                     input='{"objects": [{"kind": "Port", "name": "t", "type": "tap", "netns": "/run/netns/%s", "ifname": "eth1"}]}'
                           % lab.pods["a"]["netns"])
        if r.returncode == 0:
            tap = next(o for o in lab.json("get", "Port")["objects"] if o["name"] == "t")
            expect(tap["status"]["phase"] != "ready", f"a TAP without rights is ready? {tap}")
            said = str(tap["status"])
        else:
            said = r.stderr
        expect("ermission" in said or "ermitted" in said, f"it should say that rights are missing: {said}")
        sock = f"{home}/ports/unpriv.sock"
        testpmd = Process(lab, "testpmd-unpriv", [
            "dpdk-testpmd", "--no-huge", "-m", "64", "--no-shconf", "--no-telemetry", "--no-pci", "--lcores", "0@0,1@0",
            f"--vdev=net_memif0,role=client,id=0,socket={sock},socket-abstract=no", "--", "--forward-mode=icmpecho", "--auto-start",
            "--no-mlockall", "--total-num-mbufs=2048", "--stats-period=3600"])
        port = lambda name: next(o for o in lab.json("get", "Port")["objects"] if o["name"] == name)["status"]
        wait_for("the memif port to be up", lambda: port("unpriv")["port"]["up"], 60)
        testpmd.stop()
    finally:
        lab.socket = socket_of_the_lab
        code = p.stop(signal.SIGTERM, 20)
    expect(code == 0, f"exit {code}: {p.output()[-400:]}")
    return "a TAP: " + said.strip().splitlines()[-1]


def story(lab, s):
    s.step("--check passes right files, and names file, line, key and what is allowed of wrong ones", settings, lab)
    s.step("the switch starts on plain memory; pods talk", start, lab)
    if s.failed:
        return
    s.step("a second instance on the same state folder refuses", same_state, lab)
    s.step("a second instance on the same socket refuses", same_socket, lab)
    s.step("SIGTERM under load: exit 0, sockets and state file removed", sigterm, lab)
    s.step("a restart brings all objects back, and pods talk without a command", restart_keeps, lab)
    s.step("so does kill -9 and a restart", killed, lab)
    s.step(f"kill -9 and restart {KILLS} times on plain memory leaves one file, no more", kill_often, lab, KILLS)
    s.step("the same on hugepages", hugepages, lab)
    s.step("a state file of a newer version is refused", refuses, lab, newer, "99")
    s.step("one that is no database is refused", refuses, lab, garbage)
    s.step("an empty one is refused", refuses, lab, empty, "damaged")
    s.step("a torn one is refused", refuses, lab, torn, "damaged")
    s.step("restored, it serves again", restart_keeps, lab)
    s.step("without any rights: memif and vhost-user work, a TAP says what is missing", unprivileged, lab)


if __name__ == "__main__":
    main(story)
