# SPDX-License-Identifier: Apache-2.0
"""Steps with a sentence each: a check mark or the reason, and the count at the end."""
import sys
import time
import traceback

from lab import Lab, LabError


class Steps:
    def __init__(self):
        self.passed = self.failed = 0

    def step(self, sentence, fn, *args, **kw):
        """Run fn; it proves the sentence by returning (a text is shown beside it) and refutes it by raising or returning False."""
        start = time.monotonic()
        try:
            result = fn(*args, **kw)
            if result is False:
                raise LabError("it did not")
        except Exception as e:  # a demo goes on: each step stands alone
            self.failed += 1
            text = str(e) if isinstance(e, (LabError, AssertionError)) else traceback.format_exc(limit=3).strip()
            print(f"  ✗ {sentence}\n      {text}", flush=True)
            return None
        self.passed += 1
        note = f" — {result}" if isinstance(result, str) else ""
        print(f"  ✓ {sentence}{note} ({time.monotonic() - start:.1f} s)", flush=True)
        return result

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def expect(condition, text):
    if not condition:
        raise LabError(text)


def run(steps, story, **lab):
    """story(lab, steps) in a Lab of its own."""
    try:
        with Lab(**lab) as the_lab:
            try:
                story(the_lab, steps)
            except Exception:
                steps.failed += 1
                traceback.print_exc()
            if steps.failed and the_lab.switch is not None:
                print("--- weftd said:\n" + the_lab.switch.output()[-3000:])
                print("--- weft drops:\n" + the_lab.weft("drops", check=False).stdout)
    except LabError as e:
        print(f"lab: {e}")
        steps.failed += 1


def main(story, **lab):
    """Run one story; exit as its steps did."""
    steps = Steps()
    run(steps, story, **lab)
    sys.exit(steps.finish())
