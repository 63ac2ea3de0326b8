"""``--format`` says the same as Docker's: values, functions, printing, and the words of the errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from minicontainer.cli.gotemplate.template import Template, TemplateError, TemplateSyntaxError
from minicontainer.cli.gotemplate.values import Row

DOCKER = "/usr/bin/docker"

DATA: dict[str, object] = {
    "Name": "hello wörld",
    "Empty": "",
    "Pid": 42,
    "Zero": 0,
    "Load": 3.25,
    "Yes": True,
    "No": False,
    "List": ["b", "a", "c"],
    "None": [],
    "Numbers": [1, 2, 3],
    "Map": {"x": "1", "a": "two", "k": "<&>"},
    "Nothing": None,
    "Deep": {"A": [{"B": 1}, {"B": "q"}]},
    "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "90/tcp": None},
}

# What Go 1.19 (Docker 20.10) makes of each; {{range 3}} and {{else with}} are of Go 1.22 and 1.23.
RENDERED = [
    ("plain text", "plain text"),
    ("", ""),
    ("{{.Name}}", "hello wörld"),
    ("{{.Pid}} {{.Load}} {{.Yes}} {{.No}}", "42 3.25 true false"),
    ("{{.List}} {{.Map}} {{.None}}", "[b a c] map[a:two k:<&> x:1] []"),
    ("{{.Nope}} {{.Nope.X.Y}}", "<no value> <no value>"),
    ("{{$.Pid}} {{.Map.x}} {{(.Map).x}} {{$.Map.x}}", "42 1 1 1"),
    ("{{$x := .Pid}}{{$x}}{{$x = 1}}{{$x}}", "421"),
    ("{{$x := 1}}{{if .Yes}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
    ("{{$last := 0}}{{range .Numbers}}{{$last = .}}{{end}}{{$last}}", "3"),
    ("{{if .Yes}}a{{else}}b{{end}}{{if .Empty}}c{{end}}", "a"),
    ("{{if .No}}a{{else if .Zero}}b{{else if .Pid}}c{{else}}d{{end}}", "c"),
    ("{{with .Map}}{{.x}}{{end}}{{with .Empty}}a{{else}}b{{end}}", "1b"),
    ("{{with .Empty}}a{{else with .Pid}}{{.}}{{else}}b{{end}}", "42"),
    ("{{with $m := .Map}}{{$m.x}}{{end}}", "1"),
    ("{{range .List}}{{.}},{{end}}", "b,a,c,"),
    ("{{range $i, $e := .List}}{{$i}}={{$e}} {{end}}", "0=b 1=a 2=c "),
    ("{{range $k, $v := .Map}}{{$k}}:{{$v}} {{end}}", "a:two k:<&> x:1 "),
    ("{{range .None}}x{{else}}none{{end}}{{range .Nothing}}x{{else}}none{{end}}", "nonenone"),
    ("{{range 3}}{{.}}{{end}}", "012"),
    ('{{range .List}}{{if eq . "a"}}{{continue}}{{end}}{{.}}{{end}}', "bc"),
    ('{{range .List}}{{if eq . "a"}}{{break}}{{end}}{{.}}{{end}}', "b"),
    ("{{range .List}}{{range $.Numbers}}{{if eq . 2}}{{break}}{{end}}{{.}}{{end}};{{end}}", "1;1;1;"),
    ("a {{- .Pid -}} \n b", "a42b"),
    ("a {{- /* not said */ -}} b{{/* nor this */}}", "ab"),
    ("{{-3}}{{- 3 -}}  x", "-33x"),
    (r'{{"a\tb\n\x41\u00e9\101\\\""}}', 'a\tb\nAéA\\"'),
    (r"{{`raw\n`}} {{'a'}} {{'\n'}} {{'é'}}", r"raw\n 97 10 233"),
    ("{{-1}} {{0x1F}} {{0b11}} {{0o17}} {{017}} {{1_000}}", "-1 31 3 15 15 1000"),
    ("{{1.5}} {{1e3}} {{.5}} {{1e-7}} {{1e21}} {{123456789.0}}", "1.5 1000 0.5 1e-07 1e+21 1.23456789e+08"),
    ('{{and 1 0 2}} {{or 0 "" "x"}} {{not .Yes}} {{not .Empty}}', "0 x false true"),
    ("{{and .No (index .List 99)}} {{or .Yes (index .List 99)}}", "false true"),
    (
        '{{eq 1 2 3 1}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt "b" "a"}} {{ge 1.5 2.5}}',
        "true true true true true false",
    ),
    ("{{eq .Nothing nil}} {{eq .Name nil}}", "true false"),
    ('{{index .List 0}} {{index .Map "x"}} {{index .Deep "A" 1 "B"}} {{(index .Deep.A 0).B}}', "b 1 q 1"),
    ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
    ("{{range $p, $c := .Ports}}{{$p}}->{{len $c}}{{break}}{{end}}", "80/tcp->1"),
    ('{{index .Map "nope"}}|', "|"),
    ("{{slice .Name 1 3}} {{slice .List 1}} {{slice .List 0 2}}", "el [a c] [b a]"),
    ("{{len .Name}} {{len .List}} {{len .Map}} {{len .None}}", "12 3 3 0"),
    ('{{print "a" 1 2 "b" true nil}} {{println "a" 1}}', "a1 2btrue <nil> a 1\n"),
    ('{{.Name | upper | printf "%s-%s" "x"}} {{"a" | len}}', "x-HELLO WÖRLD 1"),
    ('{{upper (printf "%s" .Name)}}{{(lower "ABC")}}', "HELLO WÖRLDabc"),
    ('{{split "a,b,c" ","}} {{join (split "a b" " ") "-"}} {{len (split "" ",")}}', "[a b c] a-b 1"),
    ('{{title "foo bar-baz it\'s a_b"}}', "Foo Bar-Baz It'S A_b"),
    ('{{pad "x" 2 3}}|{{pad "" 2 3}}|{{truncate "hello" 2}}{{truncate "hello" 9}}', "  x   ||hehello"),
    ("{{json .Map}}", '{"x":"1","a":"two","k":"<&>"}'),
    ('{{json .Name}} {{json .Nope}} {{json "a\\u2028\\x01<>&"}}', '"hello wörld" null "a\\u2028\\u0001<>&"'),
    ("{{json .Load}} {{json 2.0}} {{json .List}}", '3.25 2 ["b","a","c"]'),
    (
        '{{html "<a href=\'x\'>&"}} {{urlquery "a b&c/é~"}}',
        "&lt;a href=&#39;x&#39;&gt;&amp; a+b%26c%2F%C3%A9~",
    ),
    ('{{"}}"}} {{"{{"}} }}', "}} {{ }}"),
    ("{{ if\n.Yes }}x{{ end }}", "x"),
]

# fmt.Sprintf of Go 1.19
PRINTED = [
    ('"%s %d %v %q %t" "s" 42 1.5 "q" true', 's 42 1.5 "q" true'),
    ('"%x %X %o %b %c %U %O" 255 255 8 5 65 65 8', "ff FF 10 101 A U+0041 0o10"),
    ('"%5d|%-5d|%05d|%+d|% d|%5.3d" 42 42 42 42 42 42', "   42|42   |00042|+42| 42|  042"),
    ('"%8s|%-8s|%.2s|%8.2s" "abc" "abc" "abc" "abc"', "     abc|abc     |ab|      ab"),
    (
        '"%f %.2f %8.3f %e %g %G" 3.14159 3.14159 3.14159 3.14159 3.14159 1e-9',
        "3.141590 3.14    3.142 3.141590e+00 3.14159 1E-09",
    ),
    ('"%+.1f %08.2f %6.2v|" 3.14159 3.14159 3.14159', "+3.1 00003.14    3.1|"),
    ('"%d %s %d %t %f" "x" 1 1.5 1 1', "%!d(string=x) %!s(int=1) %!d(float64=1.5) %!t(int=1) %!f(int=1)"),
    ('"%d %d" 1', "1 %!d(MISSING)"),
    ('"x" 1 "b"', "x%!(EXTRA int=1, string=b)"),
    ('"100%% %"', "100% %!(NOVERB)"),
    ('"%s %v %d" nil nil .Nothing', "%!s(<nil>) <nil> %!d(<nil>)"),
    ('"%q %x %v" .List .List .List', '["b" "a" "c"] [62 61 63] [b a c]'),
    ('"%03d %v" .Numbers .Numbers', "[001 002 003] [1 2 3]"),
    ('"%v %s %d" .Map .Map .None', "map[a:two k:<&> x:1] map[a:two k:<&> x:1] []"),
    ('"%#v %#v %#v %#v" "a" 1 true .List', '"a" 1 true []string{"b", "a", "c"}'),
    ('"%+v %+v" .Map .Numbers', "map[a:two k:<&> x:1] [1 2 3]"),
    ('"%#x %#o %#b %#q %+q" 255 8 5 "a" "é"', '0xff 010 0b101 `a` "\\u00e9"'),
    ('"%x %X % x %#x" "hi" "hi" "hi" "hi"', "6869 6869 68 69 0x6869"),
    ('"%T %T %T %T %T %T" 1 "a" 1.5 true nil .Map', "int string float64 bool <nil> map[string]string"),
    ('"%q %q %q" 65 39 "\\t\\x00\\u200b"', r"""'A' '\'' "\t\x00\u200b" """.strip()),
    ('"%05d %x %.0d|%-05d|%#08x" -42 -255 0 42 255', "-0042 -ff |42   |0x000000ff"),
    ('"%t|%6t|%-6t|%5v|" true false true nil', "true| false|true  |<nil>|"),
    ('"%-10s|%5c|" "é" 233', "é         |    é|"),
]

# Go's messages after "template parsing error: "
MISTAKES = [
    ("{{.Name", ":1: unclosed action"),
    ("{{.", ':1: illegal number syntax: "."'),
    ("{{", ":1: unclosed action"),
    ("{{}}", ":1: missing value for command"),
    ("{{nope .}}", ':1: function "nope" not defined'),
    ("{{table .}}", ':1: function "table" not defined'),
    ("{{if}}x{{end}}", ":1: missing value for if"),
    ("{{if .Yes}}x", ":1: unexpected EOF"),
    ("{{end}}", ":1: unexpected {{end}}"),
    ("{{if .Yes}}a{{else}}b{{else}}c{{end}}", ":1: expected end; found {{else}}"),
    ("{{break}}", ":1: {{break}} outside {{range}}"),
    ("{{(.Name}}", ":1: unclosed left paren"),
    ("{{.Name)}}", ':1: unexpected ")" in command'),
    ("{{.Name@}}", ":1: bad character U+0040 '@'"),
    ("{{.Name || .Pid}}", ':1: unexpected "|" in command'),
    ("{{..}}", ":1: unexpected <.> in operand"),
    ('{{"abc}}', ":1: unterminated quoted string"),
    ("{{`abc}}", ":1: unterminated raw quoted string"),
    ("{{'ab'}}", ":1: malformed character constant: 'ab'"),
    (r'{{"\q"}}', ":1: invalid syntax"),
    ("{{€}}", ":1: unrecognized character in action: U+20AC '€'"),
    ("{{$x}}", ':1: undefined variable "$x"'),
    ("{{1 | 2}}", ":1: non executable command in pipeline stage 2"),
    ('{{"a".b}}', r':1: unexpected . after term "\"a\""'),
    ("{{99999999999999999999}}", ':1: integer overflow: "99999999999999999999"'),
    ("{{/* b */ }}", ":1: comment ends before closing delimiter"),
    ("{{/* b", ":1: unclosed comment"),
    ("{{range $x, 1 := .List}}{{end}}", ":1: range can only initialize variables"),
    ("one\ntwo {{nope}}", ':2: function "nope" not defined'),
]

FAILURES = [
    ("{{.Nope}}", ':1:2: executing "" at <.Nope>: map has no entry for key "Nope"'),
    ("{{.Deep.A.B}}", ':1:7: executing "" at <.Deep.A.B>: can\'t evaluate field B in type []interface {}'),
    ("é\n {{.Name.x}}", ':2:8: executing "" at <.Name.x>: can\'t evaluate field x in type string'),
    (
        "{{index .List 7}}",
        ':1:2: executing "" at <index .List 7>: error calling index: index out of range: 7',
    ),
    ("{{index nil 1}}", ':1:2: executing "" at <index nil 1>: error calling index: index of untyped nil'),
    (
        "{{index .Pid 1}}",
        ':1:2: executing "" at <index .Pid 1>: error calling index: can\'t index item of type int',
    ),
    (
        "{{slice .Name 3 1}}",
        ':1:2: executing "" at <slice .Name 3 1>: error calling slice: invalid slice index: 3 > 1',
    ),
    ("{{len 3}}", ':1:2: executing "" at <len 3>: error calling len: len of type int'),
    ('{{eq 1 "1"}}', ':1:2: executing "" at <eq 1 "1">: error calling eq: incompatible types for comparison'),
    ("{{eq 1 1.0}}", ':1:2: executing "" at <eq 1 1.0>: error calling eq: incompatible types for comparison'),
    (
        "{{lt true false}}",
        ':1:2: executing "" at <lt true false>: error calling lt: invalid type for comparison',
    ),
    ("{{upper 1}}", ':1:8: executing "" at <1>: expected string; found 1'),
    ("{{upper .Pid}}", ':1:8: executing "" at <.Pid>: wrong type for value; expected string; got int'),
    ("{{upper}}", ':1:2: executing "" at <upper>: wrong number of args for upper: want 1 got 0'),
    ("{{index}}", ':1:2: executing "" at <index>: wrong number of args for index: want at least 1 got 0'),
    ("{{nil}}", ':1:2: executing "" at <nil>: nil is not a command'),
    ("{{1 2}}", ':1:2: executing "" at <1>: can\'t give argument to non-function 1'),
    ("{{.Name .Pid}}", ':1:2: executing "" at <.Name>: Name is not a method but has arguments'),
    ("{{range .Name}}{{end}}", ':1:8: executing "" at <.Name>: range can\'t iterate over hello wörld'),
]


@pytest.mark.parametrize(("template", "expected"), RENDERED)
def test_renders_as_go(template: str, expected: str) -> None:
    assert Template(template).render(DATA, missing="no value") == expected


@pytest.mark.parametrize(("arguments", "expected"), PRINTED)
def test_printf_prints_as_go(arguments: str, expected: str) -> None:
    assert Template(f"{{{{printf {arguments}}}}}").render(DATA, missing="no value") == expected


@pytest.mark.parametrize(("template", "message"), MISTAKES)
def test_names_what_is_wrong_with_a_template(template: str, message: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        Template(template)
    assert str(caught.value) == f"template parsing error: template: {message}"


@pytest.mark.parametrize(("template", "message"), FAILURES)
def test_names_what_a_template_asks_in_vain(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(template).render(DATA)
    assert str(caught.value) == f"template parsing error: template: {message}"


def test_a_missing_key_of_a_map_is_no_mistake_but_a_missing_field_is() -> None:
    data = {"Labels": {"a": "1", "b": "2"}, "State": {"Pid": 1, "Running": True}, "Args": None}
    assert Template("{{.Labels.nope}} {{.Args}}").render(data) == "<no value> <nil>"
    with pytest.raises(TemplateError, match='no entry for key "Nope"'):
        Template("{{.State.Nope}}").render(data)


def test_fields_that_docker_leaves_out_are_empty_and_not_unknown() -> None:
    data = {"State": {"Pid": 1, "Running": True}, "Config": {"User": "", "Entrypoint": None, "Tty": False}}
    template = Template(
        "{{if .State.Health}}x{{else}}none{{end}} {{json .Config.Healthcheck}} {{.Config.Entrypoint}} "
        "{{json .Config.Entrypoint}} {{range .Config.ExposedPorts}}x{{end}}{{len .Config.Volumes}}"
    )
    assert template.render(data) == "none null [] null 0"


def test_a_row_has_methods_and_sorted_json() -> None:
    row = Row({"Names": "<web>", "ID": "1", "Label": lambda name: f"value of {name}"})
    assert Template('{{.Label "x"}} {{"y" | .Label}}').render(row) == "value of x value of y"
    assert (
        Template("{{json .}} {{json .Names}}").render(row) == r'{"ID":"1","Names":"\u003cweb\u003e"} "<web>"'
    )
    with pytest.raises(TemplateError, match="wrong number of args for Label: want 1 got 0"):
        Template("{{.Label}}").render(row)


# --- the same through the real client -------------------------------------------------------------

# Each through `docker inspect --format`, and through ours over the JSON of `docker inspect`.
INSPECTED = [
    "{{.Id}}",
    "{{.State.Pid}} {{.State.Status}} {{.State.Running}}",
    "{{.Name}} {{.Path}} {{.Args}}",
    "{{json .}}",
    "{{json .State}}",
    "{{json .Config.Env}}",
    "{{json .Config.Labels}}",
    "{{json .HostConfig}}",
    "{{json .Mounts}}",
    "{{json .NetworkSettings}}",
    "{{json .Config.Healthcheck}}",
    "{{json .Config.Labels.nope}}",
    "{{json .HostConfig.Memory}} {{json .Config.Tty}} {{json .Config.Entrypoint}}",
    "{{.Config.Env}}",
    "{{.Config.Labels}}",
    "{{.Config.Cmd}} {{.Config.Entrypoint}} {{.Config.Volumes}} {{.Config.OnBuild}}",
    "{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{.HostConfig.Binds}} {{.HostConfig.Links}}",
    "{{.HostConfig.MemorySwappiness}} {{.HostConfig.PidsLimit}} {{.HostConfig.OomKillDisable}}",
    "{{.HostConfig.Memory}} {{.HostConfig.ShmSize}} {{.HostConfig.NetworkMode}} {{.HostConfig.Privileged}}",
    "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.LogConfig.Type}} {{.HostConfig.LogConfig.Config}}",
    "{{.HostConfig.MaskedPaths}} {{len .HostConfig.ReadonlyPaths}} {{.HostConfig.ConsoleSize}}",
    "{{.GraphDriver.Name}} {{.GraphDriver.Data.UpperDir}}",
    "{{.Config.Labels.nope}} {{.Config.Labels.tier}}",
    '{{index .Config.Labels "com.example.tier"}}|{{index .Config.Labels "nope"}}|',
    "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}",
    "{{range .Config.Env}}{{println .}}{{end}}",
    "{{range .Mounts}}{{.Type}} {{.Source}}:{{.Destination}} {{.RW}} {{.Mode}}{{end}}",
    "{{range $i, $m := .Mounts}}{{if $i}},{{end}}{{$m.Destination}}{{end}}",
    "{{(index .Mounts 0).Destination}}",
    "{{with index .Mounts 0}}{{.Destination}}{{end}}",
    "{{with .State}}{{.Status}} {{$.Name}}{{end}}",
    "{{range $name, $net := .NetworkSettings.Networks}}{{$name}}:{{$net.IPAddress}}{{end}}",
    "{{.NetworkSettings.Networks.none.IPAddress}}|",
    "{{.NetworkSettings.Networks.none.Aliases}} {{.NetworkSettings.Networks.none.IPAMConfig}}",
    "{{.NetworkSettings.Ports}} {{len .NetworkSettings.Ports}}",
    "{{.NetworkSettings.Networks.nope}}",
    "{{.NetworkSettings.Networks.nope.IPAddress}}",
    '{{(index (index .HostConfig.PortBindings "80/tcp") 0).HostPort}}',
    "{{range $p, $b := .HostConfig.PortBindings}}{{$p}}->{{(index $b 0).HostPort}}{{end}}",
    "{{range $p, $b := .Config.ExposedPorts}}{{$p}} {{end}}",
    "{{if .State.Running}}up{{else}}down{{end}}",
    "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}",
    "{{if not .State.Paused}}a{{end}}{{if and .State.Running (not .State.Dead)}}b{{end}}",
    '{{if eq .State.Status "exited" "running"}}yes{{end}}',
    "{{if gt .State.Pid 1}}big{{end}}{{if ge .State.ExitCode 0}}!{{end}}",
    '{{eq .HostConfig.NetworkMode "none"}} {{ne .State.ExitCode 1}} {{lt 1 .State.Pid}}',
    "{{or .Config.User .Config.Image}} {{and .Config.Image .Config.Cmd}}",
    "{{len .Name}} {{len .Config.Env}} {{len .Config.Labels}}",
    "{{slice .Id 0 12}} {{slice .Config.Cmd 1}}",
    "{{index .Config.Env 0}} {{index .Args 0}}",
    '{{join .Config.Env " "}} {{join .Config.Cmd "-"}}',
    '{{split .Config.Image ":"}} {{len (split .Created "T")}} {{index (split .Created "T") 0}}',
    "{{upper .Name}} {{lower .Path}} {{title .State.Status}} {{.Name | upper}}",
    "{{pad .Path 2 3}}| {{truncate .Id 12}}",
    '{{printf "%.12s %-10s| %10s" .Id .Path .Path}}',
    '{{printf "%d %5d %05d %x" .State.Pid .State.Pid .State.Pid .State.Pid}}',
    '{{printf "%t %v %q" .State.Running .State.Running .Path}}',
    '{{printf "%s %d" .State.Pid .Path}}',
    '{{printf "%d"}} {{printf "x" 1}} {{printf "%v %v" .Config.Env nil}}',
    '{{printf "%T %T %T %T" .State.Pid .Path .State.Running .Args}}',
    '{{printf "%#v %#v" .Path .State.Pid}}',
    "{{print 1 2 .Path 3 true}}{{println .Path .State.Running}}",
    "{{$id := .Id}}{{$n := len .Args}}{{$id}} {{$n}} {{$n = 7}}{{$n}}",
    "{{range .Config.Env}}{{if eq . `B=2`}}{{break}}{{end}}{{.}};{{end}}",
    "{{range .Config.Env}}{{if eq . `B=2`}}{{continue}}{{end}}{{.}};{{end}}",
    "  {{- .Path -}}  |  {{/* comment */}}x",
    "{{.Path}}\\t{{.Name}}\\n",
    "{{\"a\\tb\"}} {{`c\\td`}} {{'x'}} {{1.5}} {{1e3}} {{0x10}} {{true}}",
    '{{html "<&>"}} {{urlquery "a b&c"}}',
    "{{range .Args}}{{.}}{{else}}none{{end}} {{range .HostConfig.Dns}}x{{else}}none{{end}}",
    "{{.Nope}}",
    "{{.State.Nope}}",
    "{{if .Nope}}x{{else}}y{{end}}",
    "{{json .Nope}}",
    "{{index .Nope 1}}",
    "{{index .Config.Env 99}}",
    "{{.Id",
    "{{nope .}}",
    "{{if}}",
    "{{end}}",
    "{{.Id}} {{else}}",
    "{{upper}}",
    "{{upper 1}}",
    '{{"a" .Id}}',
    "{{len 3}}",
]

# A field that only the JSON has sends Docker from its structs to the plain JSON, so maps meet maps.
# What it prints before that is thrown away, and numbers are strings there, so none are compared.
RAW = "{{with .HostConfig.CpuShares}}{{end}}"
INSPECTED_RAW = [
    "{{.State}}",
    "{{.Mounts}}",
    "{{.GraphDriver}}",
    "{{.HostConfig.RestartPolicy}}",
    "{{.HostConfig.PortBindings}}",
    "{{.NetworkSettings.Networks.none.IPAMConfig | json}}",
    "{{range $k, $v := .GraphDriver.Data}}{{$k}} {{end}}",
    '{{printf "%s %q" .Config.Labels .Config.Env}}',
    '{{index .HostConfig.PortBindings "80/tcp" 0 "HostPort"}}',
    "{{.Config.Nope}}",
    "{{.State.Nope}}",
]


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DOCKER, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def inspected() -> Iterator[tuple[str, object]]:
    """A container of the real Docker: its id, and what ``docker inspect`` says of it."""
    if not shutil.which(DOCKER) or docker("version").returncode:
        pytest.skip("no working /usr/bin/docker to compare with")
    if docker("image", "inspect", "alpine").returncode:
        pytest.skip("docker has no alpine image, and the test must not pull one")
    started = docker(
        *("run", "--detach", "--network", "none", "--publish", "8080:80", "--memory", "64m"),
        *("--env", "A=<b>&é", "--env", "B=2", "--label", "com.example.tier=<web>", "--label", "tier=front"),
        *("--volume", f"{os.path.dirname(os.path.abspath(__file__))}:/data:ro", "--cap-add", "NET_ADMIN"),
        *("alpine", "sleep", "300"),
    )
    assert started.returncode == 0, started.stderr
    name = started.stdout.strip()
    try:
        yield name, json.loads(docker("inspect", name).stdout)[0]
    finally:
        docker("rm", "--force", name)


def test_a_port_that_is_not_published_fails_in_docker_too(inspected: tuple[str, object]) -> None:
    """Only the words differ: whether an empty map held strings or lists, its JSON does not tell."""
    name, data = inspected
    template = '{{(index (index .NetworkSettings.Ports "81/tcp") 0).HostPort}}'
    theirs = docker("inspect", "--format", template, name)
    status, _, error = answer(template, data)
    cut = "error calling index"
    assert (status, error.partition(cut)[0]) == (theirs.returncode, theirs.stderr.strip().partition(cut)[0])


def answer(template: str, data: object) -> tuple[int, str, str]:
    """What a command of ours prints for ``--format``: exit status, standard output, standard error."""
    try:
        return 0, Template(template).render(data) + "\n", ""
    except TemplateError as error:
        return error.exit_code, "", str(error)


@pytest.mark.parametrize("template", INSPECTED)
def test_docker_inspect_prints_the_same(template: str, inspected: tuple[str, object]) -> None:
    name, data = inspected
    theirs = docker("inspect", "--format", template, name)
    status, out, error = answer(template, data)
    assert (status, out) == (theirs.returncode, theirs.stdout if theirs.returncode == 0 else "")
    assert error == theirs.stderr.strip()


@pytest.mark.parametrize("template", INSPECTED_RAW)
def test_docker_inspect_prints_the_same_of_plain_json(template: str, inspected: tuple[str, object]) -> None:
    name, data = inspected
    theirs = docker("inspect", "--format", RAW + template, name)
    status, out, error = answer(RAW + template, data)
    assert (status, out) == (theirs.returncode, theirs.stdout if theirs.returncode == 0 else "")
    assert error == theirs.stderr.strip()
