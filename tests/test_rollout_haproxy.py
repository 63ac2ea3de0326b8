"""Rollouts with a real HAProxy, in front of plain HTTP servers on loopback."""

from __future__ import annotations

import collections
import contextlib
import math
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from rollout_peers import Load, Servers, requests
from waiting import until

from minicontainer.engine.rollout import haproxy, runtime_api, weights
from minicontainer.engine.rollout.bounds import Bounds, Unanswered
from minicontainer.engine.rollout.deployment import DeploymentFailed, Plan
from minicontainer.engine.rollout.record import Record
from minicontainer.engine.rollout.rollout import Rollout
from minicontainer.engine.rollout.rollouts import Rollouts, read_publish
from minicontainer.errors import Conflict, Error, InvalidArgument, NotFound, Unsupported

VERSIONS = ("v1", "v2", "v-bad", "v-slow", "v-hang", "v-dead", "v-mute", "v-sick")
needs_haproxy = pytest.mark.skipif(
    not any(map(os.path.exists, ("/usr/sbin/haproxy", "/usr/local/sbin/haproxy")))
    and not shutil.which("haproxy"),
    reason="needs haproxy",
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class OnServers(Rollouts):
    """Rollouts whose replicas are plain servers."""

    def __init__(self, engine, directory: pathlib.Path) -> None:
        super().__init__(engine)
        self.directory = directory
        self.port = free_port()

    def open(self, name):
        rollout = Rollout(self.engine, name)
        rollout.replicas = Servers(self.directory, rollout.record)
        return rollout

    def make(self, image="v1", name="web", **how):
        how = {"replicas": 2, "publish": f"127.0.0.1:{self.port}:{free_port()}", **how}
        return self.create(name, image, **how)


@pytest.fixture
def rollouts(engine, tmp_path):
    for name in VERSIONS:
        engine.tag_image("alpine", name)
    rollouts = OnServers(engine, tmp_path)
    yield rollouts
    for rollout in rollouts.all():
        rollout.remove(force=True, drain_time=0)
    for name in VERSIONS:
        engine.remove_image(name)
    for mine in (f"haproxy .*{engine.root}", f"serve .*{tmp_path}"):
        left = subprocess.run(["pgrep", "-af", mine], capture_output=True, text=True, check=False).stdout
        assert left == ""
    assert os.listdir(f"{engine.root}/rollouts") == []


def canary(*shares: float, step_time: float = 0.3, **how: object) -> Plan:
    return Plan("canary", weights=shares, step_time=step_time, **how)


# ------------------------------------------------------------------ shares


@pytest.mark.parametrize("percent", [0, 0.5, 1, 2.5, 5, 10, 25, 33.3, 50, 75, 99, 100])
def test_weights_are_what_haproxy_takes_and_meet_the_share(percent):
    old, new = weights.of_share(percent)
    assert 0 <= old <= 256 and 0 <= new <= 256
    assert weights.share(old, new) == pytest.approx(percent, abs=0.05)


@pytest.mark.parametrize("percent", [-1, 0.1, 99.9, 101, math.nan])
def test_a_share_that_cannot_be_is_refused(percent):
    with pytest.raises(InvalidArgument, match="is not possible"):
        weights.of_share(percent)


@needs_haproxy
@pytest.mark.slow
@pytest.mark.parametrize("percent", [1, 5, 25, 50])
def test_a_canary_gets_its_share_of_20000_requests(rollouts, percent):
    """If each request went to the new version with probability p, independently of the others, the number that it
    gets would be binomial, within 5 standard deviations in all but one of 1.7 million cases. HAProxy takes turns,
    which is more regular still; so a number outside of these bounds is no accident."""
    count, p = 20_000, percent / 100
    web = rollouts.make(replicas=3)
    web.deploy("v2", canary(percent))
    answers = requests(rollouts.port, count)
    assert set(answers) == {"200 v1", "200 v2"}
    assert abs(answers["200 v2"] - count * p) <= 5 * math.sqrt(count * p * (1 - p))


# ------------------------------------------------------------------ nothing is lost


@needs_haproxy
@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "POST"])  # which is never sent a second time
def test_ten_flips_under_load_lose_nothing(rollouts, method):
    web = rollouts.make()
    with Load(rollouts.port, method=method) as load:
        for number in range(10):
            web.deploy("v2" if number % 2 == 0 else "v1", Plan("blue-green"))
            time.sleep(0.2)
            web.promote()
    assert load.lost == {}
    assert min(load.answers[f"200 {version}"] for version in ("v1", "v2")) > 100


