"""The lab of the notebooks: children that keep the kernel clean, checkers that cannot be fooled, no trace left."""

from __future__ import annotations

import base64
import importlib.util
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import sys
import textwrap
import time
import types

import nbformat
import pytest
from nbclient import NotebookClient
from network_fixtures import ip
from waiting import has_ended, until

from minicontainer import lab
from minicontainer.engine.engine import Engine
from minicontainer.engine.network import bridges, firewall
from minicontainer.engine.network.network import Network
from minicontainer.engine.options import Options
from minicontainer.errors import Error, NotFound
from minicontainer.kernel import mount, netlink, nftables
from minicontainer.kernel import namespaces as kernel
from minicontainer.lab import children, peers, stand, tidy, widgets
from minicontainer.lab.check import production
from minicontainer.runtime import namespaces
from minicontainer.runtime.cgroups import Cgroup

PROJECT = pathlib.Path(__file__).resolve().parent.parent
CHAPTERS = sorted((PROJECT / "notebooks").glob("[0-9]*.ipynb"))


needs_haproxy = pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy")


@pytest.fixture(autouse=True)
def apart(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """The lab on the tests' store, with cgroups of its own, and no lines that another test has given children."""
    monkeypatch.setenv("MINICONTAINER_ROOT", engine.root)
    monkeypatch.setenv("MINICONTAINER_LAB", f"minicontainer-lab-{os.getpid()}")
    monkeypatch.setattr(children, "_prelude", [""])
    yield
    tidy.remove_all()


# ------------------------------------------------------------------ children


def test_a_child_shows_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    lab.child(
        "import sys; print('out'); print('err', file=sys.stderr); print(text, number)", text="a'b", number=7
    )
    assert capsys.readouterr().out == "out\nerr\na'b 7\n"


def test_a_child_changes_nothing_here() -> None:
    before = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in os.listdir("/proc/self/ns")}
    lab.child(
        "from minicontainer.kernel import namespaces as kernel\n"
        "kernel.unshare(kernel.CLONE_NEWUTS | kernel.CLONE_NEWUSER)\n"  # a user namespace: it has one thread
        "kernel.sethostname('elsewhere')"
    )
    assert {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in before} == before
    assert socket.gethostname() != "elsewhere"


def test_every_child_begins_with_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lab.every_child("import os\ngreeting = 'hello'\n")
    lab.child("print(greeting, os.getpid() != here)", here=os.getpid())
    assert capsys.readouterr().out == "hello True\n"
    with pytest.raises(SyntaxError):
        lab.every_child("import os oops")


def test_a_function_can_be_a_child(capsys: pytest.CaptureFixture[str]) -> None:
    def report() -> None:
        import sys

        print(len(sys.argv))

    lab.child(report)
    assert capsys.readouterr().out == "2\n"


@pytest.mark.parametrize(
    ("source", "message", "where"),
    [
        ("x = 1\nraise ValueError('no')", "ValueError: no", ["line 2: raise ValueError('no')"]),
        ("def f():\n    1 / 0\nf()", "ZeroDivisionError: division by zero", ["line 3: f()", "line 2: 1 / 0"]),
        ("import os\nos.kill(os.getpid(), 9)", "killed by SIGKILL; a shell calls that exit code 137", []),
        ("raise SystemExit(3)", "ended with exit code 3", []),
        (
            "import os\nos.setuid(65534)\nos.sethostname('x')",
            "AttributeError",
            ["line 3: os.sethostname('x')"],
        ),
        (
            "import os\nfrom minicontainer.kernel import namespaces as k\nos.setuid(9)\nk.unshare(k.CLONE_NEWUTS)",
            "PermissionError: [Errno 1] unshare: Operation not permitted",
            ["line 4: k.unshare(k.CLONE_NEWUTS)"],
        ),
        ("a b", "SyntaxError: invalid syntax", ["line 1: a b"]),
    ],
)
def test_a_child_that_fails_says_where_in_a_line(source: str, message: str, where: list[str]) -> None:
    with pytest.raises(lab.ChildFailed) as caught:
        lab.child(source)
    assert str(caught.value).startswith(message)
    assert caught.value.where == where


def test_a_fork_that_runs_on_to_the_end_is_no_second_child(capsys: pytest.CaptureFixture[str]) -> None:
    lab.child("import os\nif os.fork():\n    os.wait()\nprint('once each')")
    assert capsys.readouterr().out == "once each\n" * 2


def test_a_child_that_hangs_is_killed_with_its_children(capsys: pytest.CaptureFixture[str]) -> None:
    source = "import os, time\nprint('begun')\npid = os.fork()\nprint(os.getpid())\ntime.sleep(1000)"
    with pytest.raises(lab.ChildFailed, match="still not done after 3 s"):
        lab.child(source, timeout=3)
    first, *pids = capsys.readouterr().out.split()
    assert first == "begun"
    assert len(pids) == 2
    until(lambda: all(has_ended(int(pid)) for pid in pids))


def test_a_shell_has_the_command_line_of_this_package(capsys: pytest.CaptureFixture[str]) -> None:
    lab.shell("minicontainer images --format '{{.Repository}}' alpine; echo $what", what="a 'b' $c")
    assert capsys.readouterr().out == "alpine\na 'b' $c\n"
    with pytest.raises(lab.ChildFailed, match="exit code 4"):
        lab.shell("exit 4")


# ------------------------------------------------------------------ in a notebook


def run_cells(*sources: str) -> list[nbformat.NotebookNode]:
    """Run cells by a kernel, errors and all; returns them with their outputs."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    here = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(PROJECT)
    try:
        NotebookClient(notebook, timeout=60, allow_errors=True, kernel_name="python3").execute()
    finally:
        if here is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = here
    return notebook.cells


def test_errors_are_short_in_a_notebook_and_bugs_are_not() -> None:
    """What a user can mend is told in a line; a bug of the learner's own keeps its traceback."""
    cells = run_cells(
        "from minicontainer import lab\nimport minicontainer",
        "minicontainer.run('no-such-image', 'true')",
        "%%child\nx = 1\nraise OSError(1, 'not you')",
        "number = 3",
        "%%child it=number twice=2*number\nprint(it, twice)",
        "1 / 0",
    )
    error = cells[1].outputs[0]
    assert (error.ename, error.evalue) == ("NotFound", "no such image: no-such-image")
    assert len(error.traceback) == 1
    # The line is counted as the reader counts: the magic is line 1.
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in cells[2].outputs[0].traceback] == [
        "line 3: raise OSError(1, 'not you')",
        "ChildFailed: PermissionError: [Errno 1] not you",
    ]
    assert cells[4].outputs[0].text == "3 6\n"
    assert "Traceback" in "".join(cells[5].outputs[0].traceback)


