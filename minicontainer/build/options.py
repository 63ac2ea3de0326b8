"""What can be asked of a build."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: those of a container that the containers of RUN steps get as well
OF_CONTAINERS = (
    "add_host",
    "cgroup_parent",
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "cpuset_cpus",
    "cpuset_mems",
    "memory",
    "memory_swap",
    "security_opt",
    "shm_size",
    "ulimits",
)


class Options:
    """The options of one build; those not given have these values."""

    tags: Sequence[str] = ()  #: names for the image
    target: str = ""  #: the stage to stop at, by name or number; "" for the last
    build_args: Mapping[str, str] = {}  #: values for ARG
    labels: Mapping[str, str] = {}  #: for the image
    no_cache: bool = False  #: make every step anew
    pull: bool = False  #: ask the registries for newer base images
    cache_from: Sequence[str] = ()  #: images whose layers may be taken for steps
    secrets: Mapping[str, bytes] = {}  #: for ``RUN --mount=type=secret``, by their ids
    platform: str = ""  #: of base images: ``os/arch[/variant]``
    network: str = "default"  #: of RUN steps
    add_host: Sequence[str] = ()  #: further lines for their /etc/hosts, ``NAME:ADDRESS``
    # limits of the containers of RUN steps, as minicontainer.Options has them
    cgroup_parent: str = ""
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    memory: int | str = 0
    memory_swap: int | str = 0
    security_opt: Sequence[str] = ()
    shm_size: int | str = 64 << 20
    ulimits: Sequence[str] = ()

    def __init__(self, **given: object) -> None:
        for name, value in given.items():
            if name not in Options.__annotations__:
                raise TypeError(f"a build has no option {name!r}")
            setattr(self, name, value)

    def of_containers(self) -> dict[str, object]:
        """What the container of a RUN step is asked for."""
        return {name: getattr(self, name) for name in OF_CONTAINERS}
