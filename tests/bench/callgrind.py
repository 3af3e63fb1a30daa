# SPDX-License-Identifier: Apache-2.0
"""Reads what valgrind's callgrind wrote: instructions by function, and what functions cost with all that they call."""
import re
from collections import defaultdict

NAME = re.compile(r"c?fn=\((\d+)\)(?: (.*))?")


class Profile:
    """own: {function: its own instructions}; calls: {function: {function that it called: instructions of these calls, all included}}."""

    def __init__(self, lines):
        self.own, self.calls = defaultdict(int), defaultdict(lambda: defaultdict(int))
        names, function, callee, called = {}, None, None, False
        for line in lines:
            m = NAME.match(line)
            if m:
                number, name = m.groups()
                if name is not None:
                    # GCC's clones are the function that they were made from.
                    names[number] = re.sub(r"(\.(isra|part|constprop|cold|lto_priv)(\.\d+)?)+", "", name)
                if line[0] == "c":
                    callee = names[number]
                else:
                    function = names[number]
            elif line.startswith("calls="):
                called = True
            elif line[:1] in "0123456789+-*" and line.strip():
                cost = int(line.split()[1])
                if called:
                    self.calls[function][callee] += cost
                    called = False
                else:
                    self.own[function] += cost

    @property
    def total(self):
        return sum(self.own.values())

    def inclusive(self, function):
        return self.own.get(function, 0) + sum(self.calls.get(function, {}).values())

    def share(self, function, others, seen=()):
        """Of what the function and all that it calls cost, the part that is spent in `others` and what they call."""
        if function in others:
            return 1.0
        whole = self.inclusive(function)
        if function in seen or not whole:
            return 0.0
        return sum(cost * self.share(callee, others, (*seen, function)) for callee, cost in self.calls.get(function, {}).items()) / whole

    def own_without(self, others):
        """{function: its own instructions}: without `others`, and of what these call only the part that others than they call."""
        into = defaultdict(dict)
        for caller, callees in self.calls.items():
            for callee, cost in callees.items():
                into[callee][caller] = cost
        known = dict.fromkeys(others, 1.0)

        def part(function, seen):
            """Of the calls of it, the part that comes from `others`, directly or not."""
            whole = sum(into[function].values())
            if function in known or function in seen or not whole:
                return known.get(function, 0.0)
            known[function] = sum(cost * part(caller, seen | {function}) for caller, cost in into[function].items()) / whole
            return known[function]
        return {f: own * (1 - part(f, frozenset())) for f, own in self.own.items() if f not in others}
