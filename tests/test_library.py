"""The engine as a library: from any thread, from many at once, from a notebook's kernel, however it was started."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from conftest import PROJECT
from waiting import until

import minicontainer
from minicontainer import Engine, Error, Output, ProgramError, errors

MEGABYTES = 8


@pytest.fixture
def box(engine: Engine) -> minicontainer.Container:
    """A running container."""
    container = minicontainer.run("alpine", ["sleep", "1000"], detach=True, name="box", engine=engine)
    assert isinstance(container, minicontainer.Container)
    return container


def run(engine: Engine, argv: list[str] | str, **options: object) -> Output:
    output = minicontainer.run("alpine", argv, engine=engine, **options)
    assert isinstance(output, Output)
    return output


# ------------------------------------------------------------------ run and exec


def test_output_is_text_with_more_to_it(engine: Engine) -> None:
    output = run(engine, ["sh", "-c", "echo out; echo err >&2"])
    assert output == "out\n"
    assert (output.stderr, output.exit_code) == ("err\n", 0)
    assert engine.containers(all=True) == []
    assert run(engine, "echo 'two words' x") == "two words x\n"
    assert run(engine, "printf '\\377x'") == "�x"


def test_a_program_that_fails_is_an_error_that_says_why(engine: Engine) -> None:
    with pytest.raises(ProgramError) as caught:
        run(engine, ["sh", "-c", "echo some; echo the reason >&2; exit 3"])
    assert str(caught.value) == "sh -c 'echo some; echo the reason >&2; exit 3' ended with 3: the reason"
    assert caught.value.exit_code == 3
    assert caught.value.output == "some\n"
    assert run(engine, ["sh", "-c", "exit 3"], check=False).exit_code == 3
    assert issubclass(ProgramError, Error)


def test_input(engine: Engine, box: minicontainer.Container) -> None:
    data = os.urandom(MEGABYTES << 20).hex()
    assert run(engine, "cat", input=data) == data
    assert box.exec("cat", input=data) == data
    assert run(engine, "cat", input=b"bytes") == "bytes"
    assert run(engine, "cat", input="") == ""
    assert run(engine, "cat") == ""
    assert run(engine, "head -c 3", input=data) == data[:3]
    assert run(engine, "true", input=data) == ""


def test_options(engine: Engine) -> None:
    said = run(
        engine,
        "sh -c 'hostname; echo $A; pwd; id -u'",
        hostname="lib",
        env={"A": "b"},
        workdir="/tmp",
        user="12",
    )
    assert said.split() == ["lib", "b", "/tmp", "12"]
    kept = run(engine, "true", remove=False, name="kept")
    assert kept == ""
    assert engine.find("kept").status == "exited"


@pytest.mark.parametrize(
    ("argv", "options", "error"),
    [
        (["nonesuch"], {}, errors.CommandNotFound),
        (["/etc/passwd"], {}, errors.CommandNotExecutable),
        (["true"], {"memory": "lots"}, errors.InvalidArgument),
        (["true"], {"user": "nonesuch"}, Error),
        (["true"], {"pid": "container:nonesuch"}, errors.NotFound),
        (["true"], {"nonesuch": 1}, TypeError),
        (["cat"], {"detach": True, "input": "x"}, TypeError),
    ],
)
def test_what_cannot_be_is_raised_and_leaves_nothing(
    engine: Engine, argv: list[str], options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(engine, argv, **options)
    assert engine.containers(all=True) == []
    assert os.listdir(engine.containers_path) == []
    with pytest.raises(errors.NotFound, match="no/such"):
        minicontainer.run("no/such", "true", engine=engine)


def test_exec(box: minicontainer.Container) -> None:
    assert box.exec(["hostname"]).strip() == box.short_id
    assert box.exec("sh -c 'id -un; pwd; echo $X'", user="nobody", workdir="/tmp", env=["X=y"]).split() == [
        *("nobody", "/tmp", "y")
    ]
    with pytest.raises(ProgramError, match="ended with 4"):
        box.exec("sh -c 'exit 4'")
    assert box.exec("sh -c 'exit 4'", check=False).exit_code == 4
    with pytest.raises(errors.CommandNotFound, match="nonesuch"):
        box.exec("nonesuch")
    box.stop(0)
    with pytest.raises(errors.Conflict, match="box"):
        box.exec("true")


def test_the_methods_of_a_container(
    engine: Engine, box: minicontainer.Container, tmp_path: pathlib.Path
) -> None:
    assert box.status == "running"
    assert os.path.exists(f"/proc/{box.pid}")
    assert box.inspect()["Name"] == "/box"
    assert box.top()[0]["CMD"] == "sleep 1000"
    assert box.stats(0.1).stats.pids == 1
    assert box.nsenter(["uts"], ["hostname"]).strip() == box.short_id
    (tmp_path / "f").write_text("content")
    box.copy_to(str(tmp_path / "f"), "/f")
    box.copy_from("/f", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "content"
    box.pause()
    assert box.status == "paused"
    box.unpause()
    box.rename("other")
    assert engine.find("other").id == box.id
    box.update(pids_limit=7)
    assert box.inspect()["HostConfig"]["PidsLimit"] == 7
    with pytest.raises(TypeError, match="'name'"):
        box.update(name="x")
    with pytest.raises(errors.Conflict):
        box.remove()
    box.signal("KILL")
    assert box.wait() == 137
    box.start()
    assert box.status == "running"
    box.stop(0)
    assert box.stats(0.01).memory_limit == 0, "what does not run uses nothing"
    box.remove()
    with pytest.raises(errors.NotFound):
        engine.find("other")


def test_remove_of_one_that_is_to_be_removed_at_its_end(engine: Engine) -> None:
    container = minicontainer.run("alpine", "sleep 1000", detach=True, remove=True, engine=engine)
    assert isinstance(container, minicontainer.Container)
    container.remove(force=True)
    assert engine.containers(all=True) == []


def test_wait_with_a_timeout(box: minicontainer.Container) -> None:
    assert box.wait(timeout=0.2) is None
    box.signal()
    assert box.wait(timeout=20) == 137


def test_an_interrupted_run_leaves_nothing(root: str, engine: Engine) -> None:
    """The kernel of a notebook is interrupted by SIGINT while a cell waits for its container."""
    code = """
        import minicontainer, os, signal, threading
        threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            minicontainer.run("alpine", "sleep 1000")
        except KeyboardInterrupt:
            print(minicontainer.list_containers(all=True))
    """
    assert program(root, code).stdout == "[]\n"


def test_logs_and_detach(engine: Engine) -> None:
    script = "echo out; echo err >&2; sleep 0.1; echo last; exit 2"
    container = minicontainer.run("alpine", ["sh", "-c", script], detach=True, engine=engine)
    assert isinstance(container, minicontainer.Container)
    assert container.wait() == 2
    assert sorted(container.logs().split()) == ["err", "last", "out"]
    assert container.logs(tail=1) == "last\n"
    assert repr(container) == f"<Container {container.name} {container.short_id}>"
    container.remove()


def test_the_engine_of_the_command_line_is_the_default(
    root: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINICONTAINER_ROOT", root)
    assert minicontainer.default_engine().root == root
    assert minicontainer.run("alpine", "echo hi") == "hi\n"
    assert minicontainer.list_containers() == []


def test_every_public_name_of_the_package_is_what_it_says(root: str, engine: Engine) -> None:
    """Whatever has been imported before: ``images`` is a function and also the name of a subpackage."""
    code = """
        import minicontainer
        minicontainer.list_containers()
        for name in minicontainer.__all__:
            getattr(minicontainer, name)
        print([name.familiar for image in minicontainer.list_images() for name in image.names])
    """
    assert "'alpine:latest'" in program(root, code).stdout


def test_import_image(engine: Engine, rootfs_archive: str) -> None:
    image = minicontainer.import_image(
        rootfs_archive, "lib:1", change=['CMD ["echo", "by itself"]'], engine=engine
    )
    assert minicontainer.run("lib:1", engine=engine) == "by itself\n"
    engine.remove_image(image.id)


# ------------------------------------------------------------------ threads


def test_eight_threads_at_once(engine: Engine) -> None:
    def work(number: int) -> str:
        name = f"thread-{number}"
        container = minicontainer.run("alpine", "sleep 1000", detach=True, name=name, engine=engine)
        assert isinstance(container, minicontainer.Container)
        said = container.exec("hostname").strip()
        assert said == container.short_id
        echoed = run(engine, "cat", input=f"{number} " * 50_000)
        assert echoed == f"{number} " * 50_000
        container.remove(force=True)
        return said

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(work, range(8)))
    assert len(set(names)) == 8
    assert engine.containers(all=True) == []
    assert [name for name in os.listdir(engine.run_path) if not name.startswith(".")] == []


def test_the_same_container_from_several_threads(box: minicontainer.Container) -> None:
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda n: box.exec(f"echo {n}"), range(24)))
    assert said == [f"{n}\n" for n in range(24)]


def test_no_descriptor_and_no_thread_is_left(engine: Engine, box: minicontainer.Container) -> None:
    def both() -> None:
        run(engine, "cat", input="x" * 100_000)
        run(engine, "head -c 1", input="x" * 1_000_000)
        box.exec("cat", input="y")
        with suppress(Error):
            run(engine, "nonesuch")
        with suppress(Error):
            box.exec("nonesuch")

    both()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        both()
    assert sorted(os.listdir("/proc/self/fd")) == before
    deadline = time.monotonic() + 10
    while threading.active_count() > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [t for t in threading.enumerate() if "fill" in t.name.lower()] == []


# ------------------------------------------------------------------ other programs


def program(root: str, code: str, **how: object) -> subprocess.CompletedProcess[str]:
    """Run a Python program that uses the package, and return what it printed."""
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "MINICONTAINER_ROOT": root}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **how,
    )
    assert done.returncode == 0, done.stderr
    return done


KERNEL = """
    import logging, multiprocessing.pool, os, queue, signal, sys, threading, time
    import minicontainer

    # As a Jupyter kernel is: threads that hold locks, among them those of the standard library, at any moment.
    lock, work = threading.Lock(), queue.Queue()
    def hold():
        with lock:
            time.sleep(1000)
    def write():
        while True:
            logging.getLogger("kernel").error("x")
            print("busy", file=sys.stderr, flush=True)
    logging.getLogger("kernel").addHandler(logging.NullHandler())
    for target in (hold, write, write):
        threading.Thread(target=target, daemon=True).start()
    time.sleep(0.1)
    for number in range(3):
        assert minicontainer.run("alpine", ["echo", str(number)]) == f"{number}\\n"
    web = minicontainer.run("alpine", ["sleep", "1000"], detach=True)
    assert web.exec("hostname").strip() == web.short_id
    web.remove(force=True)
    print("done", flush=True)
    os._exit(0)
