"""How a container's program is found and begun, and the words and exit code when it is not."""

from __future__ import annotations

import os

import pytest
from conftest import DOCKER_IMAGE

from minicontainer.errors import CommandNotExecutable, CommandNotFound, Error

pytest_plugins = ["bundle_fixtures"]

USER = {"uid": 1000, "gid": 1000}


# -- what cannot be run --


@pytest.mark.parametrize(
    ("argv", "error", "message"),
    [
        (["nothing"], CommandNotFound, 'exec "nothing": executable file not found in $PATH'),
        (["/bin/nothing"], CommandNotFound, 'exec "/bin/nothing": no such file or directory'),
        (["/etc/passwd/x"], CommandNotFound, 'exec "/etc/passwd/x": no such file or directory'),
        (["/bin/dangling"], CommandNotFound, 'exec "/bin/dangling": no such file or directory'),
        (["dangling"], CommandNotFound, 'exec "dangling": executable file not found in $PATH'),
        ([""], CommandNotFound, 'exec "": executable file not found in $PATH'),
        (
            ["/bin/orphan"],
            CommandNotFound,
            'exec "/bin/orphan": its interpreter or loader is not in the image',
        ),
        (["/bin"], CommandNotExecutable, 'exec "/bin": is a directory: permission denied'),
        (["/etc/passwd"], CommandNotExecutable, 'exec "/etc/passwd": permission denied'),
        (["plain"], CommandNotExecutable, 'exec "plain": /bin/plain: permission denied'),
        (
            ["text"],
            CommandNotExecutable,
            'exec "text": exec format error: made for another machine, or no "#!"',
        ),
        (["/bin/circle"], CommandNotExecutable, 'exec "/bin/circle": too many levels of symbolic links'),
        (["echo", "x" * 3_000_000], CommandNotExecutable, 'exec "echo": argument list too long'),
    ],
    ids=lambda value: value[0][:20] if isinstance(value, list) else "",
)
def test_command_that_cannot_be_run_is_named_with_the_reason(bundle, argv, error, message):
    os.symlink("/no/where", bundle.inside("/bin/dangling"))
    os.symlink("circle", bundle.inside("/bin/circle"))
    bundle.add_file("/bin/orphan", "#!/no/interpreter\n", 0o755)
    bundle.add_file("/bin/plain", "#!/bin/sh\n", 0o644)
    bundle.add_file("/bin/text", "echo hello\n", 0o755)
    with pytest.raises(error) as refusal:
        bundle.start(*argv)
    assert (type(refusal.value), str(refusal.value)) == (error, message)
    assert refusal.value.exit_code == {CommandNotFound: 127, CommandNotExecutable: 126}[error]
    assert bundle.cgroup.pids() == [], "something is left running"


@pytest.mark.parametrize("command", ["nothing", "/no/such/file", "/etc", "/etc/passwd"])
def test_exit_codes_are_dockers(bundle, docker, command):
    with pytest.raises((CommandNotFound, CommandNotExecutable)) as refusal:
        bundle.start(command)
    assert docker("run", "--rm", "--network", "none", DOCKER_IMAGE, command).returncode == (
        refusal.value.exit_code
    )


def test_command_with_a_very_long_name_is_refused_in_a_readable_message(bundle):
    with pytest.raises(Error) as refusal:
        bundle.start("/" + "\N{SNOWMAN}" * 100_000)
    assert len(str(refusal.value)) < 6000


def test_program_that_only_its_owner_may_run_is_refused_to_others(bundle):
    bundle.add_file("/bin/mine", "#!/bin/echo\n", 0o700)
    with pytest.raises(CommandNotExecutable, match="permission denied"):
        bundle.start("mine", user=USER)
    assert bundle.run("mine", user={"uid": 0, "gid": 0}).code == 0