@needs_haproxy
def test_blue_green_takes_all_traffic_in_one_step_and_abort_gives_it_back(rollouts):
    web = rollouts.make()
    assert requests(rollouts.port, 50) == {"200 v1": 50}
    web.deploy("v2", Plan("blue-green"))
    assert requests(rollouts.port, 50) == {"200 v2": 50}
    web.abort()
    assert requests(rollouts.port, 50) == {"200 v1": 50}
    assert web.record.read()["Deployment"] is None
    with pytest.raises(Conflict, match="no deployment to abort"):
        web.abort()


@needs_haproxy
@pytest.mark.slow
def test_promote_waits_for_the_requests_that_are_under_way(rollouts):
    web = rollouts.make("v-slow")
    with Load(rollouts.port, connections=16) as load:
        time.sleep(0.5)
        web.deploy("v2", Plan("blue-green"))
        web.promote()
        time.sleep(0.3)
    assert load.lost == {}
    assert set(load.answers) == {"200 v-slow", "200 v2"}


@needs_haproxy
def test_an_abort_under_load_loses_only_what_the_bad_version_answered(rollouts):
    web = rollouts.make()
    plan = canary(5, 50, step_time=30, bounds=Bounds(errors=100))
    with Load(rollouts.port) as load:
        aborter = threading.Timer(1.5, rollouts.find("web").abort)
        aborter.start()
        with pytest.raises(Conflict, match=r"told to abort by another command, which goes on from here"):
            web.deploy("v-bad", plan)
        aborter.join()
        assert requests(rollouts.port, 200) == {"200 v1": 200}
    assert set(load.lost) == {"503 v-bad"}


# ------------------------------------------------------------------ a version that does not do well


@needs_haproxy
@pytest.mark.parametrize(
    ("image", "bounds", "reason"),
    [
        ("v-bad", Bounds(), "requests failed, and at most 1 % may"),
        ("v-mute", Bounds(), "requests failed, and at most 1 % may"),
        ("v-slow", Bounds(latency=100), r"took [1-3]\d\d ms to answer, and at most 100 may be"),
        ("v-hang", Bounds(latency=100), r"took \d+ ms to answer, and at most 100 may be"),
    ],
)
def test_a_canary_that_exceeds_a_bound_falls_to_zero_by_itself(rollouts, image, bounds, reason):
    web = rollouts.make()
    with Load(rollouts.port) as load, pytest.raises(DeploymentFailed, match=reason):
        web.deploy(image, canary(10, 100, step_time=20, bounds=bounds, drain_time=1))
    assert sum(load.lost.values()) < 500
    assert requests(rollouts.port, 100) == {"200 v1": 100}
    assert web.status()["Deployment"]["Phase"] == "failed"
    assert web.replicas.addresses("green") == {}
    web.deploy("v2", Plan())  # a failed one is no obstacle to the next
    assert requests(rollouts.port, 10) == {"200 v2": 10}


def seen(answers: int, sessions: int, latency: int) -> runtime_api.Server:
    """A replica with requests under way none of which is answered."""
    row = {"svname": "green-1", "status": "UP", "hrsp_2xx": answers, "stot": answers + sessions}
    return runtime_api.Server(collections.defaultdict(str, row, scur=sessions, rtime=latency))


def test_what_waits_for_its_answer_counts_like_any_other_request():
    unanswered, now = Unanswered(), 1000.0
    for moment, server, latency in (
        (0, seen(answers=0, sessions=3, latency=0), 0),
        (0.5, seen(answers=0, sessions=4, latency=0), 500),
        (0.6, seen(answers=99, sessions=1, latency=10), 10),
        (1.6, seen(answers=99, sessions=1, latency=10), 19),  # 99 in 10 ms, and one in 1000
        (1.7, seen(answers=99, sessions=0, latency=10), 10),
    ):
        unanswered.count([server], now + moment)
        assert server.latency == pytest.approx(latency, abs=1), moment


