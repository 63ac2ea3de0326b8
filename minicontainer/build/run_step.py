"""RUN, read: what its words mean, before a container runs them (see minicontainer.build.running)."""

from __future__ import annotations

import json

from minicontainer.build import mounting
from minicontainer.build.mounting import Mount, Mounts
from minicontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.build.dockerfile import Instruction
    from minicontainer.build.stage import Layer, StageBuild
    from minicontainer.engine.container import Container

_SCRIPTS = "/dev/pipes"


def run(stage: StageBuild, instruction: Instruction) -> None:
    """Run the command of one RUN, or take what it has done before from the cache."""
    env = stage.draft.env
    arguments = stage.arguments.for_run(env)
    command, script = _command(stage, instruction)
    named = [f"{name}={value}" for name, value in arguments.items()]
    proxies = [f"{name}={value}" for name, value in stage.arguments.proxies(env).items()]
    step = " ".join([f"|{len(named)}", *named, *command] if named or proxies else command)
    workdir = stage.draft.config.get("WorkingDir") or "/"
    mounts = [Mount(stage.expand(text), workdir) for text in instruction.flags.get("mount", ())]
    network = _network(stage, instruction)
    asked = [*(mount.text for mount in mounts), script.decode(errors="surrogateescape")]
    if instruction.words is not None:
        asked.append(json.dumps(instruction.words))  # the history does not say where a word ends
    if network != stage.build.options.network:
        asked.append(network)
    asked += [digest for mount in mounts if (digest := _digest(stage, mount))]
    more = "\n".join(asked) if any(asked) else ""

    def make() -> Layer:
        place = stage.build.job.place()
        ready = Mounts(place, stage.build.caches, stage.build.options.secrets, stage.bring)
        try:
            for mount in mounts:
                ready.add(mount)
            if script:
                ready.file(f"{_SCRIPTS}/{instruction.heredocs[0].name}", script)
            return _run(stage, command, ready, [*named, *proxies, *ready.env], network)
        finally:
            ready.close()

    stage.commit(step, make, more)


def _run(stage: StageBuild, command: list[str], ready: Mounts, env: list[str], network: str) -> Layer:
    build, step = stage.build, stage.step
    image = stage.image()
    points = build.missing(image, ready.targets)
    ids = []

    def begun(container: Container) -> None:
        ids.append(container.id)
        build.tell("running", step, container.id)

    try:
        return build.runner.run(
            image,
            command,
            lambda kind, data: build.tell("output", step, kind, data),
            begun,
            lambda upper: mounting.remove_points(upper, points),
            env=env,
            mounts=ready.options,
            tmpfs=ready.tmpfs,
            **({} if network == "default" else {"network": network}),
        )
    finally:
        for container_id in ids:
            build.tell("removed", step, container_id)


def _command(stage: StageBuild, instruction: Instruction) -> tuple[list[str], bytes]:
    """What is run, and the script that it is when a heredoc holds one with a ``#!`` line."""
    if instruction.words is not None:
        return instruction.words, b""
    script = instruction.script
    if script is not None and script.startswith("#!"):
        return [f"{_SCRIPTS}/{instruction.heredocs[0].name}"], script.encode(errors="surrogateescape")
    return [*stage.draft.shell, instruction.shell_line], b""


def _network(stage: StageBuild, instruction: Instruction) -> str:
    given = instruction.flags.get("network", [""])[-1]
    if given not in ("", "default", "none", "host"):
        raise InvalidArgument(f"--network={given}: there is default, none and host")
    security = instruction.flags.get("security", ["sandbox"])[-1]
    if security != "sandbox":
        raise InvalidArgument(f"--security={security}: steps run in the sandbox here")
    return stage.build.options.network if given in ("", "default") else given


def _digest(stage: StageBuild, mount: Mount) -> str:
    """What a step that sees these files depends on."""
    return stage.digest(mount.origin, mount.source or "/") if mount.type == "bind" else ""
