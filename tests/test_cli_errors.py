"""What cannot be is refused: the culprit is named, the exit code is Docker's, and nothing is left behind.

And a table of command lines that are typed at minicontainer and at Docker, whose answers must be the same.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import shlex
import subprocess
import tarfile
from collections.abc import Callable, Iterator

import pytest
from conftest import DOCKER_IMAGE, Cli

PARENT = (
    f"mc-test-refusals-{os.getpid()}"  # a parent cgroup of our own: others make containers at the same time
)
AS_NOBODY = (
    "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps +dac_read_search --ambient-caps".split()
)
AS_NOBODY += ["+dac_read_search"]  # the interpreter of the tests may lie in root's home directory


def parents() -> list[str]:
    """The cgroup of that name in every hierarchy; walking survives what others remove meanwhile."""
    return [
        directory for directory, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(directory) == PARENT
    ]


def cgroups() -> list[str]:
    """The container cgroups below our parent, in every hierarchy."""
    return [entry.path for parent in parents() for entry in os.scandir(parent) if entry.is_dir()]


def left(root: str) -> list[str]:
    """What is in the directories of the engine that a container could have left."""
    found = []
    for kind in ("containers", "names", "run"):
        with contextlib.suppress(FileNotFoundError):
            known = (".lock", ".networks", ".rollouts")  # these have tests of their own
            found += [f"{kind}/{name}" for name in os.listdir(os.path.join(root, kind)) if name not in known]
    return found


def mounts(root: str) -> list[str]:
    """What is mounted on the host from below the engine's directory."""
    return [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if root in line]


@pytest.fixture
def refused(cli: Cli, root: str) -> Iterator[Callable[..., str]]:
    """Run a command that must fail with a code, naming a culprit and leaving nothing; returns what it said."""

    def run(*words: object, culprit: str, code: int = 125) -> str:
        before = left(root)
        failed = cli(*words, code=code)
        assert culprit in failed.stderr, failed.stderr
        assert failed.stdout == ""
        assert left(root) == before
        assert mounts(root) == []
        assert cgroups() == []
        return failed.stderr

    yield run
    for path in parents():
        os.rmdir(path)


def new(
    *options: object, image: str = "alpine", command: tuple[object, ...] = ("true",)
) -> tuple[object, ...]:
    return ("run", "--cgroup-parent", PARENT, *options, image, *command)


# ------------------------------------------------------------------ refusals of run


@pytest.mark.parametrize(
    ("image", "culprit"),
    [
        ("nonesuch", "nonesuch"),
        ("no/such:tag", "no/such:tag"),
        ("Bad_Name:UPPER!", "Bad_Name"),
        ("alpine:9", "alpine:9"),
    ],
)
def test_an_image_that_is_not_there(refused: Callable[..., str], image: str, culprit: str) -> None:
    refused(*new(image=image), culprit=culprit)
    refused("create", image, "true", culprit=culprit, code=1)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("nonesuch", 127),
        ("/no/such/program", 127),
        ("./nonesuch", 127),
        ("/etc/passwd/x", 127),
        ("/etc/passwd", 126),
        ("/etc", 126),
        ("", 127),
    ],
)
@pytest.mark.parametrize("remove", [("--rm",), ()])
def test_a_command_that_cannot_be_run(
    cli: Cli, refused: Callable[..., str], command: str, code: int, remove: tuple[str, ...]
) -> None:
    if remove:
        refused(*new("--rm", command=(command,)), culprit=f'"{command}"', code=code)
    else:
        cli(*new("--name", "kept", command=(command,)), code=code)
        said = cli.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "kept")
        assert said == f"created {code}"
        cli("rm", "kept")


