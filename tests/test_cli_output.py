"""Tables, sizes, durations and times come out as Docker's do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from minicontainer import units
from minicontainer.cli import table
from minicontainer.cli.gotemplate.template import TemplateError
from minicontainer.errors import InvalidArgument

DOCKER = "/usr/bin/docker"

PS_HEADERS: dict[str, object] = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Size": "SIZE",
    "Names": "NAMES",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Label": table.label_header,
}
PS_COLUMNS = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"]

PS_FORMATS = [
    None,
    "",
    "table",
    "{{.ID}}",
    "{{.ID}}: {{.Names}}",
    "  {{.ID}}\\t{{.Names}}\\n",
    "{{json .}}",
    "{{json .Names}}",
    "{{.Names | upper}} {{len .Names}} {{title .Image}}",
    "{{if eq .State `running`}}up{{end}}",
    '{{.Label "com.example.cpu-count"}}|{{.Label "nope"}}',
    '{{printf "%-8.4s|" .ID}}',
    "plain words",
    "table {{.ID}}",
    "table {{.ID}}\\t{{.Names}}",
    "table{{.Names}}\t{{.Image}}",
    "table   {{.ID}} {{.Names}}",
    "table {{.ID}}\\t\\t{{.Names}}\\t",
    "table {{.Ports}}\\t{{.Names}}\\t{{.State}}",
    "table {{.Names}}\\n{{.Image}}\\t{{.State}}\\n",
    "table {{json .}}",
    "table {{json .ID}}\\t{{upper .Names}}\\t{{lower .Image}}\\t{{title .State}}",
    'table {{truncate .ID 3}}\\t{{join (split .Names "o") "/"}}\\t{{split .Names "o"}}',
    'table {{.Label "com.example.cpu-count"}}\\t{{.Names}}',
    "table {{if eq .State `running`}}up{{else}}down{{end}}\\t{{.Names}}",
    'table {{pad .State 1 2}}|{{printf "%q" .State}}\\t{{.Names}}',
    "table fixed\\t{{.State}}",
]


def attempt(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DOCKER, *arguments], capture_output=True, text=True, check=False)


def docker(*arguments: str) -> str:
    done = attempt(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def need_docker() -> None:
    if not shutil.which(DOCKER) or attempt("version").returncode:
        pytest.skip("no working /usr/bin/docker to compare with")
    if attempt("image", "inspect", "alpine").returncode:
        pytest.skip("docker has no alpine image, and the test must not pull one")


@pytest.fixture(scope="module")
def listed() -> Iterator[tuple[str, str]]:
    """Two containers of the real Docker, made and never started, and the filter that lists only them."""
    need_docker()
    mark = f"com.example.cpu-count=<{os.getpid()}>"  # one label alone: Docker lists several in any order
    made = ("create", "--network", "none", "--label", mark, "alpine")
    short, long = docker(*made, "true").strip(), docker(*made, "sh", "-c", "sleep 300").strip()
    yield "--filter", f"label={mark}"
    docker("rm", "--force", short, long)


def unchanged(command: Callable[[], str]) -> str:
    """Repeat ``command`` until it says the same twice: ages like ``3 seconds ago`` go on in between."""
    before = command()
    for _ in range(10):
        after = command()
        if after == before:
            return after
        before = after
    raise AssertionError("the list never stood still")


def label_value(row: dict[str, object]) -> Callable[[str], str]:
    labels = dict(pair.split("=", 1) for pair in str(row["Labels"]).split(","))
    return lambda name: labels.get(name, "")


@pytest.mark.parametrize("fmt", PS_FORMATS)
def test_docker_ps_prints_the_same(fmt: str | None, listed: tuple[str, str]) -> None:
    def both() -> str:
        rows = [
            json.loads(line) for line in docker("ps", "-a", *listed, "--format", "{{json .}}").splitlines()
        ]
        theirs = docker("ps", "-a", *listed, *(() if fmt is None else ("--format", fmt)))
        return json.dumps([rows, theirs])

    rows, theirs = json.loads(unchanged(both))
    for row in rows:
        row["Label"] = label_value(row)
    assert len(rows) == 2
    assert table.formatted(rows, fmt, PS_HEADERS, PS_COLUMNS) == theirs


@pytest.mark.parametrize("fmt", [None, "table", "{{.Names}}", "table {{.Names}}"])
def test_docker_ps_quiet_prints_the_same(fmt: str | None, listed: tuple[str, str]) -> None:
    rows = [json.loads(line) for line in docker("ps", "-a", *listed, "--format", "{{json .}}").splitlines()]
    theirs = docker("ps", "-aq", *listed, *(() if fmt is None else ("--format", fmt)))
    assert table.formatted(rows, fmt, PS_HEADERS, PS_COLUMNS, quiet_key="ID") == theirs


def test_docker_ps_of_nothing_prints_the_same() -> None:
    need_docker()
    for fmt in (None, "table {{.ID}}\\t{{.Names}}", "table {{.Names}}\\t{{json .}}", "{{.ID}}", "{{json .}}"):
        theirs = docker("ps", "--filter", "name=^/nonesuch$", *(() if fmt is None else ("--format", fmt)))
        assert table.formatted([], fmt, PS_HEADERS, PS_COLUMNS) == theirs


def test_docker_images_and_networks_print_the_same() -> None:
    need_docker()

    assert_lists_the_same(
        "images alpine",  # of others that are as old to the second Docker changes the order
        {
            "Repository": "REPOSITORY",
            "Tag": "TAG",
            "ID": "IMAGE ID",
            "CreatedSince": "CREATED",
            "Size": "SIZE",
        },
    )
    assert_lists_the_same(
        "network ls", {"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE"}
    )


def assert_lists_the_same(command: str, headers: dict[str, object]) -> None:
    def both() -> str:
        return docker(*command.split(), "--format", "{{json .}}") + "\n" + docker(*command.split())

    rows, theirs = unchanged(both).split("\n\n")
    assert (
        table.formatted([json.loads(row) for row in rows.splitlines()], None, headers, list(headers))
        == theirs
    )


ROWS = [{"ID": "1f", "Names": "web", "Size": "7.8MB"}, {"ID": "2", "Names": "a-long-name", "Size": "0B"}]
HEADERS: dict[str, object] = {"ID": "ID", "Names": "NAMES", "Size": "SIZE"}


def test_columns_are_ten_wide_at_least_and_the_last_is_not_padded() -> None:
    ours = table.render(ROWS, [("ID", "ID"), ("NAMES", "Names"), ("SIZE", "Size")])
    assert ours == "ID        NAMES         SIZE\n1f        web           7.8MB\n2         a-long-name   0B\n"


def test_a_line_without_tabs_ends_the_column() -> None:
    assert (
        table.align("long enough cell\tx\nno cell\na\tx\n") == "long enough cell   x\nno cell\na         x\n"
    )


def test_json_prints_a_row_a_line() -> None:
    ours = table.formatted(ROWS, "json", HEADERS, ["ID"])
    assert [json.loads(line) for line in ours.splitlines()] == ROWS


@pytest.mark.parametrize("fmt", ["{{.Nope}}", "table {{.Nope}}"])
def test_an_unknown_field_is_an_error_in_docker_s_words(fmt: str) -> None:
    with pytest.raises(TemplateError) as caught:
        table.formatted(ROWS, fmt, HEADERS, ["ID"])
    assert str(caught.value).startswith(
        'template parsing error: template: :1:2: executing "" at <.Nope>: can\'t evaluate field Nope in type '
    )
    assert caught.value.exit_code == 1
    assert table.formatted([], fmt, HEADERS, ["ID"]) == ("<no value>\n" if fmt.startswith("table") else "")


def test_docker_images_says_the_same_of_mistakes() -> None:
    need_docker()
    for fmt in ("{{.Nope}}", "table {{.Nope}}", "{{.ID", "{{nope .ID}}", "table {{.ID.x}}"):
        theirs = attempt("images", "--format", fmt)
        with pytest.raises(TemplateError) as caught:
            table.formatted(ROWS, fmt, HEADERS, ["ID"])
        assert (
            str(caught.value).partition("type *")[0].partition("type row")[0]
            == (theirs.stderr.strip().partition("type *")[0])
        )
        assert caught.value.exit_code == theirs.returncode


# --- units ------------------------------------------------------------------------------------------

KIB, MIB, GIB = 2**10, 2**20, 2**30


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        *((0, "0B"), (1, "1B"), (999, "999B"), (1000, "1kB"), (1234, "1.23kB"), (5590000, "5.59MB")),
        *(
            (7797760, "7.8MB"),
            (1_000_000, "1MB"),
            (72_800_000, "72.8MB"),
            (1_120_000_000, "1.12GB"),
            (10**24, "1YB"),
        ),
        *((999_900, "1e+03kB"), (123_456_789, "123MB")),  # go-units' own: three digits of 999.9
    ],
)
def test_human_size(size: int, expected: str) -> None:
    assert units.human_size(size) == expected


def test_human_size_with_four_digits_as_system_df_has_it() -> None:
    assert units.human_size(7797760, 4) == "7.798MB"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        *((0, "0B"), (1023, "1023B"), (KIB, "1KiB"), (4 * MIB, "4MiB"), (660 * KIB, "660KiB")),
        *((int(1.944 * GIB), "1.944GiB"), (1536 * MIB, "1.5GiB"), (2**50, "1PiB")),
    ],
)
def test_bytes_size(size: int, expected: str) -> None:
    assert units.bytes_size(size) == expected


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(
            ("1024", 1024),
            ("0", 0),
            ("4b", 4),
            ("4m", 4 * MIB),
            ("4M", 4 * MIB),
            ("4mb", 4 * MIB),
            ("4MiB", 4 * MIB),
        ),
        *(("4 m", 4 * MIB), ("1.5g", 1536 * MIB), ("1.5", 1), ("0.5k", 512), ("2T", 2**41), ("1p", 2**50)),
        ("9007199254740993", 9007199254740993),  # 2**53 + 1, which a float would round
    ],
)
def test_parse_size(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["lots", "", "m", "-1", "4q", "4mm", "4kkb", "1.2.3m", ".5g", "4 m b", "4bb", "٤", "1e3", "4mib "]
)
def test_parse_size_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        units.parse_size(text)
    assert str(caught.value) == f"invalid size: '{text}'"


@pytest.mark.parametrize(
    "text", ["4m", "4M", "4 mb", "4MiB", "6.5m", "5000000", "lots", "4q", "1.2.3m", "-5"]
)
def test_docker_reads_the_same_sizes(text: str) -> None:
    """Docker refuses a memory limit under 6 MiB only after it has read the number."""
    need_docker()
    created = attempt("create", "--network", "none", "--memory", text, "alpine")
    if created.returncode == 0:
        name = created.stdout.strip()
        theirs = int(docker("inspect", "--format", "{{.HostConfig.Memory}}", name))
        docker("rm", name)
        assert units.parse_size(text) == theirs
    elif "invalid argument" in created.stderr:
        with pytest.raises(InvalidArgument):
            units.parse_size(text)
    else:
        assert "6MB" in created.stderr, created.stderr
        assert units.parse_size(text) < 6 * MIB


MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        *((0, "Less than a second"), (0.99, "Less than a second"), (1, "1 second"), (1.99, "1 second")),
        *((14, "14 seconds"), (59.9, "59 seconds"), (60, "About a minute"), (119, "About a minute")),
        *((120, "2 minutes"), (59 * MINUTE + 59, "59 minutes"), (HOUR, "About an hour")),
        *(
            (89 * MINUTE, "About an hour"),
            (90 * MINUTE, "2 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY, "2 days"),
        ),
        *((13 * DAY, "13 days"), (14 * DAY, "2 weeks"), (59 * DAY, "8 weeks"), (60 * DAY, "2 months")),
        *((729 * DAY, "24 months"), (730 * DAY, "2 years"), (3650 * DAY, "10 years")),
    ],
)
def test_human_duration(seconds: float, expected: str) -> None:
    assert units.human_duration(seconds) == expected


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        *(
            ("0", 0),
            ("10s", 10 * 10**9),
            ("1h30m", 5400 * 10**9),
            ("1.5h", 5400 * 10**9),
            ("300ms", 3 * 10**8),
        ),
        *(
            ("-2m", -120 * 10**9),
            ("+5us", 5000),
            ("1µs", 1000),
            ("1μs2ns", 1002),
            (".5s", 5 * 10**8),
            ("1.s", 10**9),
        ),
    ],
)
def test_parse_duration(text: str, nanoseconds: int) -> None:
    assert units.parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(
            ("", "invalid duration"),
            ("10", "missing unit"),
            ("1y", 'unknown unit "y"'),
            ("s", "invalid duration"),
        ),
        *(
            ("1.2.3s", "invalid duration"),
            ("-", "invalid duration"),
            (".s", "invalid"),
            ("99999999h", "292 years"),
        ),
    ],
)
def test_parse_duration_refuses(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1795326075123456789, "2026-11-22T05:41:15.123456789Z"),
        (1795326075120000000, "2026-11-22T05:41:15.12Z"),
        (1795326075000000001, "2026-11-22T05:41:15.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (-62135596800 * 10**9, units.ZERO_TIME),
    ],
)
def test_times_are_rfc_3339_with_nanoseconds_there_and_back(nanoseconds: int, text: str) -> None:
    assert units.format_time(nanoseconds) == text
    assert units.parse_rfc3339(text) == nanoseconds


NOW = 1795326075 * 10**9


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        *(("10m", NOW - 600 * 10**9), ("1h30m", NOW - 5400 * 10**9), ("-10s", NOW + 10 * 10**9)),
        *(("1136073600", 1136073600 * 10**9), ("1136073600.000000001", 1136073600000000001), ("0", 0)),
        *(("1136073600.5", 1136073600500000000), ("2006-01-02T15:04:05Z", 1136214245 * 10**9)),
        *(
            ("2006-01-02T15:04:05.25+01:00", 1136210645250000000),
            ("2006-01-02T15:04:05-07:00", 1136239445 * 10**9),
        ),
        *(("2006-01-02Z", 1136160000 * 10**9), ("2006-01-02T15Z", 1136214000 * 10**9)),
    ],
)
def test_parse_time(text: str, nanoseconds: int) -> None:
    assert units.parse_time(text, NOW) == nanoseconds


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Caracas"])
@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("2006-01-02", "2006-01-02T00:00:00"),
        ("2006-01-02T15", "2006-01-02T15:00:00"),
        ("2006-07-02T15:04", "2006-07-02T15:04:00"),
        ("2006-01-02T15:04:05.000000001", "2006-01-02T15:04:05"),
    ],
)
def test_a_time_without_zone_is_local(
    text: str, whole: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        seconds = int(time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")))
        assert units.parse_time(text, NOW) == seconds * 10**9 + int("." in text)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "",
        "2006-13-01",
        "2006-01-02T25",
        "2006-01-02x",
        "1.2.3",
        "2006-01-02T15:04:05.1234567891Z",
    ],
)
def test_parse_time_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid time"):
        units.parse_time(text, NOW)


def test_units_stay_light_for_the_start_of_a_container() -> None:
    heavy = "re datetime decimal calendar typing enum json collections.abc".split()
    program = f"import sys; import minicontainer.units; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    before = subprocess.run(
        [sys.executable, "-S", "-c", program.replace("import minicontainer.units; ", "")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == before.stdout
