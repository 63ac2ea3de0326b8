"""-v, --mount and --volumes-from: what they come to, what is refused, and that it is what docker makes of them."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import pytest
from conftest import DOCKER_IMAGE, Cli

from minicontainer.engine.mount_options import parse_mount, parse_volume
from minicontainer.errors import InvalidArgument

# -v: (type, source, target, read-only), or what is said of it.
VOLUMES: dict[str, tuple[str, str, str, bool] | str] = {
    "/a:/b": ("bind", "/a", "/b", False),
    "/a:/b:ro": ("bind", "/a", "/b", True),
    "/a:/b:rw,z": ("bind", "/a", "/b", False),
    "/a:/b:ro,rslave,Z": ("bind", "/a", "/b", True),
    "/a:/b:cached": ("bind", "/a", "/b", False),
    "name:/b": ("volume", "name", "/b", False),
    "name:/b:nocopy,ro": ("volume", "name", "/b", True),
    "ro:/b:ro": ("volume", "ro", "/b", True),
    "/a:/b:/c:d": "too many colons",
    "/a:/b:ro:rw": "too many colons",
    "/a::ro": "empty section",
    ":/b": "empty section",
    "name:": "empty section",
    ":": "empty section",
    "/a:/b:": "empty section",
    "/a:/b:bad": "invalid mode: bad",
    "/a:/b:ro,rw": "invalid mode: ro,rw",
    "/a:/b:z,Z": "invalid mode: z,Z",
    "/a:/b:rshared,rslave": "invalid mode: rshared,rslave",
    "/a:/b:ro,": "invalid mode: ro,",
    "/a:/b:RO": "invalid mode: RO",
    "/a:/b:/c": "invalid mode: /c",
    "/a:ro": "an anonymous volume has no mode",
}
MOUNTS: dict[str, dict[str, Any] | str] = {
    "type=bind,src=/a,dst=/b": {"Type": "bind", "Source": "/a", "Target": "/b"},
    "type=Bind,source=/a,target=/b,readonly": {
        "Type": "bind",
        "Source": "/a",
        "Target": "/b",
        "ReadOnly": True,
    },
    'type=bind,"src=/a,b",destination=/b,ro=0': {
        "Type": "bind",
        "Source": "/a,b",
        "Target": "/b",
        "ReadOnly": False,
    },
    "src=name,dst=/b,volume-nocopy,volume-label=a=b,volume-label=c": {
        "Type": "volume",
        "Source": "name",
        "Target": "/b",
        "VolumeOptions": {"NoCopy": True, "Labels": {"a": "b", "c": ""}},
    },
    "dst=/b": {"Type": "volume", "Source": "", "Target": "/b"},
    "type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=1700": {
        "Type": "tmpfs",
        "Source": "",
        "Target": "/b",
        "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1700},
    },
    "type=bind,src=/a,dst=/b,bind-propagation=rslave,bind-nonrecursive": {
        "Type": "bind",
        "Source": "/a",
        "Target": "/b",
        "BindOptions": {"Propagation": "rslave", "NonRecursive": True},
    },
    "": "target is required",
    "type": "invalid field 'type' must be a key=value pair",
    "type=bind,src=/a,dst=/b,foo": "invalid field 'foo' must be a key=value pair",
    "type=bind,src=/a,dst=/b,foo=bar": "unexpected key 'foo' in 'foo=bar'",
    "type=bind,src=/a": "target is required",
    "type=bind,src=/a,dst=/b,readonly=maybe": "invalid value for readonly: maybe",
    "type=tmpfs,dst=/b,tmpfs-size=x": "invalid value for tmpfs-size: x",
    "type=tmpfs,dst=/b,tmpfs-mode=99": "invalid value for tmpfs-mode: 99",
    "type=bind,src=/a,dst=/b,volume-nocopy": "cannot mix 'volume-*' options with mount type 'bind'",
    "src=a,dst=/b,bind-propagation=rslave": "cannot mix 'bind-*' options with mount type 'volume'",
    "src=a,dst=/b,tmpfs-size=1": "cannot mix 'tmpfs-*' options with mount type 'volume'",
}


@pytest.mark.parametrize("text", VOLUMES)
def test_reading_a_volume(text: str) -> None:
    wanted = VOLUMES[text]
    if isinstance(wanted, str):
        with pytest.raises(InvalidArgument) as caught:
            parse_volume(text)
        assert wanted in str(caught.value) and f'"{text}"' in str(caught.value)
        return
    mount, mode = parse_volume(text)
    assert (mount["Type"], mount["Source"], mount["Target"], mount["ReadOnly"]) == wanted
    assert mode == ":".join(text.split(":")[2:])


@pytest.mark.parametrize("text", MOUNTS)
def test_reading_a_mount(text: str) -> None:
    wanted = MOUNTS[text]
    if isinstance(wanted, dict):
        assert parse_mount(text) == wanted
        return
    with pytest.raises(InvalidArgument) as caught:
        parse_mount(text)
    assert wanted in str(caught.value)


def test_a_relative_source_is_in_the_current_directory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_mount("type=bind,src=./a,dst=/b")["Source"] == f"{tmp_path}/a"
    assert parse_mount("type=bind,src=.,dst=/b")["Source"] == str(tmp_path)
    assert parse_mount("type=volume,src=a,dst=/b")["Source"] == "a"


# ------------------------------------------------------------------ beside docker

# The words of an option, with DIR for a directory that is there. Both engines take them, and show the same mounts.
TAKEN = (
    "-v DIR:/x",
    "-v DIR/file:/etc/f:ro",
    "-v DIR:/x/../y/",
    "-v DIR/../:/x:ro",
    "-v DIR/new/deep:/x",
    "-v named-volume:/x",
    "-v named-volume:/x:ro",
    "-v named-volume:/x:nocopy",
    "-v named-volume:/x:Z",
    "-v /anonymous",
    "-v /x -v named-volume:/x",
    "--mount type=bind,src=DIR,dst=/x",
    "--mount type=bind,src=DIR,dst=/x,readonly",
    "--mount type=bind,src=DIR,dst=/x,bind-nonrecursive",
    "--mount type=volume,dst=/x",
    "--mount src=named-volume,dst=/x",
    "--mount src=named-volume,dst=/x,readonly",
    "--mount type=tmpfs,dst=/x,tmpfs-size=1m,tmpfs-mode=700",
    "--mount type=tmpfs,dst=/x,readonly",
)
# Both refuse these, with these words in the message.
REFUSED = {
    "-v DIR:/x:bad": "invalid mode: bad",
    "-v DIR:/x:ro,rw": "invalid mode: ro,rw",
    "-v DIR:/": "destination can't be '/'",
    "-v DIR:relative": "'relative' mount path must be absolute",
    "-v a/b:/x": '"a/b" includes invalid characters for a local volume name',
    "-v ...:/x": '"..." includes invalid characters for a local volume name',
    "--mount type=bind,src=/non/existent,dst=/x": "bind source path does not exist: /non/existent",
    "--mount type=bind,src=DIR,dst=/": "destination can't be '/'",
    "--mount type=bind,src=DIR,dst=x": "'x' mount path must be absolute",
    "--mount type=bind,src=rel,dst=/x": "'rel' mount path must be absolute",
    "--mount type=bind,dst=/x": "field Source must not be empty",
    "--mount type=tmpfs,src=a,dst=/x": "field Source must not be specified",
    "--mount type=foo,dst=/x": "mount type unknown",
    "--mount type=bind,src=DIR,dst=/x,bind-propagation=foo": "invalid propagation mode: foo",
    "--mount type=volume,src=../../etc,dst=/x": "includes invalid characters for a local volume name",
    "-v DIR:/x -v named-volume:/x": "uplicate mount point: /x",
    "-v DIR:/x --tmpfs /x": "uplicate mount point: /x",
    "-v DIR:/x --mount type=tmpfs,dst=/x": "uplicate mount point: /x",
    "--volumes-from no-such-container": "o such container: no-such-container",
}


def words(text: str, directory: pathlib.Path) -> list[str]:
    return text.replace("DIR", str(directory)).split()


@pytest.fixture
def here(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "file").write_text("f\n")
    return tmp_path


def comparable(document: dict[str, Any]) -> list[Any]:
    """What inspect says of mounts, without what is each engine's own: names of anonymous volumes, and paths."""
    points = []
    for point in document["Mounts"]:
        if point["Type"] == "volume":
            assert point["Source"].endswith(f"/volumes/{point['Name']}/_data")
            point["Source"] = ""
            point["Name"] = "64 digits" if len(point["Name"]) == 64 else point["Name"]
        points.append(json.dumps(point))
    host = document["HostConfig"]
    asked = host.get("Mounts") or []
    for mount in asked:
        mount.get("VolumeOptions", {}).pop("DriverConfig", None)
    return [sorted(points), host["Binds"], document["Config"]["Volumes"], len(asked)]


