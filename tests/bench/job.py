# SPDX-License-Identifier: Apache-2.0
"""What the subjects of scripts/bench compare are given, in no subject's words: addresses, services, rules, and how the generator plays the rest."""
from objects import BACKEND, BACKENDS, CLIENT, SERVICES, VIP, address
from switch import MACS

NODE_IP, REMOTE_IP, UNDERLAY = "192.0.2.1", "192.0.2.2", 24
VNI = 1
VIP_PORT, BACKEND_PORT, ROUTED_PORT = 80, 800, 9
CLIENTS, BACKENDS_PREFIX = "10.16.0.0/12", "10.32.0.0/12"


def services():
    """(address, its backends), for each."""
    return [(address(VIP, s), [address(BACKEND, s * BACKENDS + k) for k in range(BACKENDS)]) for s in range(SERVICES)]


def rules(scenario):
    """(prefix of destinations, port) that A may send to: all but the last for others."""
    others = [(f"{address('172.16.0.0', i * 8)}/29", 1000 + i % 60000) for i in range(scenario.rules - 1)]
    return others + [(BACKENDS_PREFIX, BACKEND_PORT if scenario.service else ROUTED_PORT)]


def generator_options(scenario, connections=True):
    """connections False: for a switch that only forwards, the same load without what Services need."""
    options = {"size": scenario.size, "flows": scenario.flows, "a-ip": CLIENT, "b-ip": BACKEND}
    flags = ["--mix"] if scenario.mix else []
    if not scenario.service or not connections:
        options["src-ips"] = 1 if scenario.flows < 64000 else 4096
        return options, flags + (["--both"] if scenario.both or scenario.service else [])
    options.update({"scenario": "new" if scenario.new else "established", "dst-ip": VIP, "dst-port": VIP_PORT, "vips": SERVICES, "backends": SERVICES * BACKENDS,
                    "backend-port": BACKEND_PORT})
    if scenario.tunnel:
        options.update({"vxlan": VNI, "vtep": REMOTE_IP, "switch-vtep": NODE_IP})
    return options, flags


def sides_that_receive(scenario):
    return "ab" if (scenario.service and not scenario.new) or scenario.both else "b"


REMOTE_MAC = MACS[1]
