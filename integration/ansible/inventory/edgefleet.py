#!/usr/bin/env python3
"""Ansible's inventory out of edgefleet: the devices that the fleet declares.

Ansible calls this with --list, or with --host and a device ID. It asks
"edgefleet device list", which asks the workers over Temporal: TEMPORAL_ADDRESS
and the like say where. EDGEFLEET names another program than the one in PATH,
EDGEFLEET_REGION and EDGEFLEET_SITE narrow the list.

Groups: edge_devices has all; region_*, site_*, class_*, profile_* and state_*
have those of that name, with "_" for what Ansible allows in no group's name.
Two names that would become one group are an error, because a playbook would
reach devices that it does not mean.

Variables: ansible_host is the device's address without its port;
edgefleet_port, edgefleet_site, edgefleet_region, edgefleet_class,
edgefleet_profile, edgefleet_state, edgefleet_leased_by and edgefleet_labels
are what edgefleet knows.

A list that could not be had is an error, and never an empty inventory.
"""

import json
import os
import re
import subprocess
import sys

GROUPED = ("region", "site", "class", "profile", "state")


def devices():
    """Returns the list of devices, or ends the program."""
    command = [os.environ.get("EDGEFLEET", "edgefleet"), "device", "list", "--output", "json"]
    for name in ("region", "site"):
        value = os.environ.get("EDGEFLEET_" + name.upper())
        if value:
            command += ["--" + name, value]
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        sys.exit(f"edgefleet cannot be run: {error}; install it, or name it in EDGEFLEET")
    if run.returncode != 0:
        sys.exit(run.stderr.strip() or f"edgefleet device list ended with exit code {run.returncode}")
    try:
        return json.loads(run.stdout)
    except ValueError as error:
        sys.exit(f"edgefleet device list gave no JSON: {error}")


def split(address):
    """Splits host:port or [host]:port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def variables(device):
    host, port = split(device["address"])
    return {
        "ansible_host": host,
        "edgefleet_port": port,
        "edgefleet_site": device["site"],
        "edgefleet_region": device["region"],
        "edgefleet_class": device["class"],
        "edgefleet_profile": device["profile"],
        "edgefleet_state": device["state"],
        "edgefleet_leased_by": device.get("leased_by", ""),
        "edgefleet_labels": device.get("labels") or {},
    }


def inventory(found):
    """Returns the inventory in the form that Ansible wants of a script."""
    out = {"_meta": {"hostvars": {}}, "all": {"children": ["edge_devices"]}, "edge_devices": {"hosts": []}}
    names = {}
    for device in found:
        out["_meta"]["hostvars"][device["id"]] = variables(device)
        out["edge_devices"]["hosts"].append(device["id"])
        for kind in GROUPED:
            group = kind + "_" + re.sub(r"[^A-Za-z0-9_]", "_", device[kind])
            first = names.setdefault(group, device[kind])
            if first != device[kind]:
                sys.exit(f"the {kind}s {first} and {device[kind]} would both be the group {group}; rename one of them")
            out.setdefault(group, {"hosts": []})["hosts"].append(device["id"])
    return out


def main(arguments):
    if arguments == ["--list"]:
        answer = inventory(devices())
    elif len(arguments) == 2 and arguments[0] == "--host":
        answer = next((variables(d) for d in devices() if d["id"] == arguments[1]), {})
    else:
        sys.exit("usage: edgefleet.py --list | --host DEVICE")
    json.dump(answer, sys.stdout, indent=2, sort_keys=True)
    print()


if __name__ == "__main__":
    main(sys.argv[1:])