@pytest.mark.parametrize("text", TAKEN)
def test_inspect_shows_the_mounts_that_docker_shows(
    cli: Cli, docker: Any, here: pathlib.Path, text: str
) -> None:
    cli("create", "--name", "it", *words(text, here), "alpine", "true")
    ours = json.loads(cli.out("inspect", "it"))[0]
    cli("rm", "-v", "it")
    made = docker("create", *words(text, here), DOCKER_IMAGE, "true")
    assert made.returncode == 0, made.stderr
    theirs = json.loads(docker("inspect", made.stdout.strip()).stdout)[0]
    docker("rm", "-v", made.stdout.strip())
    docker("volume", "rm", "-f", "named-volume")
    assert comparable(ours) == comparable(theirs)


@pytest.mark.parametrize("text", REFUSED)
def test_docker_refuses_it_too(cli: Cli, docker: Any, here: pathlib.Path, text: str) -> None:
    ours = cli("create", *words(text, here), "alpine", "true", code=1).stderr
    theirs = docker("create", *words(text, here), DOCKER_IMAGE, "true")
    assert theirs.returncode != 0
    assert REFUSED[text] in ours and REFUSED[text] in theirs.stderr
    assert not cli.out("ps", "-aq")
    docker("volume", "rm", "-f", "named-volume")


