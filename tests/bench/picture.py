#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rows of scripts/bench as a picture: bars of Weft and of its peers, grouped by scenario, as SVG. Only Python's own library is needed.

  scripts/bench forward --json > rows.json && python3 tests/bench/picture.py rows.json > rows.svg

A row names its scenario, port, size and flows, Weft's rate (weft_mpps) and, unless it stands alone, a peer's (peer, peer_mpps, ratio). Rows of
one scenario with different peers make one group. All bars have one scale, so that their lengths may be compared throughout. The text's and the
grid's colours fit a light background and, where the viewer says that it prefers one, a dark one; the background itself stays empty.
"""
import argparse
import json
import os
import platform
import statistics
import sys
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 960, 250, 190  # of all; of the scenarios' names; of the figures behind the longest bar
BAR, GAP, GROUP_GAP, TOP, FOOT = 18, 3, 16, 84, 60
PEERS = ("#8c8c8c", "#c48a3a", "#5b83b5", "#a06cb0", "#b5615b", "#6f9a57")
STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #333; }
.title { font-size: 17px; font-weight: 600; }
.scenario { font-weight: 600; }
.quiet { fill: #6b6b6b; font-size: 11px; }
.ratio { font-weight: 600; }
.grid { stroke: #9a9a9a; stroke-opacity: .35; }
.weft { fill: #128c7e; }
""" + "".join(f".peer{i} {{ fill: {colour}; }}\n" for i, colour in enumerate(PEERS)) + """
@media (prefers-color-scheme: dark) { text { fill: #e4e4e4; } .quiet { fill: #a8a8a8; } .weft { fill: #2bb5a4; } }
"""


def machine():
    """One line: processor, how many of it, memory, kernel."""
    model, clock = platform.machine(), ""
    with open("/proc/cpuinfo") as f:
        for line in f:
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() == "cpu MHz":
                clock = f" at {float(value) / 1000:.1f} GHz" if "@" not in model else ""
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) / 2**20
    cores = len(os.sched_getaffinity(0))
    return f"{model}{clock}, {cores} core{'' if cores == 1 else 's'}, {memory:.0f} GiB of memory, Linux {platform.release()}"


def count_text(n):
    for unit, name in ((10**6, "M"), (10**3, "k")):
        if n >= unit:
            return f"{n / unit:g} {name}"
    return str(n)


def groups(rows):
    """Rows of the same scenario on the same ports, in the order in which the first of each came."""
    found = {}
    for row in rows:
        if row.get("weft_mpps") is not None:
            found.setdefault(tuple(row.get(k) for k in ("scenario", "port", "size", "flows")), []).append(row)
    return found


def bars(rows):
    """Of a group: (name, Mpps, cycles, ratio, loss) of Weft and each peer. Weft may have been measured once for each of them."""
    def middle(key):
        values = [r[key] for r in rows if r.get(key) is not None]
        return statistics.median(values) if values else None
    yield "Weft", middle("weft_mpps"), middle("cycles_per_packet"), None, middle("loss")
    for r in rows:
        if r.get("peer_mpps") is not None:
            yield r["peer"], r["peer_mpps"], r.get("peer_cycles_per_packet"), r.get("ratio"), r.get("peer_loss")


def step(top):
    """Between two lines of the grid: 1, 2 or 5 times a power of ten, at most ten of them."""
    size = 1e-6
    while True:
        for factor in (1, 2, 5):
            if top <= 10 * factor * size:
                return factor * size
        size *= 10


