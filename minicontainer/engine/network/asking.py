"""What can be asked of a container's networks, checked and in the words of its document."""

from __future__ import annotations

from minicontainer.engine.network import ports
from minicontainer.engine.network.addresses import parse
from minicontainer.engine.network.network import DEFAULT
from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from minicontainer.engine.document import Document
    from minicontainer.engine.network.network import Network
    from minicontainer.engine.network.networks import Networks
    from minicontainer.engine.options import Options


def ask(document: Document, options: Options, networks: Networks) -> None:
    """Put what is asked of networks into a container's document.

    Raises NotFound without such a network, InvalidArgument for what contradicts itself.
    """
    host, own = document["HostConfig"], document["Config"]
    mode: str = host["NetworkMode"]
    _refuse_conflicts(mode, options)
    published = ports.bindings(options.publish)
    for entry in options.expose:
        own["ExposedPorts"].update((port, {}) for port in ports.exposed("--expose", entry))
    own["ExposedPorts"].update((port, {}) for port in published)
    host["PortBindings"] = published
    host["PublishAllPorts"] = options.publish_all
    host["Dns"] = [_address("dns", entry) for entry in options.dns]
    host["DnsSearch"] = list(options.dns_search)
    host["DnsOptions"] = list(options.dns_option)
    host["ExtraHosts"] = [_extra_host(entry) for entry in options.add_host]
    asked = {}
    if mode not in ("none", "host") and not mode.startswith("container:"):
        network = networks.find(mode)
        host["NetworkMode"] = network.name
        asked[network.name] = endpoint(
            network, options.ip, options.ip6, options.network_alias, options.mac_address
        )
    document["NetworkSettings"] = {"Networks": asked}


def discarded(document: Document) -> list[str]:
    """What was asked of networks and means nothing, in Docker's words."""
    host = document["HostConfig"]
    if host["NetworkMode"] == "host" and (host["PortBindings"] or host["PublishAllPorts"]):
        return ["Published ports are discarded when using host network mode"]
    return []


def _refuse_conflicts(mode: str, options: Options) -> None:
    """Refuse what means nothing in a network namespace that is another one's (docker run)."""
    if mode == "host" or mode.startswith("container:"):
        if options.mac_address:
            raise InvalidArgument("conflicting options: mac-address and the network mode")
        if options.network_alias or options.ip or options.ip6:
            raise InvalidArgument(
                f"--network {mode}: there is no network that an address or alias could be of"
            )
    if mode == "none":
        _refuse_choices(options.ip or options.ip6, options.network_alias)
    if mode.startswith("container:"):
        if options.publish or options.publish_all:
            raise InvalidArgument("conflicting options: port publishing and the container type network mode")
        if options.expose:
            raise InvalidArgument("conflicting options: port exposing and the container type network mode")
        if options.dns:
            raise InvalidArgument("conflicting options: dns and the network mode")
        if options.add_host:
            raise InvalidArgument("conflicting options: custom host-to-IP mapping and the network mode")
        if options.hostname:
            raise InvalidArgument("conflicting options: hostname and the network mode")


def endpoint(
    network: Network, ip: str = "", ip6: str = "", aliases: Sequence[str] = (), mac: str = ""
) -> dict[str, Any]:
    """What a container wants to be on a network, in the words of Docker's API.

    Raises InvalidArgument for an address that is none, or not one of the network's.
    """
    if network.name == DEFAULT:
        _refuse_choices(ip or ip6, aliases)
    given = {}
    for option, key, text in (("ip", "IPv4Address", ip), ("ip6", "IPv6Address", ip6)):
        if text:
            given[key] = _address(option, text, 16 if option == "ip6" else 4)
            pool = network.pool(v6=option == "ip6")
            if not pool:
                raise InvalidArgument(f"--{option} {text}: network {network.name} has no subnet for it")
            pool.check(parse(text), network.name)
    for alias in aliases:
        if not alias or any(character.isspace() or character == "#" for character in alias):
            raise InvalidArgument(f'invalid argument "{alias}" for --network-alias: that is no name')
    return {"IPAMConfig": given or None, "Aliases": list(aliases), "MacAddress": _mac(mac)}


def _refuse_choices(ip: str, aliases: Sequence[str]) -> None:
    """Refuse what is for a network that somebody has made."""
    if ip:
        raise InvalidArgument("user specified IP address is supported on user defined networks only")
    if aliases:
        raise InvalidArgument(
            "network-scoped alias is supported only for containers in user defined networks; make one with "
            "minicontainer network create"
        )


def _address(option: str, text: str, size: int = 0) -> str:
    try:
        address = parse(text)
    except InvalidArgument:
        address = b""
    if not address or (size and len(address) != size):
        kind = {4: "IPv4 ", 16: "IPv6 "}.get(size, "IP ")
        raise InvalidArgument(f'invalid argument "{text}" for --{option}: {text} is no {kind}address')
    return text


def _mac(text: str) -> str:
    parts = text.lower().split(":")
    if not text:
        return ""
    if len(parts) != 6 or not all(len(part) == 2 and set(part) <= set("0123456789abcdef") for part in parts):
        raise InvalidArgument(f'invalid argument "{text}" for --mac-address: it is as 02:42:ac:11:00:02')
    if int(parts[0], 16) & 1:
        raise InvalidArgument(f'invalid argument "{text}" for --mac-address: that is the address of a group')
    return ":".join(parts)


def _extra_host(entry: str) -> str:
    name, separator, address = entry.partition("=" if "=" in entry else ":")
    if not separator or not name or any(character.isspace() for character in name):
        raise InvalidArgument(f'invalid argument "{entry}" for --add-host: it is NAME:ADDRESS')
    if address != "host-gateway":
        address = address.removeprefix("[").removesuffix("]")
        try:
            parse(address)
        except InvalidArgument as error:
            raise InvalidArgument(f'invalid argument "{entry}" for --add-host: {error}') from None
    return f"{name}:{address}"
