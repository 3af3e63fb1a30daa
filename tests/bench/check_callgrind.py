# SPDX-License-Identifier: Apache-2.0
"""Are profiles read as callgrind means them, and a part of a program taken off rightly?"""
import sys

from callgrind import Profile

# root calls stage twice and pod; both call helper, which costs 10 for the stage and 30 for the pod.
PROFILE = """# callgrind format
version: 1
events: Ir

ob=(1) /bin/program
fl=(1) a.c
fn=(1) root
10 5
cfn=(2) stage.isra.0
calls=2 20
+1 130
cfn=(3) pod
calls=1 30
* 70

fn=(2)
20 100
fi=(2) inlined.h
-3 20
fe=(1)
cfi=(3) b.c
cfn=(4) helper
calls=1 40
21 10

fn=(3)
30 40
cfi=(3)
cfn=(4)
calls=3 40
31 30

fl=(3)
fn=(4)
40 40
totals: 205
""".splitlines(keepends=True)
p = Profile(PROFILE)
without = p.own_without({"pod"})
CHECKS = {
    "the total is all instructions": p.total == 205,
    "clones bear their function's name, inlined lines are the function's": p.own["stage"] == 120,
    "what is called is included": (p.inclusive("root"), p.inclusive("stage"), p.inclusive("pod")) == (205, 130, 70),
    "a share is what is spent in others": p.share("root", {"pod"}) == 70 / 205 and p.share("stage", {"pod"}) == 0,
    "of a callee of both only the others' part is left": without == {"root": 5, "stage": 120, "helper": 10},
    "nothing is lost": sum(without.values()) == p.total - p.inclusive("pod"),
}
for name, good in CHECKS.items():
    if not good:
        print(name)
failed = sum(not good for good in CHECKS.values())
print(f"{len(CHECKS) - failed} passed, {failed} failed")
sys.exit(failed != 0)
