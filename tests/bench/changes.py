# SPDX-License-Identifier: Apache-2.0
"""So many changes a second, while something else is measured."""
import os
import threading
import time

BATCH = 10


class Changes:
    """Calls change(first, n) for numbers from 0 upwards, BATCH at a time. It keeps to the generator's core: the switch's is measured."""

    def __init__(self, rate, change, core):
        self.rate, self.change, self.core = rate, change, core
        self.ended, self.done, self.error = threading.Event(), 0, None
        self.change(0, BATCH)
        self.begin = time.monotonic()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        os.sched_setaffinity(0, {self.core})
        try:
            while not self.ended.is_set():
                self.change(self.done, BATCH)
                self.done += BATCH
                self.ended.wait(max(0, self.begin + self.done / self.rate - time.monotonic()))
        except Exception as e:
            self.error = e

    def mark(self):
        """Count from here on."""
        self.marked = self.done, time.monotonic()

    def stop(self):
        """What it did a second since mark()."""
        done, since = self.marked
        rate = (self.done - done) / (time.monotonic() - since)
        self.ended.set()
        self.thread.join()
        if self.error:
            raise self.error
        return rate
