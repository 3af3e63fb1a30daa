# SPDX-License-Identifier: Apache-2.0
"""Run checks and count them, as tests/run.py wants it."""
import sys


def run(checks):
    """{name: check, which returns whether it holds}. One that breaks is one that fails. Ends the program."""
    failed = 0
    for name, check in checks.items():
        try:
            good = check()
        except Exception as e:
            good, name = False, f"{name}: {e!r}"
        failed += not good
        if not good:
            print(name)
    print(f"{len(checks) - failed} passed, {failed} failed")
    sys.exit(failed != 0)
