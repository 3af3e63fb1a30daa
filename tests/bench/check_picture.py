# SPDX-License-Identifier: Apache-2.0
"""Does the picture say what the rows say? Well-formed, a bar for each rate with a length in proportion, the ratios as text."""
import xml.etree.ElementTree as ElementTree

import counted
import picture

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [
    {"scenario": "route", "port": "memif", "size": 64, "flows": 10000, "weft_mpps": 12.0, "peer": "testpmd mac", "peer_mpps": 10.0, "ratio": 1.2,
     "cycles_per_packet": 178, "peer_cycles_per_packet": 165, "loss": 0.01},
    {"scenario": "route", "port": "memif", "size": 64, "flows": 10000, "weft_mpps": 14.0, "peer": "OVS <DPDK> & co", "peer_mpps": 2.6, "ratio": 5.38,
     "cycles_per_packet": None, "peer_cycles_per_packet": None},
    {"scenario": "clusterip+policy", "port": "vhost", "size": 1500, "flows": 10**6, "weft_mpps": 1.3},
    {"scenario": "without figures", "port": "memif", "weft_mpps": None},
]
RATES = [13.0, 10.0, 2.6, 1.3]  # Weft's two runs of the first group: their median


def tree():
    return ElementTree.fromstring(picture.draw(ROWS, "a machine <with> 2 cores & more"))


def found():
    return [r for r in tree().iter(SVG + "rect") if "bar" in r.get("class", "").split()]


def texts():
    return [t.text for t in tree().iter(SVG + "text")]


def lengths_are_in_proportion():
    widths = [float(b.get("width")) for b in found()]
    return len(widths) == len(RATES) and all(abs(w / widths[0] - rate / RATES[0]) < 0.001 for w, rate in zip(widths, RATES))


def everything_is_inside():
    root = tree()
    width, height = float(root.get("width")), float(root.get("height"))
    return all(0 <= float(e.get("x")) <= width and 0 <= float(e.get("y")) <= height for e in root.iter() if e.get("x")) and \
        all(float(b.get("x")) + float(b.get("width")) < width for b in found())


def bars_do_not_overlap():
    ys = [float(b.get("y")) for b in found()]
    return all(b - a >= float(found()[0].get("height")) for a, b in zip(ys, ys[1:]))


def each_peer_has_its_colour():
    kinds = [b.get("class") for b in found()]
    return kinds[0] == kinds[3] == "bar weft" and len(set(kinds)) == 3


def grid_fits_the_bars():
    """The label at a line of the grid is the rate of a bar that ends there."""
    lines = [float(x.get("x1")) for x in tree().iter(SVG + "line")]
    longest = found()[0]
    per_mpps = float(longest.get("width")) / RATES[0]
    labels = [float(t.text) for t in tree().iter(SVG + "text") if t.get("text-anchor") == "middle"]
    return len(lines) == len(labels) > 2 and all(abs(x - float(longest.get("x")) - label * per_mpps) < 0.1 for x, label in zip(lines, labels))


def nothing_to_draw_is_an_error():
    try:
        picture.draw([ROWS[3]])
    except ValueError:
        return True
    return False


CHECKS = {
    "lengths are in proportion": lengths_are_in_proportion,
    "everything is inside": everything_is_inside,
    "bars do not overlap": bars_do_not_overlap,
    "each peer has its colour": each_peer_has_its_colour,
    "the grid fits the bars": grid_fits_the_bars,
    "ratios are written": lambda: "1.20×" in texts() and "5.38×" in texts(),
    "names are whole": lambda: "OVS <DPDK> & co" in texts() and "a machine <with> 2 cores & more" in texts(),
    "a group says what it is": lambda: "memif · 64 B · 10 k flows" in texts() and "vhost · 1500 B · 1 M flows" in texts(),
    "nothing to draw is an error": nothing_to_draw_is_an_error,
}
counted.run(CHECKS)
