"""What a user notices of cgroups, on the real kernel: in v1, hybrid and v2 worlds, whichever this host is.

Processes that are limited here are busybox applets, started as a container's are: a fork of this (large) Python
process waits, is joined to the cgroup, and becomes the small program by execve.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waiting import until

import minicontainer
from minicontainer.errors import Conflict, Error, InvalidArgument, NotFound, Unsupported
from minicontainer.kernel import bpf
from minicontainer.runtime.cgroups import (
    DEFAULT_RULES,
    Cgroup,
    devices,
    files,
    forms,
    hierarchies,
    mode,
    v1,
    v2,
)
from minicontainer.runtime.cgroups.hierarchy import carrier

pytestmark = [
    pytest.mark.cgroup,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox (package busybox-static)"),
]

TOP = f"/minicontainer-test-{os.getpid()}"
BUSYBOX = shutil.which("busybox") or ""
MIB = 1 << 20
DENY_ALL = {"allow": False, "access": "rwm"}


# Helpers


@pytest.fixture
def make():
    """A factory of cgroups that are gone after the test, whatever happened in it."""
    numbers = itertools.count()
    made = []

    def factory(resources=None, path=None, there=None):
        cgroup = Cgroup(path or f"{TOP}/{next(numbers)}", there)
        made.append(cgroup)
        if resources is not None:
            assert cgroup.create(resources) == []
        return cgroup

    yield factory
    for cgroup in made:
        cgroup.kill()
        cgroup.remove()
    Cgroup(TOP, hierarchies()).remove()


@pytest.fixture
def start():
    """A factory of processes in a cgroup, as children of this one; they are gone after the test."""
    started = []

    def factory(join, *argv, stdout=None):
        ready, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(go)
                os.read(ready, 1)
                if stdout is not None:
                    os.dup2(stdout, 1)
                os.execv(BUSYBOX, ["busybox", *argv])
            finally:
                os._exit(99)
        started.append(pid)
        os.close(ready)
        join(pid)
        os.close(go)
        return pid

    yield factory
    for pid in started:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


@pytest.fixture
def run(start):
    """Run busybox in a cgroup to its end: (exit code or minus the signal, output)."""

    def runner(cgroup, *argv):
        reader, writer = os.pipe()
        pid = start(cgroup.join, *argv, stdout=writer)
        os.close(writer)
        with os.fdopen(reader) as file:
            output = file.read()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output

    return runner


def content(cgroup, v1_file, v2_file):
    """The file of this world."""
    for version, name in ((1, v1_file), (2, v2_file)):
        if name and (hierarchy := carrier(cgroup.hierarchies, version, name)):
            return files.read(f"{hierarchy.directory(cgroup.path)}/{name}")
    raise AssertionError(f"neither {v1_file} nor {v2_file}")


def in_v1(controller):
    """Whether the controller lives in version 1."""
    return carrier(hierarchies(), 1, f"{controller}.x") is not None


def bare_v2_directory(cgroup):
    """Its directory in version 2, also in a hybrid world; a skip where there is none."""
    hierarchy = carrier(cgroup.hierarchies, 2, "cgroup.procs")
    if hierarchy is None:
        pytest.skip("needs a mounted cgroup2 filesystem")
    return hierarchy.directory(cgroup.path)


def elsewhere(script, prepare=""):
    """Run Python in a mount namespace of its own, after the shell commands ``prepare``; its output."""
    root = os.path.dirname(os.path.dirname(minicontainer.__file__))
    command = ["unshare", "-m", "sh", "-ec", f'{prepare}\nexec "$@"', "sh", sys.executable, "-c"]
    result = subprocess.run(
        [*command, textwrap.dedent(script)],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# Looking


def test_all_mounted_hierarchies_are_found_and_named_as_the_kernel_does():
    found = {h.name: h.mountpoint for h in hierarchies()}
    findmnt = subprocess.check_output(["findmnt", "-rn", "-t", "cgroup,cgroup2", "-o", "TARGET"], text=True)
    assert sorted(found.values()) == sorted(findmnt.split())
    with open("/proc/self/cgroup") as file:
        assert set(found) <= {line.split(":")[1] for line in file}
    for hierarchy in hierarchies():
        columns = ["findmnt", "-rn", "-o", "FSTYPE,FS-OPTIONS", hierarchy.mountpoint]
        filesystem, options = subprocess.check_output(columns, text=True).split()
        assert filesystem == {1: "cgroup", 2: "cgroup2"}[hierarchy.version]
        if hierarchy.version == 1:
            words = set(options.split(",")) - {"rw", "xattr"}
            assert words == {*hierarchy.controllers, *(w for w in words if w.startswith("name="))}
        else:
            with open(f"{hierarchy.mountpoint}/cgroup.controllers") as file:
                assert file.read().split() == list(hierarchy.controllers)


def test_the_mode_is_told_by_filesystems():
    mounted = subprocess.check_output(
        ["findmnt", "-rn", "-t", "cgroup,cgroup2", "-o", "FSTYPE,OPTIONS"], text=True
    )
    first = any(line.startswith("cgroup ") and "name=" not in line for line in mounted.splitlines())
    second = "cgroup2 " in mounted
    assert mode() == {(True, True): "hybrid", (True, False): "v1", (False, True): "v2"}[first, second]


def test_a_hierarchy_is_found_wherever_it_is_mounted_and_not_where_it_is_hidden(tmp_path):
    place = f"{tmp_path}/another place"
    first = hierarchies()[0]
    output = elsewhere(
        """
        from minicontainer.runtime.cgroups import hierarchies
        print(*(f"{h.version} {h.name} {h.mountpoint}" for h in hierarchies()), sep="\\n")
        """,
        f"mkdir '{place}' '{tmp_path}/a\r\fb'; mount -t tmpfs none '{tmp_path}/a\r\fb'\n"
        f"mount --bind {first.mountpoint} '{place}'; mount -t tmpfs none /sys/fs/cgroup",
    )
    assert output == f"{first.version} {first.name} {place}\n"


def test_a_host_without_cgroups_is_told_what_to_do():
    output = elsewhere(
        """
        from minicontainer import errors
        from minicontainer.runtime.cgroups import Cgroup, hierarchies, mode
        assert hierarchies() == []
        for attempt in mode, lambda: Cgroup("/x").create({}):
            try:
                attempt()
            except errors.Unsupported as error:
                print(error)
        """,
        "umount -l /sys/fs/cgroup",
    )
    assert output.count("mount -t cgroup2") == 2


@pytest.mark.parametrize("path", ["", "/", "x", "/x/", "//x", "/x/../y", "/..", "/x/./y", "/x\n", "/x\0"])
def test_only_plain_absolute_paths_below_the_root_are_taken(path):
    with pytest.raises(InvalidArgument, match="no path of a cgroup"):
        Cgroup(path)


# Limits, as the kernel reads them back

LIMITS = [
    # resources; the file of v1 and what it says then; the file of v2 and what it says then
    ({"memory": {"limit": 5_000_000}}, ("memory.limit_in_bytes", "4997120"), ("memory.max", "4997120")),
    ({"memory": {"limit": -1}}, ("memory.limit_in_bytes", "9223372036854771712"), ("memory.max", "max")),
    (
        {"memory": {"reservation": 8 * MIB}},
        ("memory.soft_limit_in_bytes", "8388608"),
        ("memory.low", "8388608"),
    ),
    (
        {"memory": {"limit": 4 * MIB, "swap": 6 * MIB}},
        ("memory.memsw.limit_in_bytes", "6291456"),
        ("memory.swap.max", "2097152"),
    ),
    (
        {"memory": {"limit": 4 * MIB, "swap": 4 * MIB}},
        ("memory.memsw.limit_in_bytes", "4194304"),
        ("memory.swap.max", "0"),
    ),
    (
        {"memory": {"limit": 4 * MIB, "swap": -1}},
        ("memory.memsw.limit_in_bytes", "9223372036854771712"),
        ("memory.swap.max", "max"),
    ),
    ({"cpu": {"shares": 1024}}, ("cpu.shares", "1024"), ("cpu.weight", "100")),
    ({"cpu": {"shares": 2}}, ("cpu.shares", "2"), ("cpu.weight", "1")),
    ({"cpu": {"shares": 262144}}, ("cpu.shares", "262144"), ("cpu.weight", "10000")),
    ({"cpu": {"shares": 2000}}, ("cpu.shares", "2000"), ("cpu.weight", "170")),  # runc 1.4's own number
    ({"cpu": {"shares": 22000}}, ("cpu.shares", "22000"), ("cpu.weight", "1204")),  # youki's test of it
    ({"cpu": {"quota": 50000}}, ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
    ({"cpu": {"quota": 5000, "period": 20000}}, ("cpu.cfs_period_us", "20000"), ("cpu.max", "5000 20000")),
    ({"cpu": {"period": 20000}}, ("cpu.cfs_period_us", "20000"), ("cpu.max", "max 20000")),
    ({"cpu": {"quota": -1}}, ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000")),
    ({"cpu": {"idle": 1}}, ("cpu.idle", "1"), ("cpu.idle", "1")),
    ({"cpu": {"cpus": "0"}}, ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    ({"cpu": {"mems": "0"}}, ("cpuset.mems", "0"), ("cpuset.mems", "0")),
    ({"pids": {"limit": 77}}, ("pids.max", "77"), ("pids.max", "77")),
    ({"pids": {"limit": -1}}, ("pids.max", "max"), ("pids.max", "max")),
    # zero and null are how "not set" looks in JSON
    (
        {"memory": {"limit": 0, "swap": None}},
        ("memory.limit_in_bytes", "9223372036854771712"),
        ("memory.max", "max"),
    ),
    ({"cpu": {"shares": 0, "quota": 0, "cpus": ""}}, ("cpu.shares", "1024"), ("cpu.max", "max 100000")),
    ({"memory": None, "pids": {}}, ("pids.max", "max"), ("pids.max", "max")),
]


@pytest.mark.parametrize(("resources", "first", "second"), LIMITS, ids=[json.dumps(row[0]) for row in LIMITS])
def test_limits_are_what_the_kernel_reads_back(make, resources, first, second):
    cgroup = make(resources)
    said = content(cgroup, first[0], second[0])
    assert said == (first if in_v1(first[0].split(".")[0]) else second)[1]


WEIGHT_FILES = {
    # file: what a weight of 500 makes it say
    "blkio.weight": "500",
    "blkio.bfq.weight": "500",
    "io.bfq.weight": "default 500",
    "io.weight": "default 4950",
}


def weight_file(cgroup):
    """The path of the file for a weight on this host; None when its kernel has none."""
    for version, name in (
        (1, "blkio.weight"),
        (1, "blkio.bfq.weight"),
        (2, "io.bfq.weight"),
        (2, "io.weight"),
    ):
        hierarchy = carrier(cgroup.hierarchies, version, name)
        if hierarchy and os.path.exists(f"{hierarchy.directory(cgroup.path)}/{name}"):
            return f"{hierarchy.directory(cgroup.path)}/{name}"
    return None


def test_the_weight_of_disk_access_is_set_where_the_kernel_has_one(make):
    cgroup = make()
    warnings = cgroup.create({"blockIO": {"weight": 500}})
    path = weight_file(cgroup)
    assert warnings == ([] if path else [WEIGHT_WARNING])
    assert path is None or files.read(path) == WEIGHT_FILES[os.path.basename(path)]


def whole_disk(path):
    """major:minor of the disk that a file lies on."""
    device = os.stat(path).st_dev
    link = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    if not os.path.exists(link):
        pytest.skip(f"needs a disk: {path} is on a filesystem without one")
    if os.path.exists(f"{link}/partition"):
        link = os.path.dirname(os.path.realpath(link))
    major, minor = files.read(f"{link}/dev").split(":")
    return int(major), int(minor)


def test_rates_of_a_disk_are_set_and_lifted(make, tmp_path):
    major, minor = whole_disk(tmp_path)
    names = (
        "throttleReadBpsDevice",
        "throttleWriteBpsDevice",
        "throttleReadIOPSDevice",
        "throttleWriteIOPSDevice",
    )
    rates = {name: [{"major": major, "minor": minor, "rate": MIB + i}] for i, name in enumerate(names)}
    cgroup = make({"blockIO": rates})
    if in_v1("blkio"):
        for i, word in enumerate(("read_bps", "write_bps", "read_iops", "write_iops")):
            assert content(cgroup, f"blkio.throttle.{word}_device", None) == f"{major}:{minor} {MIB + i}"
    else:
        rest = f"rbps={MIB} wbps={MIB + 1} riops={MIB + 2} wiops={MIB + 3}"
        assert content(cgroup, None, "io.max") == f"{major}:{minor} {rest}"
    assert cgroup.update({"blockIO": {name: [{**rates[name][0], "rate": 0}] for name in names}}) == []
    assert content(cgroup, "blkio.throttle.read_bps_device", "io.max") == ""


@pytest.mark.skipif(not shutil.which("runc"), reason="needs runc to compare with")
def test_runc_writes_the_same(make, tmp_path):
    major, minor = whole_disk(tmp_path)
    resources = {
        "memory": {"limit": 32 * MIB, "swap": 48 * MIB, "reservation": 16 * MIB},
        "cpu": {"quota": 30000, "period": 60000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 33},
        "blockIO": {
            "weight": 321,
            "throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 2 * MIB}],
            "throttleWriteIOPSDevice": [{"major": major, "minor": minor, "rate": 200}],
        },
        "devices": [DENY_ALL, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}],
    }
    if weight_file(make({})) is None:
        del resources["blockIO"]["weight"]
    ours = make({**resources, "devices": [*resources["devices"], *DEFAULT_RULES]})
    theirs = make(path=f"{TOP}/runc")
    bundle(tmp_path, resources, theirs.path)
    root = f"--root={tmp_path}/state"
    with open(tmp_path / "log", "w") as log:  # a pipe would stay open in the container
        created = subprocess.run(
            ["runc", root, "create", "-b", tmp_path, "peer"], stdout=log, stderr=log, check=False
        )
    assert created.returncode == 0, (tmp_path / "log").read_text()
    try:
        tables = [*((1, row[1]) for row in v1.TABLE), (1, "devices.list"), *((2, row[1]) for row in v2.TABLE)]
        compared = 0
        for version, file in tables:
            hierarchy = carrier(ours.hierarchies, version, file)
            if hierarchy is None or not os.path.exists(f"{hierarchy.directory(ours.path)}/{file}"):
                continue
            said = [
                set(files.read(f"{hierarchy.directory(c.path)}/{file}").splitlines()) for c in (ours, theirs)
            ]
            # /dev/net/tun is a default of runc before 1.2
            assert said[0] == said[1] - {"c 10:200 rwm"}, file
            compared += 1
        assert compared > 10
    finally:
        subprocess.run(["runc", root, "delete", "-f", "peer"], check=True)


def bundle(directory, resources, path):
    """A bundle for runc with these limits."""
    subprocess.run(["runc", "spec", "-b", directory], check=True)
    (directory / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, directory / "rootfs" / "bin" / "sh")
    with open(directory / "config.json") as file:
        config = json.load(file)
    config["process"]["terminal"] = False
    config["linux"] |= {"resources": resources, "cgroupsPath": path}
    with open(directory / "config.json", "w") as file:
        json.dump(config, file)


# What the limits do


def test_4_mib_hold_a_small_program_started_from_a_large_one_and_kill_a_large_program(make, run):
    cgroup = make({"memory": {"limit": 4 * MIB, "swap": 4 * MIB}})
    assert run(cgroup, "sh", "-c", "echo still here") == (0, "still here\n")
    assert cgroup.oom_kills() == 0
    assert run(cgroup, "dd", "if=/dev/zero", "of=/dev/null", "bs=32M", "count=1")[0] == -signal.SIGKILL
    assert cgroup.oom_kills() == 1
    assert run(cgroup, "sh", "-c", "busybox dd if=/dev/zero of=/dev/null bs=32M count=1; echo $?") == (
        0,
        "137\n",
    )
    assert cgroup.oom_kills() == 2


def test_4_mib_suffice_when_joined_just_before_the_program_starts(make):
    """A large process puts itself in by the entrances, where there are some, and becomes a small one."""
    cgroup = make({"memory": {"limit": 4 * MIB, "swap": 4 * MIB}})
    entrances = cgroup.entrances()
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go)
            os.read(ready, 1)
            for fd in entrances:
                os.write(fd, b"0")
            os.execv(BUSYBOX, ["busybox", "sleep", "600"])
        finally:
            os._exit(99)
    os.close(ready)
    cgroup.join(pid, version=2)
    assert all(
        pid not in files.members(h.directory(cgroup.path)) for h in cgroup.hierarchies if h.version == 1
    )
    os.close(go)
    try:
        until(lambda: all(pid in files.members(h.directory(cgroup.path)) for h in cgroup.hierarchies))
        until(lambda: b"sleep" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
        assert cgroup.oom_kills() == 0
    finally:
        for fd in entrances:
            os.close(fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_warming_up_changes_nothing(make):
    before = pathlib.Path("/proc/self/cgroup").read_text()
    make({}, there=hierarchies()).warm_up()
    assert pathlib.Path("/proc/self/cgroup").read_text() == before


def test_a_bare_version_2_beside_version_1_is_not_used(make):
    cgroup = make({})
    if mode() == "hybrid":
        assert all(h.version == 1 or h.controllers for h in cgroup.hierarchies)
        assert not os.path.isdir(next(h for h in hierarchies() if h.version == 2).directory(cgroup.path))
    assert {c for h in cgroup.hierarchies for c in h.controllers} >= {"memory", "pids"}


def test_deaths_for_want_of_memory_are_counted_in_sub_cgroups_too(make, run):
    cgroup = make({"memory": {"limit": 4 * MIB, "swap": 4 * MIB}})
    inner = make({}, path=f"{cgroup.path}/inner")
    assert run(inner, "dd", "if=/dev/zero", "of=/dev/null", "bs=32M", "count=1")[0] == -signal.SIGKILL
    assert cgroup.oom_kills() == 1


def test_the_number_of_processes_is_limited(make, run):
    cgroup = make({"pids": {"limit": 4}})
    code, _ = run(cgroup, "sh", "-c", "for i in 1 2 3 4 5 6; do sleep 60 >&- & done 2>&-; exit 0")
    assert code != 0  # the shell gives up: can't fork
    assert len(cgroup.pids()) == 3
    assert (cgroup.stats().pids, cgroup.stats().pids_limit) == (3, 4)


def test_a_fifth_of_a_processor_is_a_fifth(make, start):
    cgroup = make({"cpu": {"quota": 20000, "period": 100000}})
    start(cgroup.join, "sh", "-c", "while :; do :; done")
    time.sleep(0.5)
    before, began = cgroup.stats(), time.monotonic_ns()
    time.sleep(3)
    after, took = cgroup.stats(), time.monotonic_ns() - began
    assert 0.12 < (after.cpu - before.cpu) / took < 0.28
    assert after.periods - before.periods >= after.throttled_periods - before.throttled_periods > 10
    assert after.throttled - before.throttled > 1_000_000_000


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_a_process_stays_on_its_processors(make, run):
    code, output = run(make({"cpu": {"cpus": "1"}}), "grep", "Cpus_allowed_list", "/proc/self/status")
    assert (code, output.split()[-1]) == (0, "1")


def test_a_disk_is_written_no_faster_than_allowed_and_counted(make, run, tmp_path):
    major, minor = whole_disk(tmp_path)
    cgroup = make({"blockIO": {"throttleWriteBpsDevice": [{"major": major, "minor": minor, "rate": MIB}]}})
    began = time.monotonic()
    code, _ = run(cgroup, "dd", "if=/dev/zero", f"of={tmp_path}/file", "bs=1M", "count=3", "oflag=direct")
    assert (code, time.monotonic() - began > 1.5) == (0, True)
    assert 3 * MIB <= cgroup.stats().written < 4 * MIB


def test_stats_count_memory_and_its_limit(make, start):
    cgroup = make({})
    assert cgroup.stats().memory_limit is None
    assert cgroup.stats().pids_limit is None
    cgroup.update({"memory": {"limit": 64 * MIB}})
    start(cgroup.join, *HOLD_24_MIB)
    until(lambda: cgroup.stats().memory >= 24 * MIB)
    assert cgroup.stats().memory < 32 * MIB
    assert cgroup.stats().memory_limit == 64 * MIB


# dd reads all of it before it writes, and the pipe it writes to has no reader that reads
HOLD_24_MIB = ("sh", "-c", "dd if=/dev/zero bs=24M count=1 2>/dev/null | sleep 600")


# Refusals and warnings


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"cpu": {"cpus": "99"}}, ["cpuset.cpus", "99"]),
        ({"cpu": {"cpus": "0-x"}}, ["0-x"]),
        ({"cpu": {"mems": "63"}}, ["cpuset.mems", "63"]),
        ({"cpu": {"quota": 1}}, ["cpu.quota", "'1", "Invalid argument"]),
        ({"pids": {"limit": 1 << 40}}, ["pids.limit", str(1 << 40), "Invalid argument"]),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 9, "rate": 1}]}},
            ["blockIO.throttleReadBpsDevice", "4095:9", "No such device", "lsblk"],
        ),
        ({"memory": {"limit": 8 * MIB, "swap": 4 * MIB}}, ["memory.swap", str(4 * MIB)]),
        ({"pids": {"limit": "many"}}, ["pids.limit 'many'"]),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]}},
            ["throttleReadBpsDevice", "rate"],
        ),
        ({"devices": [{"allow": True, "type": "x"}]}, ["device rule", "'x'"]),
        ({"devices": [{"allow": True, "access": "rx"}]}, ["device rule", "'rx'"]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_refused_value_is_named_and_nothing_is_left(make, resources, words):
    cgroup = make()
    with pytest.raises(InvalidArgument) as caught:
        cgroup.create(resources)
    for word in words:
        assert word in str(caught.value)
    assert not cgroup.exists()


def test_processors_that_are_not_there_are_told_from_those_that_are(make):
    with open("/sys/devices/system/cpu/online") as file:
        online = file.read().strip()
    with pytest.raises(InvalidArgument, match=f"available: {online}$"):
        make().create({"cpu": {"cpus": "0,4000"}})


def test_what_oci_knows_and_this_runtime_does_not_is_warned_of(make):
    assert make().create({"network": {"classID": 5}}) == [
        "network.classID is not supported. network.classID discarded."
    ]


def test_what_only_v1_knows_is_discarded_with_dockers_words_on_v2(make):
    asked = {"swappiness": 0, "disableOOMKiller": True}
    warnings = make().create({"memory": asked})
    if in_v1("memory"):
        assert warnings == []
    else:
        assert [warning.split(".")[0] for warning in warnings] == [
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted",
            "Your kernel does not support OomKillDisable or the cgroup is not mounted",
        ]


SWAP_WARNING = (
    "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
    "Memory limited without swap."
)
WEIGHT_WARNING = (
    "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
)


@pytest.fixture
def without_controllers(make, start):
    """A function from resources to what creating a cgroup says, in a place without controllers."""
    if mode() == "v2":  # below a cgroup that cannot hand them down
        above = make({})
        start(above.join, "sleep", "600")
        return lambda resources: attempt(make(path=f"{above.path}/inner"), resources)
    hidden = [h.mountpoint for h in hierarchies() if {"memory", "blkio", "pids"} & set(h.controllers)]
    script = f"""
        import json, sys
        from minicontainer.errors import Error
        from minicontainer.runtime.cgroups import Cgroup
        cgroup = Cgroup("{TOP}/elsewhere")
        try:
            print(json.dumps(cgroup.create(json.loads(sys.stdin.readline()))))
        except Error as error:
            print(json.dumps(type(error).__name__ + ": " + str(error)))
        finally:
            cgroup.remove()
    """
    hide = "\n".join(f"mount -t tmpfs none {mountpoint}" for mountpoint in hidden)
    return lambda resources: json.loads(
        elsewhere(script, f"{hide}\nexec <<'END'\n{json.dumps(resources)}\nEND\n")
    )


def attempt(cgroup, resources):
    try:
        return cgroup.create(resources)
    except Error as error:
        return f"{type(error).__name__}: {error}"


def test_a_limit_that_would_not_hold_is_an_error_and_one_that_can_be_missed_a_warning(without_controllers):
    assert without_controllers({}) == []
    assert without_controllers({"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}) == []
    assert without_controllers({"memory": {"swap": -1}}) == []
    both = {"memory": {"swap": 8 * MIB}, "blockIO": {"weight": 100}}
    assert without_controllers(both) == [SWAP_WARNING, WEIGHT_WARNING]
    for resources in ({"memory": {"limit": 8 * MIB}}, {"pids": {"limit": 5}}):
        answer = without_controllers(resources)
        assert answer.startswith("Unsupported: ")
        assert next(iter(resources)) in answer


def test_limits_below_a_cgroup_with_processes_are_for_v1_or_take_a_remedy_that_helps(make, start):
    above = make({})
    start(above.join, "sleep", "600")
    inner = make(path=f"{above.path}/inner")
    if mode() != "v2":
        assert inner.create({"pids": {"limit": 5}}) == []
        return
    with pytest.raises(Unsupported, match=r"holds processes itself.*: mkdir .*; done$") as caught:
        inner.create({"pids": {"limit": 5}})
    assert not inner.exists()
    assert inner.create({"blockIO": {"weight": 100}}) == [WEIGHT_WARNING]
    subprocess.run(["sh", "-ec", str(caught.value).partition(": mkdir")[2].join(["mkdir", ""])], check=True)
    assert inner.create({"pids": {"limit": 5}}) == []


def test_unified_resources_are_for_v2(make):
    cgroup = make()
    if mode() == "v2":
        cgroup.create({"unified": {"memory.high": "8388608", "io.max": "", "cgroup.max.depth": "3"}})
        assert content(cgroup, None, "memory.high") == "8388608"
        assert content(cgroup, None, "cgroup.max.depth") == "3"
        with pytest.raises(Unsupported, match=r"memory\.nonsense"):
            make().create({"unified": {"memory.nonsense": "1"}})
    else:
        with pytest.raises(Unsupported, match=r"memory\.high needs cgroup v2, and the memory .*mountinfo"):
            cgroup.create({"unified": {"memory.high": "8388608"}})
    for name in ("../../x.y", "x"):
        with pytest.raises(InvalidArgument, match="not the name of a cgroup v2 file"):
            make().create({"unified": {name: "1"}})


# Updating


@pytest.mark.parametrize(
    ("before", "after"), [((8, 16), (64, 128)), ((64, 128), (8, 16)), ((8, 8), (64, 64)), ((64, 64), (8, 8))]
)
def test_memory_and_swap_can_be_raised_and_lowered_together(make, before, after):
    cgroup = make({"memory": {"limit": before[0] * MIB, "swap": before[1] * MIB}})
    assert cgroup.update({"memory": {"limit": after[0] * MIB, "swap": after[1] * MIB}}) == []
    assert cgroup.stats().memory_limit == after[0] * MIB
    swap = content(cgroup, "memory.memsw.limit_in_bytes", "memory.swap.max")
    assert int(swap) == (after[1] if in_v1("memory") else after[1] - after[0]) * MIB


def test_memory_can_be_unlimited_again(make):
    cgroup = make({"memory": {"limit": 8 * MIB, "swap": 16 * MIB}})
    assert cgroup.update({"memory": {"limit": -1}}) == []
    assert cgroup.stats().memory_limit is None
    assert content(cgroup, "memory.memsw.limit_in_bytes", "memory.swap.max") in ("9223372036854771712", "max")


def test_a_limit_below_what_is_in_use_is_refused_and_kills_nobody(make, start):
    cgroup = make({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}})
    start(cgroup.join, *HOLD_24_MIB)
    until(lambda: cgroup.stats().memory >= 24 * MIB)
    there = cgroup.pids()
    with pytest.raises(Conflict, match=r"memory\.limit: .*'4194304'.*busy.*in use"):
        cgroup.update({"memory": {"limit": 4 * MIB}})
    assert (cgroup.pids(), cgroup.oom_kills()) == (there, 0)
    assert cgroup.stats().memory_limit == 64 * MIB
    assert cgroup.update({"memory": {"limit": 40 * MIB, "swap": 40 * MIB}}) == []
    assert cgroup.stats().memory_limit == 40 * MIB


def limits_of(cgroup):
    """What every file of a limit says."""
    named = {file for table in (v1.TABLE, v2.TABLE) for _, file, _ in table}
    directories = (hierarchy.directory(cgroup.path) for hierarchy in hierarchies())
    paths = {f"{directory}/{file}" for directory in directories for file in named}
    return {path: files.read(path) for path in paths if os.path.exists(path)}


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        ({"memory": {"limit": 4 * MIB}}, Conflict),  # more is in use
        ({"memory": {"limit": 256 * MIB, "swap": 128 * MIB}}, InvalidArgument),
        ({"unified": {"memory.nonsense": "1"}}, Unsupported),
        ({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}, "cpu": {"quota": 10}}, InvalidArgument),  # µs
        ({"memory": {"limit": 128 * MIB, "swap": 256 * MIB}, "cpu": {"quota": 10}}, InvalidArgument),
        ({"memory": {"limit": -1, "disableOOMKiller": True}, "cpu": {"quota": 10}}, InvalidArgument),
    ],
)
def test_an_update_that_is_refused_half_way_changes_nothing(make, start, refused, error):
    memory = {"limit": 64 * MIB, "swap": 64 * MIB}
    cgroup = make({"memory": memory, "cpu": {"period": 50000, "quota": 20000}, "pids": {"limit": 40}})
    start(cgroup.join, *HOLD_24_MIB)
    until(lambda: cgroup.stats().memory >= 24 * MIB)
    before, there = limits_of(cgroup), cgroup.pids()
    assert len(before) > 8
    for asked in (
        {"pids": {"limit": 20}, **refused},
        {"cpu": {"shares": 512, "period": 90000, "cpus": "0"}, "pids": {"limit": -1}} | refused,
    ):
        with pytest.raises(error):
            cgroup.update(asked)
        assert limits_of(cgroup) == before
    assert (cgroup.pids(), cgroup.oom_kills()) == (there, 0)


def test_rates_of_a_disk_go_back_too(make, tmp_path):
    major, minor = whole_disk(tmp_path)
    rate = {"major": major, "minor": minor, "rate": MIB}
    for there in ({}, {"throttleReadBpsDevice": [rate]}):
        cgroup = make({"blockIO": there})
        before = limits_of(cgroup)
        asked = {"throttleReadBpsDevice": [{**rate, "rate": 2 * MIB}], "throttleWriteIOPSDevice": [rate]}
        with pytest.raises(InvalidArgument):
            cgroup.update({"blockIO": asked, "cpu": {"quota": 10}})
        assert limits_of(cgroup) == before


def test_quota_and_period_change_together_or_alone(make):
    cgroup = make({"cpu": {"quota": 90000, "period": 100000}})
    said = {True: ("cpu.cfs_quota_us", "cpu.cfs_period_us"), False: ("cpu.max",)}[in_v1("cpu")]
    for asked, expected in (
        ({"quota": 2000, "period": 4000}, "2000 4000"),
        ({"period": 50000}, "2000 50000"),
        ({"quota": 30000}, "30000 50000"),
        ({"quota": -1}, "max 50000"),
    ):
        assert cgroup.update({"cpu": asked}) == []
        read = " ".join(content(cgroup, name, name) for name in said)
        assert read.replace("-1", "max") == expected


def test_an_update_leaves_the_rest_and_the_devices_alone(make, run):
    cgroup = make({"pids": {"limit": 30}, "devices": [DENY_ALL, *DEFAULT_RULES]})
    assert cgroup.update({"cpu": {"quota": 50000}, "devices": [DENY_ALL]}) == []
    assert cgroup.stats().pids_limit == 30
    assert run(cgroup, "sh", "-c", "echo > /dev/null")[0] == 0
    with pytest.raises(NotFound, match="there is no cgroup"):
        Cgroup(f"{TOP}/missing").update({})


# Being in it


def test_a_process_and_its_children_are_in_every_hierarchy_and_see_themselves_at_the_root(make, run):
    cgroup = make({})
    code, output = run(
        cgroup, "sh", "-c", f"cat /proc/self/cgroup; {shutil.which('unshare')} -C cat /proc/self/cgroup"
    )
    assert code == 0
    lines = [line.split(":", 2)[1:] for line in output.splitlines()]
    ours = {h.name for h in cgroup.hierarchies}
    paths = [path for name, path in lines if name in ours]
    assert paths == [cgroup.path] * len(ours) + ["/"] * len(ours)


def test_those_who_cannot_join_are_told_why(make):
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(NotFound, match=f"process {gone.pid} cannot join .*no such process"):
        make({}).join(gone.pid)
    with pytest.raises(NotFound, match=r"cannot join .*/missing: there is no such cgroup"):
        Cgroup(f"{TOP}/missing").join(os.getpid())


def test_one_more_process_finds_its_place_when_the_container_has_made_sub_cgroups(make, start):
    cgroup = make({})
    first = start(cgroup.join, "sleep", "600")
    inner = make({}, path=f"{cgroup.path}/init.scope")
    inner.join(first)
    if mode() == "v2":
        v2.hand_down(carrier(cgroup.hierarchies, 2, "cgroup.procs").directory(cgroup.path), {"pids"})
    second = start(cgroup.join, "sleep", "600")
    assert cgroup.pids() == sorted((first, second))
    assert inner.pids() == (cgroup.pids() if mode() == "v2" else [first])


def test_the_container_gets_directories_of_its_own(make):
    cgroup = make({})
    mounts = cgroup.mounts()
    for directory, name in mounts:
        assert os.path.exists(f"{directory}/cgroup.procs")
        assert directory.endswith(cgroup.path)
        assert "=" not in name
    names = [name for _, name in mounts]
    if mode() == "v2":
        assert names == [""]
    else:
        controllers = {c for h in hierarchies() if h.version == 1 for c in h.controllers}
        assert controllers <= set(names)
        assert "unified" not in names or not any(h.version == 1 and h.controllers for h in hierarchies())
        assert len(names) == len(set(names))


# Making and removing


def test_removing_takes_sub_cgroups_along_and_may_be_done_twice(make):
    cgroup = make({})
    for path in ("/a", "/a/b", "/a/b/c", "/d"):
        make({}, path=cgroup.path + path)
    cgroup.remove()
    assert not any(os.path.exists(h.directory(cgroup.path)) for h in hierarchies())
    cgroup.remove()
    assert (cgroup.exists(), cgroup.pids()) == (False, [])
    cgroup.kill()
    for operation in (cgroup.stats, cgroup.freeze, cgroup.thaw):
        with pytest.raises(NotFound, match="there is no cgroup"):
            operation()


def test_a_cgroup_in_use_is_neither_removed_nor_made_again(make, start):
    cgroup = make({"pids": {"limit": 30}})
    pid = start(cgroup.join, "sleep", "600")
    with pytest.raises(Conflict, match=rf"holds processes \({pid}\); kill them first"):
        cgroup.remove()
    with pytest.raises(Conflict, match=f"holds processes already: {pid}$"):
        Cgroup(cgroup.path).create({})
    assert cgroup.stats().pids_limit == 30


def test_a_left_over_is_made_anew(make):
    left = make({"pids": {"limit": 30}})
    make({}, path=f"{left.path}/inner")
    assert Cgroup(left.path).create({}) == []
    assert left.stats().pids_limit is None
    assert not Cgroup(f"{left.path}/inner").exists()


# Freezing and killing


def test_what_is_frozen_does_nothing_until_it_thaws(make, start):
    cgroup = make({})
    start(cgroup.join, "sh", "-c", "(while :; do :; done) & while :; do :; done")
    until(lambda: cgroup.stats().cpu > 0 and len(cgroup.pids()) == 2)
    assert not cgroup.frozen
    cgroup.freeze()
    assert cgroup.frozen
    before = cgroup.stats().cpu
    time.sleep(0.5)
    assert cgroup.stats().cpu == before
    cgroup.thaw()
    assert not cgroup.frozen
    until(lambda: cgroup.stats().cpu > before)


def test_nobody_freezes_himself(make):
    cgroup = make({})
    pid = os.fork()
    if pid == 0:
        try:
            cgroup.join(0)
            cgroup.freeze()
        except Conflict:
            os._exit(7)
        finally:
            os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


@pytest.mark.parametrize("how", ["as the kernel can", "by hand"])
def test_what_is_frozen_can_be_killed(make, start, monkeypatch, how):
    if how == "by hand":
        monkeypatch.setattr(v2, "kill", lambda directory: False)  # as on a kernel without cgroup.kill
    cgroup = make({})
    pid = start(cgroup.join, "sleep", "600")
    cgroup.freeze()
    cgroup.kill()
    assert cgroup.pids() == []
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def test_sub_cgroups_are_killed_too_even_frozen_ones(make, start):
    cgroup = make({})
    pids = [start(cgroup.join, "sleep", "600")]
    inner = make({}, path=f"{cgroup.path}/inner")
    pids.append(start(inner.join, "sleep", "600"))
    inner.freeze()
    assert cgroup.pids() == sorted(pids)
    cgroup.kill()
    assert cgroup.pids() == []


BOMB = ("sh", "-c", "bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 600")


@pytest.mark.parametrize("how", ["as the kernel can", "by hand"])
def test_a_fork_bomb_is_killed(make, start, monkeypatch, how):
    cgroup = make({"pids": {"limit": 150}}, there=hierarchies())

    def join(pid):
        cgroup.join(pid)
        if how == "by hand":
            if mode() == "hybrid":  # one who has left the v2 cgroup is not reached by cgroup.kill
                files.join(carrier(cgroup.hierarchies, 2, "cgroup.procs").mountpoint, pid)
            else:  # as on a kernel without cgroup.kill
                monkeypatch.setattr(v2, "kill", lambda directory: False)

    start(join, *BOMB)
    until(lambda: cgroup.stats().pids >= 100)
    began = time.monotonic()
    cgroup.kill()
    assert cgroup.pids() == []
    assert time.monotonic() - began < 8
    cgroup.remove()


def test_what_cannot_be_killed_in_time_is_named(make, start, monkeypatch):
    cgroup = make({})
    pid = start(cgroup.join, "sleep", "600")
    # Nothing but a broken disk makes a process immune; so the signals are what is taken away.
    with monkeypatch.context() as patch:
        patch.setattr(v2, "kill", lambda directory: False)
        patch.setattr(os, "kill", lambda pid, number: None)
        with pytest.raises(Error, match=rf"cannot kill the processes \[{pid}\] .* alive after 0 s"):
            cgroup.kill(within=0.2)
    assert not cgroup.frozen


# Devices


TRY_DEVICES = """
for node in null zero full; do
    (: < $node) 2>&- && echo r $node
    (: > $node) 2>&- && echo w $node
