"""What the two founding documents show with Docker, typed at minicontainer.

On an image imported from a root filesystem, with /app/main.sh added to it as the documents' web application;
building images and networks have chapters and tests of their own.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator

import pytest
from at_terminal import Terminal
from conftest import Cli
from waiting import until

MAIN = b"#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.2; done\n"


@pytest.fixture(scope="module")
def image(root: str, rootfs_archive: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of the root filesystem with an application in it."""
    path = tmp_path_factory.mktemp("image") / "web.tar"
    with tarfile.open(rootfs_archive) as source, tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as target:
        for entry in source:
            target.addfile(entry, source.extractfile(entry) if entry.isreg() else None)
        entry = tarfile.TarInfo("app/main.sh")
        entry.mode, entry.size = 0o755, len(MAIN)
        target.addfile(entry, io.BytesIO(MAIN))
    Cli(root)("import", "-c", "WORKDIR /app", "-c", 'CMD ["./main.sh"]', path, "example/web")
    yield "example/web"
    Cli(root)("rmi", "-f", "example/web")


@pytest.fixture(scope="module")
def web(root: str, image: str) -> Iterator[str]:
    """The id of the running application."""
    cli = Cli(root)
    yield cli.out("run", "-d", "--name", "web", image, "sh", "./main.sh")
    cli("rm", "-f", "web")


def pid_of(cli: Cli, container: str) -> int:
    return int(cli.out("inspect", "--format", "{{.State.Pid}}", container))


def row_of(cli: Cli, container: str, *options: str) -> str:
    return next(row for row in cli.out("ps", *options).splitlines() if row.startswith(container[:12]))


def limit(pid: int, controller: str, v1: str, v2: str) -> str:
    """What a file of the process's cgroup says, wherever this host keeps that controller."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return pathlib.Path(f"/sys/fs/cgroup/{controller}{path}/{v1}").read_text().strip()
        if not controllers and not os.path.isdir(f"/sys/fs/cgroup/{controller}"):
            return pathlib.Path(f"/sys/fs/cgroup{path}/{v2}").read_text().strip()
    raise AssertionError(f"process {pid} is in no {controller} cgroup")


# ------------------------------------------------------------------ what a container is


def test_container_ls_has_docker_s_columns_and_the_container_s_row(cli: Cli, web: str, image: str) -> None:
    assert re.fullmatch("[0-9a-f]{64}", web)
    header = cli.out("container", "ls").splitlines()[0]
    assert re.split(r"\s{2,}", header) == [
        *("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")
    ]
    row = re.split(r"\s{2,}", row_of(cli, web))
    assert [row[0], row[1], row[2], row[-1]] == [web[:12], image, '"sh ./main.sh"', "web"]
    assert row[4].startswith("Up ")
    assert web[:12] in cli.out("ps", "-q").split()


def test_a_container_is_a_process_of_the_host(cli: Cli, web: str) -> None:
    pid = pid_of(cli, web[:4])
    assert pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:2] == [b"sh", b"./main.sh"]
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert re.search(r"^NSpid:.*\b1$", status, re.M), "it is not process 1 of a pid namespace of its own"


@pytest.mark.parametrize("kind", ["pid", "net", "ipc", "mnt", "uts", "cgroup"])
def test_six_namespaces_of_its_own(cli: Cli, web: str, kind: str) -> None:
    inside = os.readlink(f"/proc/{pid_of(cli, web)}/ns/{kind}")
    assert inside != os.readlink(f"/proc/self/ns/{kind}")


def test_exec_shows_the_container_from_within(cli: Cli, web: str) -> None:
    assert cli.out("exec", web[:4], "hostname") == web[:12]
    assert cli.out("exec", web, "pwd") == "/app"
    assert cli.out("exec", web, "ls") == "main.sh"
    top = set(cli.out("exec", web, "ls", "/").split())
    assert {"app", "bin", "dev", "etc", "proc", "sys", "tmp", "usr"} <= top
    assert "lo: <LOOPBACK,UP" in cli.out("exec", web, "ip", "addr")
    assert cli("exec", web, "sh", "-c", "exit 42", code=42).stdout == ""


def test_exec_at_a_terminal(cli: Cli, web: str) -> None:
    with Terminal([*cli.argv, "exec", "-it", web, "sh"], cli.env) as terminal:
        terminal.expect("# ")
        terminal.type("hostname; exit 3\n")
        terminal.expect(f"^{web[:12]}")
        assert terminal.wait() == 3


def test_an_interactive_shell(cli: Cli) -> None:
    with Terminal([*cli.argv, "run", "--rm", "-it", "alpine", "sh"], cli.env) as terminal:
        terminal.expect("# ")
        terminal.type("cat /etc/os-release; tty; exit 7\n")
        terminal.expect("^ID=")
        terminal.expect(r"^/dev/(pts/\d+|console)")
        assert terminal.wait() == 7


def test_nsenter_one_namespace_at_a_time(cli: Cli, web: str) -> None:
    """Both with the host's nsenter(1) and with our own."""
    pid = pid_of(cli, web)

    def theirs(*words: str) -> str:
        argv = ["nsenter", "--target", str(pid), *words]
        return subprocess.run(argv, text=True, capture_output=True, check=True).stdout.strip()

    def ours(flag: str, *words: str) -> str:
        return cli.out("nsenter", flag, web, *words)

    host_network = os.readlink("/proc/self/ns/net")
    enter: Callable[..., str]
    for enter in (theirs, ours):
        assert enter("--uts", "hostname") == web[:12]
        assert enter("--uts", "readlink", "/proc/self/ns/net") == host_network, "only uts was asked for"
        assert enter("--net", "hostname") == os.uname().nodename
        devices = enter("--net", "cat", "/proc/self/net/dev").splitlines()[2:]
        assert [device.split(":")[0].strip() for device in devices] == ["lo", "eth0"]