class Svg:
    def __init__(self):
        self.parts = []

    def text(self, x, y, text, kind="", anchor="start"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>')

    def bar(self, y, width, kind, title):
        self.parts.append(f'<rect x="{LEFT}" y="{y:.1f}" width="{width:.2f}" height="{BAR}" rx="2" class="bar {kind}"><title>{escape(title)}</title></rect>')

    def line(self, x, y1, y2):
        self.parts.append(f'<line x1="{x:.1f}" y1="{y1:.1f}" x2="{x:.1f}" y2="{y2:.1f}" class="grid"/>')


def legend(svg, peers):
    x = LEFT
    for name, kind in [("Weft", "weft")] + list(peers.items()):
        svg.parts.append(f'<rect x="{x:.1f}" y="42" width="12" height="12" rx="2" class="{kind}"/>')
        svg.text(x + 18, 52, name)
        x += 40 + 7.2 * len(name)


def draw_group(svg, y, key, rows, peers, scale):
    scenario, port, size, flows = key
    svg.text(LEFT - 12, y + 13, str(scenario), "scenario", "end")
    facts = [str(port)] if port else []
    facts += [f"{size} B"] if size else []
    facts += [f"{count_text(flows)} flows"] if flows else []
    svg.text(LEFT - 12, y + 28, " · ".join(facts), "quiet", "end")
    for name, mpps, cycles, ratio, loss in bars(rows):
        width = mpps * scale
        about = f"{name}: {mpps:.3g} Mpps" + (f", {cycles:.0f} cycles a packet" if cycles is not None else "") + (f", {loss:.2%} lost" if loss else "")
        svg.bar(y, width, peers.get(name, "weft"), about)
        svg.text(LEFT + width + 6, y + 13, f"{mpps:.3g}" + (f" · {cycles:.0f} cycles" if cycles is not None else ""))
        if ratio is not None:
            svg.text(WIDTH - 16, y + 13, f"{ratio:.2f}×", "ratio", "end")
        y += BAR + GAP
    return y


def draw(rows, about="", title="Packets a second, on one core"):
    """The SVG as text. `about`: the machine, below the bars. ValueError when no row has a rate."""
    found = groups(rows)
    if not found:
        raise ValueError("no row has weft_mpps")
    peers = {}
    for row in rows:
        if row.get("peer_mpps") is not None:
            peers.setdefault(row["peer"], f"peer{len(peers) % len(PEERS)}")
    everything = [list(bars(some)) for some in found.values()]
    top = max(mpps for some in everything for _, mpps, *_ in some) or 1
    scale = (WIDTH - LEFT - RIGHT) / top
    bottom = TOP + sum(max(len(some), 2) * (BAR + GAP) + GROUP_GAP for some in everything)
    svg = Svg()
    svg.text(16, 26, title, "title")
    legend(svg, peers)
    if peers:
        svg.text(WIDTH - 16, TOP - 10, "Weft to this peer", "quiet", "end")
    apart = step(top)
    for i in range(int(top / apart) + 1):
        svg.line(LEFT + i * apart * scale, TOP - 6, bottom - GROUP_GAP + 6)
        svg.text(LEFT + i * apart * scale, bottom - GROUP_GAP + 20, f"{i * apart:g}", "quiet", "middle")
    svg.text(LEFT + top * scale + 24, bottom - GROUP_GAP + 20, "Mpps", "quiet")
    y = TOP
    for (key, some), of in zip(found.items(), everything):
        draw_group(svg, y, key, some, peers, scale)
        y += max(len(of), 2) * (BAR + GAP) + GROUP_GAP
    svg.text(16, bottom + FOOT - 28, about, "quiet")
    height = bottom + FOOT - 12
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">\n'
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n" + "\n".join(svg.parts) + "\n</svg>\n")


def main():
    p = argparse.ArgumentParser(description="Draw rows that scripts/bench ... --json printed; the SVG goes to stdout.")
    p.add_argument("rows", nargs="?", type=argparse.FileType(), default=sys.stdin, help="the JSON (stdin)")
    p.add_argument("--title", default="Packets a second, on one core")
    p.add_argument("--machine", help="its description (this one's)")
    args = p.parse_args()
    try:
        print(draw(json.load(args.rows), machine() if args.machine is None else args.machine, args.title), end="")
    except ValueError as e:
        p.exit(1, f"picture.py: {e}\n")


if __name__ == "__main__":
    main()
