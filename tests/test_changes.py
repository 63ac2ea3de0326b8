"""``--change``: the same instruction gives the same image configuration as Docker's."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile

import pytest
from conftest import DOCKER

from minicontainer.build.dockerfile import parse
from minicontainer.errors import InvalidArgument
from minicontainer.images import changes

INSTRUCTIONS = {
    "exec form": ['CMD ["/bin/sh", "-c", "echo hi"]'],
    "shell form": ["CMD echo $HOME && ls"],
    "shell form that begins with a bracket": ["CMD [ -f /x ] && ls"],
    "empty command": ["CMD []"],
    "entry point": ['ENTRYPOINT ["/bin/echo", "-n"]', "CMD hello"],
    "lower case": ['cmd ["ls"]'],
    "environment": ["ENV A=b C=\"two words\" D='x y' E=1\\ 2", "ENV OLD style with  spaces", "ENV A=again"],
    "labels": ['LABEL a=b "with space"="v w"', "LABEL a=c"],
    "ports": ["EXPOSE 80 53/udp", "EXPOSE 80/tcp 443 8000-8002 99/UDP"],
    "user": ["USER nobody:users"],
    "volumes": ['VOLUME ["/data", "/var/log"]', "VOLUME /one /two"],
    "volumes that are no array": ['VOLUME ["/data"'],
    "working directory": ["WORKDIR /a", "WORKDIR b/../c"],
    "absolute working directory": ["WORKDIR /a/../b/"],
    "variables": [
        "ENV A=1",
        "ENV B=${A:+x}$A",
        "LABEL $B=${NONE:-none}",
        "WORKDIR /$A",
        "USER $B",
        "EXPOSE $A",
    ],
    "health": ['HEALTHCHECK --interval=5s --retries=3 CMD ["a", "b"]'],
    "health by shell": ["HEALTHCHECK --timeout=1m30s CMD   curl  localhost"],
    "no health": ["HEALTHCHECK NONE"],
    "triggers": ["ONBUILD RUN  ls", "ONBUILD copy . /"],
}
KEYS = "Cmd Entrypoint Env ExposedPorts Healthcheck Labels OnBuild StopSignal User Volumes WorkingDir".split()


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_configuration_is_the_one_that_docker_makes(docker, name):
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    words = [word for text in INSTRUCTIONS[name] for word in ("-c", text)]
    made = subprocess.run(
        [DOCKER, "import", *words, "-"], input=empty.getvalue(), check=True, capture_output=True
    )
    image = made.stdout.decode().strip()
    theirs = json.loads(docker("image", "inspect", image).stdout)[0]["Config"]
    docker("rmi", image)
    ours = changes.apply({}, INSTRUCTIONS[name])
    assert set(ours) <= set(KEYS)
    assert {key: ours[key] for key in ours} == {key: theirs[key] for key in ours}
    assert {key for key in KEYS if theirs.get(key)} - {"Cmd"} <= set(ours)


@pytest.mark.parametrize("text", ["ENV A=b c", 'ENV A="b', "ENV =b", "LABEL a", "CMD [1]", "EXPOSE 70000"])
def test_docker_refuses_it_too(docker, text):
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    done = subprocess.run(
        [DOCKER, "import", "-c", text, "-"], input=empty.getvalue(), check=False, capture_output=True
    )
    assert done.returncode == 1


def test_what_is_there_stays_and_the_original_is_left_alone():
    config = {"Env": ["A=1", "B=2"], "Labels": {"x": "1"}, "Cmd": ["sh"], "Other": True}
    changed = changes.apply(config, ["ENV B=3 C=4", "LABEL y=2"])
    assert changed == {
        "Env": ["A=1", "B=3", "C=4"],
        "Labels": {"x": "1", "y": "2"},
        "Cmd": ["sh"],
        "Other": True,
    }
    assert config == {"Env": ["A=1", "B=2"], "Labels": {"x": "1"}, "Cmd": ["sh"], "Other": True}


def test_stop_signal_can_be_set_too():
    """Docker has it in a Dockerfile, and not here."""
    assert changes.apply({}, ["STOPSIGNAL SIGINT"]) == {"StopSignal": "SIGINT"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("RUN ls", "RUN is not one of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL"),
        ("shell [1]", "SHELL is not one of"),
        ("", "is not one of"),
        ("CMD", "CMD requires at least one argument"),
        ("USER  ", "USER requires at least one argument"),
        ("ENV A=b c", 'can\'t find = in "c"; write NAME=VALUE'),
        ('ENV A="b', "looking for matching double-quote"),
        ("ENV =b", "=b is not NAME=VALUE"),
        ("ENV A", "A has no value"),
        ("LABEL a", "a has no value"),
        ("CMD [1]", "arrays must be comprised of strings only"),
        ("EXPOSE http", "'http' is not a port"),
        ("EXPOSE 80/icmp", "'80/icmp' is not a port"),
        ("EXPOSE 70000", "'70000' is not a port"),
        ("EXPOSE 8002-8000", "'8002-8000' is not a port"),
        ("EXPOSE 1-70000", "'1-70000' is not a port"),
        ('VOLUME [""]', "can not be an empty string"),
        ("HEALTHCHECK --every=5s CMD ls", "unknown flag: every"),
    ],
)
def test_instruction_that_cannot_be_meant_is_refused_naming_it(text, reason):
    with pytest.raises(InvalidArgument) as refusal:
        changes.apply({}, [text])
    assert str(refusal.value).startswith(f"--change {text!r}: ")
    assert reason in str(refusal.value)


BUILD = r"""FROM scratch
ENV A=b   C="two words" D='x $A' E=${A:-x} F=a\nb G="a\nb\$\"\\" H=\ I=
ENV OLD style   with "quotes" $A
ENV A=1 A=2 B=$A
ENV a\ b=c "J K"=L
LABEL a=b "with space"="v w" c='$A' $A=x ${NOTHING:-q}=c
LABEL multi="one \
  two"
