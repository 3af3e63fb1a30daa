# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes says of a connection: NetworkPolicySpec (networking.k8s.io/v1) and ClusterNetworkPolicySpec (policy.networking.k8s.io/v1alpha2).

Written from the API's text alone. Policies are dicts: tier, namespace, name, subject, types, ingress and egress; rules have peers and ports.
"""
from truth_world import in_block


def names(entry, proto, port, target):
    """Does one entry of `ports` mean this protocol and destination port?"""
    if entry.get("protocol", "TCP") != proto:
        return False
    want = entry.get("port")
    if want is None:
        return True
    if isinstance(want, str):
        return any((n, p, number) == (want, proto, port) for n, p, number in target.named)
    return want <= port <= entry.get("endPort", want) if port is not None else False


def matches(world, policy, rule, peer, ip, proto, port, target):
    """Traffic must match both ports and peers; an empty or missing list matches everything."""
    if rule.get("ports") and not any(names(e, proto, port, target) if "icmp" not in e else icmp(e, proto) for e in rule["ports"]):
        return False
    if not rule.get("peers"):
        return True
    for p in rule["peers"]:
        if in_block(p["ipBlock"], ip) if "ipBlock" in p else peer in world.selected(policy["namespace"], p.get("podSelector"),
                                                                                   p.get("namespaceSelector")):
            return True
    return False


def icmp(entry, proto):
    """Echo requests are what is asked."""
    return entry["protocol"] == proto and entry["icmp"]["type"] == (8 if proto == "ICMP" else 128) and entry["icmp"].get("code", 0) == 0


def types(policy):
    """policyTypes: Ingress always unless it says otherwise, Egress when there are egress rules."""
    return policy.get("types") or (["Ingress", "Egress"] if policy.get("egress") else ["Ingress"])


def selects(world, policy, pod):
    return policy["subject"] == "network" or pod in world.subject(policy)


def tier(world, policies, direction, which, pod, *flow):
    """Cluster policies: priority, then name; the first rule that matches. None: nothing said, or passed on."""
    for p in sorted((p for p in policies if p["tier"] == which and selects(world, p, pod)), key=lambda p: (p.get("priority", 0), p["name"])):
        if "types" in p and direction.capitalize() not in p["types"]:
            continue
        for rule in p.get(direction, []):
            if matches(world, p, rule, *flow):
                return {"accept": p, "deny": p, "pass": None}[rule["action"]], rule["action"]
    return None, "pass"


def judge(world, policies, direction, pod, peer, ip, proto, port, target, standing=False):
    """True: allowed in this direction. `ip`: the peer's address; `standing`: the connection was established before these policies."""
    flow = (peer, ip, proto, port, target)
    policies = [p for p in policies if p.get("enforce", True)]
    lasting = lambda p: standing and p.get("semantics") == "connection"
    who, action = tier(world, policies, direction, "admin", pod, *flow)
    if who:
        return action == "accept" or lasting(who)
    isolating = [p for p in policies if p["tier"] == "network" and direction.capitalize() in types(p) and selects(world, p, pod)]
    if isolating:
        return any(matches(world, p, r, *flow) for p in isolating for r in p.get(direction, [])) or all(map(lasting, isolating))
    who, action = tier(world, policies, direction, "baseline", pod, *flow)
    return not who or action == "accept" or lasting(who)


def allowed(world, policies, src, dst, six, proto, port, standing=False):
    """The verdict on a connection from actor to actor, as far as this node has it: egress at a local pod, ingress at a local pod."""
    if src is dst:
        return True
    if src.kind == "other" or dst.kind == "other":
        return src.kind == dst.kind
    if src.kind == "pod" and src.local:
        if not judge(world, policies, "egress", src, dst, dst.ips[six], proto, port, dst, standing):
            return False
    # Traffic from the pod's own node is allowed whatever the policies.
    if dst.kind == "pod" and dst.local and src.kind != "host":
        return judge(world, policies, "ingress", dst, src, src.ips[six], proto, port, dst, standing)
    return True
