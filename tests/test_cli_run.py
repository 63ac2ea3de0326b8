"""Each option of ``run`` and ``create`` does what it says, as seen from within the container and from the host."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
from conftest import Cli
from waiting import until

ALPINE_CAPS = "00000000a80425fb"  # Docker's fourteen capabilities, as /proc/self/status writes them


def sh(cli: Cli, *options: object, script: str, code: int = 0) -> str:
    """What a shell script says in a new container with these options."""
    return cli.out("run", "--rm", *options, "alpine", "sh", "-c", script, code=code)


def inspect(cli: Cli, container: str, template: str) -> str:
    return cli.out("inspect", "--format", template, container)


def status(cli: Cli, *options: object, field: str) -> str:
    """A field of /proc/self/status in a new container."""
    lines = sh(cli, *options, script=f"grep ^{field}: /proc/self/status").splitlines()
    return lines[0].split(None, 1)[1]


# ------------------------------------------------------------------ how it runs


def test_output_and_exit_code_are_the_program_s(cli: Cli) -> None:
    done = cli("run", "--rm", "alpine", "sh", "-c", "echo out; echo err >&2; exit 42", code=42)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_a_program_that_a_signal_ends_makes_128_and_the_signal(cli: Cli) -> None:
    sh(cli, script="sh -c 'kill -USR1 $$'; exit $?", code=128 + 10)
    sh(cli, "--init", script="kill -TERM $$", code=143)


def test_d_prints_the_id_and_lets_it_run(cli: Cli) -> None:
    began = time.monotonic()
    container = cli.out("run", "-d", "alpine", "sleep", "100")
    assert time.monotonic() - began < 10
    assert re.fullmatch("[0-9a-f]{64}", container)
    assert inspect(cli, container, "{{.State.Running}}") == "true"


def test_run_without_d_stays_until_the_end(cli: Cli) -> None:
    assert sh(cli, script="sleep 0.5; echo done") == "done"


def test_rm_leaves_nothing(cli: Cli) -> None:
    cli("run", "--rm", "--name", "gone", "alpine", "true")
    assert "gone" not in cli.out("ps", "-a")
    kept = cli.out("run", "-d", "--name", "kept", "alpine", "true")
    cli("wait", kept)
    assert kept[:12] in cli.out("ps", "-aq").split()


def test_a_name_is_free_as_soon_as_run_has_ended(cli: Cli) -> None:
    for _ in range(5):
        cli("run", "--rm", "--name", "again", "alpine", "true")


def test_nothing_of_ours_is_open_inside(cli: Cli) -> None:
    """Three streams, and the directory that ls reads."""
    assert sh(cli, script="ls /proc/self/fd").split() == ["0", "1", "2", "3"]
    assert sh(cli, "--init", script="ls /proc/self/fd").split() == ["0", "1", "2", "3"]
    container = cli.out("run", "-d", "alpine", "sleep", "100")
    assert cli.out("exec", container, "ls", "/proc/self/fd", "/proc/1/fd").split("\n\n") == [
        *("/proc/1/fd:\n0\n1\n2", "/proc/self/fd:\n0\n1\n2\n3")
    ]


def test_rm_of_a_detached_container(cli: Cli, root: str) -> None:
    container = cli.out("run", "-d", "--rm", "alpine", "true")
    for _ in range(100):
        if not os.path.exists(os.path.join(root, "containers", container)):
            break
        time.sleep(0.05)
    assert cli.out("ps", "-aq") == ""
    assert [name for name in os.listdir(os.path.join(root, "run")) if not name.startswith(".")] == []


def test_i_gives_it_our_input_and_without_i_it_reads_nothing(cli: Cli) -> None:
    assert cli("run", "--rm", "-i", "alpine", "cat", input="typed\n").stdout == "typed\n"
    assert cli("run", "--rm", "alpine", "cat", input="typed\n").stdout == ""
    assert cli("run", "--rm", "-i", "alpine", "sh", "-c", "cat; echo end", input="").stdout == "end\n"


def test_t_makes_a_terminal(cli: Cli) -> None:
    assert sh(cli, "-t", script="tty; test -t 0 && test -t 1 && test -t 2 && echo all") == "/dev/pts/0\nall"
    assert sh(cli, script="tty", code=1) == "not a tty"


def test_a_chooses_the_streams(cli: Cli) -> None:
    script = ("alpine", "sh", "-c", "echo out; echo err >&2")
    only_out = cli("run", "--rm", "-a", "stdout", *script)
    assert (only_out.stdout, only_out.stderr) == ("out\n", "")
    only_err = cli("run", "--rm", "-a", "stderr", *script)
    assert (only_err.stdout, only_err.stderr) == ("", "err\n")


def test_init_reaps_orphans_and_passes_signals_on(cli: Cli) -> None:
    """Process 1 is the init, and the program its child; an orphan does not stay a zombie."""
    for options, zombies in (((), "1"), (("--init",), "0")):
        orphan = cli.out("run", "-d", *options, "alpine", "sh", "-c", "(sleep 0.2 &); exec sleep 100")
        time.sleep(1)
        script = "cat /proc/1/comm; grep -h ^State: /proc/[0-9]*/status | grep -c zombie; true"
        first, found = cli.out("exec", orphan, "sh", "-c", script).split()
        assert found == zombies
        assert (first == "sleep") == (not options), "with an init, process 1 is not the program"
    container = cli.out("run", "-d", "--init", "alpine", "sleep", "100")
    began = time.monotonic()
    cli("stop", "-t", 20, container)
    assert time.monotonic() - began < 10, "sleep as process 1 ignores SIGTERM; below init it does not"
    assert inspect(cli, container, "{{.State.ExitCode}} {{.HostConfig.Init}}") == "143 true"


def test_cidfile(cli: Cli, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "cid"
    container = cli.out("create", "--cidfile", file, "alpine", "true")
    assert file.read_text() == container
    again = cli("run", "--rm", "--cidfile", file, "alpine", "true", code=125)
    assert str(file) in again.stderr


def test_a_cidfile_that_cannot_be_written_leaves_no_container(
    cli: Cli, root: str, tmp_path: pathlib.Path
) -> None:
    failed = cli("run", "--cidfile", tmp_path / "no" / "such", "alpine", "true", code=125)
    assert str(tmp_path / "no" / "such") in failed.stderr
    assert cli.out("ps", "-aq") == ""
    assert os.listdir(os.path.join(root, "containers")) == []


# ------------------------------------------------------------------ who it is


def test_name(cli: Cli) -> None:
    cli("create", "--name", "a.b-C_9", "alpine", "true")
    assert inspect(cli, "a.b-C_9", "{{.Name}}") == "/a.b-C_9"


def test_without_a_name_it_gets_one_of_a_mood_and_a_person(cli: Cli) -> None:
    container = cli.out("create", "alpine", "true")
    assert re.fullmatch(r"/[a-z]+_[a-z]+\d?", inspect(cli, container, "{{.Name}}"))


def test_hostname_and_domainname(cli: Cli) -> None:
    script = "hostname; cat /etc/hostname /proc/sys/kernel/domainname"
    assert sh(cli, "--hostname", "box", "--domainname", "example.org", script=script).split() == [
        *("box", "box", "example.org")
    ]
    assert sh(cli, "-h", "short", script="hostname") == "short"
    container = cli.out("run", "-d", "alpine", "sleep", "100")
    assert cli.out("exec", container, "hostname") == container[:12]


def test_labels(cli: Cli) -> None:
    container = cli.out("create", "--label", "a=1", "-l", "b=x=y", "-l", "bare", "alpine", "true")
    assert json.loads(inspect(cli, container, "{{json .Config.Labels}}")) == {
        "a": "1",
        "b": "x=y",
        "bare": "",
    }
    assert cli.out("ps", "-aq", "--filter", "label=b=x=y") == container[:12]


def test_env_and_env_file(cli: Cli, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "vars"
    file.write_text(
        "# a comment\n\nFROM_FILE=one two\nBOTH=file\n  LEADING=x\nWIN=dos\r\nHOST_ONLY\nMISSING\n"
    )
    cli.env = {**cli.env, "HOST_ONLY": "ours", "PASSED": "on"}
    options = ("--env-file", file, "-e", "BOTH=option", "-e", "PASSED", "-e", "UNSET", "-e", "EMPTY=")
    said = sh(cli, *options, "-e", "Q=a=b 'c'", script="env").splitlines()
    wanted = {"FROM_FILE=one two", "BOTH=option", "LEADING=x", "WIN=dos", "HOST_ONLY=ours", "PASSED=on"}
    assert wanted | {"EMPTY=", "Q=a=b 'c'"} <= set(said)
    assert not [line for line in said if line.startswith(("UNSET", "MISSING", "MINICONTAINER", "#"))]


def test_env_without_any(cli: Cli) -> None:
    said = dict(line.split("=", 1) for line in cli.out("run", "--rm", "alpine", "env").splitlines())
    assert set(said) - {"SHLVL", "PWD"} == {"PATH", "HOSTNAME", "HOME"}
    assert said["HOME"] == "/root"
    assert said["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert "TERM=xterm" in cli.out("run", "--rm", "-t", "alpine", "env").splitlines()


def test_workdir_is_made_when_it_is_missing(cli: Cli) -> None:
    assert sh(cli, "-w", "/etc", script="pwd") == "/etc"
    assert sh(cli, "--workdir", "/made/for/it", script="pwd; stat -c %u /made/for/it").split() == [
        *("/made/for/it", "0")
    ]


def test_user_by_name_and_by_number(cli: Cli) -> None:
    assert sh(cli, "-u", "nobody", script="id -un; echo $HOME; id -G").split() == ["nobody", "/", "65534"]
    assert sh(cli, "-u", "1234:5678", script="id -u; id -g; echo $HOME").split() == ["1234", "5678", "/"]
    assert sh(cli, "--user", "nobody:daemon", script="id -gn") == "daemon"


def test_a_user_without_privileges_has_none(cli: Cli) -> None:
    assert status(cli, "-u", "1234", field="CapEff") == "0000000000000000"
    assert sh(cli, "-u", "1234", script="touch /etc/x 2>/dev/null || echo no") == "no"


def test_group_add(cli: Cli) -> None:
    assert {"4242", "6"} <= set(sh(cli, "--group-add", "4242", "--group-add", "disk", script="id -G").split())


def test_entrypoint(cli: Cli, rootfs_archive: str) -> None:
    assert cli.out("run", "--rm", "--entrypoint", "/bin/echo", "alpine", "x", "y") == "x y"
    cli(
        "import", "-c", 'ENTRYPOINT ["/bin/echo", "own"]', "-c", 'CMD ["by default"]', rootfs_archive, "entry"
    )
    assert cli.out("run", "--rm", "entry") == "own by default"
    assert cli.out("run", "--rm", "entry", "given") == "own given"
    assert cli.out("run", "--rm", "--entrypoint", "", "entry", "echo", "plain") == "plain"
    assert "no command" in cli("run", "--rm", "--entrypoint", "", "entry", code=125).stderr
    cli("rmi", "entry")


def test_stop_signal_and_stop_timeout(cli: Cli) -> None:
    script = "trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.1; done"
    asked = ("--stop-signal", "SIGUSR1", "--stop-timeout", 30)
    container = cli.out("run", "-d", *asked, "alpine", "sh", "-c", script)
    until(lambda: "ready" in cli.out("logs", container))
    cli("stop", container)
    assert cli.out("logs", container).split() == ["ready", "got"]
    assert inspect(cli, container, "{{.State.ExitCode}}") == "5"
    stubborn = cli.out("run", "-d", "--stop-timeout", 1, "alpine", "sleep", "1000")
    began = time.monotonic()
    cli("stop", stubborn)
    assert 0.9 < time.monotonic() - began < 8
    assert inspect(cli, stubborn, "{{.State.ExitCode}}") == "137"


# ------------------------------------------------------------------ what it may use


@pytest.mark.cgroup
@pytest.mark.parametrize(
    ("options", "v1", "v2", "value"),
    [
        (("-m", "16m"), "memory/memory.limit_in_bytes", "memory.max", {"16777216"}),
        (
            ("-m", "16m", "--memory-reservation", "8m"),
            *("memory/memory.soft_limit_in_bytes", "memory.low", {"8388608"}),
        ),
        (
            ("-m", "16m", "--memory-swap", "24m"),
            *("memory/memory.memsw.limit_in_bytes", "memory.swap.max", {"25165824", "8388608"}),
        ),
        (
            ("-m", "16m", "--memory-swap", "-1"),
            *("memory/memory.memsw.limit_in_bytes", "memory.swap.max", {"9223372036854771712", "max"}),
        ),
        (("-m", "16m"), "memory/memory.memsw.limit_in_bytes", "memory.swap.max", {"33554432", "16777216"}),
        (("--cpus", "0.5"), "cpu/cpu.cfs_quota_us", "cpu.max", {"50000", "50000 100000"}),
        (
            ("--cpu-period", "50000", "--cpu-quota", "20000"),
            *("cpu/cpu.cfs_quota_us", "cpu.max", {"20000", "20000 50000"}),
        ),
        (("--cpu-shares", "512"), "cpu/cpu.shares", "cpu.weight", {"512", "20", "59"}),
        (("--cpuset-cpus", "0"), "cpuset/cpuset.cpus", "cpuset.cpus", {"0"}),
        (("--cpuset-mems", "0"), "cpuset/cpuset.mems", "cpuset.mems", {"0"}),
        (("--pids-limit", "11"), "pids/pids.max", "pids.max", {"11"}),
        (("--pids-limit", "-1"), "pids/pids.max", "pids.max", {"max"}),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, tuple) else "",
)
def test_limits_are_in_the_kernel(
    cli: Cli, options: tuple[str, ...], v1: str, v2: str, value: set[str]
) -> None:
    """Read from within: it sees its own cgroup, read-only, where programs look for it."""
    script = f"cat /sys/fs/cgroup/{v2} 2>/dev/null || cat /sys/fs/cgroup/{v1}"
    done = cli("run", "--rm", *options, "alpine", "sh", "-c", script, code=None)
    if done.returncode and ("memsw" in done.stderr or "swap" in done.stderr):
        pytest.skip(f"this kernel does not account for swap: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in value


@pytest.mark.cgroup
def test_cpus_slow_it_down(cli: Cli) -> None:
    """A fifth of a processor, and not of the wall clock: the kernel counts how often it had to wait."""
    script = (
        "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done;"
        "grep -h nr_throttled /sys/fs/cgroup/cpu.stat /sys/fs/cgroup/cpu/cpu.stat 2>/dev/null; true"
    )
    assert int(sh(cli, "--cpus", "0.2", script=script).split()[1]) > 0


@pytest.mark.cgroup
def test_pids_limit_stops_a_fork_bomb(cli: Cli) -> None:
    bomb = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait"
    done = cli("run", "--rm", "--pids-limit", "5", "alpine", "sh", "-c", bomb, code=2)
    assert "can't fork" in done.stderr


@pytest.mark.cgroup
def test_cgroup_conf_is_for_v2_alone(cli: Cli) -> None:
    script = "cat /sys/fs/cgroup/memory.high"
    done = cli(
        "run", "--rm", "--cgroup-conf", "memory.high=16777216", "alpine", "sh", "-c", script, code=None
    )
    if "v2" in cli.out("info", "--format", "{{.CgroupMode}}"):
        assert (done.returncode, done.stdout.strip()) == (0, "16777216")
    else:
        assert done.returncode == 125
        assert "memory.high" in done.stderr


@pytest.mark.cgroup
def test_cgroup_parent(cli: Cli) -> None:
    name = f"mc-test-parent-{os.getpid()}"
    container = cli.out("run", "-d", "--cgroup-parent", f"/{name}", "alpine", "sleep", "100")
    pid = inspect(cli, container, "{{.State.Pid}}")
    paths = {line.split(":", 2)[2] for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()}
    assert f"/{name}/{container}" in paths
    assert paths <= {f"/{name}/{container}", "/"}, "/ is a v2 without controllers, beside v1"
    cli("rm", "-f", container)
    for hierarchy in {"/sys/fs/cgroup", *map(str, pathlib.Path("/sys/fs/cgroup").iterdir())}:
        parent = pathlib.Path(hierarchy) / name
        if parent.is_dir():
            assert [each for each in parent.iterdir() if each.is_dir()] == []
            parent.rmdir()


@pytest.mark.cgroup
def test_cgroupns(cli: Cli) -> None:
    paths = {line.split(":", 2)[2] for line in sh(cli, script="cat /proc/self/cgroup").splitlines()}
    assert paths == {"/"}, "a cgroup namespace of its own hides where it is"
    host = sh(cli, "--cgroupns", "host", script="cat /proc/self/cgroup")
    assert "/minicontainer/" in host


def test_ulimits(cli: Cli) -> None:
    script = "ulimit -n; ulimit -Hn; ulimit -c"
    options = ("--ulimit", "nofile=99:100", "--ulimit", "core=0")
    assert sh(cli, *options, script=script).split() == ["99", "100", "0"]
    assert sh(cli, "--ulimit", "nofile=64", script=script).split()[:2] == ["64", "64"]


def test_oom_score_adj(cli: Cli) -> None:
    assert sh(cli, "--oom-score-adj", "500", script="cat /proc/self/oom_score_adj") == "500"


def test_shm_size(cli: Cli) -> None:
    script = "df -k /dev/shm | tail -1 | awk '{print $2}'"
    assert sh(cli, script=script) == "65536"
    assert sh(cli, "--shm-size", "2m", script=script) == "2048"


# ------------------------------------------------------------------ what it may do


def test_capabilities(cli: Cli) -> None:
    bit = {"chown": 0, "net_admin": 12, "sys_time": 25}
    assert status(cli, field="CapEff") == ALPINE_CAPS
    assert status(cli, "--cap-drop", "all", field="CapEff") == "0" * 16
    assert int(status(cli, "--cap-drop", "CAP_CHOWN", field="CapBnd"), 16) == int(ALPINE_CAPS, 16) & ~1
    added = int(status(cli, "--cap-add", "net_admin", field="CapEff"), 16)
    assert added == int(ALPINE_CAPS, 16) | 1 << bit["net_admin"]
    one = status(cli, "--cap-drop", "ALL", "--cap-add", "chown", field="CapEff")
    assert int(one, 16) == 1 << bit["chown"]
    assert sh(cli, "--cap-drop", "chown", script="chown 1 /tmp 2>/dev/null || echo no") == "no"


def test_cap_add_all_and_privileged_give_what_we_have(cli: Cli) -> None:
    ours = re.search(r"^CapBnd:\s+(\w+)", pathlib.Path("/proc/self/status").read_text(), re.M)
    assert ours
    assert status(cli, "--cap-add", "all", field="CapEff") == ours[1]
    assert status(cli, "--privileged", field="CapEff") == ours[1]


def test_privileged_takes_the_filter_and_the_covers_off(cli: Cli) -> None:
    assert status(cli, field="Seccomp") == "2"
    assert status(cli, "--privileged", field="Seccomp") == "0"
    covered = "grep -c -E ' /proc/(kcore|keys|timer_list) ' /proc/mounts"
    assert int(sh(cli, script=covered)) > 0
    assert sh(
        cli, "--privileged", script=f"{covered}; test -w /proc/sys && echo writable", code=0
    ).split() == [*("0", "writable")]
    plain, privileged = (int(sh(cli, *o, script="ls /dev | wc -l")) for o in ((), ("--privileged",)))
    assert privileged > plain


def test_security_opt(cli: Cli, tmp_path: pathlib.Path) -> None:
    assert status(cli, field="NoNewPrivs") == "0"
    assert status(cli, "--security-opt", "no-new-privileges", field="NoNewPrivs") == "1"
    assert status(cli, "--security-opt", "no-new-privileges:true", field="NoNewPrivs") == "1"
    assert status(cli, "--security-opt", "seccomp=unconfined", field="Seccomp") == "0"
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    script = "mkdir /x || echo refused; touch /y && echo allowed"
    done = cli("run", "--rm", "--security-opt", f"seccomp={profile}", "alpine", "sh", "-c", script)
    assert done.stdout.split() == ["refused", "allowed"]
    assert "Operation not permitted" in done.stderr


def test_the_usual_filter_stops_what_containers_have_no_use_for(cli: Cli) -> None:
    assert sh(cli, script="unshare -U true 2>/dev/null || echo no") == "no"


def test_read_only(cli: Cli) -> None:
    script = "touch /x 2>&1; touch /tmp/y && echo tmpfs; echo x > /dev/null && echo dev"
    said = sh(cli, "--read-only", "--tmpfs", "/tmp", script=script)
    assert "Read-only file system" in said
    assert said.split()[-2:] == ["tmpfs", "dev"]


def test_tmpfs(cli: Cli) -> None:
    script = "grep ' /t ' /proc/mounts; df -k /t | tail -1; touch /t/x && echo ok"
    said = sh(cli, "--tmpfs", "/t:size=1m,mode=700,exec", script=script)
    assert re.search(r"^tmpfs /t tmpfs rw,nosuid,nodev,relatime,size=1024k,mode=700", said, re.M)
    assert said.endswith("ok")
    assert "noexec" in sh(cli, "--tmpfs", "/t", script="grep ' /t ' /proc/mounts")


def test_tmpfs_at_a_place_the_image_does_not_have(cli: Cli) -> None:
    assert sh(cli, "--tmpfs", "/no/such/place", script="grep -c ' /no/such/place ' /proc/mounts") == "1"


def test_device(cli: Cli) -> None:
    probe = "head -c 1 /dev/mine >/dev/null 2>&1 && echo read; true"
    numbers = "stat -c '%t %T' /dev/mine"
    host = os.stat("/dev/loop-control") if os.path.exists("/dev/loop-control") else os.stat("/dev/kmsg")
    path = "/dev/loop-control" if os.path.exists("/dev/loop-control") else "/dev/kmsg"
    said = sh(cli, "--device", f"{path}:/dev/mine", script=numbers).split()
    assert said == [f"{os.major(host.st_rdev):x}", f"{os.minor(host.st_rdev):x}"]
    assert sh(cli, "--device", "/dev/zero:/dev/mine:r", script=probe) == "read"
    assert sh(cli, script=f"test -e {path} || echo none") == "none"


@pytest.mark.cgroup
def test_a_device_that_was_not_given_cannot_be_opened(cli: Cli) -> None:
    """Whatever node a container makes, the device cgroup decides. 1:11 is /dev/kmsg, the kernel's messages."""
    script = "mknod /k c 1 11; head -c 0 /k 2>&1; true"
    assert "Operation not permitted" in sh(cli, script=script)
    allowed = (
        "--device-cgroup-rule",
        "c 1:11 r",
        "--cap-add",
        "syslog",
        "--security-opt",
        "seccomp=unconfined",
    )
    assert sh(cli, *allowed, script=script) == ""
    sh(cli, "--device", "/dev/kmsg:/dev/kmsg:r", script="echo x > /dev/kmsg", code=1)


