"""How plain data looks to a Go template.

Docker formats its Go structs; ours are the dicts and lists that came out of JSON. The template can tell
the difference, and this module keeps it small:

* A struct's missing field is a mistake, a map's missing key is not. JSON writes both as objects, so they
  are told apart by what they hold: the values of a Go map all have one type, a struct's fields differ.
* JSON's ``null`` is Go's nil, which prints as ``[]`` for a list, ``map[]`` for a map and ``<nil>`` for a
  pointer, and an empty field may not be in the JSON at all. :data:`ZEROES` says by name which is which.

One difference stays. A whole struct, ``{{.State}}``, prints as ``{running true …}`` in Docker and as a map,
``map[Running:true Status:running …]``, here; ``{{json .State}}`` is the same in both.
"""

from __future__ import annotations


class Row(dict[str, object]):
    """One line of a list, as a struct: any other field than its own is a mistake.

    A value that can be called takes the field's arguments, as in ``{{.Label "com.example.tier"}}``.
    """


class NilPointer:
    """A Go pointer to nothing: ``<nil>`` when printed, and false."""

    def __bool__(self) -> bool:
        return False


NIL_POINTER = NilPointer()
NIL_SLICE: list[object] = []
NIL_MAP: dict[str, object] = {}

# What a field of Docker's API types is when it is null or absent (docker/api/types, 20.10 to 28).
ZEROES: dict[str, object] = {
    **dict.fromkeys(
        "Aliases Binds CapAdd CapDrop Cmd DNSNames DeviceCgroupRules DeviceRequests Devices Dns DnsOptions "
        "DnsSearch Entrypoint Env ExecIDs ExtraHosts GroupAdd Layers Links Mounts OnBuild RepoDigests RepoTags "
        "SecondaryIPAddresses SecondaryIPv6Addresses SecurityOpt Shell Ulimits VolumesFrom".split(),
        NIL_SLICE,
    ),
    **dict.fromkeys(
        "Annotations DriverOpts ExposedPorts Labels Options PortBindings Ports StorageOpt Sysctls Tmpfs "
        "Volumes".split(),
        NIL_MAP,
    ),
    **dict.fromkeys(
        "Health Healthcheck IPAMConfig Init MemorySwappiness OomKillDisable PidsLimit SizeRootFs SizeRw "
        "StopTimeout".split(),
        NIL_POINTER,
    ),
    "NetworkDisabled": False,
    "StopSignal": "",
}


class GoError(Exception):
    """What Go's template would complain of; the one who evaluates adds where."""


def field(value: object, name: str, strict: bool) -> object:
    """Return ``value.name`` as Go's template finds it; None is Go's ``<no value>``.

    ``strict`` is how ``docker inspect`` looks: a struct's missing field is an error, and null and absent
    fields are typed nils. Without it every dict is a map, and a missing key is no value. Raises GoError.
    """
    if value is None:
        return None
    if isinstance(value, NilPointer):
        raise GoError(f"nil pointer evaluating {type_name(value)}.{name}")
    if not isinstance(value, dict) or (isinstance(value, Row) and name not in value):
        raise GoError(f"can't evaluate field {name} in type {type_name(value)}")
    found: object = value.get(name)
    if found is not None or not strict or isinstance(value, Row):
        return found
    if name in value:
        return ZEROES.get(name, NIL_POINTER)
    if is_map(value):
        return None
    if name not in ZEROES:
        raise GoError(f'map has no entry for key "{name}"')
    return ZEROES[name]


def is_map(value: dict[str, object]) -> bool:
    """Whether a JSON object was a Go map: all its values have one type, and an empty one is a map too."""
    return len({type(item) for item in value.values()}) <= 1


def type_name(value: object) -> str:
    """Return the Go type that ``value`` would have, as ``%T`` prints it."""
    if value is None:
        return "<nil>"
    if isinstance(value, NilPointer):
        return "interface {}"
    if isinstance(value, Row):
        return "row"
    if isinstance(value, list):
        return f"[]{_element([*value])}"
    if isinstance(value, dict):
        return f"map[string]{_element([*value.values()])}"
    return {bool: "bool", int: "int", float: "float64", str: "string"}.get(type(value), "func")


def _element(values: list[object]) -> str:
    return "string" if all(isinstance(item, str) for item in values) else "interface {}"
