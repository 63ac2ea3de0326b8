"""What a container may use: its limits, and the devices that it may open, in OCI's words."""

from __future__ import annotations

from minicontainer.engine import options as reading
from minicontainer.errors import Error, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.engine.document import Document

_DEVICE_RULES = (  # what may be opened and made, whatever nodes there are (moby, oci/defaults.go)
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},  # null
    {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},  # zero
    {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "rwm"},  # full
    {"allow": True, "type": "c", "major": 1, "minor": 8, "access": "rwm"},  # random
    {"allow": True, "type": "c", "major": 1, "minor": 9, "access": "rwm"},  # urandom
    {"allow": True, "type": "c", "major": 5, "minor": 0, "access": "rwm"},  # tty
    {"allow": True, "type": "c", "major": 5, "minor": 1, "access": "rwm"},  # console
    {"allow": True, "type": "c", "major": 5, "minor": 2, "access": "rwm"},  # ptmx
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},  # pts
)


def resources(document: Document) -> dict[str, Any]:
    """The OCI ``linux.resources`` object: the limits, and which devices may be used."""
    host = document["HostConfig"]
    period, quota = host["CpuPeriod"], host["CpuQuota"]
    if host["NanoCpus"]:
        period, quota = 100_000, host["NanoCpus"] // 10_000
    memory = {"limit": host["Memory"], "swap": host["MemorySwap"], "reservation": host["MemoryReservation"]}
    cpu = {
        "shares": host["CpuShares"],
        "quota": quota,
        "period": period,
        "cpus": host["CpusetCpus"],
        "mems": host["CpusetMems"],
    }
    result: dict[str, Any] = {"devices": _device_rules(host)}
    for key, values in (("memory", memory), ("cpu", cpu)):
        given = {name: value for name, value in values.items() if value}
        if given:
            result[key] = given
    if host["PidsLimit"]:
        result["pids"] = {"limit": host["PidsLimit"]}
    if host["BlkioWeight"]:
        result["blockIO"] = {"weight": host["BlkioWeight"]}
    if host["CgroupConf"]:
        result["unified"] = host["CgroupConf"]
    return result


def _device_rules(host: dict[str, Any]) -> list[dict[str, Any]]:
    if host["Privileged"]:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}, *_DEVICE_RULES]
    for device in devices(host):
        rules.append({"allow": True, **{key: device[key] for key in ("type", "major", "minor", "access")}})
    return rules + [reading.device_cgroup_rule(rule) for rule in host["DeviceCgroupRules"]]


def devices(host: dict[str, Any]) -> list[dict[str, Any]]:
    """The OCI ``linux.devices`` of what ``--device`` asks for."""
    return [
        device
        for entry in host["Devices"]
        for device in reading.device(
            f"{entry['PathOnHost']}:{entry['PathInContainer']}:{entry['CgroupPermissions']}"
        )
    ]


def all_devices() -> list[dict[str, Any]]:
    """Every device of the host, but for the terminals of others (``--privileged``)."""
    try:
        found = reading.device("/dev")
    except OSError as error:
        raise Error(f"cannot list the host's devices: {explain(error)}") from error
    own = ("/dev/pts/", "/dev/shm/", "/dev/mqueue/", "/dev/console")
    return [device for device in found if not device["path"].startswith(own)]
