"""Networks: network create, ls, inspect, rm, connect, disconnect, graph; and port."""

from __future__ import annotations

import sys

from minicontainer.cli import table
from minicontainer.cli.commands.inspect import print_documents
from minicontainer.cli.flags import BOOL, LIST, STRING, Command, Flag, UsageError
from minicontainer.engine import network_listing, options
from minicontainer.engine.network import ends, members, ports
from minicontainer.errors import Error, NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine

HEADERS: dict[str, object] = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "CreatedAt": "CREATED AT",
    "Labels": "LABELS",
    "Label": table.label_header,
}


def create(engine: Engine, values: Values, names: list[str]) -> None:
    """Make a network and print its id."""
    if values.driver != "bridge":
        raise Unsupported(f'the network driver "{values.driver}" is not supported; there is bridge')
    network = engine.networks.create(
        names[0],
        subnets=_listed(values.subnet),
        gateways=_listed(values.gateway),
        ranges=_listed(values.ip_range),
        internal=values.internal,
        ipv6=values.ipv6,
        labels=options.pairs("label", values.label),
        options=options.pairs("opt", values.opt),
    )
    print(network.id)


def _listed(values: list[str]) -> list[str]:
    """Each value may hold several, with commas between."""
    return [each for value in values for each in value.split(",")]


def ls(engine: Engine, values: Values, _: list[str]) -> None:
    """List networks."""
    for text in values.filter:
        if "=" not in text:
            raise UsageError(f'invalid argument "{text}" for "-f, --filter" flag: expected name=value')
    rows = network_listing.rows(engine, values.filter, trunc=not values.no_trunc)
    quiet = "ID" if values.quiet else None
    print(table.formatted(rows, values.format, HEADERS, ("ID", "Name", "Driver", "Scope"), quiet), end="")


def inspect(engine: Engine, values: Values, names: list[str]) -> int:
    """Inspect networks."""
    return print_documents(names, lambda name: engine.networks.find(name).inspect(), values.format)


def remove(engine: Engine, values: Values, names: list[str]) -> int:
    """Remove networks, going on after one that cannot be removed."""
    status = 0
    for name in names:
        try:
            engine.networks.remove(name)
            print(name, flush=True)
        except Error as error:
            if not (values.force and isinstance(error, NotFound)):
                print(f"minicontainer: {error}", file=sys.stderr)
                status = 1
    return status


def connect(engine: Engine, values: Values, words: list[str]) -> None:
    """Connect a container to a network."""
    members.connect(
        engine.networks,
        words[0],
        engine.find(words[1]),
        ip=values.ip or "",
        ip6=values.ip6 or "",
        aliases=_listed(values.alias),
    )


def disconnect(engine: Engine, values: Values, words: list[str]) -> None:
    """Disconnect a container from a network."""
    members.disconnect(engine.networks, words[0], engine.find(words[1]), force=values.force)


def graph(engine: Engine, values: Values, _: list[str]) -> None:
    """Draw the live networks."""
    from minicontainer.engine.network import graph as drawing

    text = drawing.dot(engine)
    if values.output:
        drawing.write(text, values.output)
    else:
        print(text, end="")


def port(engine: Engine, _: Values, words: list[str]) -> int:
    """List a container's published ports, or where one of them is."""
    container = engine.find(words[0])
    published = [each for end in ends.of(container) for each in end.ports]
    bound = ports.by_port(container.document, published)
    if len(words) == 1:
        for key, where in bound.items():
            for each in where or ():
                print(f"{key} -> {ports.join(each['HostIp'], each['HostPort'])}")
        return 0
    (wanted,) = ports.exposed("PRIVATE_PORT", words[1])[:1]
    if not bound.get(wanted):
        raise NotFound(f"no public port '{words[1]}' published for {words[0]}")
    for each in bound[wanted] or ():
        print(ports.join(each["HostIp"], each["HostPort"]))
    return 0


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "network create",
            "[OPTIONS] NETWORK",
            "Create a network",
            (
                Flag(
                    "d",
                    "driver",
                    STRING,
                    "Driver to manage the Network",
                    default="bridge",
                    values=("bridge",),
                ),
                Flag("", "gateway", LIST, "IPv4 or IPv6 Gateway for the master subnet", metavar="strings"),
                Flag("", "internal", BOOL, "Restrict external access to the network"),
                Flag("", "ip-range", LIST, "Allocate container ip from a sub-range", metavar="strings"),
                Flag("", "ipv6", BOOL, "Enable IPv6 networking"),
                Flag("", "label", LIST, "Set metadata on a network"),
                Flag("o", "opt", LIST, "Set driver specific options", metavar="map"),
                Flag(
                    "",
                    "subnet",
                    LIST,
                    "Subnet in CIDR format that represents a network segment",
                    metavar="strings",
                ),
            ),
            create,
            least=1,
            most=1,
        ),
        Command(
            "network ls",
            "[OPTIONS]",
            "List networks",
            (
                Flag("f", "filter", LIST, 'Provide filter values (e.g. "driver=bridge")', metavar="filter"),
                Flag("", "format", STRING, "Pretty-print using a Go template, or table TEMPLATE, or json"),
                Flag("", "no-trunc", BOOL, "Do not truncate the output"),
                Flag("q", "quiet", BOOL, "Only display network IDs"),
            ),
            ls,
            most=0,
        ),
        Command(
            "network inspect",
            "[OPTIONS] NETWORK [NETWORK...]",
            "Display detailed information on one or more networks",
            (Flag("f", "format", STRING, "Format the output using the given Go template, or json"),),
            inspect,
            least=1,
            completes="networks",
        ),
        Command(
            "network rm",
            "NETWORK [NETWORK...]",
            "Remove one or more networks",
            (Flag("f", "force", BOOL, "Do not complain about networks that are not there"),),
            remove,
            least=1,
            completes="networks",
        ),
        Command(
            "network connect",
            "[OPTIONS] NETWORK CONTAINER",
            "Connect a container to a network",
            (
                Flag("", "alias", LIST, "Add network-scoped alias for the container", metavar="strings"),
                Flag("", "ip", STRING, "IPv4 address (e.g., 172.30.100.104)"),
                Flag("", "ip6", STRING, "IPv6 address (e.g., 2001:db8::33)"),
            ),
            connect,
            least=2,
            most=2,
            completes="networks",
        ),
        Command(
            "network disconnect",
            "[OPTIONS] NETWORK CONTAINER",
            "Disconnect a container from a network",
            (Flag("f", "force", BOOL, "Do not complain about a container that is not connected"),),
            disconnect,
            least=2,
            most=2,
            completes="networks",
        ),
        Command(
            "network graph",
            "[OPTIONS]",
            "Draw the networks that there are, with the containers on them, for graphviz",
            (Flag("o", "output", STRING, "Write a picture (.svg, .png) or the text (.dot) to a file"),),
            graph,
            most=0,
        ),
        Command(
            "port",
            "CONTAINER [PRIVATE_PORT[/PROTO]]",
            "List port mappings or a specific mapping for the container",
            (),
            port,
            least=1,
            most=2,
            completes="containers",
        ),
    )
}
