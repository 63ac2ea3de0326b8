"""A picture of the live networks, in dot, the language of graphviz (https://graphviz.org/doc/info/lang.html).

Namespaces are boxes: the host's, with its bridges, and one for each container. Each veth is an edge from a bridge
to a container, with the names and addresses of its ends. Published ports are edges from the outside. It is drawn
from what is written down, and from the kernel: an edge whose veth is not there is drawn dashed.
"""

from __future__ import annotations

from minicontainer.engine.network.addresses import show
from minicontainer.engine.network.ports import join
from minicontainer.errors import Error, InvalidArgument, Unsupported
from minicontainer.kernel import netlink, rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.engine.engine import Engine
    from minicontainer.engine.network.end import End
    from minicontainer.engine.network.network import Network

_FORMATS = ("svg", "png", "pdf")


def dot(engine: Engine) -> str:
    """The networks of an engine that have a bridge, and the containers on them, as a graph in dot."""
    with netlink.Socket() as sock:
        devices = {link.name for link in rtnetlink.links(sock)}
    networks = [network for network in engine.networks.made() if network.bridge in devices]
    ends = [end for network in networks for end in network.ends()]
    lines = [
        "graph networks {",
        "  rankdir=LR;",
        '  node [shape=box, fontname="sans-serif"];',
        '  edge [fontname="sans-serif", fontsize=10];',
        "  subgraph cluster_host {",
        '    label="host";',
        '    style="rounded";',
        *(f"    {line}" for network in networks for line in _bridge(network)),
        "  }",
    ]
    for container_id in dict.fromkeys(end.container_id for end in ends):
        lines += _container(container_id, [end for end in ends if end.container_id == container_id])
    lines += [_veth(end, end.host_interface in devices) for end in ends]
    lines += _published(ends)
    return "\n".join([*lines, "}"]) + "\n"


def _quote(*lines: str) -> str:
    """A string of dot, of one or more lines."""
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines if line]
    return '"' + "\\n".join(escaped) + '"'


def _bridge(network: Network) -> list[str]:
    gateways = [f"{show(pool.gateway)}/{pool.subnet.prefix}" for pool in network.pools]
    inside = "internal" if network.internal else ""
    label = _quote(f"{network.name}: {network.bridge}", *gateways, inside)
    return [f"{_quote('bridge ' + network.name)} [label={label}, shape=component];"]


def _container(container_id: str, ends: list[End]) -> list[str]:
    lines = [f"  subgraph {_quote('cluster_' + container_id[:12])} {{"]
    lines.append(f"    label={_quote(ends[0].name)};")
    for end in ends:
        label = _quote(end.interface, *(f"{address}/{pool.subnet.prefix}" for address, pool in end.pools))
        lines.append(f"    {_quote(_node(end))} [label={label}];")
    return [*lines, "  }"]


def _node(end: End) -> str:
    return f"{end.container_id[:12]} {end.interface}"


def _veth(end: End, there: bool) -> str:
    style = "" if there else ", style=dashed"
    ends = f"{_quote('bridge ' + end.network.name)} -- {_quote(_node(end))}"
    return f"  {ends} [label={_quote(end.host_interface)}{style}];"


def _published(ends: list[End]) -> list[str]:
    lines = []
    for end in ends:
        for port in end.ports:
            label = _quote(
                f"{join(port['HostIp'], str(port['HostPort']))} → {port['ContainerPort']}/{port['Type']}"
            )
            lines.append(f"  outside -- {_quote(_node(end))} [label={label}, dir=forward, color=blue];")
    return (['  outside [shape=ellipse, label="outside"];'] if lines else []) + lines


def write(text: str, path: str) -> None:
    """Write a graph to a file: as a picture, or the text itself when its name ends with ``.dot``.

    Raises Unsupported when graphviz is not installed, InvalidArgument for another ending.
    """
    ending = path.rpartition(".")[2].lower()
    if ending in ("dot", "gv"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return
    if ending not in _FORMATS:
        raise InvalidArgument(
            f"{path}: a picture's name ends with {', '.join('.' + each for each in _FORMATS)} or .dot"
        )
    try:
        import graphviz
    except ImportError:
        raise Unsupported("a picture takes the Python package graphviz; pip install graphviz") from None
    try:
        picture = graphviz.Source(text).pipe(format=ending)
    except graphviz.ExecutableNotFound:
        raise Unsupported("a picture takes graphviz; apt-get install graphviz") from None
    except graphviz.CalledProcessError as error:
        raise Error(f"graphviz could not draw it: {error}") from None
    with open(path, "wb") as file:
        file.write(picture)