def test_a_missing_need_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    for name in ("sh", "env"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    preflight, _ = run_cells("from minicontainer import lab\nlab.require('root', 'ip')", "1")
    error = preflight.outputs[-1]
    assert error.ename == "NotReady"
    assert error.evalue == "the program ip is not installed; to get it: apt-get install iproute2"
    assert len(error.traceback) == 1
    assert preflight.outputs[0].text.startswith("ok  root:")


# ------------------------------------------------------------------ preflight


def test_what_is_there_gets_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    lab.require("root", "namespaces", "overlay", "cgroups", "memory", "cpu", "pids", "image")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [
        f"{need}:" for need in "root namespaces overlay cgroups memory cpu pids image".split()
    ]
    assert all(line.startswith("ok  ") for line in lines)
    assert lines[-1] == "ok  image: alpine:latest is in the store"


def test_root_without_its_powers_is_told_what_to_do() -> None:
    """A root in a container without --privileged: asked by a process that has really lost the capability."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from minicontainer.kernel import capabilities as c\n"
            "c.drop_bounding((1 << 41) - 1 - (1 << c.NUMBERS['CAP_SYS_ADMIN']))\n"
            "from minicontainer import lab\n"
            "try:\n"
            "    lab.require('root')\n"
            "except lab.NotReady as error:\n"
            "    print(error)\n",
        ],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        "privileges: root without CAP_SYS_ADMIN; "
        "to get it: inside a container, start that one with --privileged\n"
    )


def test_an_image_is_made_when_there_is_none(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINICONTAINER_ROOT", str(tmp_path / "store"))
    lab.require("image")
    made = capsys.readouterr().out
    assert re.match(
        r"ok  image: alpine made now, from (alpine 3\.\d+\.\d+ from the|embedded default)", made
    ), made
    lab.require("image")
    assert capsys.readouterr().out == "ok  image: alpine:latest is in the store\n"
    (image,) = Engine().images.images()
    assert image.config["config"]["Cmd"] == ["/bin/sh"]


def test_what_an_earlier_run_has_left_is_removed(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.create("alpine", ["sleep", "1000"], lab_options("lab-left")).start()
    mine = engine.create("alpine", ["sleep", "1000"], lab_options("mine"))
    mine.start()
    lab.require("image")
    assert "removed what an earlier run had left: container lab-left" in capsys.readouterr().out
    assert [container.name for container in engine.containers()] == ["mine"]


def lab_options(name: str) -> object:
    from minicontainer.engine.options import Options

    return Options(name=name)


# ------------------------------------------------------------------ cleaning up


def test_clean_up_removes_everything_and_says_so_again(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    container = engine.create("alpine", ["sleep", "1000"], lab_options("lab-web"))
    container.start()
    group = Cgroup(lab.cgroup_path("group"))
    group.create({})
    source = "import os\nif os.fork() == 0:\n    os.setsid()\n    os.execvp('sleep', ['sleep', '1000'])"
    lab.child(source)
    until(lambda: any("sleep" in name for _, name in tidy._processes()), seconds=5)
    left = tidy.remains()
    assert left["containers"] == ["lab-web"]
    assert len(left["processes"]) == 1
    assert left["cgroups"]
    lab.clean_up()
    said = capsys.readouterr().out
    assert "removed container lab-web\nremoved process sleep\nremoved cgroup " in said
    lab.clean_up()
    assert capsys.readouterr().out == (
        "containers: none left\nnetworks:   none left\nimages:     none left\nprocesses:  none left\n"
        "cgroups:    none left\nmounts:     none left\n"
    )
    assert not group.exists()


@needs_haproxy
def test_a_rollout_is_removed_with_all_that_belongs_to_it(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its load balancer is no child of the notebook's, and would listen for ever."""
    port = lab.free_port()
    serve = "nc -lk -p 80 -e cat 2>/dev/null || nc -ll -p 80 -e cat"
    command = {"command": ["sh", "-c", serve], "options": {"stop_signal": "KILL"}}
    engine.rollouts.create("lab-shop", "alpine", publish=f"127.0.0.1:{port}:80", **command)
    visitors = lab.visitors(port)
    assert tidy.remains()["containers"] == ["lab-shop-blue-1", "lab-shop", "rollout-lab-shop"]
    lab.clean_up()
    assert "removed rollout lab-shop\n" in capsys.readouterr().out
    assert not [thread for thread in visitors._threads if thread.is_alive()]
    assert engine.rollouts.names() == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_what_is_left_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The proof is a look at the machine: it does not believe the removal."""
    Cgroup(lab.cgroup_path("group")).create({})
    with monkeypatch.context() as broken:
        broken.setattr(tidy, "remove_all", list)
        with pytest.raises(lab.LeftBehind):
            lab.clean_up()
    assert f"cgroups:    {Cgroup(lab.cgroup_path()).hierarchies[0].mountpoint}" in capsys.readouterr().out
    lab.clean_up()


# ------------------------------------------------------------------ visitors


def test_visitors_count_answers_and_what_was_lost(capsys: pytest.CaptureFixture[str]) -> None:
    """Of what is no answer, and of what the load balancer says itself, nothing is taken for one."""
    server = stand.Server("v1")
    with lab.visitors(server.port) as visitors:
        deadline = time.monotonic() + 5
        for fails, wanted in ((False, "200 v1"), (True, "500 v1")):
            server.fails = fails
            while visitors.answers.get(wanted, 0) < 10 and time.monotonic() < deadline:
                time.sleep(0.01)
        visitors.note("closing")
        server.stop()
        while len(visitors.lost) < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert capsys.readouterr().out == "closing\n"
    assert {"200 v1", "500 v1"} < visitors.answers.keys()
    assert visitors.lost and all(answer.startswith("lost: ") for answer in visitors.lost)
    first, _, *bars = repr(visitors.shares()).splitlines()
    assert first.startswith("░ 200 v1   █ 500 v1   ▒ lost: ")
    assert [bar.partition("until: ")[2] for bar in bars] == ["closing", "the end"]
    assert all(len(bar.partition(" ")[0]) == 40 for bar in bars)


# ------------------------------------------------------------------ networks


@pytest.fixture
def net(engine: Engine, turn: None):
    """A network of the lab's; what a test leaves of it is removed."""
    yield engine.networks.create("lab-net", subnets=["10.77.5.0/24"])
    tidy.remove_all()


def test_the_live_networks_are_drawn_with_whoever_is_on_them(engine: Engine, net: Network) -> None:
    assert "lab-net" not in repr(lab.network_graph())  # nobody is on it
    options = Options(name="lab-web", network="lab-net", publish=["127.0.0.1::80"])
    container = engine.create("alpine", ["sleep", "1000"], options)
    container.start()
    (bound,) = container.inspect()["NetworkSettings"]["Ports"]["80/tcp"]
    lines = repr(lab.network_graph()).splitlines()
    at = lines.index(f"lab-net: bridge {net.bridge}, 10.77.5.1/24")
    assert lines[at + 1 : at + 3] == [
        f"    veth{container.id[:8]}-0 -- eth0 of lab-web, 10.77.5.2",
        f"        127.0.0.1:{bound['HostPort']} -> 80/tcp",
    ]
    if not shutil.which("dot"):
        pytest.skip("dot is not installed; apt-get install graphviz")
    picture = lab.network_graph()._repr_mimebundle_()["image/png"]
    assert base64.b64decode(picture).startswith(b"\x89PNG")


def test_clean_up_removes_networks_from_the_kernel(
    engine: Engine, net: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    options = Options(name="lab-web", network="lab-net", publish=["127.0.0.1::80"])
    engine.create("alpine", ["sleep", "1000"], options).start()
    assert tidy.remains()["networks"] == ["lab-net"]
    lab.clean_up()
    assert "removed container lab-web\nremoved network lab-net\n" in capsys.readouterr().out
    assert net.bridge not in os.listdir("/sys/class/net")


def test_what_belongs_to_no_network_is_named(engine: Engine, net: Network) -> None:
    """A bridge, a plug and a rule that somebody has forgotten: each is seen in the kernel."""
    bridge, table = "mc-00000000abcd", firewall.table(engine.root)
    words = [*nftables.interface(nftables.NFT_META_OIFNAME, bridge), *nftables.verdict(nftables.NF_DROP)]
    ip("link", "add", bridge, "type", "bridge")
    try:
        assert tidy.remains()["networks"] == ["lab-net"]  # somebody else's
        ip("link", "set", bridge, "alias", bridges.ALIAS + engine.root)
        ip("link", "add", "lab-plug", "master", net.bridge, "type", "veth", "peer", "lab-far")
        with netlink.Socket(netlink.NETLINK_NETFILTER) as sock:
            nftables.commit(sock, "add a rule", [nftables.new_rule(table, "forward", words)])
        left = ["lab-net", f"bridge {bridge}", "veth lab-plug", f"rules of {bridge}"]
        assert tidy.remains()["networks"] == left
    finally:
        for device in (bridge, "lab-plug"):
            subprocess.run(["ip", "link", "delete", device], check=False)


# ------------------------------------------------------------------ showing


def test_source_is_the_code_that_runs() -> None:
    shown = lab.source(namespaces.unshare)
    first, code = repr(shown).split("\n", 1)
    file, line = re.fullmatch(r"# (\S+), line (\d+)", first).groups()
    lines = (PROJECT / file).read_text().splitlines()
    count = len(code.splitlines())
    assert lines[int(line) - 1 : int(line) - 1 + count] == code.splitlines()
    assert code.startswith("def unshare(") and "kernel.unshare(flags)" in code
    assert shown._repr_mimebundle_()["text/markdown"] == f"`{first[2:]}`\n\n```python\n{code}\n```"


def test_source_of_a_table_comes_with_its_comment() -> None:
    shown = repr(lab.source(namespaces, "NAMESPACES"))
    assert shown.splitlines()[1].startswith("# The order matters.")
    assert shown.endswith("\n)")
    with pytest.raises(NotFound, match="NOTHING"):
        lab.source(namespaces, "NOTHING")


def test_tables_have_two_faces() -> None:
    table = lab.table(["a", "long title"], [[1, "x|y"], ["longer", None]])
    assert repr(table) == "a       long title\n1       x|y\nlonger  None"
    assert table.markdown == "| a | long title |\n| --- | --- |\n| 1 | x\\|y |\n| longer | None |"


def test_tree_shows_what_overlayfs_writes(tmp_path: pathlib.Path) -> None:
    upper = tmp_path / "upper"
    (upper / "etc" / "deep").mkdir(parents=True)
    (upper / "etc" / "deep" / "file").write_text("short\n")
    (upper / "etc" / "long").write_text("x" * 41)
    (upper / "etc" / "binary").write_bytes(b"\0\xff")
    (upper / "empty").mkdir()
    (upper / "link").symlink_to("/etc")
    os.mknod(upper / "gone", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(upper / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(upper / "etc", "trusted.overlay.opaque", b"y")
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        shown = lab.tree("upper/empty", "upper")
    finally:
        os.chdir(here)
    assert repr(shown).splitlines() == [
        "upper/empty/",
        "upper/",
        "    empty/",
        "    etc/          opaque",
        "        binary    2 bytes",
        "        deep/",
        "            file  'short'",
        "        long      41 bytes",
        "    gone          whiteout",
        "    link          -> /etc",
        "    null          crw-r--r--",
    ]
    assert shown.markdown == f"```text\n{shown.plain}\n```"


def test_workbench_is_empty_where_children_begin_and_gone_in_the_end(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    here = os.getcwd()
    lab.workbench()
    bench = os.getcwd()
    assert os.path.dirname(bench) == engine.root
    lab.child("import os\nos.mkdir('made')\nopen('made/file', 'w').close()")
    assert os.listdir() == ["made"]
    lab.workbench()
    assert (os.getcwd(), os.listdir()) == (bench, [])
    lab.clean_up()
    assert f"removed directory {os.path.basename(bench)}\n" in capsys.readouterr().out
    assert (os.getcwd(), os.path.exists(bench)) == (here, False)


def test_what_builds_have_left_is_removed_and_nothing_older(
    engine: Engine, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    """Steps of builds, and images that a newer one has taken the name from: they have none to be known by."""
    dockerfile = tmp_path / "Dockerfile"

    def build(*lines: str) -> str:
        dockerfile.write_text("\n".join(["FROM alpine", *lines]))
        return lab.build(str(tmp_path), "lab-built").image.id

    mine = build("ENV MINE=1")
    engine.remove_image("lab-built")
    steps = {record.image_id for record in engine.images.builds.all()}
    assert mine in steps
    lab.workbench()
    build("ENV A=1", "ENV B=1")
    build("ENV A=2")
    left = tidy.remains()["images"]
    assert left[0] == "lab-built:latest"
    assert len(left) == 5, left  # the one that had the name before, and three steps
    lab.clean_up()
    said = capsys.readouterr().out
    assert "removed image lab-built:latest\nremoved images without a name\nremoved steps of builds\n" in said
    assert {record.image_id for record in engine.images.builds.all()} == steps
    assert [image.names[0].familiar for image in engine.images.images()] == ["alpine:latest"]


def test_what_is_mounted_on_a_workbench_is_not_emptied_with_it(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A learner who mounts on the host by mistake loses neither the files nor the mount's own place."""
    lab.workbench()
    (tmp_path / "precious").write_text("kept")
    os.makedirs("lower/mounted")
    mount.mount(str(tmp_path), "lower/mounted", None, mount.MS_BIND)
    assert tidy.remains()["mounts"] == [os.path.abspath("lower/mounted")]
    lab.clean_up()
    assert "removed mount mounted\n" in capsys.readouterr().out
    assert (tmp_path / "precious").read_text() == "kept"


# ------------------------------------------------------------------ builds and widgets

TWO_STAGES = """\
FROM alpine AS first
RUN echo "a & b" > /text

FROM alpine AS unused
RUN false

FROM alpine
COPY --from=first /text /
CMD ["cat", "/text"]
"""


def test_a_build_is_shown_step_by_step(engine: Engine, tmp_path: pathlib.Path) -> None:
    (tmp_path / "Dockerfile").write_text(TWO_STAGES)
    built = lab.build(str(tmp_path), "lab-built", no_cache=True)
    assert re.sub(r"\d+ ms", "0 ms", repr(built)).splitlines() == [
        "   instruction                outcome",
        "1  FROM alpine AS first",
        '2  RUN echo "a & b" > /text   made, 0 ms',
        "3  FROM alpine",
        "4  COPY --from=first /text /  made, 0 ms",
        '5  CMD ["cat", "/text"]       made, 0 ms',
    ]
    assert built.made == ['RUN echo "a & b" > /text', "COPY --from=first /text /", 'CMD ["cat", "/text"]']
    assert engine.images.find("lab-built").id == built.image.id
    assert lab.build(str(tmp_path), "lab-built").made == []


def test_stages_are_drawn_with_what_became_of_their_steps(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Dockerfile").write_text(TWO_STAGES)
    lab.build(str(tmp_path), "lab-built", target="first")
    graph = lab.build_graph(str(tmp_path), "lab-built")
    lines = repr(graph).splitlines()
    assert lines[:3] == [
        "first",
        "    FROM alpine AS first",
        '    RUN echo "a & b" > /text   from the cache',
    ]
    assert lines[5].split() == ["RUN", "false", "not", "needed"]
    assert lines[6] == "stage 2, with files of first"
    assert "0 -> 2;" in graph.dot and "1 -> 2;" not in graph.dot
    bundle = graph._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    monkeypatch.setenv("PATH", "")
    assert graph._repr_mimebundle_() == {
        "text/plain": graph.plain,
        "text/markdown": f"```text\n{graph.plain}\n```",
    }


def test_a_widget_shows_first_what_there_is_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def show(number: int, word: str) -> object:
        return lab.table(["number", "word"], [[number, word]])

    explorer = lab.explore(show, number=[1, 2], word=["a", "b"])
    assert repr(explorer) == repr(show(1, "a"))
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/markdown", widgets.WIDGET}
    assert (
        bundle["text/markdown"] == explorer.shown.outputs[0]["data"]["text/markdown"] == show(1, "a").markdown
    )
    explorer.menus["number"].value = 2
    explorer.menus["word"].value = "b"
    assert explorer.shown.outputs[0]["data"]["text/markdown"] == show(2, "b").markdown
    explorer.function = lambda number, word: 1 / 0
    explorer.menus["word"].value = "a"
    assert explorer.shown.outputs[0]["data"]["text/plain"] == "ZeroDivisionError: division by zero"
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert set(explorer._repr_mimebundle_()) == {"text/plain", "text/markdown"}


# ------------------------------------------------------------------ Docker and its like


def test_a_peer_that_is_not_here_is_quoted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "said.txt").write_text("what it said\n")
    monkeypatch.setattr(peers, "RECORDED", str(tmp_path))
    lab.peer("no-such-tool", "said", "exit 1")
    lab.peer("sh", "said", "echo live")
    lab.peer("sh", "said", "echo sorry; exit 1")
    assert capsys.readouterr().out == (
        "(no-such-tool is not installed here; this is what it said elsewhere)\nwhat it said\n"
        "live\n"
        "(sh cannot run this here: sorry; this is what it said elsewhere)\nwhat it said\n"
    )
    with pytest.raises(NotFound, match="no recording nothing"):
        lab.peer("no-such-tool", "nothing", "")


# ------------------------------------------------------------------ exercises

WRONG = {
    "start_kitchen": [
        """
        def no_limit():
            import minicontainer
            minicontainer.run("alpine", "sleep 1000", detach=True, name="lab-kitchen", hostname="kitchen")
        """,
        """
        def no_hostname():
            import minicontainer
            minicontainer.run("alpine", "sleep 1000", detach=True, name="lab-kitchen", memory="16m")
        """,
        """
        def ends_at_once():
            import minicontainer
            minicontainer.run("alpine", "true", detach=True, name="lab-kitchen", hostname="kitchen", memory="16m")
            minicontainer.default_engine().find("lab-kitchen").wait()
        """,
        """
        def says_so_only():
            return "lab-kitchen"
        """,
    ],
    "is_contained": [
        """
        def always(pid):
            return True
        """,
        """
        def never(pid):
            return False
        """,
        """
        def by_name(pid):
            return open(f"/proc/{pid}/comm").read().strip() == "sleep"
        """,
    ],
    "private_directory": [
        """
        def on_the_host(path):
            from minicontainer.kernel import mount
            mount.mount("tmpfs", path, "tmpfs")
        """,
        """
        def still_shared(path):
            from minicontainer.kernel import mount
            kernel.unshare(kernel.CLONE_NEWNS)
            mount.mount("tmpfs", path, "tmpfs")
        """,
        """
        def without_mounting(path):
            kernel.unshare(kernel.CLONE_NEWNS)
        """,
    ],
    "start_as_pid_1": [
        """
        def in_the_old_namespace(argv):
            pid = os.fork()
            if pid == 0:
                os.execvp(argv[0], argv)
            return pid
        """,
        """
        def as_number_2(argv):
            kernel.unshare(kernel.CLONE_NEWPID)
            if os.fork() == 0:
                os.execvp("sleep", ["sleep", "2000"])
            pid = os.fork()
            if pid == 0:
                os.execvp(argv[0], argv)
            return pid
        """,
        """
        def with_its_inner_number(argv):
            in_the_old_namespace = 1
            kernel.unshare(kernel.CLONE_NEWPID)
            if os.fork() == 0:
                os.execvp(argv[0], argv)
            return in_the_old_namespace
        """,
        """
        def another_program(argv):
            kernel.unshare(kernel.CLONE_NEWPID)
            pid = os.fork()
            if pid == 0:
                os.execvp("sleep", ["sleep", "2000"])
            return pid
        """,
    ],
    "borrow_network": [
        """
        def a_new_one(pid):
            kernel.unshare(kernel.CLONE_NEWNET)
        """,
        """
        def the_name_instead(pid):
            kernel.setns(os.open(f"/proc/{pid}/ns/uts", os.O_RDONLY))
        """,
        """
        def too_much(pid):
            from minicontainer.runtime import namespaces
            namespaces.enter(pid, ["uts", "net"])
        """,
    ],
    "limit_memory": [
        """
        def nothing(directory, version, size):
            pass
        """,
        """
        def half_of_it(directory, version, size):
            file = {1: "memory.limit_in_bytes", 2: "memory.max"}[version]
            open(f"{directory}/{file}", "w").write(str(size // 2))
        """,
        """
        def a_wish(directory, version, size):
            file = {1: "memory.soft_limit_in_bytes", 2: "memory.low"}[version]
            open(f"{directory}/{file}", "w").write(str(size))
        """,
    ],
    "at_most": [
        """
        def no_limit(path, most):
            from minicontainer.runtime.cgroups import Cgroup
            Cgroup(path).create({})
        """,
        """
        def one_too_many(path, most):
            from minicontainer.runtime.cgroups import Cgroup
            Cgroup(path).create({"pids": {"limit": most + 1}})
        """,
        """
        def never_made(path, most):
            from minicontainer.runtime.cgroups import Cgroup
            Cgroup(path)
        """,
    ],
    "stack": [
        """
        def upside_down(branches, upper, work, merged):
            options = f"lowerdir={':'.join(reversed(branches))},upperdir={upper},workdir={work}"
            mount.mount("overlay", merged, "overlay", 0, options)
        """,
        """
        def to_be_read_only(branches, upper, work, merged):
            mount.mount("overlay", merged, "overlay", 0, f"lowerdir={':'.join(branches)}")
        """,
        """
        def one_more_below(branches, upper, work, merged):
            options = f"lowerdir={':'.join([*branches, upper])}"
            mount.mount("overlay", merged, "overlay", 0, options)
        """,
        """
        def by_copying(branches, upper, work, merged):
            import shutil
            for branch in reversed(branches):
                shutil.copytree(branch, merged, dirs_exist_ok=True)
        """,
        """
        def the_highest_is_written_to(branches, upper, work, merged):
            options = f"lowerdir={branches[1]},upperdir={branches[0]},workdir={work}"
            mount.mount("overlay", merged, "overlay", 0, options)
        """,
    ],
    "hide": [
        """
        def nothing(branch, name):
            pass
        """,
        """
        def as_an_archive_has_it(branch, name):
            open(f"{branch}/.wh.{name}", "w").close()
        """,
        """
        def an_empty_file(branch, name):
            open(f"{branch}/{name}", "w").close()
        """,
        """
        def another_device(branch, name):
            import stat
            os.mknod(f"{branch}/{name}", stat.S_IFCHR, os.makedev(1, 3))
        """,
        """
        def out_of_the_lower_branch(branch, name):
            os.unlink(f"{branch}/../low/{name}")
        """,
        """
        def all_that_is_below(branch, name):
            os.setxattr(branch, "trusted.overlay.opaque", b"y")
            open(f"{branch}/kept", "w").close()
        """,
    ],
    "move_in": [
        """
        def by_chroot(layer, upper, work, merged):
            options = f"lowerdir={layer},upperdir={upper},workdir={work}"
            mount.mount("overlay", merged, "overlay", 0, options)
            os.chroot(merged)
            os.chdir("/")
        """,
        """
        def with_the_old_root_on_top(layer, upper, work, merged):
            options = f"lowerdir={layer},upperdir={upper},workdir={work}"
            mount.mount("overlay", merged, "overlay", 0, options)
            os.chdir(merged)
            mount.pivot_root(".", ".")
            os.chdir("/")
        """,
        """
        def with_the_old_root_inside(layer, upper, work, merged):
            options = f"lowerdir={layer},upperdir={upper},workdir={work}"
            mount.mount("overlay", merged, "overlay", 0, options)
            os.mkdir(f"{merged}/old")
            os.chdir(merged)
            mount.pivot_root(".", "old")
            os.chdir("/")
        """,
        """
        def without_an_upper_directory(layer, upper, work, merged):
            mount.mount("overlay", merged, "overlay", 0, f"lowerdir={layer}:{upper}")
            os.chdir(merged)
            mount.pivot_root(".", ".")
            mount.umount2(".", mount.MNT_DETACH)
            os.chdir("/")
        """,
        """
        def to_the_layer_itself(layer, upper, work, merged):
            mount.mount(layer, merged, None, mount.MS_BIND)
            os.chdir(merged)
            mount.pivot_root(".", ".")
            mount.umount2(".", mount.MNT_DETACH)
            os.chdir("/")
        """,
    ],
    "changes": [
        """
        def all_is_new(upper, lower):
            found = []
            for where, directories, files in os.walk(upper):
                found += ["A /" + os.path.relpath(f"{where}/{name}", upper) for name in directories + files]
            return found
        """,
        """
        def one_directory_deep(upper, lower):
            return [f"{'C' if os.path.exists(f'{lower}/{name}') else 'A'} /{name}" for name in os.listdir(upper)]
        """,
        """
        def whiteouts_are_changes(upper, lower):
            found = []
            for where, directories, files in os.walk(upper):
                for name in directories + files:
                    path = os.path.relpath(f"{where}/{name}", upper)
                    found.append(f"{'C' if os.path.exists(f'{lower}/{path}') else 'A'} /{path}")
            return found
        """,
        """
        def without_directories(upper, lower):
            found = []
            for where, _, files in os.walk(upper):
                for name in files:
                    path = os.path.relpath(f"{where}/{name}", upper)
                    gone = os.lstat(f"{where}/{name}").st_mode & 0o170000 == 0o020000
                    kind = "D" if gone else "C" if os.path.exists(f"{lower}/{path}") else "A"
                    found.append(f"{kind} /{path}")
            return found
        """,
        """
        def printed(upper, lower):
            print("A /made")
        """,
    ],
    "pack": [
        """
        def nothing(upper, archive):
            pass
        """,
        """
        def all_as_it_lies_there(upper, archive):
            import tarfile
            with tarfile.open(archive, "w") as tar:
                for name in sorted(os.listdir(upper)):
                    tar.add(f"{upper}/{name}", name)
        """,
        """
        def without_whiteouts(upper, archive):
            import tarfile
            with tarfile.open(archive, "w") as tar:
                for name in sorted(os.listdir(upper)):
                    tar.add(f"{upper}/{name}", name, filter=lambda entry: None if entry.ischr() else entry)
        """,
        """
        def in_the_order_of_the_disk(upper, archive):
            import tarfile
            with tarfile.open(archive, "w") as tar:
                for where, directories, files in os.walk(upper):
                    for name in directories + files:
                        path = f"{where}/{name}"
                        inside = os.path.relpath(where, upper)
                        if os.lstat(path).st_mode & 0o170000 == 0o020000:
                            tar.addfile(tarfile.TarInfo(f"{inside}/.wh.{name}"))
                        else:
                            tar.add(path, f"{inside}/{name}", recursive=False)
        """,
        """
        def with_the_time_of_packing(upper, archive):
            import tarfile, time
            with tarfile.open(archive, "w") as tar:
                for where, directories, files in os.walk(upper):
                    for name in sorted(directories + files):
                        path = f"{where}/{name}"
                        inside = os.path.relpath(where, upper)
                        if os.lstat(path).st_mode & 0o170000 == 0o020000:
                            entry = tarfile.TarInfo(f"{inside}/.wh.{name}")
                            entry.mtime = time.time()
                            tar.addfile(entry)
                        else:
                            tar.add(path, f"{inside}/{name}", recursive=False)
        """,
    ],
    "recover": [
        """
        def from_the_highest_layer(image, path):
            import minicontainer
            images = minicontainer.default_engine().images
            layer = images.layer_directories(images.find(image))[0]
            return str(os.path.isfile(layer + path))
        """,
        """
        def the_file_beside_it(image, path):
            import minicontainer
            images = minicontainer.default_engine().images
            return open(images.layer_directories(images.find(image))[-1] + "/etc/motd").read()
        """,
        """
        def guessed(image, path):
            return "password"
        """,
    ],
    "half_a_processor": [
        """
        def a_weight(path):
            from minicontainer.runtime.cgroups import Cgroup
            Cgroup(path).update({"cpu": {"shares": 512}})
        """,
        """
        def a_whole_one(path):
            from minicontainer.runtime.cgroups import Cgroup
            Cgroup(path).update({"cpu": {"quota": 100000, "period": 100000}})
        """,
        """
        def shot(path):
            from minicontainer.runtime.cgroups import Cgroup
            Cgroup(path).kill()
        """,
    ],
    "fetch_blob": [
        """
        def whatever_comes(host, name, digest, path):
            import urllib.request
            urllib.request.urlretrieve(f"http://{host}/v2/{name}/blobs/{digest}", path)
            return True
        """,
        """
        def nothing_ever(host, name, digest, path):
            return False
        """,
        """
        def looks_too_late(host, name, digest, path):
            import hashlib
            import urllib.request
            urllib.request.urlretrieve(f"http://{host}/v2/{name}/blobs/{digest}", path)
            return "sha256:" + hashlib.sha256(open(path, "rb").read()).hexdigest() == digest
        """,
        """
        def trusts_the_length(host, name, digest, path):
            import urllib.request
            with urllib.request.urlopen(f"http://{host}/v2/{name}/blobs/{digest}") as answer:
                data = answer.read()
            if len(data) != 100_000:
                return False
            open(path, "wb").write(data)
            return True
        """,
    ],
    "tag_again": [
        """
        def laid_out_anew(host, name, old, new):
            import json
            import urllib.request
            where = f"http://{host}/v2/{name}/manifests/"
            with urllib.request.urlopen(where + old) as answer:
                manifest = json.load(answer)
            kind = {"Content-Type": manifest["mediaType"]}
            data = json.dumps(manifest).encode()
            urllib.request.urlopen(urllib.request.Request(where + new, data, kind, method="PUT")).close()
        """,
        """
        def without_its_kind(host, name, old, new):
            import urllib.request
            where = f"http://{host}/v2/{name}/manifests/"
            with urllib.request.urlopen(where + old) as answer:
                data = answer.read()
            urllib.request.urlopen(urllib.request.Request(where + new, data, method="PUT")).close()
        """,
        """
        def looks_only(host, name, old, new):
            import urllib.request
            urllib.request.urlopen(f"http://{host}/v2/{name}/manifests/{old}").close()
        """,
        """
        def carries_the_layers_too(host, name, old, new):
            import json
            import urllib.request
            where = f"http://{host}/v2/{name}/manifests/"
            with urllib.request.urlopen(where + old) as answer:
                data, kind = answer.read(), answer.headers["Content-Type"]
            for layer in json.loads(data)["layers"]:
                urllib.request.urlopen(f"http://{host}/v2/{name}/blobs/{layer['digest']}").read()
            request = urllib.request.Request(where + new, data, {"Content-Type": kind}, method="PUT")
            urllib.request.urlopen(request).close()
        """,
    ],
    "far_end": [
        """
        def inside(pid):
            return rtnetlink.find_link(go(pid), "eth0").name
        """,
        """
        def the_last_that_is_there(pid):
            return [link.name for link in rtnetlink.links(netlink.Socket()) if link.kind == "veth"][-1]
        """,
        """
        def its_own_number(pid):
            names = {link.index: link.name for link in rtnetlink.links(netlink.Socket())}
            return names.get(rtnetlink.find_link(go(pid), "eth0").index)
        """,
    ],
    "join": [
        """
        def addresses_only(pids):
            return [f"10.77.7.{n}" for n, pid in enumerate(pids, 1)]
        """,
        """
        def switch_is_down(pids):
            sock = netlink.Socket()
            rtnetlink.add_bridge(sock, "switch")
            switch = rtnetlink.find_link(sock, "switch").index
            for n, pid in enumerate(pids, 1):
                mac = bytes([2, 66, 10, 77, 7, n])
                rtnetlink.add_veth(sock, f"port{n}", switch, "eth0", net(pid), mac=mac, mtu=1500)
                address(go(pid), "eth0", f"10.77.7.{n}")
            return [f"10.77.7.{n}" for n, pid in enumerate(pids, 1)]
        """,
        """
        def cables_without_a_switch(pids):
            sock = netlink.Socket()
            for n, pid in enumerate(pids, 1):
                mac = bytes([2, 66, 10, 77, 7, n])
                rtnetlink.add_veth(sock, f"port{n}", 0, "eth0", net(pid), mac=mac, mtu=1500)
                address(go(pid), "eth0", f"10.77.7.{n}")
            return [f"10.77.7.{n}" for n, pid in enumerate(pids, 1)]
        """,
        """
        def one_address_for_all(pids):
            return ["10.77.7.1"] * len(pids)
        """,
    ],
    "open_shop": [
        """
        def nothing_is_published(port):
            import minicontainer
            networks = minicontainer.default_engine().networks
            networks.create("lab-yard", internal=True)
            for name in ("lab-till", "lab-shop"):
                minicontainer.run("alpine", "sleep 1000", detach=True, name=name, network="lab-yard")
        """,
        """
        def all_on_the_default_network(port):
            import minicontainer
            program = ["sh", "-c", "while true; do echo open | nc -l -p 80; done"]
            minicontainer.run("alpine", "sleep 1000", detach=True, name="lab-till")
            publish = [f"127.0.0.1:{port}:80"]
            minicontainer.run("alpine", program, detach=True, name="lab-shop", publish=publish)
        """,
        """
        def all_on_one_network(port):
            import minicontainer
            program = ["sh", "-c", "while true; do echo open | nc -l -p 80; done"]
            minicontainer.default_engine().networks.create("lab-yard")
            minicontainer.run("alpine", "sleep 1000", detach=True, name="lab-till", network="lab-yard")
            publish = [f"127.0.0.1:{port}:80"]
            minicontainer.run(
                "alpine", program, detach=True, name="lab-shop", publish=publish, network="lab-yard"
            )
        """,
        """
        def till_gets_out(port):
            import minicontainer
            from minicontainer.engine.network import members
            program = ["sh", "-c", "while true; do echo open | nc -l -p 80; done"]
            networks = minicontainer.default_engine().networks
            networks.create("lab-yard")
            minicontainer.run("alpine", "sleep 1000", detach=True, name="lab-till", network="lab-yard")
            publish = [f"127.0.0.1:{port}:80"]
            shop = minicontainer.run("alpine", program, detach=True, name="lab-shop", publish=publish)
            members.connect(networks, "lab-yard", shop)
        """,
    ],
    "still_to_fetch": [
        """
        def all_of_it(host, name, tag, have):
            import json
            import urllib.request
            with urllib.request.urlopen(f"http://{host}/v2/{name}/manifests/{tag}") as answer:
                manifest = json.load(answer)
            return sorted({each["digest"] for each in [manifest["config"], *manifest["layers"]]})
        """,
        """
        def layers_only(host, name, tag, have):
            import json
            import urllib.request
            with urllib.request.urlopen(f"http://{host}/v2/{name}/manifests/{tag}") as answer:
                manifest = json.load(answer)
            return sorted({each["digest"] for each in manifest["layers"]} - set(have))
        """,
        """
        def some_of_it_twice(host, name, tag, have):
            import json
            import urllib.request
            with urllib.request.urlopen(f"http://{host}/v2/{name}/manifests/{tag}") as answer:
                manifest = json.load(answer)
            needed = [each["digest"] for each in [manifest["config"], *manifest["layers"]]]
            return [digest for digest in needed if digest not in have]
        """,
        """
        def by_trying(host, name, tag, have):
            import json
            import urllib.request
            with urllib.request.urlopen(f"http://{host}/v2/{name}/manifests/{tag}") as answer:
                manifest = json.load(answer)
            needed = {each["digest"] for each in [manifest["config"], *manifest["layers"]]}
            for digest in needed:
                urllib.request.urlopen(f"http://{host}/v2/{name}/blobs/{digest}").read()
            return sorted(needed - set(have))
        """,
    ],
    "in_order": [
        """
        def as_it_was():
            return "FROM alpine\\nWORKDIR /app\\nCOPY . .\\nRUN sleep 0.1; sort packages.txt > installed\\n" \
                   'CMD ["sh", "main.sh"]'
        """,
        """
        def never_again():
            return "FROM alpine\\nWORKDIR /app\\nRUN sleep 0.1; printf 'a\\\\nb\\\\n' > installed\\n" \
                   'COPY main.sh .\\nCMD ["sh", "main.sh"]'
        """,
        """
        def without_the_program():
            return "FROM alpine\\nWORKDIR /app\\nCOPY packages.txt .\\n" \
                   'RUN sleep 0.1; sort packages.txt > installed\\nCMD ["sh", "main.sh"]'
        """,
        """
        def at_each_run():
            return "FROM alpine\\nWORKDIR /app\\nCOPY . .\\n" \
                   "CMD sort packages.txt > installed; sh main.sh"
        """,
        """
        def printed():
            print("FROM alpine")
        """,
        """
        def no_dockerfile():
            return "FROM alpine\\nRUNN sleep 1"
        """,
    ],
    "small": [
        """
        def one_stage():
            return "FROM alpine\\nCOPY . /\\nRUN sh install-sdk\\n" \
                   "RUN sh /sdk/bin/cc hello.src hello\\nCMD sh /hello"
        """,
        """
        def removed_in_the_end():
            return "FROM alpine\\nCOPY install-sdk /\\nRUN sh install-sdk\\nCOPY hello.src /\\n" \
                   "RUN sh /sdk/bin/cc hello.src hello\\nRUN rm -r /sdk\\nCMD sh /hello"
        """,
        """
        def all_in_one_step():
            return "FROM alpine\\nCOPY . /\\n" \
                   "RUN sh install-sdk && sh /sdk/bin/cc hello.src hello && rm -r /sdk\\nCMD sh /hello"
        """,
        """
        def without_the_program():
            return "FROM alpine\\nCMD echo hello"
        """,
    ],
    "keep_secret": [
        """
        def as_an_argument():
            return "FROM alpine\\nARG TOKEN\\nRUN printf $TOKEN | sha256sum > /proof"
        """,
        """
        def as_a_variable():
            return "FROM alpine\\nARG TOKEN\\nENV T=$TOKEN\\nRUN printf $T | sha256sum > /proof"
        """,
        """
        def copied_and_removed():
            return "FROM alpine\\nCOPY token.txt /\\nRUN sha256sum < token.txt > /proof && rm token.txt"
        """,
        """
        def written_by_the_step():
            return "FROM alpine\\nRUN --mount=type=secret,id=token " \
                   "cp /run/secrets/token /token && sha256sum < /token > /proof"
        """,
        """
        def of_something_else():
            return "FROM alpine\\nRUN --mount=type=secret,id=token sha256sum /etc/passwd > /proof"
        """,
    ],
    "from_nothing": [
        """
        def from_alpine():
            return 'FROM alpine\\nCOPY greeting /etc/motd\\nCMD ["cat", "/etc/motd"]'
        """,
        """
        def not_unpacked():
            return 'FROM scratch\\nCOPY rootfs.tar.gz /\\nCOPY greeting /etc/motd\\nCMD ["cat", "/etc/motd"]'
        """,
        """
        def without_the_greeting():
            return 'FROM scratch\\nADD rootfs.tar.gz /\\nCMD ["cat", "/etc/motd"]'
        """,
        """
        def three_layers():
            return 'FROM scratch\\nADD rootfs.tar.gz /\\nCOPY greeting /\\n' \
                   'RUN cp /greeting /etc/motd\\nCMD ["cat", "/etc/motd"]'
        """,
    ],
    "layer_of": [
        """
        def from_below(archive, path):
            import json, os, tarfile
            with tarfile.open(archive) as saved:
                layers = json.load(saved.extractfile("manifest.json"))[0]["Layers"]
                for number, each in enumerate(layers):
                    with tarfile.open(fileobj=saved.extractfile(each)) as layer:
                        if path.strip("/") in {os.path.normpath(name) for name in layer.getnames()}:
                            return number
        """,
        """
        def blind_for_whiteouts(archive, path):
            import json, os, tarfile
            with tarfile.open(archive) as saved:
                layers = json.load(saved.extractfile("manifest.json"))[0]["Layers"]
                for number in reversed(range(len(layers))):
                    with tarfile.open(fileobj=saved.extractfile(layers[number])) as layer:
                        if path.strip("/") in {os.path.normpath(name) for name in layer.getnames()}:
                            return number
        """,
        """
        def always_the_base(archive, path):
            return 0
        """,
    ],
    "assemble": [
        """
        def digest_of_the_packed_layer(rootfs, archive):
            import hashlib, io, json, tarfile
            layer = open(rootfs, "rb").read()
            config = {"os": "linux", "architecture": "amd64", "config": {"Cmd": ["echo", "assembled by hand"]},
                      "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}
            listed = [{"Config": "c.json", "RepoTags": ["lab-assembled:1"], "Layers": ["layer.tar"]}]
            with tarfile.open(archive, "w") as tar:
                for name, data in (("layer.tar", layer), ("c.json", json.dumps(config).encode()),
                                   ("manifest.json", json.dumps(listed).encode())):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
        """,
        """
        def without_a_command(rootfs, archive):
            import gzip, hashlib, io, json, tarfile
            layer = gzip.open(rootfs).read()
            config = {"os": "linux", "architecture": "amd64", "config": {},
                      "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}
            listed = [{"Config": "c.json", "RepoTags": ["lab-assembled:1"], "Layers": ["layer.tar"]}]
            with tarfile.open(archive, "w") as tar:
                for name, data in (("layer.tar", layer), ("c.json", json.dumps(config).encode()),
                                   ("manifest.json", json.dumps(listed).encode())):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
        """,
        """
        def the_files_alone(rootfs, archive):
            import shutil
            shutil.copy(rootfs, archive)
        """,
        """
        def nothing(rootfs, archive):
            pass
        """,
    ],
    "flip": [
        """
        def blue_first(admin):
            tell(admin, "set server shop/blue weight 0; set server shop/green weight 1")
        """,
        """
        def half_of_it(admin):
            tell(admin, "set server shop/green weight 1")
        """,
        """
        def blue_stopped(admin):
            tell(admin, "disable server shop/blue")
        """,
        """
        def throws_everybody_out(admin):
            tell(admin, "set server shop/green weight 1; set server shop/blue weight 0")
            tell(admin, "shutdown sessions server shop/blue")
        """,
        """
        def nothing(admin):
            pass
        """,
    ],
    "let_go": [
        """
        def does_not_wait(admin, server):
            tell(admin, f"set server shop/{server} state drain")
        """,
        """
        def throws_out(admin, server):
            tell(admin, f"set server shop/{server} state maint; shutdown sessions server shop/{server}")
        """,
        """
        def waits_for_ever_so_long(admin, server):
            import time
            tell(admin, f"set server shop/{server} weight 0")
            time.sleep(3)
        """,
        """
        def nothing(admin, server):
            pass
        """,
    ],
    "canary": [
        """
        def never_looks(admin, shares, seconds):
            import time
            for share in shares:
                tell(admin, f"set server shop/green weight {share}; set server shop/blue weight {100 - share}")
                time.sleep(seconds)
            return True
        """,
        """
        def looks_at_the_end(admin, shares, seconds):
            import time
            for share in shares:
                tell(admin, f"set server shop/green weight {share}; set server shop/blue weight {100 - share}")
                time.sleep(seconds)
                if stat(admin)["green"]["hrsp_5xx"] != "0":
                    tell(admin, "set server shop/blue weight 100; set server shop/green weight 0")
                    return False
            return True
        """,
        """
        def green_first_on_the_way_back(admin, shares, seconds):
            import time
            for share in shares:
                tell(admin, f"set server shop/green weight {share}; set server shop/blue weight {100 - share}")
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    if stat(admin)["green"]["hrsp_5xx"] != "0":
                        tell(admin, "set server shop/green weight 0; set server shop/blue weight 100")
                        return False
                    time.sleep(0.05)
            return True
        """,
        """
        def all_at_once(admin, shares, seconds):
            import time
            tell(admin, "set server shop/green weight 100; set server shop/blue weight 0")
            time.sleep(seconds)
            return stat(admin)["green"]["hrsp_5xx"] == "0"
        """,
        """
        def weights_of_green_alone(admin, shares, seconds):
            import time
            for share in shares:
                tell(admin, f"set server shop/green weight {share}")
                time.sleep(seconds)
            return True
        """,
    ],
}


def exercises() -> dict[str, tuple[str, str, str]]:
    """Of each exercise in the notebooks: the lines every child begins with, the stub, the solution."""
    found = {}
    for path in CHAPTERS:
        cells = nbformat.read(path, as_version=4).cells
        prelude = [c.source.partition("\n")[2] for c in cells if c.source.startswith("%%every_child")]
        for number, cell in enumerate(cells):
            if "exercise" in cell.metadata.get("tags", ()):
                name = re.match(r"def (\w+)", cell.source)[1]
                solution = re.search(r"```python\n(.*?)\n```", cells[number + 2].source, re.DOTALL)[1]
                found[name] = (prelude[0] if prelude else "", cell.source, solution)
    return found


EXERCISES = exercises()


@pytest.fixture
def define(tmp_path: pathlib.Path):
    """Make a function of source text, in a file of its own, so that it has a source as one in a notebook has."""

    def make(text: str) -> types.FunctionType:
        path = tmp_path / "solution.py"
        path.write_text(textwrap.dedent(text).strip() + "\n")
        spec = importlib.util.spec_from_file_location("solution", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        (function,) = [value for value in vars(module).values() if isinstance(value, types.FunctionType)]
        return function

    return make


def judge(name: str, function: object) -> tuple[bool, str]:
    """What the checker says, and that it leaves no trace and the host as it was."""
    if hasattr(production, name) and not shutil.which("haproxy"):
        pytest.skip("needs haproxy")
    before = socket.gethostname()
    lab.every_child(EXERCISES[name][0])
    verdict = getattr(lab.check, name)(function)
    assert socket.gethostname() == before
    deadline = (
        time.monotonic() + 20
    )  # a solution's own launcher ends when it has noticed that its program did
    while any(tidy.remains()[kind] for kind in ("processes", "networks")) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = tidy.remains()
    assert not left["containers"] + left["networks"] + left["images"] + left["processes"] + left["mounts"], (
        left
    )
    assert not Cgroup(lab.cgroup_path("check")).exists()
    return bool(verdict), repr(verdict)


def test_each_exercise_has_a_checker_and_each_checker_an_exercise() -> None:
    assert set(EXERCISES) == set(lab.check.__all__) == set(WRONG)
    assert all(len(wrong) >= 2 for wrong in WRONG.values())


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes(name: str, define) -> None:
    passed, text = judge(name, define(EXERCISES[name][2]))
    assert passed, text
    assert text.startswith("✓ passed: ")


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_is_refused(name: str, define) -> None:
    passed, text = judge(name, define(EXERCISES[name][1]))
    assert not passed
    assert (
        text == f"✗ not yet: {name} raises NotImplementedError; put your own lines in the place of that one"
    )


@pytest.mark.parametrize(
    ("name", "source"),
    [
        pytest.param(n, s, id=f"{n}-{re.search('def (.*)[(]', s)[1]}")
        for n, group in WRONG.items()
        for s in group
    ],
)
def test_a_wrong_solution_is_refused_with_what_was_seen(name: str, source: str, define) -> None:
    passed, text = judge(name, define(source))
    assert not passed, text
    assert text.startswith("✗ not yet: ")
    assert "seen " in text and ", expected " in text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def crash(path):\n    return path.nothing", "crash raised AttributeError"),
        ("def elsewhere(path):\n    helper(path)", "no other cell"),
        ("def leave(path):\n    raise SystemExit(3)", "leave left its process with exit code 3"),
        ("def die(path):\n    import os\n    os.kill(os.getpid(), 9)", "died"),
    ],
)
def test_a_solution_that_ends_badly_is_told_how(source: str, words: str, define) -> None:
    passed, text = judge("private_directory", define(source))
    assert not passed
    assert words in text


def test_a_solution_that_never_returns_is_given_up(define, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minicontainer.lab.trial._WITHIN", 1.0)
    passed, text = judge(
        "private_directory", define("def wait(path):\n    import time\n    time.sleep(1000)")
    )
    assert not passed
    assert text == "✗ not yet: wait has not returned after 1 s"


def test_what_is_not_a_function_is_refused() -> None:
    for thing in (None, "def f(): pass", print, lambda path: None):
        assert not lab.check.private_directory(thing)


def test_the_host_keeps_its_name_whatever_a_solution_does(define) -> None:
    """A trial is apart: what renames the host of an exercise renames a stand-in."""
    name = socket.gethostname()
    passed, text = judge("borrow_network", define("def rename(pid):\n    kernel.sethostname('gotcha')"))
    assert not passed, text
    assert socket.gethostname() == name


# ------------------------------------------------------------------ its place


def test_nothing_below_the_lab_knows_of_it() -> None:
    for path in (PROJECT / "minicontainer").rglob("*.py"):
        if path.relative_to(PROJECT).parts[1] != "lab":
            assert not re.search(r"minicontainer\.lab|import lab\b", path.read_text()), path


def test_importing_the_lab_is_light() -> None:
    heavy = "ipywidgets graphviz rich IPython pyroute2 pyseccomp"
    code = f"import sys, minicontainer.lab; print(sorted(set('{heavy}'.split()) & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_errors_of_the_lab_are_of_the_family() -> None:
    assert all(issubclass(kind, Error) for kind in (lab.ChildFailed, lab.NotReady, lab.LeftBehind))
    assert kernel.CLONE_NEWUTS in [kind.flag for kind in namespaces.NAMESPACES]
