# SPDX-License-Identifier: Apache-2.0
"""Does what measures still measure? Short runs of state_bench, which ends with an error when flows cannot be opened, a checksum is wrong or the
books do not balance. Figures of such runs mean nothing, but that there are some."""
import json
import os
import subprocess
import sys

BENCH = os.path.join(os.environ["WEFT_BUILD"], "tests", "state_bench")
RUNS = {
    "established": (["--flows=5000", "--services=40", "--warmup=0", "--turns=500"], lambda r: r["connections_used"] == 5000 and r["loss"] == 0),
    "new, UDP": (["--new", "--capacity=65536", "--warmup=0", "--turns=200"], lambda r: r["connections_per_second"] > 0),
    "new, TCP": (["--new", "--tcp", "--capacity=65536", "--warmup=0", "--turns=500"], lambda r: r["connections_per_second"] > 0 and r["loss"] == 0),
    # To the second: it comes in waves.
    "expiry": (["--new", "--capacity=1048576", "--timeout=1", "--warmup=2.5", "--seconds=2.1"], lambda r: r["expired_per_second"] > 0),
    "two workers": (["--flows=5000", "--workers=2", "--warmup=0", "--seconds=0.3"], lambda r: r["loss"] == 0),
    "changes": (["--flows=1000", "--changes=1000", "--warmup=0", "--seconds=0.1"], lambda r: r["changes_per_second"] > 0 and r["half_load_dropped"] == 0),
}
passed = failed = 0
for name, (options, holds) in RUNS.items():
    if name == "two workers" and len(os.sched_getaffinity(0)) < 2:
        continue
    r = subprocess.run([BENCH, *options], capture_output=True, text=True, timeout=100)
    if r.returncode == 0 and holds(json.loads(r.stdout)):
        passed += 1
    else:
        failed += 1
        print(f"{name}: exit {r.returncode}: {r.stderr or r.stdout}")
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0)