LABEL old style $A
EXPOSE 80 53/udp 8000-8002 80/TCP
ENV PORTS="7 8/udp"
EXPOSE $A 9090:8080 127.0.0.1:1:443 $PORTS
USER app
USER $A:"g r"
WORKDIR app
WORKDIR ./bin/../x/
WORKDIR "$C"
WORKDIR /a/../b/
CMD echo "hi" $A
SHELL ["/bin/bash", "-o pipefail", "-c"]
CMD echo   'hi'
CMD ["a b", "\u00e9\u0001\n", "\"\\"]
CMD []
CMD
ENTRYPOINT echo $A
ENTRYPOINT ["x"]
HEALTHCHECK --interval=5s --timeout=1m30s --retries=3 CMD curl "a"   b
HEALTHCHECK --interval=1h --timeout=1500ms --start-period=1h0m1.25s --retries=39 CMD ["a", "b\""]
HEALTHCHECK --interval=2ms --retries=100000 cmd x
HEALTHCHECK NONE
VOLUME /data /a/../b "/q"
VOLUME ["/d d", "$A"]
STOPSIGNAL SIGTERM
STOPSIGNAL ${NOTHING:-rtmin+3}
STOPSIGNAL 9
MAINTAINER joe $A <j@x>
ONBUILD  RUN   echo   hi
ONBUILD add . /x
"""


def test_history_and_configuration_of_a_build_are_those_of_docker(docker):
    env = {**os.environ, "DOCKER_BUILDKIT": "0"}
    words = [DOCKER, "build", "-q", "--no-cache", "-"]
    done = subprocess.run(words, input=BUILD.encode(), env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    image = done.stdout.decode().strip()
    theirs = json.loads(docker("image", "inspect", image).stdout)[0]["Config"]
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout.splitlines()
    docker("rmi", image)
    config: dict = {"Env": [theirs["Env"][0]]}  # the PATH that FROM gives to an image without one
    said = []
    for instruction in parse(BUILD.encode()).stages[0].instructions:
        said.append(
            changes.change(
                config,
                instruction.name,
                instruction.rest,
                words=instruction.words,
                flags=instruction.flags,
                variables=changes.environment(config),
            )
        )
    assert said == [line.partition("#(nop) ")[2].strip() for line in reversed(history)]
    for key in (*KEYS, "Shell"):
        assert (config.get(key) or None) == (theirs.get(key) or None), key
