"""A bundle that cannot become a container is refused with its path and the reason, before anything is made."""

from __future__ import annotations

import json
import os

import pytest

from minicontainer.errors import InvalidArgument, NotFound, Unsupported
from minicontainer.runtime import spec

pytest_plugins = ["bundle_fixtures"]


def put(config, path, value) -> None:
    """Set what ``path``, as ``process.args``, names; a value of ... takes it away."""
    *parents, last = path.split(".")
    for name in parents:
        config = config[int(name)] if name.isdigit() else config.setdefault(name, {})
    if value is ...:
        del config[last]
    else:
        config[int(last) if last.isdigit() else last] = value


NAMESPACES = [{"type": "mount"}]

REFUSED = [
    # what is not there, or is not what it must be
    ("ociVersion", "2.0.0", "ociVersion '2.0.0' is not 1.x"),
    ("ociVersion", ..., "ociVersion '' is not 1.x"),
    ("root", ..., "root.path is missing"),
    ("root", [], "root must be an object, not []"),
    ("root.path", 7, "root.path must be a string, not 7"),
    ("root.readonly", "yes", 'root.readonly must be true or false, not "yes"'),
    ("process", ..., "process.args is missing or empty"),
    ("process.args", [], "process.args is missing or empty"),
    ("process.args", "sh", 'process.args must be a list, not "sh"'),
    ("process.args", ["sh", 3], "process.args[1] must be a string, not 3"),
    ("process.args", ["sh", "a\0b"], "process.args[1] has a NUL character in it"),
    ("process.env", {"A": "b"}, "process.env must be a list"),
    ("process.cwd", "tmp", "process.cwd is not an absolute path"),
    ("process.cwd", ..., "process.cwd is not an absolute path"),
    ("process.user.uid", "root", 'process.user.uid must be a whole number, not "root"'),
    ("process.user.uid", True, "process.user.uid must be a whole number, not true"),
    ("process.terminal", 1, "process.terminal must be true or false, not 1"),
    ("process.capabilities.bounding", ["CAP_FLY"], "no capability is called CAP_FLY"),
    (
        "process.rlimits",
        [{"type": "RLIMIT_LUCK", "soft": 1, "hard": 1}],
        "no resource limit is called RLIMIT_LUCK",
    ),
    (
        "process.rlimits",
        [{"type": "getrlimit", "soft": 1, "hard": 1}],
        "no resource limit is called getrlimit",
    ),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 1}], "process.rlimits[0].hard is missing"),
    (
        "process.rlimits",
        [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2,
        "process.rlimits has RLIMIT_CORE twice",
    ),
    ("mounts", {}, "mounts must be a list, not {}"),
    ("mounts.0", {"type": "tmpfs"}, "mounts[0].destination is missing"),
    ("mounts.0.destination", "proc", "the mount destination 'proc' is not an absolute path"),
    ("mounts.0", {"destination": "/x", "type": "bind"}, "the bind mount on /x has no source"),
    (
        "mounts.0",
        {"destination": "/x", "source": "/", "options": ["bind", "r0"]},
        "the bind mount on /x cannot have the option r0",
    ),
    ("linux.devices", [{"type": "c", "path": "dev/x"}], "the device 'dev/x' is not an absolute path"),
    ("linux.devices", [{"type": "c"}], "linux.devices[0].path is missing"),
    (
        "linux.rootfsPropagation",
        "wild",
        "linux.rootfsPropagation is 'wild'; it must be one of private, shared",
    ),
    # namespaces
    ("linux", ..., "linux.namespaces has no mount namespace; the host's mounts would be changed"),
    ("linux.namespaces", [{"type": "uts"}], "linux.namespaces has no mount namespace"),
    ("linux.namespaces", [*NAMESPACES, {"type": "disk"}], "no namespace is called 'disk'; there are user"),
    ("linux.namespaces", NAMESPACES * 2, "linux.namespaces names one kind twice"),
    ("linux.namespaces", [{"path": "/x"}], "linux.namespaces[0].type is missing"),
    (
        "linux.namespaces",
        [*NAMESPACES, {"type": "uts", "path": "x"}],
        "the namespace 'x' is not an absolute path",
    ),
    # what needs something else
    ("linux.namespaces", NAMESPACES, "a hostname requires a uts namespace of its own"),
    ("linux.uidMappings", [{"containerID": 0, "hostID": 1, "size": 1}], "require a user namespace"),
    ("linux.uidMappings", [{"containerID": 0, "hostID": 1}], "linux.uidMappings[0].size is missing"),
    (
        "linux.namespaces",
        [*NAMESPACES, {"type": "uts"}, {"type": "user"}],
        "a new user namespace requires uidMappings and gidMappings",
    ),
    ("linux.timeOffsets", {"boottime": {"secs": 1}}, "timeOffsets require a time namespace"),
    (
        "linux.timeOffsets",
        {"boottime": {"secs": "1"}},
        'linux.timeOffsets.boottime.secs must be a whole number, not "1"',
    ),
    ("linux.sysctl", {"kernel.panic": "1"}, "the sysctl kernel.panic belongs to no namespace"),
    ("linux.sysctl", {"vm/swappiness": "1"}, "the sysctl vm/swappiness belongs to no namespace"),
]

