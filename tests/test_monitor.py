"""The monitor: what it owns, what it outlives, and what is seen when it is gone."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest
from waiting import has_ended, until

from minicontainer.engine import api, stream
from minicontainer.engine.engine import Engine
from minicontainer.engine.launcher import Forker
from minicontainer.engine.options import Options
from minicontainer.errors import CommandNotFound, Conflict, NotFound


def monitor_of(container) -> int:
    """The monitor's pid, found as ps(1) would."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                words = pathlib.Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if words.startswith(f"minicontainer-monitor {container.id}".encode()):
                return int(name)
    raise AssertionError(f"{container} has no monitor")


def pss(pid: int) -> int:
    """Memory of a process in kB, what it shares counted in proportion."""
    words = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return int(words[words.index("Pss:") + 1])


def test_it_has_nothing_of_the_caller(engine, cli, tmp_path) -> None:
    """Neither descriptors, nor a terminal, nor a directory: a shell pipeline does not wait for a container."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    where = {"cwd": tmp_path, "pass_fds": (write,)}
    container = engine.find(cli.out("run", "-d", "alpine", "sleep", "1000", **where))
    os.close(write)
    monitor = monitor_of(container)
    assert os.read(read, 1) == b"", "the monitor holds a descriptor that its caller had open"
    os.close(read)
    assert os.readlink(f"/proc/{monitor}/cwd") == "/"
    assert {os.readlink(f"/proc/{monitor}/fd/{fd}") for fd in (0, 1)} == {"/dev/null"}
    fields = pathlib.Path(f"/proc/{monitor}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[3]) == monitor, "it does not lead a session of its own"
    assert int(fields[4]) == 0, "it has a terminal"


def test_its_environment_and_words_are_not_the_callers(engine, cli, monkeypatch) -> None:
    monkeypatch.setitem(cli.env, "SECRET", "swordfish")
    container = engine.find(cli.out("run", "-d", "alpine", "sleep", "1000"))
    monitor = monitor_of(container)
    assert b"swordfish" not in pathlib.Path(f"/proc/{monitor}/environ").read_bytes()
    assert b"alpine" not in pathlib.Path(f"/proc/{monitor}/cmdline").read_bytes()


def test_it_survives_the_terminal_it_was_started_from(engine, cli) -> None:
    shown, code = cli.tty("run", "-d", "--name", "survivor", "alpine", "sleep", "1000")
    assert code == 0, shown
    time.sleep(0.2)
    assert engine.find("survivor").status == "running"


def test_it_holds_little_memory(engine) -> None:
    """Alone on a machine no page is shared with another interpreter, so what counts here is an upper bound."""
    container = api.run("alpine", ["sleep", "1000"], detach=True, engine=engine)
    time.sleep(2)
    assert pss(monitor_of(container)) <= 12_000


def test_when_it_is_killed_the_container_dies_and_that_is_told(engine, cli) -> None:
    container = api.run("alpine", ["sleep", "1000"], detach=True, engine=engine)
    pid = container.pid
    os.kill(monitor_of(container), signal.SIGKILL)
    until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), seconds=10)
    row = cli.out("ps", "-a", "--filter", f"id={container.id}", "--format", "{{.Status}}")
    assert row.startswith("Exited (137)")
    state = container.state()
    assert state["Error"] == "its monitor was killed"
    assert not container.cgroup.exists()
    container.start()
    assert container.status == "running"


def test_a_container_that_was_running_when_the_host_went_down(engine, cli) -> None:
    """After a boot there is no run directory, no process and no cgroup; the file still says running."""
    container = api.run("alpine", ["sleep", "1000"], detach=True, engine=engine)
    written = pathlib.Path(container.path, "state.json").read_text()
    container.signal("KILL")
    container.wait()
    pathlib.Path(container.path, "state.json").write_text(written)
    assert "Exited (137)" in cli.out("ps", "-a", "--filter", f"id={container.id}")
    pathlib.Path(container.path, "state.json").write_text(written[:20])
    assert "Exited (255)" in cli.out("ps", "-a", "--filter", f"id={container.id}")
    assert "is damaged" in container.state()["Error"]


def test_a_slow_reader_makes_the_container_wait_and_loses_nothing(engine) -> None:
    """Twenty megabytes through a reader that sleeps first: all arrive, and the monitor does not hold them."""
    options = Options(remove=True)
    container = engine.create("alpine", ["sh", "-c", "yes 0123456789abcdef | head -n 1250000"], options)
    client, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stream.request(client, do="attach")
    container.start(theirs)
    theirs.close()
    time.sleep(2)
    monitor = monitor_of(container)
    assert pss(monitor) < 14_000, "the monitor keeps what it should let the container wait with"
    received = 0
    while True:
        data = client.recv(1 << 16)
        if data[0] == stream.EXIT:
            break
        received += len(data) - 1 if data[0] == stream.STDOUT else 0
    assert received == 17 * 1_250_000
    client.close()


def test_output_for_a_reader_that_comes_late_is_not_lost_at_the_end(cli) -> None:
    argv = [*cli.argv, "run", "--rm", "alpine", "seq", "200000"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, env=cli.env)
    time.sleep(1.5)
    assert process.stdout.read().split()[-1] == b"200000"
    assert process.wait() == 0


def test_last_words_are_heard_when_input_was_not(engine, cli) -> None:
    """The kernel tells the client that input of its was not read ahead of what was sent to it."""
    script = "echo ready; sleep 1; echo last words; exit 9"
    argv = [*cli.argv, "run", "-i", "--name", "deaf", "alpine", "sh", "-c", script]
    with subprocess.Popen(argv, env=cli.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin and client.stdout and client.stdout.readline() == b"ready\n"
        monitor = monitor_of(engine.find("deaf"))
        os.kill(monitor, signal.SIGSTOP)
        client.stdin.write(bytes(5 * stream.CHUNK))  # fits into the socket, as five messages
        client.stdin.close()
        time.sleep(1.5)  # until all of it is there, and the container has ended
        client.send_signal(signal.SIGSTOP)
        os.kill(monitor, signal.SIGCONT)
        try:
            until(lambda: has_ended(monitor), seconds=10)
            client.send_signal(signal.SIGCONT)
            assert (client.wait(20), client.stdout.read()) == (9, b"last words\n")
        finally:
            client.kill()


def test_several_may_be_attached_at_once(engine) -> None:
    container = api.run(
        "alpine", ["sh", "-c", "read go; echo $go"], detach=True, interactive=True, engine=engine
    )
    readers = []
    for number in range(3):
        client = stream.connect(container.run_path)
        stream.request(client, do="attach", stdin=number == 0)
        assert stream.reply(client)[0]["ok"]
        readers.append(client)
    readers[0].send(stream.message(stream.STDIN, b"heard\n"))
    for client in readers:
        kinds = {}
        while stream.EXIT not in kinds:
            data = client.recv(1 << 16)
            kinds[data[0]] = data[1:]
        assert kinds[stream.STDOUT] == b"heard\n"
        assert json.loads(kinds[stream.EXIT]) == {"code": 0}


def test_nonsense_from_a_client_does_no_harm(engine) -> None:
    container = api.run("alpine", ["sleep", "1000"], detach=True, engine=engine)
    for nonsense in (b"\x06not json", b"\x06{}", b"\x06[1]", b"\xffwhat", b"\x04[1", b"\x05null", b"\x05[9]"):
        client = stream.connect(container.run_path)
        client.send(nonsense)
        client.close()
    assert container.exec("echo still here").strip() == "still here"


def test_only_root_may_talk_to_it(engine) -> None:
    container = api.run("alpine", ["sleep", "1000"], detach=True, engine=engine)
    os.chmod(engine.root, 0o755)
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            stream.connect(container.run_path)
            os._exit(1)
        except PermissionError:
            os._exit(7)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_exec_is_refused_while_paused(engine) -> None:
    container = api.run("alpine", ["sleep", "1000"], detach=True, engine=engine)
    container.pause()
    with pytest.raises(Conflict, match="paused"):
        container.exec("true")
    container.unpause()
    assert container.exec("echo on").strip() == "on"


def test_execs_end_with_the_container_and_are_told_so(engine) -> None:
    container = api.run("alpine", ["sleep", "1000"], detach=True, engine=engine)
    codes = []
    threads = [
        threading.Thread(target=lambda: codes.append(container.exec("sleep 1000", check=False).exit_code))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(container.top()) == 4, seconds=10)
    container.signal("KILL")
    for thread in threads:
        thread.join(10)
    assert codes == [137, 137, 137]


def test_orphans_of_an_exec_are_reaped(engine) -> None:
    container = api.run("alpine", ["sleep", "1000"], detach=True, engine=engine)
    for _ in range(5):
        container.exec(["sh", "-c", "(sleep 0.1 &) ; true"])
    until(lambda: container.exec("ps").count("sleep 0.1") == 0, seconds=10)
    monitor = monitor_of(container)
    children = pathlib.Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()
    assert len(children) == 1, "it has children that it does not wait for"


def test_a_command_that_does_not_exist_leaves_the_reason(engine) -> None:
    container = engine.create("alpine", ["no-such-command"])
    with pytest.raises(CommandNotFound, match="no-such-command"):
        container.start()
    state = container.state()
    assert (state["Status"], state["ExitCode"]) == ("created", 127)
    assert "no-such-command" in state["Error"]
    assert not os.path.exists(container.run_path)


def test_one_name_for_one_container_however_many_ask(cli) -> None:
    """Eight commands want the same name at once: one gets it, seven are told who has it."""
    argv = [*cli.argv, "run", "-d", "--name", "contested", "alpine", "sleep", "1000"]
    running = [
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cli.env)
        for _ in range(8)
    ]
    results = [(process.communicate()[1], process.returncode) for process in running]
    assert sorted(code for _, code in results) == [0] + [125] * 7
    assert not [errors for errors, code in results if code and "contested" not in errors]
    assert cli.out("ps", "-q").count("\n") == 0


def attempt(action) -> None:
    """Do it, or be told that somebody else was faster."""
    with contextlib.suppress(Conflict, NotFound):
        action()


@pytest.mark.parametrize("round_", range(10))
def test_removing_and_starting_at_once_comes_to_one_end(engine, round_) -> None:
    """Whatever the order, afterwards the container is either there and well or not there at all."""
    container = engine.create("alpine", ["sleep", "1000"])
    container.settle()
    acts = [lambda: engine.find(container.id).start(), lambda: engine.find(container.id).remove(force=True)]
    threads = [threading.Thread(target=attempt, args=(act,)) for act in acts * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    if os.path.exists(container.path):
        assert container.state()["Status"] in ("created", "running")
        container.remove(force=True)
    assert not container.cgroup.exists()


def test_a_forked_ahead_monitor_that_is_not_needed_goes(engine) -> None:
    forker = Forker()
    forker.fork_ahead()
    children = f"/proc/self/task/{os.getpid()}/children"
    assert pathlib.Path(children).read_text().split()
    forker._waiting.close()
    until(lambda: os.waitpid(-1, os.WNOHANG)[0] > 0, seconds=10)


def test_a_forked_child_of_a_program_gets_a_helper_of_its_own(engine) -> None:
    assert api.run("alpine", "echo parent", engine=engine).strip() == "parent"
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            os.write(write, api.run("alpine", "echo child", engine=Engine(engine.root)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as output:
        assert output.read().strip() == "child"
    os.wait()
    assert api.run("alpine", "echo parent", engine=engine).strip() == "parent"