done
mknod new1 c 1 3 2>&- && echo m null
mknod new2 c 1 7 2>&- && echo m full
mknod new3 b 7 0 2>&- && echo m loop
exit 0
"""


@pytest.fixture
def nodes(tmp_path):
    """A directory with device nodes of our own."""
    for name, minor in (("null", 3), ("zero", 5), ("full", 7)):
        os.mknod(tmp_path / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    return tmp_path


def devices_of(run, cgroup, nodes):
    code, output = run(cgroup, "sh", "-c", f"cd {nodes}; {TRY_DEVICES}")
    assert code == 0
    for new in nodes.glob("new*"):
        new.unlink()
    return {tuple(line.split()) for line in output.splitlines()}


ALL_DEVICES = {(a, n) for a in "rw" for n in ("null", "zero", "full")} | {
    ("m", n) for n in ("null", "full", "loop")
}


def allow(access, kind="c", major=1, minor=-1, verdict=True):
    return {"allow": verdict, "type": kind, "major": major, "minor": minor, "access": access}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (None, ALL_DEVICES),
        ([], set()),
        ([DENY_ALL], set()),
        ([{"allow": True}], ALL_DEVICES),
        ([{"allow": True, "access": "rwm"}, DENY_ALL], set()),
        ([DENY_ALL, allow("rw", minor=3)], {("r", "null"), ("w", "null")}),
        ([allow("r")], {("r", "null"), ("r", "zero"), ("r", "full")}),
        (
            [allow("r", minor=3), allow("w", minor=3), allow("m", minor=7)],
            {("r", "null"), ("w", "null"), ("m", "full")},
        ),
        (
            [allow("rwm"), allow("w", verdict=False)],
            ALL_DEVICES - {("m", "loop")} - {("w", n) for n in ("null", "zero", "full")},
        ),
        ([allow("rwm", "b", None, None)], {("m", "loop")}),
        ([allow("m", "a", 7, 0)], {("m", "loop")}),
        ([{"allow": True}, allow("rwm", minor=7, verdict=False)], ALL_DEVICES - {(a, "full") for a in "rwm"}),
        ([allow("rwm", "u", 1, 3)], {(a, "null") for a in "rwm"}),
        (
            list(DEFAULT_RULES),
            ALL_DEVICES,
        ),
    ],
)
def test_devices_are_what_the_rules_allow(make, run, nodes, rules, expected):
    cgroup = make({} if rules is None else {"devices": rules})
    assert devices_of(run, cgroup, nodes) == expected


def test_the_default_rules_let_any_node_be_made_and_no_disk_be_opened(make, run, tmp_path):
    major, minor = whole_disk(tmp_path)
    code, output = run(
        make({"devices": [DENY_ALL, *DEFAULT_RULES]}),
        "sh",
        "-c",
        f"cd {tmp_path}; mknod disk b {major} {minor} && echo made; (: < disk) 2>&- || echo closed",
    )
    assert (code, output) == (0, "made\nclosed\n")


def test_a_hole_in_a_wildcard_is_for_v2_alone(make, run, nodes):
    rules = [allow("rw"), allow("w", minor=7, verdict=False)]
    if in_v1("devices"):
        cgroup = make()
        with pytest.raises(Unsupported, match=r"cgroup v1 cannot deny the devices c 1:7 w .*c 1:\* [rw]{2}"):
            cgroup.create({"devices": rules})
        assert not cgroup.exists()
    else:
        expected = {(a, n) for a in "rw" for n in ("null", "zero", "full")} - {("w", "full")}
        assert devices_of(run, make({"devices": rules}), nodes) == expected


def test_the_program_of_v2_denies_while_it_is_attached(make, run, nodes):
    """Runs in a hybrid world too: the bare v2 hierarchy takes programs."""
    cgroup = make({}, there=hierarchies())
    directory = os.open(bare_v2_directory(cgroup), os.O_RDONLY)
    program = bpf.load_device_program(devices.assemble(devices.read_rules([allow("r", minor=5)])))
    try:
        assert devices_of(run, cgroup, nodes) == ALL_DEVICES
        bpf.attach_device_program(directory, program)
        assert devices_of(run, cgroup, nodes) == {("r", "zero")}
        bpf.detach_device_program(directory, program)
        assert devices_of(run, cgroup, nodes) == ALL_DEVICES
        with pytest.raises(FileNotFoundError):
            bpf.detach_device_program(directory, program)
    finally:
        os.close(program)
        os.close(directory)


def test_the_kernel_refuses_a_program_that_does_not_end():
    with pytest.raises(OSError, match="bpf"):
        bpf.load_device_program(bpf.move(0, 1) + bpf.jump(-2) + bpf.leave())


rule_lists = st.lists(
    st.fixed_dictionaries(
        {
            "allow": st.booleans(),
            "type": st.sampled_from(["a", "c", "b", None]),
            "major": st.sampled_from([-1, 1, 7]),
            "minor": st.sampled_from([-1, 3, 5, 7]),
            "access": st.sampled_from(["r", "w", "m", "rw", "rwm"]),
        }
    ),
    max_size=8,
)


def says(rules, kind, minor, access):
    """What OCI means: of the rules that speak of the device and the access, the last counts."""
    verdict = False
    for rule in rules:
        numbers = rule["major"] in (-1, 1) and rule["minor"] in (-1, minor)
        if rule["type"] in (kind, "a", None) and numbers and access in rule["access"]:
            verdict = rule["allow"]
    return verdict


@pytest.mark.parametrize("version", [1, 2])
def test_both_languages_say_what_the_rules_mean(make, nodes, version):
    """Rules at random, asked of the kernel: v1's where it has the controller, v2's wherever v2 is mounted."""
    if version == 1 and not in_v1("devices"):
        version = 2  # the one that this world has, with other rules
    minors = {3: "null", 5: "zero", 7: "full"}
    held = itertools.count()

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(rule_lists)
    def check(rules):
        cgroup = Cgroup(f"{TOP}/random", hierarchies())
        cgroup.create({})
        try:
            parsed = devices.read_rules(rules)
            if version == 2:
                devices.attach_program(bare_v2_directory(cgroup), parsed)
            else:
                try:
                    devices.write_exceptions(
                        carrier(cgroup.hierarchies, 1, "devices.x").directory(cgroup.path), parsed
                    )
                except Unsupported:
                    return
            next(held)
            assert asked_in(cgroup, nodes, minors) == [
                says(rules, "c", minor, access) for minor in minors for access in "rwm"
            ]
        finally:
            cgroup.kill()
            cgroup.remove()

    make()
    check()
    assert next(held) > 3, "most lists at random are such as v1 cannot say"


def asked_in(cgroup, nodes, minors):
    """What a process in the cgroup can do: read, write and make each of the devices."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            cgroup.join(0)
            for minor, name in minors.items():
                for access in (
                    lambda name=name: os.close(os.open(nodes / name, os.O_RDONLY)),
                    lambda name=name: os.close(os.open(nodes / name, os.O_WRONLY)),
                    lambda minor=minor: os.mknod(nodes / "new", stat.S_IFCHR, os.makedev(1, minor)),
                ):
                    try:
                        access()
                        os.write(writer, b"1")
                    except PermissionError:
                        os.write(writer, b"0")
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(nodes / "new")
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as file:
        return [letter == "1" for letter in file.read()]


# Conversions


def test_lists_of_processors_are_read_as_the_kernel_writes_them():
    assert forms.numbers("0-2,5") == {0, 1, 2, 5}
    for text in ("", "a", "1-", "-1", "1,,2", "0-99999999999"):
        with pytest.raises(InvalidArgument):
            forms.numbers(text)


def test_the_weight_grows_with_the_shares_and_never_leaves_its_range():
    weights = [int(v2.weight_of_shares(shares, {}, "")[0]) for shares in (*range(2, 262144, 37), 262144)]
    assert weights == sorted(weights)
    assert (weights[0], weights[-1]) == (1, 10000)