UNSUPPORTED = [
    ("hooks", {"prestart": [{"path": "/bin/true"}]}, "hooks are not supported by this runtime"),
    ("process.apparmorProfile", "docker-default", "process.apparmorProfile is not supported"),
    ("process.selinuxLabel", "system_u:system_r:container_t:s0", "process.selinuxLabel is not supported"),
    ("process.scheduler", {"policy": "SCHED_FIFO"}, "process.scheduler is not supported"),
    ("linux.mountLabel", "x", "linux.mountLabel is not supported"),
    ("linux.intelRdt", {"closID": "x"}, "linux.intelRdt is not supported"),
    (
        "mounts.0.uidMappings",
        [{"containerID": 0, "hostID": 1, "size": 1}],
        "mounts[0].uidMappings is not supported",
    ),
    ("vm", {"hypervisor": {"path": "/x"}}, "vm is not supported"),
    (
        "linux.namespaces",
        [{"type": "mount", "path": "/proc/1/ns/mnt"}],
        "a container cannot join a mount namespace",
    ),
]


@pytest.fixture
def load(bundle):
    """Load the bundle with one thing changed."""

    def change_and_load(path: str, value: object) -> dict:
        put(bundle.config, path, value)
        bundle.write()
        return spec.load(bundle.path)

    return change_and_load


@pytest.mark.parametrize(("path", "value", "reason"), REFUSED, ids=[each[0] for each in REFUSED])
def test_malformed_configuration_is_refused_with_its_path_and_the_reason(bundle, load, path, value, reason):
    with pytest.raises(InvalidArgument) as refusal:
        load(path, value)
    assert str(refusal.value).startswith(f"{bundle.path}/config.json: ")
    assert reason in str(refusal.value)


@pytest.mark.parametrize(("path", "value", "reason"), UNSUPPORTED, ids=[each[0] for each in UNSUPPORTED])
def test_protection_that_this_runtime_cannot_give_is_not_forgotten_but_refused(
    bundle, load, path, value, reason
):
    with pytest.raises(Unsupported) as refusal:
        load(path, value)
    assert str(refusal.value).startswith(f"{bundle.path}/config.json: ")
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("sysctl", "kind"),
    [("net.ipv4.ip_forward", "network"), ("kernel.msgmax", "ipc"), ("fs/mqueue/msg_max", "ipc")],
)
def test_kernel_parameter_that_would_change_the_host_is_refused(bundle, sysctl, kind):
    bundle.linux["sysctl"] = {sysctl: "1"}
    bundle.write()
    spec.load(bundle.path)
    bundle.without_namespace(kind)
    bundle.write()
    with pytest.raises(InvalidArgument, match=f"the sysctl {sysctl} requires a {kind} namespace"):
        spec.load(bundle.path)


def test_directory_without_configuration_is_no_bundle(tmp_path):
    with pytest.raises(NotFound, match=f"{tmp_path} is no bundle: it has no config.json"):
        spec.load(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "is not JSON"), ("[]", "it must be an object"), ("\xff", "not JSON")]
)
def test_configuration_that_is_no_json_object_is_refused(tmp_path, text, reason):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidArgument, match=reason):
        spec.load(str(tmp_path))


def test_missing_root_filesystem_is_named(bundle, load):
    with pytest.raises(NotFound, match=f"root filesystem {bundle.path}/nowhere is not a directory"):
        load("root.path", "nowhere")


def test_paths_of_the_bundle_come_back_absolute(bundle, load):
    bundle.config["mounts"].append({"destination": "/x", "options": ["bind"], "source": "data"})
    config = load("root.path", "rootfs")
    assert config["root"]["path"] == os.path.join(bundle.path, "rootfs")
    assert config["mounts"][-1]["source"] == os.path.join(bundle.path, "data")


def test_null_is_nothing(bundle):
    """Programs in Go write null for what is not there."""
    for name in ("devices", "sysctl", "uidMappings", "seccomp", "timeOffsets", "maskedPaths"):
        bundle.linux[name] = None
    for name in ("user", "rlimits", "consoleSize", "oomScoreAdj"):
        bundle.process[name] = None
    bundle.config["hooks"] = bundle.config["annotations"] = None
    bundle.config["mounts"][0]["options"] = None
    assert bundle.sh("id -u") == "0"


def test_bundle_with_the_least_that_there_can_be_runs(bundle):
    bundle.config = {
        "ociVersion": "1.1.0",
        "process": {"args": ["/bin/echo", "hello"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}], "resources": {"devices": []}},
    }
    assert bundle.run() == (0, "hello\n", "")


def test_what_runc_writes_as_an_example_is_accepted(bundle):
    """The default configuration of the tests is that of ``runc spec``, as far as it goes."""
    example = bundle.runc_spec()
    with open(os.path.join(bundle.path, "config.json"), "w") as file:
        json.dump(example, file)
    config = spec.load(bundle.path)
    assert config["process"]["args"] == ["sh"]
    assert {mount["destination"] for mount in config["mounts"]} == {
        m["destination"] for m in bundle.config["mounts"]
    }