def test_one_more_process_that_cannot_be_run_is_named_too(bundle):
    container = bundle.start("sleep", "60")
    with pytest.raises(CommandNotFound, match='exec "nothing": executable file not found'):
        container.exec("nothing")
    assert container.exec("echo", "still there").out == "still there\n"


# -- where it is looked for --


def test_path_is_the_containers(bundle):
    bundle.add_file("/opt/tools/greet", "#!/bin/echo\n", 0o755)
    bundle.process["env"] = ["PATH=/no/where:/opt/tools:/bin"]
    assert bundle.run("greet", before=lambda: os.environ.update(PATH="/bin")).out == "/opt/tools/greet\n"


def test_file_that_may_not_be_run_does_not_hide_one_further_down_the_path(bundle):
    bundle.add_file("/opt/a/tool", "#!/bin/false\n", 0o644)
    bundle.add_file("/opt/b/tool", "#!/bin/echo\n", 0o755)
    os.makedirs(bundle.inside("/opt/0/tool"))
    bundle.process["env"] = ["PATH=/opt/0:/opt/a:/opt/b"]
    assert bundle.run("tool").out == "/opt/b/tool\n"


@pytest.mark.parametrize("env", [[], ["PATH="]], ids=["unset", "empty"])
def test_without_a_path_only_a_path_is_found(bundle, env):
    """Least of all is the working directory searched, which may be anybody's."""
    bundle.add_file("/srv/tool", "#!/bin/echo\n", 0o755)
    bundle.process.update(env=env, cwd="/srv")
    with pytest.raises(CommandNotFound):
        bundle.start("tool")
    assert bundle.run("/bin/echo", "found").out == "found\n"


def test_relative_path_is_looked_for_in_the_working_directory(bundle):
    bundle.add_file("/srv/app/tool", "#!/bin/echo\n", 0o755)
    assert bundle.run("./tool", cwd="/srv/app").out == "./tool\n"
    assert bundle.run("app/tool", cwd="/srv").out == "app/tool\n"


def test_script_gets_the_arguments_that_the_kernel_gives_it(bundle):
    bundle.add_file("/bin/script", "#!/bin/echo -n one\n", 0o755)
    assert bundle.run("script", "two", "").out == "-n one /bin/script two \n"


# -- how it begins and ends --


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("false", 1)])
def test_exit_code_is_the_programs(bundle, script, code):
    assert bundle.run("sh", "-c", script).code == code


def test_program_that_dies_of_a_signal_ends_with_it(bundle):
    # PID 1 cannot be ended by a signal from inside that it has no handler for, so it comes from outside.
    container = bundle.start("sleep", "60")
    container.signal(9)
    assert container.wait() == -9


def test_working_directory_is_the_bundles_and_made_when_it_is_missing(bundle):
    bundle.config["root"]["readonly"] = False
    assert bundle.run("pwd", cwd="/usr/share").out == "/usr/share\n"
    assert (
        bundle.run("sh", "-c", "pwd; stat -c '%a %u' .", cwd="/srv/new/deep").out == "/srv/new/deep\n755 0\n"
    )


def test_working_directory_that_is_a_file_is_named(bundle):
    with pytest.raises(Error, match="no directory at /etc/passwd: a file is in the way"):
        bundle.start("pwd", cwd="/etc/passwd")


def test_working_directory_may_be_one_that_only_its_user_may_enter(bundle):
    os.makedirs(bundle.inside("/srv/private"))
    os.chown(bundle.inside("/srv/private"), 1000, 1000)
    os.chmod(bundle.inside("/srv/private"), 0o700)
    assert bundle.run("pwd", cwd="/srv/private", user=USER).out == "/srv/private\n"


def test_arguments_come_through_byte_by_byte(bundle):
    words = ["with space", "", "quote'\"", "new\nline", "\N{SNOWMAN}", "\udcff", "-n", "$HOME"]
    shown = bundle.run("sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "sh", *words).out
    assert shown.encode("utf-8", "surrogateescape").split(b"\0")[:-1] == [os.fsencode(word) for word in words]