@needs_haproxy
def test_a_canary_that_fails_its_health_check_falls_to_zero(rollouts):
    web = rollouts.make()

    def break_it():
        while Record(rollouts.engine, "web").read()["Share"] != 20:
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(web.replicas.pid("green", 2), signal.SIGKILL)

    threading.Thread(target=break_it).start()
    with (
        Load(rollouts.port) as load,
        pytest.raises(DeploymentFailed, match=r"green-2 failed its health check|requests failed"),
    ):
        web.deploy("v2", canary(20, 100, step_time=20))
    assert load.lost == {}  # another one was asked
    assert requests(rollouts.port, 100) == {"200 v1": 100}


@needs_haproxy
@pytest.mark.parametrize("strategy", ["blue-green", "canary"])
@pytest.mark.parametrize(
    ("image", "how", "reason"),
    [
        ("v2", {"smoke": "false"}, "smoke test of green-1 failed: 'false' ended with 1"),
        ("v-bad", {"smoke_path": "/"}, "smoke test of green-1 failed: GET / was answered with 503"),
        ("v-dead", {}, "it ended with 1"),
    ],
)
def test_a_version_that_fails_before_it_serves_gets_no_request(rollouts, strategy, image, how, reason):
    web = rollouts.make()
    with Load(rollouts.port) as load, pytest.raises(DeploymentFailed, match=reason):
        web.deploy(image, Plan(strategy, weights=(50,), **how))
    assert load.answers.keys() == {"200 v1"}
    web.abort()


@needs_haproxy
def test_a_smoke_test_knows_where_the_new_version_is(rollouts, tmp_path):
    web = rollouts.make()
    web.deploy("v2", Plan(smoke=f'echo "$TARGET" >> {tmp_path}/targets'))
    port = web.record.document["Port"]
    assert (tmp_path / "targets").read_text().split() == [f"127.0.2.1:{port}", f"127.0.2.2:{port}"]


@needs_haproxy
def test_a_replica_that_is_not_ready_in_time_ends_the_deployment(rollouts):
    web = rollouts.make(health_path="/health")
    with pytest.raises(
        DeploymentFailed, match=r"green-1 is not ready after 0\.5 s: GET /health was answered with 503"
    ):
        web.deploy("v-sick", Plan(patience=0.5))
    assert requests(rollouts.port, 10) == {"200 v1": 10}


# ------------------------------------------------------------------ whoever is killed


@needs_haproxy
@pytest.mark.parametrize("finish", ["promote", "abort"])
def test_a_killed_deploy_can_be_finished(rollouts, finish):
    web = rollouts.make()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            web.deploy("v2", canary(25, 100, step_time=60))
        os._exit(1)
    with Load(rollouts.port) as load:
        while web.record.read()["Share"] != 25 or web.status()["Replicas"][-1]["Share"] == 0:
            time.sleep(0.05)
        assert web.status()["Driven"]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        known = web.status()
        assert (known["Driven"], known["Deployment"]["Phase"], known["Share"]) == (False, "shifting", 25)
        assert "promote|abort" in known["Advice"]
        with pytest.raises(Conflict, match=r"has a deployment of v2 under way, shifting; .* promote\|abort"):
            web.deploy("v1", Plan())
        assert requests(rollouts.port, 200)["200 v2"] in range(25, 100)  # others are taking turns, too
        getattr(web, finish)()
    assert load.lost == {}
    assert requests(rollouts.port, 20) == {"200 v2" if finish == "promote" else "200 v1": 20}


