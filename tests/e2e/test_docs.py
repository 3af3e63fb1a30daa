# SPDX-License-Identifier: Apache-2.0
"""What the documentation says is so: the references are what the switch says of itself, and every object that the README shows can be applied."""
import json
import os
import re

from lab import ROOT, sh
from steps import expect, main


def read(name):
    with open(os.path.join(ROOT, name)) as f:
        return f.read()


def reference_is_current(lab):
    schema = lab.weft("schema", "-o", "json").stdout
    out = sh(os.path.join(ROOT, "scripts", "docs"), "--check", input=schema, check=False)
    expect(out.returncode == 0, out.stdout)


def settings_are_current(lab):
    said = sh(lab.weftd(), "--config-reference").stdout
    expect(said == read("docs/weft.conf.md"), "docs/weft.conf.md is not what weftd --config-reference prints")


def examples():
    """The JSON blocks of the README; one block may hold several objects."""
    decoder, found = json.JSONDecoder(), []
    for block in re.findall(r"^```json\n(.*?)^```$", read("README.md"), re.M | re.S):
        block = block.strip()
        while block:
            o, end = decoder.raw_decode(block)
            found.append(o)
            block = block[end:].strip()
    return found


def examples_apply(lab):
    sh("ip", "link", "add", f"{lab.tag[:12]}u", "netns", lab.node, "type", "veth", "peer", "name", "eth1", "netns", lab.netns("remote"))
    sh("ip", "link", "set", f"{lab.tag[:12]}u", "name", "eth1", netns=lab.node)
    sh("ip", "link", "set", "eth1", "up", netns=lab.node)
    objects = examples()
    for o in objects:
        if "netns" in o:
            o["netns"] = f"/run/netns/{lab.netns('pod')}"
    kinds = {k["kind"] for k in lab.json("schema")["kinds"]}
    shown = {o["kind"] for o in objects}
    expect(shown == kinds, f"no example of {', '.join(sorted(kinds - shown))}")
    lab.apply(*objects)
    for o in objects:
        got = lab.json("get", o["kind"], o["name"])
        expect(got["status"]["phase"] == "ready", f"{o['kind']} {o['name']} is {got['status']}")
        for field, value in o.items():
            expect(got[field] == value, f"{o['kind']} {o['name']}: {field} is {got.get(field)!r}, not {value!r}")
    return f"{len(objects)} objects, {len(kinds)} kinds"


def story(lab, s):
    s.step("the switch starts", lab.start_switch)
    s.step("docs/objects.md and docs/drops.md are what the schema says", reference_is_current, lab)
    s.step("docs/weft.conf.md is what weftd says", settings_are_current, lab)
    s.step("every example of the README applies, one batch", examples_apply, lab)


if __name__ == "__main__":
    main(story)