def test_a_program_for_another_machine(cli: Cli, refused: Callable[..., str], tmp_path: pathlib.Path) -> None:
    cli("create", "--name", "holder", "alpine", "/strange")
    for content, code in ((b"\x7fELF" + bytes(60), 126), (b"#!/no/such/interpreter\n", 127)):
        (tmp_path / "strange").write_bytes(content)
        (tmp_path / "strange").chmod(0o755)
        cli("cp", tmp_path / "strange", "holder:/strange")
        failed = cli("start", "-a", "holder", code=1)
        assert "/strange" in failed.stderr
        assert cli.out("inspect", "-f", "{{.State.ExitCode}}", "holder") == str(code)


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ("--memory lots", "lots"),
        ("--memory -1", "--memory"),
        ("--memory 100k", "--memory"),
        ("--memory 4m --memory-swap 2m", "--memory-swap"),
        ("--memory-swap 4m", "--memory-swap"),
        ("--shm-size some", "some"),
        ("--shm-size -1", "-1"),
        ("--cpus many", "many"),
        ("--cpus 4711", "4711"),
        ("--cpus nan", "nan"),
        ("--cpus -1", "-1"),
        ("--cpus 0.5 --cpu-quota 5000", "--cpu-quota"),
        ("--cpuset-cpus 4711", "4711"),
        ("--cpuset-cpus some", "some"),
        ("--pids-limit few", "few"),
        ("--blkio-weight 5", "5"),
        ("--oom-score-adj 5000", "5000"),
        ("--ulimit nonesuch=1", "nonesuch"),
        ("--ulimit nofile=x", "nofile=x"),
        ("--ulimit nofile=9:1", "nofile=9:1"),
        ("--cap-add nonesuch", "nonesuch"),
        ("--cap-drop nonesuch", "nonesuch"),
        ("--device /dev/nonesuch", "/dev/nonesuch"),
        ("--device /etc/passwd", "/etc/passwd"),
        ("--device relative", "relative"),
        ("--device /dev/null:/dev/x:z", "/dev/null:/dev/x:z"),
        ("--device-cgroup-rule nonesuch", "nonesuch"),
        ("--env-file /no/such/file", "/no/such/file"),
        ("--env =x", "=x"),
        ("--label =x", "=x"),
        ("--name bad/name", "bad/name"),
        ("--name x", "'x'"),
        ("--hostname " + "h" * 70, "h" * 70),
        ("--uts host --hostname x", "--hostname"),
        ("--workdir relative", "relative"),
        ("--workdir /etc/passwd", "/etc/passwd"),
        ("--user nonesuch", "nonesuch"),
        ("--user nobody:nonesuch", "nonesuch"),
        ("--user 99999999999", "99999999999"),
        ("--group-add nonesuch", "nonesuch"),
        ("--tmpfs relative", "relative"),
        ("--tmpfs /", "/"),
        ("--tmpfs /t:nonesuch", "nonesuch"),
        ("--tmpfs /etc/passwd", "/etc/passwd"),
        ("--sysctl kernel.panic=1", "kernel.panic"),
        ("--sysctl net.nonesuch=1", "net.nonesuch"),
        ("--network host --sysctl net.ipv4.ip_forward=1", "net.ipv4.ip_forward"),
        ("--security-opt nonesuch", "nonesuch"),
        ("--security-opt seccomp=/no/such/profile", "/no/such/profile"),
        ("--security-opt seccomp=/etc/passwd", "/etc/passwd"),
        ("--stop-signal NONESUCH", "NONESUCH"),
        ("--pid nonesuch", "nonesuch"),
        ("--pid container:nonesuch", "nonesuch"),
        ("--ipc nonesuch", "nonesuch"),
        ("--uts nonesuch", "nonesuch"),
        ("--network nonesuch", "nonesuch"),
        ("--cgroupns nonesuch", "nonesuch"),
        ("--cgroup-conf memory.high", "memory.high"),
        ("--nonesuch", "--nonesuch"),
        ("-X", "-X"),
        ("--rm=perhaps", "perhaps"),
    ],
)
def test_an_option_that_cannot_be_meant(refused: Callable[..., str], options: str, culprit: str) -> None:
    refused(*new("--rm", *options.split()), culprit=culprit)


def test_a_name_in_use(cli: Cli, refused: Callable[..., str]) -> None:
    holder = cli.out("create", "--name", "taken", "alpine", "true")
    said = refused(*new("--name", "taken"), culprit="taken")
    assert holder[:12] in said, "it says who has it"


