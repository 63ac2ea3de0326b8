"""Rollouts of real containers, at the command line."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import Cli
from rollout_peers import Load, requests

HAS_HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
needs_haproxy = pytest.mark.skipif(not HAS_HAPROXY, reason="needs haproxy")

# Answers with the version that /version says; bad answers 500, and late after a second.
ANSWER = r"""#!/bin/sh
while read -r line && [ ${#line} -gt 1 ]; do :; done
[ -n "$line" ] || exit  # a health check, which only connects
version=$(cat /version)
status="200 OK"
[ "$version" != bad ] || status="500 Bad"
[ "$version" != late ] || sleep 1
printf 'HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s' "$status" "${#version}" "$version"
"""
# Alpine's busybox calls it -lk to answer more than one, and Debian's -ll.
SERVE = "nc -lk -p 80 -e /bin/answer 2>/dev/null || exec nc -ll -p 80 -e /bin/answer"
COMMANDS = {
    **dict.fromkeys(("v1", "v2", "bad", "late"), SERVE),
    "dead": "echo no luck >&2; exit 3",
    "idle": "echo warming up; sleep 1000",
}
STOPS = ("--stop-signal", "KILL")  # the shell that is their process 1 takes no notice of TERM
HALF = ("--strategy", "canary", "--weights", "50", "--step-time", "0s")  # of the requests, and then wait


@pytest.fixture(scope="module")
def versions(root, tmp_path_factory):
    """An image for each of COMMANDS."""
    cli, files = Cli(root), tmp_path_factory.mktemp("versions")
    (files / "answer").write_text(ANSWER)
    (files / "answer").chmod(0o755)
    cli("create", "--name", "making", "alpine", "true")
    cli("cp", files / "answer", "making:/bin/answer")
    for name, command in COMMANDS.items():
        (files / "version").write_text(name)
        cli("cp", files / "version", "making:/version")
        cli("commit", "-c", f"CMD {json.dumps(['sh', '-c', command])}", "making", name)
    cli("rm", "making")
    yield
    cli("rmi", *COMMANDS)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def web(versions, cli):
    """A rollout of v1 with two replicas; all it had is gone at the end. Returns its port."""
    port = free_port()
    cli("rollout", "create", "web", "--image", "v1", "-p", f"127.0.0.1:{port}:80", "--replicas", 2, *STOPS)
    yield port
    cli("rollout", "rm", "-f", "web", code=None)
    assert_nothing_left(cli)


def assert_nothing_left(cli) -> None:
    assert cli.out("rollout", "ls", "-q") == ""
    assert cli.out("ps", "-aq", "--filter", "label=minicontainer.rollout") == ""
    assert "rollout-web" not in cli.out("network", "ls")


def status(cli) -> dict:
    return json.loads(cli.out("rollout", "status", "web", "--format", "json"))


@needs_haproxy
def test_a_blue_green_deployment(cli, web):
    assert requests(web, 20) == {"200 v1": 20}
    deployed = cli.out(
        "rollout", "deploy", "web", "--image", "v2", "--smoke", "wget -qO- http://$TARGET/ | grep v2"
    )
    assert deployed.splitlines() == [
        "starting green (v2)",
        "smoke test of green-1 passed: wget -qO- http://$TARGET/ | grep v2",
        "smoke test of green-2 passed: wget -qO- http://$TARGET/ | grep v2",
        "green has 100 % of the traffic",
        "green (v2) has 100 % of the traffic; blue (v1) is kept until: minicontainer rollout promote|abort web",
    ]
    assert requests(web, 20) == {"200 v2": 20}
    names = cli.out("ps", "--format", "{{.Names}}").split()
    assert sorted(names) == ["web-blue-1", "web-blue-2", "web-green-1", "web-green-2"]
    assert cli.out("rollout", "promote", "web") == "web"
    assert requests(web, 20) == {"200 v2": 20}
    assert sorted(cli.out("ps", "-a", "--format", "{{.Names}}").split()) == ["web-green-1", "web-green-2"]
    cli("rollout", "deploy", "web", "--image", "v1", "--promote")  # and the colours change places
    assert sorted(cli.out("ps", "-a", "--format", "{{.Names}}").split()) == ["web-blue-1", "web-blue-2"]
    assert requests(web, 20) == {"200 v1": 20}


@needs_haproxy
def test_a_canary_of_containers(cli, web):
    flags = ("--strategy", "canary", "--weights", "25,50", "--step-time", "500ms")
    with Load(web, connections=2) as load:
        said = cli.out("rollout", "deploy", "web", "--image", "v2", *flags)
        assert requests(web, 40)["200 v2"] > 5
        cli("rollout", "promote", "web")
    assert "green had 25 % of the traffic: " in said
    assert load.lost == {}
    assert requests(web, 20) == {"200 v2": 20}


@needs_haproxy
def test_a_bad_canary_is_taken_back_and_can_be_looked_at(cli, web):
    flags = ("--strategy", "canary", "--weights", "20,100", "--step-time", "20s", "--max-errors", "2%")
    with Load(web, connections=2) as load:
        failed = cli("rollout", "deploy", "web", "--image", "bad", *flags, code=1)
    assert "requests failed, and at most 2 % may; all traffic is on blue (v1)" in failed.stderr
    assert load.lost.keys() == {"500 bad"}
    assert requests(web, 20) == {"200 v1": 20}
    known = status(cli)
    assert known["Deployment"]["Phase"] == "failed"
    assert known["Containers"] == {
        "web-blue-1": "running",
        "web-blue-2": "running",
        "web-green-1": "exited",
        "web-green-2": "exited",
    }
    assert "Next:          minicontainer rollout abort web" in cli.out("rollout", "status", "web")
    cli("rollout", "abort", "web")
    assert sorted(status(cli)["Containers"]) == ["web-blue-1", "web-blue-2"]


@needs_haproxy
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("v2", "--smoke", "echo it smokes; exit 7"), "'echo it smokes; exit 7' ended with 7: it smokes"),
        (("bad", "--smoke-path", "/"), "GET / was answered with 500 Bad"),
        (("v2", "--smoke", "sleep 60", "--timeout", "3s"), "'sleep 60' has not ended within 3 s"),
        (("dead",), "web-green-1 ended with 3: no luck"),
    ],
    ids=["command", "path", "timeout", "dead"],
)  # fmt: skip
def test_a_new_version_that_fails_gets_no_traffic(cli, web, words, reason):
    with Load(web, connections=2) as load:
        failed = cli("rollout", "deploy", "web", "--image", *words, code=1)
    assert (
        f"{'' if 'dead' in words else 'smoke test of green-1 failed: '}{reason}; all traffic is on blue"
        in failed.stderr
    )
    assert load.answers.keys() == {"200 v1"}


@needs_haproxy
def test_the_address_of_a_replica_that_was_killed_brings_its_next_owner_no_traffic(cli, web):
    killed = json.loads(cli.out("inspect", "web-blue-1"))[0]
    os.kill(killed["State"]["Pid"], signal.SIGKILL)
    cli("wait", "web-blue-1")
    address = killed["NetworkSettings"]["Networks"]["rollout-web"]["IPAddress"]
    with Load(web, connections=2) as load:
        smoke = ("--smoke", "echo $TARGET; sleep 2; false")
        failed = cli("rollout", "deploy", "web", "--image", "v2", *smoke, code=1)
    assert f"ended with 1: {address}:80;" in failed.stderr  # the first of green has got it
    assert load.answers.keys() == {"200 v1"}
    assert "Next:          minicontainer rollout abort web" in cli.out("rollout", "status", "web")
    cli("rollout", "abort", "web")
    assert status(cli)["Advice"] == "minicontainer rollout start web"
    cli("rollout", "start", "web")
    assert status(cli)["Advice"] == ""


@needs_haproxy
@pytest.mark.parametrize(
    ("finish", "stays", "version"), [("promote", "green", "v2"), ("abort", "blue", "v1")]
)
def test_replicas_that_come_back_elsewhere_get_the_traffic(cli, web, finish, stays, version):
    cli("rollout", "deploy", "web", "--image", "v2", *HALF)
    names = [f"web-{stays}-1", f"web-{stays}-2"]
    cli("stop", *names)
    for number in (1, 2):  # which take their addresses
        cli("run", "-d", "--name", f"other{number}", "--network", "rollout-web", "alpine", "sleep", "1000")
    cli("start", *names)
    cli("rollout", finish, "web")
    answers = requests(web, 10)
    cli("rm", "-f", "other1", "other2")
    assert answers == {f"200 {version}": 10}


@needs_haproxy
def test_a_replica_that_does_not_get_ready_is_named_with_what_it_said(cli, web):
    said = "-1 is not ready after 1 s: connection refused: warming up"
    deploy = ("deploy", "web", "--image", "idle", "--timeout", "1s", *STOPS)
    failed = cli("rollout", *deploy, code=1)
    assert f"web-green{said}; all traffic is on blue (v1)" in failed.stderr
    assert failed.stderr.endswith("there is: minicontainer logs web-green-1\n")
    assert cli.out("logs", "web-green-1") == "warming up"
    publish = f"127.0.0.1:{free_port()}:80"
    failed = cli(
        "rollout", "create", "w2", "--image", "idle", "-p", publish, "--timeout", "1s", *STOPS, code=1
    )
    assert f"w2-blue{said}" in failed.stderr  # which is all that is left of it
    assert cli.out("ps", "-aq", "--filter", "name=w2") == ""


@needs_haproxy
def test_abort_does_not_wait_for_a_test_that_is_running(cli, web):
    deploy = [*cli.argv, "rollout", "deploy", "web", "--image", "v2", "--smoke", "sleep 50", *STOPS]
    with subprocess.Popen(deploy, env=cli.env, stderr=subprocess.PIPE, text=True) as command:
        while (status(cli)["Deployment"] or {}).get("Phase") != "testing":
            time.sleep(0.1)
        began = time.monotonic()
        cli("rollout", "abort", "web")
        assert time.monotonic() - began < 20
        assert "told to abort by another command" in command.communicate()[1]
    assert command.returncode == 1
    assert sorted(status(cli)["Containers"]) == ["web-blue-1", "web-blue-2"]


@needs_haproxy
@pytest.mark.slow
def test_ten_flips_of_containers_under_load_lose_nothing(cli, web):
    with Load(web) as load:
        for number in range(10):
            cli("rollout", "deploy", "web", "--image", "v2" if number % 2 == 0 else "v1", "--promote")
    assert load.lost == {}
    assert min(load.answers[f"200 {version}"] for version in ("v1", "v2")) > 50


@needs_haproxy
@pytest.mark.slow
def test_commands_killed_at_any_moment_lose_nothing_and_leave_nothing(cli, web):
    chance = random.Random(5)
    deploy = ["rollout", "deploy", "web", "--image", "v2", "--promote", "--smoke", "true"]
    with Load(web) as load:
        for _ in range(12):
            command = subprocess.Popen([*cli.argv, *deploy], env=cli.env, stdout=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.1, 3))
            command.kill()
            command.wait()
            known = status(cli)
            assert not known["Driven"]
            if known["Deployment"]:
                finish = known["Advice"].split()[-2].split("|")[0]
                cli("rollout", finish, "web")
            assert status(cli)["Deployment"] is None
            assert len(status(cli)["Containers"]) == 2
    assert load.lost == {}


@needs_haproxy
def test_when_all_was_killed_start_brings_it_back(cli, web):
    cli("rollout", "deploy", "web", "--image", "v2", *HALF)
    known = status(cli)
    os.kill(known["LoadBalancer"], signal.SIGKILL)
    cli("rm", "-f", "web-blue-1")
    cli("kill", "web-green-2")
    said = cli.out("rollout", "status", "web")
    assert "Load balancer: HAProxy, not running" in said
    assert "not running" in cli.out("rollout", "ls")
    cli("rollout", "start", "web")
    assert requests(web, 100) == {"200 v1": 50, "200 v2": 50}
    assert set(status(cli)["Containers"].values()) == {"running"}


@needs_haproxy
def test_replicas_take_the_options_of_run(versions, cli):
    cli("network", "create", "backend")
    try:
        port = free_port()
        options = ("-e", "WHO=api", "-v", "data:/data", "--memory", "64m", "-l", "tier=front", *STOPS)
        publish = f"127.0.0.1:{port}:80"
        cli("rollout", "create", "api", "--image", "v1", "-p", publish, "--network", "backend", *options)
        cli("rollout", "deploy", "api", "--image", "v2", "-e", "WHO=new")
        for colour, who in (("blue", "api"), ("green", "new")):
            known = json.loads(cli.out("inspect", f"api-{colour}-1"))[0]
            assert f"WHO={who}" in known["Config"]["Env"]
            assert known["HostConfig"]["Memory"] == 64 << 20
            assert known["Mounts"][0]["Name"] == "data"
            assert list(known["NetworkSettings"]["Networks"]) == ["backend"]
            assert known["Config"]["Labels"]["tier"] == "front"
        assert requests(port, 5) == {"200 v2": 5}
    finally:
        cli("rollout", "rm", "-f", "api")
        cli("network", "rm", "backend")  # one that it had not made itself stays


@needs_haproxy
def test_mistakes_are_told(cli, web):
    deploy = ("deploy", "web", "--image", "v2")
    canary = (*deploy, "--strategy", "canary")
    for words, said in (
        (("create", "web", "--image", "v1", "-p", "1:80"), 'the rollout name "web" is already in use'),
        (
            ("create", "w2", "--image", "v1", "-p", f"127.0.0.1:{web}:80"),
            "is already allocated by rollout web",
        ),
        (("create", "w2", "--image", "v1", "-p", "80"), "invalid publish '80': it is [ADDRESS:]PORT:PORT"),
        (("create", "w2", "--image", "v1"), "rollout create needs --image and --publish"),
        (
            ("create", "w2", "--image", "v1", "-p", "1:80", "--replicas", "0"),
            "--replicas 0: it is from 1 to 100",
        ),
        ((*deploy, "--strategy", "red"), "no strategy is called 'red'; there are blue-green and canary"),
        ((*canary, "--weights", "5,1"), "they are percentages that grow"),
        ((*canary, "--weights", "5,x"), 'invalid argument "5,x" for "--weights" flag'),
        ((*deploy, "--max-errors", "some"), "'some' is no percentage"),
        ((*deploy, "--step-time", "3"), "missing unit in duration"),
        (("deploy", "nope", "--image", "v2"), "no such rollout: nope"),
        (("promote", "web"), "rollout web has no deployment to promote"),
        (("abort", "web"), "rollout web has no deployment to abort"),
        (("rm", "nope"), "no such rollout: nope"),
    ):
        assert said in cli("rollout", *words, code=1).stderr, words
    assert cli.out("rollout", "ls", "-q") == "web"
    assert requests(web, 5) == {"200 v1": 5}


@needs_haproxy
def test_a_rollout_whose_creation_fails_leaves_nothing(versions, cli):
    failed = cli("rollout", "create", "web", "--image", "dead", "-p", f"127.0.0.1:{free_port()}:80", code=1)
    assert "web-blue-1 ended with 3: no luck" in failed.stderr
    assert_nothing_left(cli)
    taken = cli("rollout", "create", "web", "--image", "v1", "-p", "8:80", "--network", "host", code=1)
    assert "--network host: each replica needs an address of its own" in taken.stderr
    assert_nothing_left(cli)


@needs_haproxy
def test_rm_lets_requests_end(versions, cli):
    port = free_port()
    cli("rollout", "create", "web", "--image", "late", "-p", f"127.0.0.1:{port}:80", *STOPS)
    asking = [sys.executable, "-c", f"import rollout_peers; print(rollout_peers.Client({port}).ask())"]
    with subprocess.Popen(asking, cwd=os.path.dirname(__file__), stdout=subprocess.PIPE, text=True) as client:
        while (
            json.loads(cli.out("rollout", "status", "web", "--format", "json"))["Replicas"][0]["Sessions"]
            == 0
        ):
            pass
        cli("rollout", "rm", "web")
        assert client.communicate()[0] == "200 late\n"
    assert_nothing_left(cli)


@needs_haproxy
def test_a_version_that_got_all_traffic_can_be_watched_as_well(cli, web):
    with Load(web, connections=2):
        failed = cli("rollout", "deploy", "web", "--image", "bad", "--step-time", "20s", code=1)
    assert "with 100 % of the traffic, " in failed.stderr
    assert requests(web, 10) == {"200 v1": 10}


@needs_haproxy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_a_deployment_that_is_interrupted_takes_everything_back(cli, web, number):
    flags = ("--strategy", "canary", "--weights", "50", "--step-time", "60s")
    deploy = [*cli.argv, "rollout", "deploy", "web", "--image", "v2", *flags]
    command = subprocess.Popen(deploy, env=cli.env, stdout=subprocess.PIPE, text=True)
    while status(cli)["Share"] != 50:
        time.sleep(0.1)
    command.send_signal(number)
    assert command.communicate(timeout=30)[0].endswith("interrupted; all traffic is on blue (v1)\n")
    assert command.returncode == 130
    assert requests(web, 10) == {"200 v1": 10}
    assert status(cli)["Deployment"]["Reason"] == "it was interrupted"


@needs_haproxy
def test_after_a_boot_start_brings_it_back(cli, web, root):
    """Nothing runs any more, and what was in the run directory is gone."""
    os.kill(status(cli)["LoadBalancer"], signal.SIGKILL)
    cli("kill", "web-blue-1", "web-blue-2")
    shutil.rmtree(f"{root}/run/.rollouts")
    assert "not running" in cli.out("rollout", "ls")
    cli("rollout", "start", "web")
    assert requests(web, 10) == {"200 v1": 10}


@needs_haproxy
@pytest.mark.slow
def test_a_killed_create_or_rm_can_be_finished(versions, cli):
    chance, port = random.Random(7), free_port()
    create = ["create", "web", "--image", "v1", "-p", f"127.0.0.1:{port}:80", "--replicas", "2", *STOPS]
    for number in range(8):
        for words in (create, ["rm", "web"]):
            command = subprocess.Popen([*cli.argv, "rollout", *words], env=cli.env, stdout=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.05, 1.2))
            command.kill()
            command.wait()
            if cli.out("rollout", "ls", "-q") and words == create:
                if number % 2:
                    cli("rollout", "start", "web")
                    assert requests(port, 10) == {"200 v1": 10}
                assert status(cli)["Advice"] in ("", "minicontainer rollout start|rm web")
        if cli.out("rollout", "ls", "-q"):
            cli("rollout", "rm", "web")
        assert_nothing_left(cli)
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody listens there