@pytest.mark.parametrize(
    "text",
    ["-v DIR:/x:nocopy", "-v named:/x:rslave", "-v a:/x", "-v /", "-v x", "-v ", "-v DIR:/x:ro:ro"],
)
def test_what_cannot_be_meant_is_refused_and_leaves_nothing(cli: Cli, here: pathlib.Path, text: str) -> None:
    option, _, value = text.replace("DIR", str(here)).partition(" ")
    refused = cli("run", option, value, "alpine", "true", code=125)
    assert "invalid" in refused.stderr or "too short" in refused.stderr
    assert value in refused.stderr
    assert not cli.out("ps", "-aq") and not cli.out("volume", "ls", "-q")


def test_volumes_from(cli: Cli, here: pathlib.Path) -> None:
    cli("create", "--name", "first", "-v", f"{here}:/h", "-v", "/anonymous", "alpine")
    cli("run", "--rm", "--volumes-from", "first", "alpine", "sh", "-c", "echo x > /anonymous/f; cat /h/file")
    assert cli.out("run", "--rm", "--volumes-from", "first:ro", "alpine", "cat", "/anonymous/f") == "x"
    refused = cli("run", "--rm", "--volumes-from", "first:ro", "alpine", "touch", "/anonymous/f", code=1)
    assert "Read-only file system" in refused.stderr
    assert "f" in cli.out("run", "--rm", "--volumes-from", "first", "-v", "/h", "alpine", "ls", "/h")
    assert "invalid mode: foo" in cli("create", "--volumes-from", "first:foo", "alpine", code=1).stderr
    assert "must name a container" in cli("create", "--volumes-from", "", "alpine", code=1).stderr
    assert len(cli.out("volume", "ls", "-q").split()) == 1, "--rm took what is another container's"
    cli("rm", "-v", "first")
    assert not cli.out("volume", "ls", "-q")


def test_the_library_takes_them(engine: Any, here: pathlib.Path) -> None:
    import minicontainer

    output = minicontainer.run(
        "alpine", "cat /x/file", engine=engine, mounts=[f"type=bind,src={here},dst=/x"], volumes=["/v"]
    )
    assert output == "f\n"
    assert engine.volumes.all() == []


@pytest.mark.parametrize("text", ["-v DIR:/x:rshared", "-v DIR:/x:rslave", "-v DIR:/x:slave"])
def test_propagation_needs_a_mount_that_is_shared(
    cli: Cli, docker: Any, here: pathlib.Path, text: str
) -> None:
    subprocess.run(["mount", "--bind", here, here], check=True)
    subprocess.run(["mount", "--make-private", here], check=True)
    try:
        ours = cli("run", "--rm", *words(text, here), "alpine", "true", code=125).stderr
        theirs = docker("run", "--rm", "--network", "none", *words(text, here), DOCKER_IMAGE, "true")
    finally:
        subprocess.run(["umount", here], check=True)
    wanted = f"path {here} is mounted on {here} but it is not a shared"
    assert wanted in ours and wanted in theirs.stderr
