"""The life of a container: create, start, stop, kill, restart, wait, rm, pause, rename, update."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import time

import pytest
from conftest import Cli
from waiting import until

POLITE = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"


def field(cli: Cli, container: str, template: str) -> str:
    return cli.out("inspect", "--format", template, container)


def state(cli: Cli, container: str) -> str:
    return field(cli, container, "{{.State.Status}}")


def polite(cli: Cli, *options: object) -> str:
    """A running container that ends with 3 when it is asked to."""
    container = cli.out("run", "-d", *options, "alpine", "sh", "-c", POLITE)
    until(lambda: "ready" in cli.out("logs", container))
    return container


def paths_of(cli: Cli, container: str) -> list[str]:
    """The directories in which its processes are counted."""
    found = []
    for line in (
        pathlib.Path(f"/proc/{field(cli, container, '{{.State.Pid}}')}/cgroup").read_text().splitlines()
    ):
        _, controllers, path = line.split(":", 2)
        names = [controllers, controllers.removeprefix("name="), "unified", ""]
        found += [f"/sys/fs/cgroup/{name}{path}" for name in names if container in path]
    return [path for path in found if os.path.isdir(path)]


# ------------------------------------------------------------------ start and stop


def test_from_created_to_removed(cli: Cli, root: str) -> None:
    container = cli.out("create", "--name", "life", "alpine", "sh", "-c", POLITE)
    assert state(cli, "life") == "created"
    assert cli.out("start", "life") == "life"
    assert state(cli, "life") == "running"
    while "ready" not in cli.out("logs", "life"):
        time.sleep(0.05)
    assert cli.out("stop", "life") == "life"
    assert field(cli, "life", "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}") == "exited 3 0"
    assert cli.out("rm", "life") == "life"
    assert cli("inspect", container, code=1).stdout == "[]\n"
    for kind in ("containers", "run"):
        assert not os.path.exists(os.path.join(root, kind, container))
    assert "life" not in os.listdir(os.path.join(root, "names"))


def test_its_files_outlive_a_stop_and_its_processes_do_not(cli: Cli) -> None:
    container = cli.out("run", "-d", "alpine", "sh", "-c", "date +%s%N >> /starts; sleep 100")
    cli("restart", "-t", 0, container)
    while len(cli.out("exec", container, "cat", "/starts").split()) < 2:
        time.sleep(0.05)
    assert cli.out("exec", container, "sh", "-c", "ps | grep -c [s]leep") == "1"


def test_times_are_told(cli: Cli) -> None:
    container = cli.out("create", "alpine", "true")
    never = "0001-01-01T00:00:00Z"
    assert field(cli, container, "{{.State.StartedAt}} {{.State.FinishedAt}}") == f"{never} {never}"
    cli("start", "-a", container)
    times = field(cli, container, "{{.Created}} {{.State.StartedAt}} {{.State.FinishedAt}}").split()
    assert times == sorted(times)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", each) for each in times)


def test_start_a_stays_and_ends_as_it_ends(cli: Cli) -> None:
    container = cli.out("create", "alpine", "sh", "-c", "echo out; echo err >&2; exit 4")
    done = cli("start", "-a", container, code=4)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    again = cli("start", "-a", container, code=4)
    assert again.stdout == "out\n", "only what this start wrote"


def test_start_ai_gives_it_input(cli: Cli) -> None:
    container = cli.out("create", "-i", "alpine", "sh", "-c", "read x; echo got $x")
    assert cli("start", "-ai", container, input="this\n").stdout == "got this\n"


def test_start_of_a_running_one_does_nothing(cli: Cli) -> None:
    container = cli.out("run", "-d", "alpine", "sleep", "100")
    pid = field(cli, container, "{{.State.Pid}}")
    assert cli.out("start", container) == container
    assert field(cli, container, "{{.State.Pid}}") == pid


def test_a_start_that_fails_is_told_and_leaves_the_container_as_it_was(cli: Cli) -> None:
    container = cli.out("create", "alpine", "/no/such/program")
    failed = cli("start", container, code=1)
    assert "/no/such/program" in failed.stderr
    assert field(cli, container, "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}") == "created 127 0"
    assert "/no/such/program" in field(cli, container, "{{.State.Error}}")
    cli("rm", container)


def test_several_at_once_and_the_rest_goes_on_after_a_failure(cli: Cli) -> None:
    one, two = (cli.out("create", "alpine", "sleep", "100") for _ in range(2))
    done = cli("start", one, "nonesuch", two, code=1)
    assert done.stdout.split() == [one, two]
    assert "nonesuch" in done.stderr
    assert cli("kill", "nonesuch", one, two, code=1).stdout.split() == [one, two]
    assert cli("rm", one, "nonesuch", two, code=1).stdout.split() == [one, two]


def test_stop_kills_what_does_not_listen(cli: Cli) -> None:
    container = cli.out("run", "-d", "alpine", "sleep", "1000")
    began = time.monotonic()
    cli("stop", "-t", 1, container)
    assert 0.9 < time.monotonic() - began < 8
    assert field(cli, container, "{{.State.ExitCode}}") == "137"


def test_stop_of_a_stopped_one_is_fine_and_kill_is_not(cli: Cli) -> None:
    container = cli.out("create", "alpine", "true")
    cli("start", "-a", container)
    assert cli.out("stop", container) == container
    assert "is not running" in cli("kill", container, code=1).stderr


def test_kill_with_a_signal_of_choice(cli: Cli) -> None:
    script = "trap 'echo usr1' USR1; trap 'echo rt' 37; echo ready; while :; do sleep 0.05; done"
    container = cli.out("run", "-d", "alpine", "sh", "-c", script)
    until(lambda: "ready" in cli.out("logs", container))
    for name in ("USR1", "SIGUSR1", "sigusr1", "10"):
        before = cli.out("logs", container).count("usr1")
        cli("kill", "-s", name, container)
        until(
            lambda before=before: cli.out("logs", container).count("usr1") > before,
            f"kill -s {name} did not arrive",
        )
    cli("kill", "--signal", "RTMIN+3", container)
    until(lambda: "rt" in cli.out("logs", container).split())
    assert state(cli, container) == "running"
    cli("kill", container)
    assert cli.out("wait", container) == "137"


def test_restart(cli: Cli) -> None:
    container = polite(cli)
    pid = field(cli, container, "{{.State.Pid}}")
    cli("restart", container)
    assert field(cli, container, "{{.State.Pid}}") != pid
    assert cli.out("logs", container).split()[:2] == ["ready", "bye"]
    stopped = cli.out("create", "alpine", "sleep", "100")
    cli("restart", stopped)
    assert state(cli, stopped) == "running"


def test_wait(cli: Cli) -> None:
    slow = cli.out("run", "-d", "alpine", "sh", "-c", "sleep 1; exit 6")
    fast = cli.out("run", "-d", "alpine", "sh", "-c", "exit 7")
    began = time.monotonic()
    assert cli.out("wait", slow, fast).split() == ["6", "7"]
    assert 0.5 < time.monotonic() - began < 15
    assert cli.out("wait", slow) == "6"


def test_wait_for_one_that_is_removed_at_its_end(cli: Cli) -> None:
    container = cli.out("run", "-d", "--rm", "alpine", "sh", "-c", "sleep 1; exit 6")
    assert cli.out("wait", container) == "6"


# ------------------------------------------------------------------ remove


def test_rm_refuses_a_running_one_and_rm_f_kills_it(cli: Cli) -> None:
    container = cli.out("run", "-d", "--name", "busy", "alpine", "sleep", "1000")
    refused = cli("rm", "busy", code=1)
    assert "busy" in refused.stderr
    assert state(cli, "busy") == "running"
    paths = paths_of(cli, container)
    assert paths
    cli("rm", "-f", "busy")
    assert cli.out("ps", "-aq") == ""
    assert not any(map(os.path.exists, paths)), "its cgroup is left"


def test_rm_f_of_one_that_is_not_there_is_fine(cli: Cli) -> None:
    cli("rm", "-f", "nonesuch")
    cli("rm", "nonesuch", code=1)


def test_rm_f_of_a_paused_one(cli: Cli) -> None:
    container = cli.out("run", "-d", "alpine", "sleep", "1000")
    cli("pause", container)
    cli("rm", "-f", container)
    assert cli.out("ps", "-aq") == ""


def test_rm_f_of_one_that_is_to_be_removed_at_its_end(cli: Cli) -> None:
    container = cli.out("run", "-d", "--rm", "alpine", "sleep", "1000")
    assert cli.out("rm", "-f", container) == container
    assert cli.out("ps", "-aq") == ""


def test_rm_of_one_whose_document_is_damaged(cli: Cli, root: str) -> None:
    container = cli.out("create", "alpine", "true")
    with open(f"{root}/containers/{container}/container.json", "w") as file:
        file.write("{")
    cli("rm", container)
    assert cli.out("ps", "-aq") == ""


def test_rm_by_the_beginning_of_an_id(cli: Cli) -> None:
    container = cli.out("create", "alpine", "true")
    assert cli.out("rm", container[:5]) == container[:5]
    assert cli.out("ps", "-aq") == ""


@pytest.mark.cgroup
def test_nothing_is_left_in_the_cgroups(cli: Cli) -> None:
    container = cli.out("run", "-d", "-m", "16m", "--pids-limit", "20", "alpine", "sleep", "1000")
    cli("exec", "-d", container, "sleep", "1001")
    paths = paths_of(cli, container)
    assert paths
    pid = field(cli, container, "{{.State.Pid}}")
    cli("stop", "-t", 0, container)
    assert not any(map(os.path.exists, paths))
    assert not os.path.exists(f"/proc/{pid}")
    mounts = pathlib.Path("/proc/self/mounts").read_text()
    assert container not in mounts, "nothing of a container is ever mounted where the host sees it"


# ------------------------------------------------------------------ pause


@pytest.mark.cgroup
def test_pause_stops_everything_where_it_is(cli: Cli) -> None:
    script = "i=0; while :; do i=$((i+1)); echo $i > /count; done"
    container = cli.out("run", "-d", "alpine", "sh", "-c", script)
    time.sleep(0.3)
    assert cli.out("pause", container) == container
    assert (
        field(cli, container, "{{.State.Status}} {{.State.Running}} {{.State.Paused}}") == "paused true true"
    )
    pid = field(cli, container, "{{.State.Pid}}")

    def used() -> list[str]:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]

    before = used()
    time.sleep(0.5)
    assert used() == before, "it went on running"
    assert "unpause" in cli("exec", container, "true", code=1).stderr
    assert "already paused" in cli("pause", container, code=1).stderr
    assert "(Paused)" in cli.out("ps")
    cli("unpause", container)
    assert state(cli, container) == "running"
    until(lambda: used() != before)
    assert "is not paused" in cli("unpause", container, code=1).stderr


def test_kill_and_stop_of_a_paused_one_end_it(cli: Cli) -> None:
    """As Docker does it: the signal goes, and the container goes on, to die of it."""
    for command in (("kill",), ("stop", "-t", 1)):
        container = polite(cli)
        cli("pause", container)
        cli(*command, container)
        assert state(cli, container) == "exited"
        cli("rm", container)


# ------------------------------------------------------------------ rename


def test_rename(cli: Cli) -> None:
    container = cli.out("create", "--name", "before", "alpine", "true")
    cli("rename", "before", "after")
    assert field(cli, container, "{{.Name}}") == "/after"
    cli("inspect", "before", code=1)
    cli("create", "--name", "before", "alpine", "true")
    in_use = cli("rename", "before", "after", code=1)
    assert '"after" is already in use' in in_use.stderr
    assert "bad name" in cli("rename", "after", "bad name", code=1).stderr
    assert "after" in cli("rename", "after", "after", code=1).stderr
    cli("start", "-a", "after")


# ------------------------------------------------------------------ update


@pytest.mark.cgroup
def test_update_changes_a_running_container_at_once(cli: Cli) -> None:
    container = cli.out("run", "-d", "-m", "32m", "alpine", "sleep", "1000")
    cli("update", "-m", "16m", "--memory-swap", "32m", "--pids-limit", "9", "--cpus", "0.3", container)
    files = "memory.max memory/memory.limit_in_bytes pids.max pids/pids.max cpu.max cpu/cpu.cfs_quota_us"
    script = f"cd /sys/fs/cgroup; cat {files} 2>/dev/null; true"
    said = cli.out("exec", container, "sh", "-c", script).split()
    assert {"16777216", "9", "30000"} <= set(said)
    document = json.loads(cli.out("inspect", container))[0]["HostConfig"]
    assert (document["Memory"], document["MemorySwap"], document["PidsLimit"]) == (16 << 20, 32 << 20, 9)
    assert document["NanoCpus"] == 300_000_000


@pytest.mark.cgroup
def test_update_of_a_stopped_one_counts_from_its_next_start(cli: Cli) -> None:
    script = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    container = cli.out("create", "-m", "32m", "alpine", "sh", "-c", script)
    cli("update", "-m", "24m", container)
    assert cli.out("start", "-a", container) == str(24 << 20)


@pytest.mark.cgroup
def test_update_that_cannot_be_is_refused_and_changes_nothing(cli: Cli) -> None:
    container = cli.out("run", "-d", "-m", "32m", "alpine", "sleep", "1000")
    assert "memory-swap" in cli("update", "-m", "256m", container, code=1).stderr
    assert "lots" in cli("update", "-m", "lots", container, code=125).stderr
    assert "flags" in cli("update", container, code=1).stderr
    cli("update", "--cpus", "0.5", container)
    assert "--cpu-quota" in cli("update", "--cpu-quota", "5000", container, code=1).stderr
    assert "99" in cli("update", "--cpuset-cpus", "99", container, code=1).stderr
    assert field(cli, container, "{{.HostConfig.Memory}}{{.HostConfig.CpusetCpus}}") == str(32 << 20)


@pytest.mark.cgroup
def test_update_that_the_kernel_refuses_changes_nothing(cli: Cli) -> None:
    container = cli.out("run", "-d", "-m", "32m", "--pids-limit", "30", "alpine", "sleep", "1000")
    limits = "memory.max memory.swap.max memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes"
    limits += " cpu.max cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us pids.max pids/pids.max"
    script = f"cd /sys/fs/cgroup; grep . {limits} 2>/dev/null; true"
    before = cli.out("exec", container, "sh", "-c", script)
    words = ("-m", "64m", "--memory-swap", "96m", "--pids-limit", "20", "--cpu-period", "50000")
    refused = cli("update", *words, "--cpu-quota", "500", container, code=1)  # the kernel's least is 1000
    assert "cpu.quota: the kernel refused '500" in refused.stderr
    assert "cpu" in before and cli.out("exec", container, "sh", "-c", script) == before
    form = "{{.Memory}} {{.MemorySwap}} {{.PidsLimit}} {{.CpuPeriod}} {{.CpuQuota}}"
    asked = f"{{{{with .HostConfig}}}}{form}{{{{end}}}}"
    assert field(cli, container, asked) == f"{32 << 20} {64 << 20} 30 0 0"
    cli("update", *words, "--cpu-quota", "5000", container)
    assert cli.out("exec", container, "sh", "-c", script) != before


@pytest.mark.cgroup
def test_an_oom_kill_of_a_child_is_told_as_such(cli: Cli) -> None:
    """The first process lives on and ends well; what the kernel did is not forgotten."""
    script = "(dd if=/dev/zero of=/dev/shm/x bs=1M count=60) 2>/dev/null; rm -f /dev/shm/x; exit 0"
    container = cli.out("run", "-d", "-m", "16m", "alpine", "sh", "-c", script)
    assert cli.out("wait", container) == "0"
    assert field(cli, container, "{{.State.OOMKilled}}") == "true"
    cli("start", container)
    cli("wait", container)


# ------------------------------------------------------------------ when things are killed


def test_a_killed_client_leaves_the_container_running(cli: Cli) -> None:
    argv = [*cli.argv, "run", "--name", "orphan", "alpine", "sh", "-c", "echo ready; sleep 100"]
    with subprocess.Popen(argv, env=cli.env, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        assert client.stdout.readline() == "ready\n"
        client.kill()
    assert state(cli, "orphan") == "running"
    assert cli.out("exec", "orphan", "echo", "alive") == "alive"


def test_a_killed_monitor_is_told_and_put_right(cli: Cli) -> None:
    container = cli.out("run", "-d", "alpine", "sleep", "1000")
    paths = paths_of(cli, container)
    pid = int(field(cli, container, "{{.State.Pid}}"))
    parent = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert "minicontainer" in pathlib.Path(f"/proc/{parent}/cmdline").read_text()
    os.kill(parent, 9)
    until(lambda: not os.path.exists(f"/proc/{pid}"), "it did not die with its monitor")
    assert field(cli, container, "{{.State.Status}} {{.State.ExitCode}}") == "exited 137"
    assert "monitor" in field(cli, container, "{{.State.Error}}")
    assert not any(map(os.path.exists, paths))
    cli("start", container)
    assert state(cli, container) == "running"