@needs_haproxy
@pytest.mark.slow
def test_a_command_killed_at_any_moment_leaves_what_can_be_finished(rollouts):
    """The same again for deploy, promote and abort, killed after 0, 20, 40 … milliseconds."""
    web = rollouts.make()
    with Load(rollouts.port) as load:
        for delay in range(0, 600, 20):
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    web.deploy("v2", canary(50, 100, step_time=0.1))
                    (web.promote if delay % 40 else web.abort)()
                os._exit(0)
            time.sleep(delay / 1000)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            if web.record.read()["Deployment"]:
                getattr(
                    web,
                    "promote"
                    if "promote" in web.advice() and delay % 3
                    else web.advice().split()[-2].split("|")[-1],
                )()
            assert web.record.read()["Deployment"] is None
            assert set(requests(rollouts.port, 4)) <= {"200 v1", "200 v2"}
    assert load.lost == {}


def kill_haproxy(web) -> None:
    os.kill(web.balancer.pid, signal.SIGKILL)
    while web.balancer.is_running:
        time.sleep(0.01)


@needs_haproxy
def test_a_killed_load_balancer_is_found_out_and_comes_back_as_it_was(rollouts):
    web = rollouts.make()
    web.deploy("v2", canary(50))
    kill_haproxy(web)
    known = web.status()
    assert (known["Running"], known["LoadBalancer"], known["Replicas"]) == (False, 0, [])
    assert known["Advice"] == "minicontainer rollout start web"
    web.start()
    assert requests(rollouts.port, 100) == {"200 v1": 50, "200 v2": 50}
    kill_haproxy(web)
    web.promote()  # which needs it, and starts it
    assert requests(rollouts.port, 10) == {"200 v2": 10}


@needs_haproxy
def test_a_deployment_goes_on_when_the_load_balancer_is_killed(rollouts):
    web = rollouts.make()
    told = []
    threading.Timer(0.5, lambda: kill_haproxy(web)).start()
    web.deploy("v2", canary(50, 100, step_time=1), say=told.append)
    assert "the load balancer was killed; starting it again" in told
    assert requests(rollouts.port, 10) == {"200 v2": 10}


@needs_haproxy
def test_start_brings_back_replicas_that_are_gone(rollouts):
    web = rollouts.make()
    web.replicas.stop("blue")
    kill_haproxy(web)
    web.start()
    assert requests(rollouts.port, 10) == {"200 v1": 10}


def states(web) -> dict[str, str]:
    return {each["Name"]: each["State"] for each in web.status()["Replicas"]}


@needs_haproxy
def test_a_replica_that_dies_costs_no_request(rollouts):
    web = rollouts.make(replicas=3)
    with Load(rollouts.port) as load:
        time.sleep(0.3)
        os.kill(web.replicas.pid("blue", 1), signal.SIGKILL)
        until(lambda: states(web) == {"blue-1": "DOWN", "blue-2": "UP", "blue-3": "UP"}, seconds=2)
        time.sleep(0.5)
    assert load.lost == {}
    assert web.status()["Advice"] == "minicontainer rollout start web"
    web.start()
    assert web.status()["Advice"] == ""


@needs_haproxy
def test_a_version_that_is_not_well_is_not_promoted(rollouts):
    web = rollouts.make()
    web.deploy("v2", canary(50))
    os.kill(web.replicas.pid("green", 2), signal.SIGKILL)
    with pytest.raises(
        Conflict, match="cannot promote: web-green-2 is not ready after 3 s: it has no address"
    ):
        web.promote()
    assert web.status()["Deployment"]["Phase"] == "waiting"
    web.start()  # which starts that replica
    web.promote()
    assert requests(rollouts.port, 10) == {"200 v2": 10}


@needs_haproxy
def test_a_half_deployed_version_does_not_keep_the_live_one_from_starting(rollouts):
    web = rollouts.make(health_path="/health")
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            web.deploy("v-sick", Plan())  # which will never be ready
        os._exit(1)
    while Record(rollouts.engine, "web").read()["Deployment"] is None:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    web.replicas.stop("blue")
    kill_haproxy(web)
    web.start()
    assert requests(rollouts.port, 10) == {"200 v1": 10}
    assert web.status()["Deployment"]["Phase"] == "starting"
    web.abort()


