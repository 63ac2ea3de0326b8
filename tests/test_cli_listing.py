"""What lists and inspect tell: ps, images, inspect, top, stats, version, info, doctor; import and rmi."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
import subprocess
import tarfile
import time

import pytest
from conftest import Cli

from minicontainer.version import VERSION

# Nobody, but able to read: the interpreter of the tests may lie in root's home directory.
AS_NOBODY = (
    "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps +dac_read_search --ambient-caps".split()
)
AS_NOBODY += ["+dac_read_search"]


def cells(row: str) -> list[str]:
    return re.split(r"\s{2,}", row.strip())


def names(cli: Cli, *options: object) -> list[str]:
    return cli.out("ps", "--format", "{{.Names}}", *options).split()


# ------------------------------------------------------------------ ps


@pytest.fixture
def three(cli: Cli) -> dict[str, str]:
    """One container created, one running, one exited with 3, in this order."""
    made = {"made": cli.out("create", "--name", "made", "--label", "kind=a", "alpine", "true")}
    made["busy"] = cli.out(
        *("run", "-d", "--name", "busy", "--label", "kind=b", "--label", "x=1", "alpine"), *("sleep", "100")
    )
    made["done"] = cli.out("run", "-d", "--name", "done", "--label", "kind=b", "alpine", "sh", "-c", "exit 3")
    cli("wait", "done")
    return made


def test_ps_shows_what_runs_and_ps_a_all_newest_first(cli: Cli, three: dict[str, str]) -> None:
    assert names(cli) == ["busy"]
    assert names(cli, "-a") == ["done", "busy", "made"]
    assert names(cli, "-l") == ["done"]
    assert names(cli, "-n", "2") == ["done", "busy"]
    assert cli.out("ps", "-q").split() == [three["busy"][:12]]
    assert cli.out("ps", "-aq", "--no-trunc").split() == [three[each] for each in ("done", "busy", "made")]


def test_ps_columns(cli: Cli, three: dict[str, str]) -> None:
    header, *rows = cli.out("ps", "-a").splitlines()
    assert cells(header) == ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    shown = {cells(row)[-1]: cells(row) for row in rows}
    assert shown["busy"][:3] == [three["busy"][:12], "alpine", '"sleep 100"']
    assert re.fullmatch(r"Up (Less than a second|\d+ seconds?|About a minute)", shown["busy"][4])
    assert re.fullmatch(r"Exited \(3\) .+ ago", shown["done"][4])
    assert shown["made"][4] == "Created"
    assert shown["made"][3].endswith(" ago")


def test_a_command_is_one_line_and_shortened(cli: Cli) -> None:
    cli("create", "--name", "long", "alpine", "sh", "-c", "echo 'two words'\necho \"quoted\"\t\x1b[31m")
    row = cli.out("ps", "-a").splitlines()[1]
    assert cells(row)[2] == "\"sh -c 'echo 'two wo…\""
    whole = cli.out("ps", "-a", "--no-trunc", "--format", "{{.Command}}")
    assert len(whole.splitlines()) == 1
    assert "\x1b" not in whole
    assert whole.startswith("\"sh -c 'echo 'two words'\\necho \\\"quoted\\\"")


def test_ps_size(cli: Cli) -> None:
    cli("run", "--name", "big", "alpine", "sh", "-c", "head -c 2000000 /dev/zero > /big")
    header, row = cli.out("ps", "-as").splitlines()
    assert cells(header)[-1] == "SIZE"
    found = re.fullmatch(r"2MB \(virtual ([\d.]+)MB\)", cells(row)[-1])
    assert found
    assert float(found[1]) > 2
    assert cli.out("ps", "-a", "--format", "{{.Size}}").startswith("2MB ")


FILTERS = {
    "status=running": "busy",
    "status=created": "made",
    "status=exited status=created": "done made",
    "exited=3": "done",
    "exited=0": "",
    "name=us": "busy",
    "name=^/busy$": "busy",
    "name=busy name=made": "busy made",
    "label=kind": "done busy made",
    "label=kind=b": "done busy",
    "label=kind=b label=x=1": "busy",
    "label=kind=b status=exited": "done",
    "before=busy": "made",
    "since=busy": "done",
    "ancestor=alpine": "done busy made",
    "ancestor=nonesuch": "",
}


def test_ps_filters(cli: Cli, three: dict[str, str]) -> None:
    """Filters of one name are alternatives, but all labels are required, as with Docker."""
    for asked, found in FILTERS.items():
        options = [word for each in asked.split() for word in ("--filter", each)]
        assert names(cli, "-a", *options) == found.split(), asked


def test_ps_filter_by_id(cli: Cli, three: dict[str, str]) -> None:
    assert names(cli, "-a", "-f", f"id={three['made'][:6]}") == ["made"]


def test_ps_formats(cli: Cli, three: dict[str, str]) -> None:
    assert cli.out("ps", "--format", "{{.Names}}: {{.State}} {{.Labels}}") == "busy: running kind=b,x=1"
    assert cli.out("ps", "--format", '{{.Label "x"}}') == "1"
    assert json.loads(cli.out("ps", "--format", "json"))["ID"] == three["busy"][:12]
    table = cli.out("ps", "-a", "--format", "table {{.Names}}\\t{{.State}}").splitlines()
    assert table[0].split() == ["NAMES", "STATE"]
    assert table[1].split() == ["done", "exited"]


def test_ps_when_there_is_nothing(cli: Cli) -> None:
    assert len(cli.out("ps").splitlines()) == 1
    assert cli.out("ps", "-q") == ""


# ------------------------------------------------------------------ inspect


def test_inspect_of_a_container(cli: Cli, three: dict[str, str], root: str) -> None:
    document = json.loads(cli.out("inspect", "busy"))[0]
    assert document["Id"] == three["busy"]
    assert document["Name"] == "/busy"
    assert (document["Path"], document["Args"]) == ("sleep", ["100"])
    assert document["Config"]["Image"] == "alpine"
    assert document["Config"]["Labels"] == {"kind": "b", "x": "1"}
    assert document["State"]["Running"] is True
    assert os.path.exists(f"/proc/{document['State']['Pid']}")
    assert document["Image"] == json.loads(cli.out("image", "inspect", "alpine"))[0]["Id"]
    assert document["LogPath"] == os.path.join(root, "containers", three["busy"], "log")
    for path in ("LogPath", "HostnamePath", "HostsPath", "ResolvConfPath"):
        assert os.path.exists(document[path])


def test_inspect_formats(cli: Cli, three: dict[str, str]) -> None:
    assert cli.out("inspect", "-f", '{{.State.Status}} {{index .Config.Labels "x"}}', "busy") == "running 1"
    assert json.loads(cli.out("inspect", "--format={{json .Config.Cmd}}", "busy")) == ["sleep", "100"]
    assert cli.out("inspect", "--format", "{{.Name}}", "busy", "made").split() == ["/busy", "/made"]
    assert json.loads(cli.out("inspect", "-f", "json", "busy"))[0]["Id"] == three["busy"]
    assert "NoSuch" in cli("inspect", "-f", "{{.NoSuch}}", "busy", code=1).stderr
    cli("inspect", "-f", "{{.Unclosed", "busy", code=64)


def test_inspect_finds_containers_and_images_and_says_which_are_neither(
    cli: Cli, three: dict[str, str]
) -> None:
    done = cli("inspect", "busy", "nonesuch", "alpine", code=1)
    assert [each.get("Name") for each in json.loads(done.stdout)] == ["/busy", None]
    assert "nonesuch" in done.stderr
    cli("inspect", "--type", "image", "busy", code=1)
    cli("inspect", "--type", "container", "alpine", code=1)
    cli("container", "inspect", "alpine", code=1)
    assert "valid" in cli("inspect", "--type", "nonesuch", "busy", code=1).stderr
    assert cli.out("container", "inspect", "-f", "{{.Name}}", "busy") == "/busy"
    assert three["busy"] == cli.out("inspect", "-f", "{{.Id}}", three["busy"][:6])


# ------------------------------------------------------------------ images


@pytest.fixture
def small(cli: Cli, tmp_path: pathlib.Path) -> str:
    """An image of one file, imported from a tar archive on standard input."""
    with tarfile.open(tmp_path / "small.tar", "w") as tar:
        entry = tarfile.TarInfo("hello.txt")
        entry.size = 6
        tar.addfile(entry, io.BytesIO(b"hello\n"))
    return cli.out(
        "import", "-m", "made for a test", "-c", "ENV A=b", tmp_path / "small.tar", "example.org/x/small:1.0"
    )


def test_import_and_images(cli: Cli, small: str) -> None:
    assert re.fullmatch("sha256:[0-9a-f]{64}", small)
    header, *rows = cli.out("images").splitlines()
    assert cells(header) == ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
    row = next(cells(row) for row in rows if row.startswith("example.org/x/small"))
    assert row[1:3] == ["1.0", small[7:19]]
    assert row[3].endswith(" ago")
    assert row[4] == "6B"
    assert cli.out("images", "-q", "example.org/x/small") == small[7:19]
    assert cli.out("image", "ls", "-q", "--no-trunc", "example.org/x/*:1.0") == small
    assert cli.out("images", "-q", "example.org/x/small:2.0") == ""
    assert "sha256:" in cli.out("images", "--digests", "example.org/x/small")
    assert cli.out("images", "--format", "{{.Repository}}:{{.Tag}}", "alpine") == "alpine:latest"
    cli("rmi", "example.org/x/small:1.0")


def test_image_inspect(cli: Cli, small: str) -> None:
    document = json.loads(cli.out("image", "inspect", "example.org/x/small:1.0"))[0]
    assert document["Id"] == small
    assert document["RepoTags"] == ["example.org/x/small:1.0"]
    assert document["Config"]["Env"] == ["A=b"]
    assert document["Comment"] == "made for a test"
    assert len(document["RootFS"]["Layers"]) == 1
    assert (document["Os"], document["Size"]) == ("linux", 6)
    cli("rmi", small)


def test_import_from_standard_input(cli: Cli, rootfs_archive: str) -> None:
    argv = [*cli.argv, "import", "-", "piped"]
    with open(rootfs_archive, "rb") as archive:
        done = subprocess.run(argv, stdin=archive, env=cli.env, capture_output=True, text=True, check=True)
    assert cli.out("images", "-q", "--no-trunc", "piped") == done.stdout.strip()
    assert cli.out("run", "--rm", "piped", "sh", "-c", "echo it works") == "it works"
    cli("rmi", "piped")


def test_rmi(cli: Cli, small: str, rootfs_archive: str) -> None:
    cli("import", rootfs_archive, "used")
    holder = cli.out("create", "used", "true")
    refused = cli("rmi", "used", code=1)
    assert holder[:12] in refused.stderr
    cli("rmi", "-f", "used")
    assert cli.out("images", "-q", "used") == ""
    cli("start", "-a", holder)
    cli("rm", holder)
    said = cli.out("rmi", small[7:19]).splitlines()
    assert said[0] == "Untagged: example.org/x/small:1.0"
    assert f"Deleted: {small}" in said
    assert "nonesuch" in cli("rmi", "nonesuch", code=1).stderr
    cli("rmi", "-f", "nonesuch")


# ------------------------------------------------------------------ top and stats


def test_top(cli: Cli, three: dict[str, str]) -> None:
    header, row = cli.out("top", "busy").splitlines()
    assert header.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    pid = cli.out("inspect", "-f", "{{.State.Pid}}", "busy")
    assert row.split()[:2] == ["root", pid], "pids are those of the host"
    assert row.endswith("sleep 100")
    cli("exec", "-d", "-u", "nobody", "busy", "sleep", "101")
    _, *rows = cli.out("top", "busy").splitlines()  # by pid; and pids begin again
    (row,) = [row for row in rows if row.endswith("sleep 101")]
    assert row.startswith("nobody ") and len(rows) == 2
    assert "not running" in cli("top", "done", code=1).stderr


def test_top_with_options_of_the_host_s_ps(cli: Cli, three: dict[str, str]) -> None:
    header, row = cli.out("top", "busy", "-o", "pid,comm").splitlines()
    assert header.split() == ["PID", "COMMAND"]
    assert row.split()[1] == "sleep"
    assert "PID" in cli("top", "busy", "-o", "comm", code=1).stderr


@pytest.mark.cgroup
def test_stats(cli: Cli) -> None:
    script = "head -c 3000000 /dev/zero > /dev/shm/x; while :; do :; done"
    limits = ["-m", "64m", "--cpus", "0.5", "--network", "none"]
    cli("run", "-d", "--name", "loop", *limits, "alpine", "sh", "-c", script)
    deadline = time.monotonic() + 60
    while True:
        header, row = cli.out("stats", "--no-stream", "loop").splitlines()
        wanted = [
            "CONTAINER ID",
            "NAME",
            "CPU %",
            "MEM USAGE / LIMIT",
            "MEM %",
            "NET I/O",
            "BLOCK I/O",
            "PIDS",
        ]
        assert cells(header) == wanted
        _, name, cpu, memory, percent, net, _, pids = cells(row)
        assert (name, net, pids) == ("loop", "0B / 0B", "1")
        assert 0 < float(cpu.rstrip("%")) < 100
        used, limit = memory.split(" / ")
        assert limit == "64MiB"
        if used.endswith("MiB") and float(used[:-3]) > 2.8:
            assert float(percent.rstrip("%")) > 4
            break
        assert time.monotonic() < deadline


def test_stats_of_what_does_not_run_is_nothing(cli: Cli, three: dict[str, str]) -> None:
    fmt = "{{.Container}} {{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}"
    assert cli.out("stats", "--no-stream", "--format", fmt, "done") == "done done 0.00% 0B / 0B 0"
    shown = cli.out("stats", "--no-stream", "--format", "{{.Name}}").split()
    assert shown == ["busy"]
    assert len(cli.out("stats", "--no-stream", "-a", "--format", "{{.Name}}").split()) == 3


def test_stats_goes_on_until_it_is_stopped(cli: Cli, three: dict[str, str]) -> None:
    argv = [*cli.argv, "stats", "--format", "{{.Name}}", "busy"]
    with subprocess.Popen(argv, env=cli.env, stdout=subprocess.PIPE, text=True) as stats:
        assert stats.stdout
        assert [stats.stdout.readline() for _ in range(2)] == ["busy\n"] * 2
        stats.send_signal(2)
        assert stats.wait(20) == 130


# ------------------------------------------------------------------ about the host


def test_version_and_info(cli: Cli) -> None:
    assert VERSION in cli.out("version")
    assert cli.out("--version") == VERSION
    assert cli.out("version", "-f", "{{.Server.Version}}") == VERSION
    cli("create", "alpine", "true")
    info = json.loads(cli.out("info", "--format", "json"))
    assert (info["Containers"], info["ContainersRunning"], info["ContainersStopped"]) == (1, 0, 1)
    assert info["Images"] >= 1
    assert info["KernelVersion"] == os.uname().release
    assert info["CgroupVersion"] in ("1", "2")
    assert "Kernel Version: " in cli.out("system", "info")


def test_doctor_finds_this_host_fit_and_tells_what_is_missing(cli: Cli) -> None:
    said = cli("doctor", code=None)
    results = {line.split()[0] for line in said.stdout.splitlines() if ":" in line}
    assert results <= {"ok", "absent", "→"}, said.stdout
    assert said.returncode == 0
    for thing in ("overlay filesystem", "seccomp", "pid namespaces", "cgroups"):
        assert re.search(f"^ok +{thing}: ", said.stdout, re.M), said.stdout


def test_doctor_without_root_says_what_to_do(cli: Cli) -> None:
    cli.argv = [*AS_NOBODY, *cli.argv]
    said = cli("doctor", code=1)
    assert re.search(r"^missing  privileges: running as user 65534\n +→ run it with sudo", said.stdout, re.M)