"""


def test_a_kernel_with_threads_that_hold_locks(root: str, engine: Engine) -> None:
    assert program(root, KERNEL).stdout == "done\n"


HELPER = """
    import os, signal, sys, time
    import minicontainer

    def helpers():
        found = []
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as file:
                    stat = file.read().rpartition(")")[2].split()
                if int(stat[1]) == os.getpid() and stat[0] != "Z":
                    found.append(int(pid))
            except OSError:
                pass
        return found

    minicontainer.run("alpine", "true")
    [first] = helpers()
    minicontainer.run("alpine", "true")
    assert helpers() == [first], "one helper serves all"
    if IGNORING:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.kill(first, signal.SIGKILL)
    PAUSE
    assert minicontainer.run("alpine", "echo again") == "again\\n"
    [second] = helpers()
    assert second != first
    if os.fork() == 0:
        assert minicontainer.run("alpine", "echo child") == "child\\n"
        os._exit(0 if len(helpers()) == 1 else 1)
    else:
        print("ends with", os.wait()[1] if not IGNORING else time.sleep(2) or 0)
    assert minicontainer.run("alpine", "echo more") == "more\\n"
"""


@pytest.mark.parametrize("pause", ["time.sleep(0.2)", ""])
@pytest.mark.parametrize("ignoring", [False, True])
def test_a_killed_helper_is_replaced(root: str, engine: Engine, pause: str, ignoring: bool) -> None:
    assert (
        program(root, HELPER.replace("PAUSE", pause).replace("IGNORING", str(ignoring))).stdout
        == "ends with 0\n"
    )


def test_the_helper_ends_with_its_program(root: str, engine: Engine) -> None:
    code = """
        import os, minicontainer
        minicontainer.run("alpine", "true")
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                stat = open(f"/proc/{pid}/stat").read()
            except OSError:
                continue
            if stat.rpartition(")")[2].split()[1] == str(os.getpid()):
                print(pid)
        os.kill(os.getpid(), 9)
    """
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "MINICONTAINER_ROOT": root, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in done.stdout.split()))


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1], [1, 2], [0, 1, 2]])
def test_however_its_standard_streams_are(
    root: str, engine: Engine, closed: list[int], tmp_path: pathlib.Path
) -> None:
    """A program with descriptors 0, 1 or 2 closed: the next one opened gets such a number."""
    code = f"""
        import os
        os.closerange({closed[0]}, {closed[-1] + 1})
        import minicontainer
        said = minicontainer.run("alpine", ["sh", "-c", "cat; echo err >&2"], input="through")
        box = minicontainer.run("alpine", "sleep 1000", detach=True)
        said += box.exec("cat", input=" and back") + box.exec("hostname")
        box.remove(force=True)
        with open({str(tmp_path / "said")!r}, "w") as file:
            file.write(said)
    """
    program(root, code)
    assert re.fullmatch("through and back[0-9a-f]{12}\n", (tmp_path / "said").read_text())


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_the_command_line_however_its_standard_streams_are(root: str, engine: Engine, closed: str) -> None:
    command = f"{sys.executable} -m minicontainer --root {root}"
    script = f"{command} run --rm alpine sh -c 'echo out; echo err >&2; exit 5' {closed}; echo $?"
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        ["sh", "-c", script], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ("" if ">&-" in closed.replace("2>&-", "") else "out\n") + "5\n"
    assert done.stderr == ("" if "2>&-" in closed else "err\n")


def test_signals_that_the_program_blocks_or_ignores_are_not_the_container_s(
    root: str, engine: Engine
) -> None:
    code = """
        import signal, minicontainer
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(minicontainer.run("alpine", "grep -E ^Sig(Blk|Ign): /proc/self/status"))
    """
    _, blocked, _, ignored = program(root, code).stdout.split()
    # posix_spawn of glibc leaves its own two real-time signals, 32 and 33, ignored; no C library minds.
    assert (int(blocked, 16), int(ignored, 16) & ~(0b11 << 31)) == (0, 0)
