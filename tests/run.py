# SPDX-License-Identifier: Apache-2.0
"""Run every suite and count: each Google Test program of the build, then each end-to-end file. Called by scripts/test."""
import glob
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ["WEFT_BUILD"]
# A suite that takes longer than this hangs.
SUITE_SECONDS, E2E_SECONDS = 300, 900

passed = failed = 0


def report(ok, name, seconds, detail=""):
    print(f"{'ok  ' if ok else 'FAIL'} {name} ({seconds:.1f} s){' ' + detail if detail else ''}", flush=True)


def run(args, limit):
    start = time.monotonic()
    try:
        r = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=limit,
                           stdin=subprocess.DEVNULL)
        return r.returncode, r.stdout, time.monotonic() - start
    except subprocess.TimeoutExpired as e:
        out = e.stdout or b""
        return -1, (out.decode(errors="replace") if isinstance(out, bytes) else out) + "\n(hangs: stopped)", time.monotonic() - start


def gtest(path):
    """A Google Test program: count its tests; one that dies counts as one failure more."""
    global passed, failed
    name = os.path.basename(path)
    code, out, seconds = run([path, "--gtest_brief=0"], SUITE_SECONDS)
    ok = len(re.findall(r"^\[       OK \]", out, re.M))
    bad = len(set(re.findall(r"^\[  FAILED  \] (\S+\.\S+)(?:, where| \()", out, re.M)))
    skipped = sorted(set(re.findall(r"^\[  SKIPPED \] (\S+\.\S+) \(", out, re.M)))
    if code != 0 and bad == 0:
        bad = 1
    if skipped and os.environ.get("CI"):
        bad += len(skipped)
    passed += ok
    failed += bad
    report(bad == 0, name, seconds, f"{ok} passed" + (f", {bad} failed" if bad else "") + (f", skipped: {' '.join(skipped)}" if skipped else ""))
    if bad or skipped:
        print("\n".join("    " + line for line in out.splitlines()[-60:] if line.strip()), flush=True)


def counted(args, name, limit):
    """A program whose last line reads "N passed, N failed"."""
    global passed, failed
    code, out, seconds = run(args, limit)
    m = re.search(r"(\d+) passed, (\d+) failed\s*$", out)
    ok, bad = (int(m.group(1)), int(m.group(2))) if m else (0, 0)
    if (code != 0 or not m) and bad == 0:
        bad = 1
    passed += ok
    failed += bad
    report(bad == 0, name, seconds, f"{ok} passed" + (f", {bad} failed" if bad else ""))
    if bad:
        print("\n".join("    " + line for line in out.splitlines()[-80:]), flush=True)


def main():
    words = [a for a in sys.argv[1:] if not a.startswith("-")]

    def wanted(name):
        return not words or any(w in name for w in words)

    suites = sorted(glob.glob(os.path.join(BUILD, "tests", "test_*")))
    for path in suites:
        if os.access(path, os.X_OK) and os.path.isfile(path) and wanted(os.path.basename(path)):
            gtest(path)
    if wanted("layers"):
        counted([os.path.join(ROOT, "scripts", "check-layers")], "check-layers", 60)
    for path in sorted(glob.glob(os.path.join(ROOT, "tests", "bench", "check*.py"))):
        name = "bench" + os.path.basename(path)[len("check"):-len(".py")]
        if wanted(name):
            counted([sys.executable, "-B", path], name, 120)
    if "--no-e2e" not in sys.argv:
        for path in sorted(glob.glob(os.path.join(ROOT, "tests", "e2e", "test_*.py"))) + [os.path.join(ROOT, "tests", "e2e", "demo.py")]:
            if wanted(os.path.basename(path)):
                counted([sys.executable, "-B", path], os.path.relpath(path, ROOT), E2E_SECONDS)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
