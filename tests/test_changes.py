"""``--change``: the same instruction gives the same image configuration as Docker's."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile

import pytest
from conftest import DOCKER

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
    "working directory": ["WORKDIR /a", "WORKDIR b/../c"],
}
KEYS = "Cmd Entrypoint Env Labels ExposedPorts StopSignal User Volumes WorkingDir".split()


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
        ("RUN ls", "RUN is not one of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL"),
        ("", "is not one of"),
        ("CMD", "CMD requires at least one argument"),
        ("USER  ", "USER requires at least one argument"),
        ("ENV A=b c", "'c' is not NAME=value"),
        ('ENV A="b', "No closing quotation"),
        ("ENV =b", "'=b' is not NAME=value"),
        ("ENV A", "A has no value"),
        ("LABEL a", "a has no value"),
        ("CMD [1]", "the words of an array must be strings"),
        ("EXPOSE http", "'http' is not a port"),
        ("EXPOSE 80/icmp", "'80/icmp' is not a port"),
        ("EXPOSE 70000", "'70000' is not a port"),
        ("EXPOSE 8002-8000", "'8002-8000' is not a port"),
        ("EXPOSE 1-70000", "'1-70000' is not a port"),
        ('VOLUME ["/data"', "VOLUME"),
    ],
)
def test_instruction_that_cannot_be_meant_is_refused_naming_it(text, reason):
    with pytest.raises(InvalidArgument) as refusal:
        changes.apply({}, [text])
    assert str(refusal.value).startswith(f"--change {text!r}: ")
    assert reason in str(refusal.value)