# ------------------------------------------------------------------ what it sees


def test_sysctl(cli: Cli) -> None:
    options = ("--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=4000")
    script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"
    assert sh(cli, *options, script=script).split() == ["1", "4000"]
    assert sh(cli, script="cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"


def namespaces(cli: Cli, *options: object) -> set[str]:
    """Which namespaces of a new container are not the host's."""
    lines = sh(cli, *options, script="cd /proc/self/ns; for n in *; do echo $n $(readlink $n); done")
    inside = dict(line.split() for line in lines.splitlines())
    return {name for name in inside if os.readlink(f"/proc/self/ns/{name}") != inside[name]}


OWN = {"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "uts"}


def test_namespaces_are_its_own_unless_they_are_to_be_the_host_s(cli: Cli) -> None:
    assert namespaces(cli) == OWN
    assert namespaces(cli, "--pid", "host") == OWN - {"pid", "pid_for_children"}
    assert namespaces(cli, "--ipc", "host") == OWN - {"ipc"}
    assert namespaces(cli, "--uts", "host") == OWN - {"uts"}
    assert namespaces(cli, "--network", "host") == OWN - {"net"}
    assert namespaces(cli, "--net", "host") == OWN - {"net"}
    assert namespaces(cli, "--cgroupns", "host") == OWN - {"cgroup"}


def test_pid_host_sees_the_host_s_processes(cli: Cli) -> None:
    mine = os.getpid()
    assert sh(cli, "--pid", "host", script=f"test -d /proc/{mine} && echo seen") == "seen"
    assert sh(cli, script=f"test -d /proc/{mine} || echo hidden") == "hidden"


def test_uts_host_has_the_host_s_name(cli: Cli) -> None:
    assert sh(cli, "--uts", "host", script="hostname") == os.uname().nodename


def test_network_none_has_loopback_alone_and_host_has_the_host_s(cli: Cli) -> None:
    assert sh(
        cli, "--network", "none", script="ls /sys/class/net; ping -c 1 -W 2 127.0.0.1 >/dev/null && echo up"
    ) == ("lo\nup")
    ours = os.readlink("/proc/self/ns/net")
    assert sh(cli, "--network", "host", script="readlink /proc/self/ns/net") == ours
    # Those with a piece of hardware: other tests' veths come and go.
    staying = {path.parent.name for path in pathlib.Path("/sys/class/net").glob("*/device")}
    assert {"lo", *staying} <= set(sh(cli, "--network", "host", script="ls /sys/class/net").split())


def test_namespaces_of_another_container(cli: Cli) -> None:
    first = cli.out("run", "-d", "--ipc", "shareable", "alpine", "sleep", "1000")
    pid = inspect(cli, first, "{{.State.Pid}}")
    for option, name in (("--network", "net"), ("--pid", "pid"), ("--ipc", "ipc")):
        inside = sh(cli, option, f"container:{first}", script=f"readlink /proc/self/ns/{name}")
        assert inside == os.readlink(f"/proc/{pid}/ns/{name}")
    assert "sleep 1000" in sh(cli, "--pid", f"container:{first[:8]}", script="ps")


def test_ipc_modes(cli: Cli) -> None:
    script = "grep -c ' /dev/shm ' /proc/mounts; true"
    assert sh(cli, "--ipc", "private", script=script) == "1"
    assert sh(cli, "--ipc", "none", script=script) == "0"


def test_etc_files_are_the_container_s(cli: Cli) -> None:
    said = sh(cli, script="cat /etc/hosts; touch /etc/hosts && echo writable")
    assert "127.0.0.1\tlocalhost" in said
    assert said.endswith("writable")
    resolv = pathlib.Path("/etc/resolv.conf")
    assert sh(cli, script="cat /etc/resolv.conf") == (resolv.read_text().strip() if resolv.exists() else "")


# ------------------------------------------------------------------ create


def test_create_takes_the_same_options_and_starts_nothing(cli: Cli) -> None:
    options = ("--name", "made", "-m", "16m", "-e", "A=b", "-w", "/tmp", "--label", "x=y", "-u", "nobody")
    container = cli.out("create", *options, "alpine", "sh", "-c", "id -un; pwd; echo $A")
    assert inspect(cli, container, "{{.State.Status}} {{.State.Pid}} {{.HostConfig.Memory}}") == (
        "created 0 16777216"
    )
    assert cli.out("start", "-a", "made").split() == ["nobody", "/tmp", "b"]


def test_every_option_of_create_is_one_of_run(cli: Cli) -> None:
    def options(command: str) -> set[str]:
        return set(re.findall(r"--[a-z-]+", cli.out(command, "--help")))

    assert options("create") <= options("run")
    assert options("run") - options("create") == {"--attach", "--detach", "--detach-keys", "--sig-proxy"}


# ------------------------------------------------------------------ signals


def spawn(cli: Cli, *words: object, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    argv = [*cli.argv, *map(str, words)]
    return subprocess.Popen(argv, env=cli.env, text=True, stdin=stdin, stdout=subprocess.PIPE)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "QUIT"])
def test_signals_go_through_to_the_program(cli: Cli, name: str) -> None:
    script = f"trap 'echo got; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    with spawn(cli, "run", "--rm", "alpine", "sh", "-c", script) as program:
        assert program.stdout
        assert program.stdout.readline() == "ready\n"
        program.send_signal(getattr(signal, f"SIG{name}"))
        try:
            assert program.wait(20) == 9
        finally:
            program.kill()
        assert program.stdout.read() == "got\n"


def test_signals_do_not_queue_behind_unread_input(cli: Cli) -> None:
    script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with (
        subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless,
        spawn(
            cli, "run", "--rm", "-i", "alpine", "sh", "-c", script, stdin=endless.stdout.fileno()
        ) as program,
    ):
        assert program.stdout.readline() == "ready\n"
        time.sleep(0.5)  # until all buffers are full
        program.terminate()
        assert program.wait(20) == 9
        endless.kill()


def test_sig_proxy_false_keeps_them(cli: Cli) -> None:
    script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with spawn(cli, "run", "--name", "kept", "--sig-proxy=false", "alpine", "sh", "-c", script) as program:
        assert program.stdout.readline() == "ready\n"
        program.terminate()
        assert program.wait(20) == -15
    assert inspect(cli, "kept", "{{.State.Running}}") == "true"
    assert cli.out("logs", "kept") == "ready"