def test_no_arguments_at_all(refused: Callable[..., str]) -> None:
    for (
        command
    ) in "run create start exec stop kill restart rm rename attach logs cp import rmi inspect".split():
        refused(command, culprit="requires", code=1)
    refused("ps", "what", culprit="accepts no arguments", code=1)
    refused("nonesuch", culprit="nonesuch", code=1)
    refused("container", "nonesuch", culprit="nonesuch", code=1)
    refused("--nonesuch", culprit="--nonesuch", code=125)


@pytest.fixture
def trap(cli: Cli, rootfs_archive: str, tmp_path: pathlib.Path) -> Iterator[str]:
    """An image whose /way leads out of it, by a relative symlink and through another one."""
    with tarfile.open(rootfs_archive) as source, tarfile.open(tmp_path / "trap.tar", "w") as target:
        for entry in source:
            target.addfile(entry, source.extractfile(entry) if entry.isreg() else None)
        for name, linkname in (("way", "../../../../tmp"), ("gone", "/no/such/place"), ("circle", "circle")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, linkname
            target.addfile(link)
        script = tarfile.TarInfo("locked/program")
        script.size = 3
        target.addfile(script, io.BytesIO(b"#!x"))
    cli("import", tmp_path / "trap.tar", "trap")
    yield "trap"
    cli("rmi", "trap")


def test_a_mount_point_that_leaves_the_image(refused: Callable[..., str], trap: str) -> None:
    """Were it followed, the tmpfs would lie over the host's /tmp, or a directory be made where nobody asked."""
    name = f"minicontainer-trap-{os.getpid()}"
    for path, culprit in (
        (f"/way/{name}", "../../../../tmp"),
        ("/gone", "/no/such/place"),
        ("/circle", "circle"),
    ):
        refused(*new("--rm", "--tmpfs", path, image=trap), culprit=culprit)
    assert not os.path.exists(f"/tmp/{name}")
    assert not os.path.exists("/no/such/place")


def test_a_v2_file_where_there_is_no_v2(cli: Cli, refused: Callable[..., str]) -> None:
    if "v2" in cli.out("info", "-f", "{{.CgroupMode}}"):
        pytest.skip("this host has cgroup v2, where memory.high is a file")
    said = refused(*new("--rm", "--cgroup-conf", "memory.high=1000000"), culprit="memory.high")
    assert "v2" in said


def test_a_v2_file_that_does_not_exist(refused: Callable[..., str]) -> None:
    refused(*new("--rm", "--cgroup-conf", "memory.nonesuch=1"), culprit="memory.nonesuch")
    refused(*new("--rm", "--cgroup-conf", "../../x=1"), culprit="../../x")


@pytest.mark.parametrize("words", [("ps",), ("run", "alpine", "true"), ("images",), ("exec", "x", "true")])
def test_without_root_s_privileges(cli: Cli, words: tuple[str, ...], root: str) -> None:
    before = left(root)
    cli.argv = [*AS_NOBODY, *cli.argv]
    failed = cli(*words, code=None)
    assert failed.returncode == (125 if words[0] == "run" else 1)
    assert "sudo" in failed.stderr
    assert left(root) == before


def test_help_and_version_need_no_privileges(cli: Cli) -> None:
    cli.argv = [*AS_NOBODY, *cli.argv]
    assert "Usage:" in cli("run", "--help").stdout
    assert "Usage:" in cli("--help").stdout
    cli("version")


def in_a_mount_namespace(cli: Cli, before: str, root: str) -> Cli:
    """The command line after a shell command, in a mount namespace of its own."""
    other = Cli(root)
    other.argv = ["unshare", "--mount", "sh", "-c", f'{before} && exec "$@"', "sh", *other.argv]
    return other


def test_where_overlay_cannot_write(cli: Cli, rootfs_archive: str, tmp_path: pathlib.Path) -> None:
    """The root on a filesystem that cannot hold an upper layer: an overlay itself, as in another container."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    where = str(tmp_path / "merged")
    nested = in_a_mount_namespace(cli, f"mount -t overlay -o {options} overlay {where}", where)
    nested("import", rootfs_archive, "alpine")
    words = ("--rm", "--network", "none", "--cgroup-parent", PARENT)  # a bridge would stay on the host
    failed = nested("run", *words, "alpine", "true", code=125)
    assert "overlay" in failed.stderr
    assert where in failed.stderr
    assert cgroups() == []
    assert left(str(tmp_path / "upper")) == []
    for path in parents():
        os.rmdir(path)


def test_doctor_where_the_kernel_has_no_overlay(cli: Cli, root: str, tmp_path: pathlib.Path) -> None:
    """As if: what the kernel lists in /proc/filesystems is covered by a list without it."""
    known = pathlib.Path("/proc/filesystems").read_text().replace("nodev\toverlay\n", "")
    (tmp_path / "filesystems").write_text(known)
    without = in_a_mount_namespace(cli, f"mount --bind {tmp_path}/filesystems /proc/filesystems", root)
    said = without("doctor", code=1).stdout
    assert re.search(r"^missing +overlay filesystem: .*\n +→ modprobe overlay$", said, re.M), said


def test_where_the_state_cannot_be_written(cli: Cli, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    cli.argv = [*cli.argv[:-1], str(tmp_path / "file" / "root")]
    failed = cli("run", "--rm", "alpine", "true", code=125)
    assert str(tmp_path / "file") in failed.stderr
    assert cli("ps", code=None).returncode in (0, 1)


# ------------------------------------------------------------------ the same words as Docker

# Each group is typed line by line at both. IMAGE, and the name BOX, stand for what each calls so.
TABLE = """
run --rm IMAGE echo hi
run --rm IMAGE sh -c 'echo out; echo err >&2; exit 42'
run --rm IMAGE nonesuch
run --rm IMAGE /etc
run --rm IMAGE /etc/passwd
run --rm IMAGE id
run --rm -u guest IMAGE id
run --rm -u nonesuch IMAGE id
run --rm --group-add wheel --group-add 77 IMAGE id
run --rm -w /new/dir IMAGE pwd
run --rm -w relative IMAGE pwd
run --rm -e A=1 -e B= -e NONESUCH IMAGE sh -c 'env | sort | grep -v HOSTNAME'
run --rm --hostname box --domainname dom IMAGE cat /etc/hostname /proc/sys/kernel/domainname
run --rm --entrypoint /bin/echo IMAGE x y
run --rm --entrypoint '' IMAGE
run --rm --ulimit nofile=99:100 IMAGE sh -c 'ulimit -n; ulimit -Hn'
run --rm --cap-drop all IMAGE chown 1 /tmp
run --rm IMAGE grep Cap /proc/self/status
run --rm --security-opt no-new-privileges IMAGE grep NoNewPrivs /proc/self/status
run --rm --read-only IMAGE touch /x
run --rm --tmpfs /t:size=1m,exec IMAGE grep ' /t ' /proc/mounts
run --rm --sysctl net.ipv4.ip_forward=1 IMAGE cat /proc/sys/net/ipv4/ip_forward
run --rm --pids-limit 5 IMAGE sh -c 'for i in 1 2 3 4 5 6 7; do sleep 1 & done; wait'
run --rm -it IMAGE true
run --rm -d -a stdout IMAGE true
run --rm -m lots IMAGE true
run --rm --cpus 4711 IMAGE true
run --rm --nonesuch IMAGE true
run --rm --name x IMAGE true
run
create -m lots IMAGE true

run -d --name BOX --label a=b IMAGE sleep 1000
run --name BOX IMAGE true
ps --filter name=BOX --format '{{.Names}} {{.Command}} {{.State}} [{{.Ports}}] {{.Labels}} {{.Networks}}'
ps --filter name=BOX --format 'table {{.Names}}\\t{{.State}}'
ps --filter bogus
ps --filter bogus=1
ps --filter status=bogus
ps extra
exec BOX echo hi
exec BOX sh -c 'exit 7'
exec -u guest -w /tmp -e A=5 BOX sh -c 'id -un; pwd; echo $A'
exec BOX
exec nonesuch true
exec -it BOX true
inspect -f '{{.Name}} {{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.Path}} {{.Args}}' BOX
inspect -f '{{json .Config.Labels}} {{json .Config.Cmd}} {{.Config.Tty}} {{.HostConfig.NetworkMode}}' BOX
inspect -f '{{.Unclosed' BOX
inspect nonesuch
inspect --type image BOX
container inspect nonesuch
pause BOX
pause BOX
exec BOX true
ps --filter name=BOX --format '{{.State}}'
unpause BOX
unpause BOX
rename BOX BOX2
rename BOX2 BOX2
rename nonesuch BOX
rename BOX2 BOX
update --memory lots BOX
update BOX
kill -s NONESUCH BOX
kill BOX
kill BOX
wait BOX
stop BOX
attach BOX
exec BOX true
top BOX
rm BOX
rm -f BOX
rm BOX
rm -f BOX

create --name BOX IMAGE sh -c 'echo out; sleep 0.2; echo err >&2; exit 3'
ps -a --filter name=BOX --format '{{.Status}} {{.State}}'
start -a BOX
logs BOX
logs --tail 1 BOX
logs -n 0 BOX
logs --since 10m BOX
logs -f BOX
logs nonesuch
start nonesuch
rmi nonesuch
images nonesuch
nonesuch
version extra
rm BOX
"""
# Where we mean to answer otherwise: typed in the same way, and the answers must differ, or they belong above.
DIFFERENT = {
    "run -d --name BOX IMAGE sleep 1000": "",  # what the others need; this one is the same
    "exec BOX nonesuch": "127, as run has it; Docker 20.10 says 126, and says it on standard output",
    "exec BOX /etc": "the reason is on standard error, where reasons belong",
    "exec -d BOX nonesuch": "127 too; Docker says 1",
    "exec -u nonesuch BOX id": "1, for the command was never looked at; Docker says 126",
    "exec -w relative BOX pwd": "1 for the same reason",
    "inspect -f '{{.NoSuch}}' BOX": "nothing on standard output; Docker prints an empty line",
    "logs --tail few BOX": "refused; Docker takes what is no number for all",
    "run --rm --memory 4m IMAGE true": "works; Docker wants 6 MB at least",
    "run --rm --device /dev/nonesuch IMAGE true": "125; the docker client reads 'no such file' and makes it 127",
    "run --rm --blkio-weight 5 IMAGE true": "refused also where the kernel could not weigh anything",
}


def same(text: str) -> str:
    """The output without what is different each time: ids."""
    return re.sub(r"\b([0-9a-f]{64}|[0-9a-f]{12})\b", "ID", text)


Docker = Callable[..., subprocess.CompletedProcess[str]]


def both(cli: Cli, docker: Docker, line: str, name: str) -> tuple[bool, str]:
    """Type a line at both: whether exit code and standard output are the same, and what they were."""
    words = shlex.split(line.replace("BOX", name))
    network = ["--network", "none"] if words[0] in ("run", "create") and len(words) > 1 else []
    ours = cli(words[0], *network, *[word.replace("IMAGE", "alpine") for word in words[1:]], code=None)
    theirs = docker(words[0], *network, *[word.replace("IMAGE", DOCKER_IMAGE) for word in words[1:]])
    agree = (ours.returncode, same(ours.stdout)) == (theirs.returncode, same(theirs.stdout))
    return agree, f"{line}\n  ours:   {ours}\n  Docker: {theirs}"


@pytest.fixture
def name(docker: Docker) -> Iterator[str]:
    """A name for a container of Docker's that nobody else uses."""
    name = f"mc-test-{os.getpid()}"
    yield name
    docker("rm", "-f", name, f"{name}2")


@pytest.mark.parametrize("number", range(3), ids=["run", "running", "ended"])
def test_docker_says_the_same(cli: Cli, docker: Docker, name: str, number: int) -> None:
    lines = TABLE.strip().split("\n\n")[number].splitlines()
    answers = [both(cli, docker, line, name) for line in lines]
    differences = [said for agree, said in answers if not agree]
    assert not differences, "\n".join(differences)


def test_docker_says_otherwise_where_we_mean_it(cli: Cli, docker: Docker, name: str) -> None:
    for line, reason in DIFFERENT.items():
        agree, said = both(cli, docker, line, name)
        assert agree == (not reason), said