# ------------------------------------------------------------------ what it may use


@pytest.mark.cgroup
def test_the_documents_own_example_of_four_megabytes(cli: Cli) -> None:
    """Python weighs more than that; the program that it becomes does not."""
    show = "cat /etc/os-release; cat /sys/fs/cgroup/memory.max || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    said = cli.out("run", "--rm", "--memory", "4m", "alpine", "sh", "-c", show).splitlines()
    assert any(line.startswith("NAME=") for line in said)
    assert said[-1] == "4194304"


@pytest.mark.cgroup
def test_a_memory_limit_is_in_the_kernel_and_in_inspect(cli: Cli) -> None:
    container = cli.out("run", "-d", "--memory", "8m", "alpine", "sleep", "1000")
    pid = pid_of(cli, container)
    assert limit(pid, "memory", "memory.limit_in_bytes", "memory.max") == str(8 << 20)
    assert f"/{container}" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    assert cli.out("inspect", "--format", "{{.HostConfig.Memory}}", container) == str(8 << 20)
    cli("rm", "-f", container)


@pytest.mark.cgroup
def test_who_takes_more_memory_is_killed_and_it_is_told_as_that(cli: Cli) -> None:
    greedy = ("alpine", "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=60")
    cli("run", "--name", "greedy", "--memory", "16m", *greedy, code=137)
    state = json.loads(cli.out("inspect", "--format", "{{json .State}}", "greedy"))
    assert (state["OOMKilled"], state["ExitCode"], state["Status"]) == (True, 137, "exited")
    cli("run", "--rm", "--memory", "100m", *greedy, code=0)
    modest = cli.out("run", "-d", "--memory", "16m", "alpine", "true")
    cli("wait", modest)
    assert cli.out("inspect", "--format", "{{.State.OOMKilled}}", modest) == "false"


@pytest.mark.cgroup
def test_half_a_processor_and_twenty_processes(cli: Cli) -> None:
    container = cli.out("run", "-d", "--cpus", "0.5", "--pids-limit", "20", "alpine", "sleep", "1000")
    pid = pid_of(cli, container)
    assert limit(pid, "pids", "pids.max", "pids.max") == "20"
    assert limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    bomb = cli("exec", container, "sh", "-c", "for i in $(seq 60); do sleep 5 & done", code=None)
    assert bomb.returncode != 0
    assert "fork" in bomb.stderr.lower()
    cli("rm", "-f", container)


# ------------------------------------------------------------------ its life


def test_logs_stop_start_restart_kill(cli: Cli) -> None:
    script = "echo out; echo err >&2; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    container = cli.out("run", "-d", "alpine", "sh", "-c", script)
    until(lambda: "err" in cli("logs", container).stderr, seconds=60)
    said = cli("logs", container)
    assert (said.stdout, said.stderr) == ("out\n", "err\n")
    cli("stop", "-t", 20, container)
    assert "Exited (0)" in row_of(cli, container, "-a")
    cli("start", container)
    assert container[:12] in cli.out("ps", "-q").split()
    before = pid_of(cli, container)
    cli("restart", "-t", 20, container)
    assert pid_of(cli, container) != before
    cli("kill", container)
    assert cli.out("wait", container) == "137"
    assert "Exited (137)" in row_of(cli, container, "-a")
    cli("rm", container)
    assert container[:12] not in cli.out("ps", "-aq").split()


@pytest.mark.cgroup
def test_pause_top_stats_cp_rename(cli: Cli, tmp_path: pathlib.Path) -> None:
    container = cli.out("run", "-d", "alpine", "sleep", "1000")
    cli("pause", container)
    assert "(Paused)" in row_of(cli, container)
    cli("unpause", container)
    assert "(Paused)" not in row_of(cli, container)
    assert "sleep 1000" in cli.out("top", container)
    assert container[:12] in cli.out("stats", "--no-stream", container)
    (tmp_path / "there").write_text("copied\n")
    cli("cp", tmp_path / "there", f"{container}:/tmp/there")
    assert cli.out("exec", container, "cat", "/tmp/there") == "copied"
    cli("cp", f"{container}:/etc/os-release", tmp_path / "back")
    assert (tmp_path / "back").read_text() == cli("exec", container, "cat", "/etc/os-release").stdout
    cli("rename", container, "renamed")
    assert row_of(cli, container).split()[-1] == "renamed"
    cli("rm", "-f", "renamed")


@pytest.mark.parametrize(
    ("words", "culprit", "code"),
    [
        (("run", "--rm", "no/such:image", "true"), "no/such:image", 125),
        (("run", "--rm", "alpine", "no-such-command"), "no-such-command", 127),
        (("run", "--rm", "alpine", "/etc"), "/etc", 126),
        (("exec", "nonesuch", "true"), "nonesuch", 1),
        (("run", "--memory", "lots", "alpine", "true"), "lots", 125),
        (("rm", "nonesuch"), "nonesuch", 1),
    ],
)
def test_errors_name_the_culprit(cli: Cli, words: tuple[str, ...], culprit: str, code: int) -> None:
    failed = cli(*words, code=code)
    assert culprit in failed.stderr
    assert failed.stdout == ""