@needs_haproxy
def test_when_the_new_version_does_not_come_back_the_old_one_serves(rollouts):
    web = rollouts.make()
    web.deploy("v2", Plan())
    kill_haproxy(web)
    web.replicas.remove()
    versions = web.record.document["Versions"]
    web.record.update(Versions={**versions, "green": {**versions["green"], "Image": "v-dead"}})
    for _ in range(2):  # the load balancer does not run, and then it does
        with pytest.raises(Error, match="it ended with 1; see: minicontainer logs it"):
            web.start()
        assert requests(rollouts.port, 10) == {"200 v1": 10}
    web.abort()


@needs_haproxy
def test_a_load_balancer_that_cannot_be_told_does_not_come_back_with_a_failed_version(rollouts):
    web = rollouts.make()
    taken = []

    def take_its_port():
        while not taken:
            time.sleep(0.5)
            kill_haproxy(web)
            with contextlib.suppress(OSError):  # it was started again already
                taken.append(socket.create_server(("127.0.0.1", rollouts.port)))

    threading.Thread(target=take_its_port).start()
    with pytest.raises(Conflict, match="port is already allocated"):
        web.deploy("v2", canary(50, step_time=20))
    taken[0].close()
    assert web.status()["Deployment"]["Phase"] == "failed"
    web.start()
    assert requests(rollouts.port, 10) == {"200 v1": 10}
    web.abort()


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize("name", ["", "w", "we/b", "../web", "-web", "web\n", "w" * 193])
def test_a_name_that_cannot_be_is_refused(rollouts, name):
    with pytest.raises(InvalidArgument, match="invalid rollout name"):
        rollouts.make(name=name)


def test_without_haproxy_the_error_says_how_to_get_it(engine, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(Unsupported, match="HAProxy, which is not installed; apt-get install haproxy"):
        Rollouts(engine).create("web", "alpine", publish="8080:80")
    assert Rollouts(engine).names() == []


@needs_haproxy
def test_a_port_in_use_names_the_rollout_that_has_it(rollouts):
    rollouts.make()
    with pytest.raises(
        Conflict, match=r"127\.0\.0\.1:\d+: port is already allocated by rollout web; choose another"
    ):
        rollouts.make(name="again")
    taken = free_port()
    with (
        socket.create_server(("127.0.0.1", taken)),
        pytest.raises(Conflict, match=rf"already allocated by \S+ \(pid {os.getpid()}\)"),
    ):
        rollouts.make(name="again", publish=f"127.0.0.1:{taken}:80")
    with (
        socket.create_server(("::1", taken), family=socket.AF_INET6),
        pytest.raises(Conflict, match=rf"already allocated by \S+ \(pid {os.getpid()}\)"),
    ):
        rollouts.make(name="again", publish=f"{taken}:80")
    with pytest.raises(Conflict, match='rollout name "web" is already in use'):
        rollouts.make()
    assert rollouts.names() == ["web"]


@needs_haproxy
def test_a_rollout_that_cannot_start_leaves_nothing(rollouts):
    with pytest.raises(Exception, match="ended with 1"):
        rollouts.make("v-dead")
    with pytest.raises(NotFound):
        rollouts.make("no-such-image")
    assert rollouts.names() == []


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("8080:80", ("", 8080, 80)),
        ("127.0.0.1:8080:80", ("127.0.0.1", 8080, 80)),
        ("[::1]:8080:80", ("::1", 8080, 80)),
    ],
)
def test_where_it_is_published(text, meant):
    assert read_publish(text) == meant


@pytest.mark.parametrize(
    "text", ["80", "", "0:80", "8080:0", "65536:80", "a:80", "300.0.0.1:8080:80", ":8080:80:"]
)
def test_what_cannot_be_published_is_refused(text):
    with pytest.raises(InvalidArgument, match="it is"):
        read_publish(text)


@pytest.mark.parametrize("shares", [(), (0, 50), (50, 25), (1, 101), (0.01,)])
def test_shares_that_make_no_canary_are_refused(shares):
    with pytest.raises(InvalidArgument):
        Plan("canary", weights=shares)


def test_the_runtime_api_says_when_nobody_is_there(tmp_path):
    with pytest.raises(runtime_api.NotRunning):
        runtime_api.ask(str(tmp_path), "show info")
    assert not haproxy.is_running(str(tmp_path / "nowhere"))
