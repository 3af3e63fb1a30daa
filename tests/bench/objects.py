# SPDX-License-Identifier: Apache-2.0
"""What the scenarios of scripts/bench state apply: two router pods, services between them, and a policy."""
from switch import GATEWAY_MAC, MACS

SERVICES, BACKENDS = 16, 10
CLIENT, BACKEND, VIP = "10.16.0.0", "10.32.0.1", "10.96.0.1"
# Of weft.conf: one pod opens all connections, as fast as it can.
RATES = "new_connections_per_second = 100000000; new_connections_burst = 100000000;"
QUOTA = "connections = { per_endpoint = 0; };\n"
TIMEOUT = 2
TIMEOUTS = [f"tcp_{state}" for state in ("syn_sent", "syn_sent2", "syn_received", "established", "fin_wait", "close_wait", "last_ack", "time_wait",
                                         "close")] + ["udp", "udp_answered"]
SHORT = f"connections = {{ per_endpoint = 0; timeouts = {{ {' '.join(f'{t} = {TIMEOUT};' for t in TIMEOUTS)} }}; }};\n"


def address(first, i):
    n = int.from_bytes(bytes(map(int, first.split("."))), "big") + i
    return ".".join(map(str, n.to_bytes(4, "big")))


def pods(ports):
    """Two router pods: addresses behind them are theirs."""
    subnet = {"prefix": "10.0.0.0/16", "gateway": "10.0.0.1"}
    objects = [{"kind": "Network", "name": "default", "vni": 1, "mode": "l3", "mtu": 1500, "gatewayMac": GATEWAY_MAC, "subnets": [subnet]}, *ports]
    for side, mac, first in zip("ab", MACS, (CLIENT, BACKEND)):
        objects.append({"kind": "Endpoint", "name": side, "network": "default", "port": side, "mac": mac, "ips": [first],
                        "prefixes": [f"{first.rsplit('.', 1)[0]}.0/12"]})
    return objects


def services(n=SERVICES, backends=BACKENDS, protocol="UDP"):
    return [{"kind": "Service", "name": f"bench/service-{s}", "network": "default", "ips": [address(VIP, s)],
             "ports": [{"protocol": protocol, "port": 80, "targetPort": 800}],
             "backends": [{"ip": address(BACKEND, s * backends + k)} for k in range(backends)]} for s in range(n)]


def other_rules(n, protocol="UDP"):
    """For the same pod: half by sets that have some of the clients among their members, half by addresses; other ports."""
    sets = min(n // 2, 1000)
    objects = []
    for s in range(sets):
        members = [f"{address('10.16.0.0', (s * 7 * 16) % 4096)}/28"] + [address("172.16.0.0", s * 64 + i) for i in range(100)]
        objects.append({"kind": "AddressSet", "name": f"set-{s}", "network": "default", "members": members})
    for first in range(1, n, 1000):
        rules = [{"from": [{"set": f"set-{r // 2 % sets}"} if r % 2 == 0 else {"cidr": address("172.16.0.0", r * 8) + "/29"}],
                  "ports": [{"protocol": protocol, "port": 1000 + r % 60000}]} for r in range(first, min(n, first + 1000))]
        objects.append({"kind": "Policy", "name": f"policy-{first // 1000}", "network": "default", "tier": "network", "endpoints": ["b"], "types": ["Ingress"],
                        "ingress": rules})
    return objects


def accepting_policy(protocol="UDP"):
    """Isolates the backend; the clients are let in by the address set that they are in."""
    members = [f"10.16.{i}.0/24" for i in range(16)] + [address("172.16.0.0", i) for i in range(100)]
    return [{"kind": "AddressSet", "name": "clients", "network": "default", "members": members},
            {"kind": "Policy", "name": "accept-clients", "network": "default", "tier": "network", "endpoints": ["b"], "types": ["Ingress"],
             "ingress": [{"name": "clients", "from": [{"set": "clients"}], "ports": [{"protocol": protocol, "port": 800}]}]}]
