"""COPY and ADD do what Docker's do, to the bit: a table of cases, and what of it is asked of Docker itself."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator

import pytest
from copying_cases import CASES, FROM, Case, make_context
from copying_trees import BEFORE_TIME, listing, listing_of_archive, make

from minicontainer import words
from minicontainer.build import copying, sources
from minicontainer.build.copying import Copying
from minicontainer.build.dockerfile import parse
from minicontainer.build.ignore import Ignore
from minicontainer.build.tree import Tree
from minicontainer.errors import Error, InvalidArgument, NotFound
from minicontainer.images import overlay

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:100:101:app:/:/bin/sh\nlonely:x:7:50::/:/bin/sh\n"
GROUP = "root:x:0:\napp:x:101:\nstaff:x:50:\n"


def make_image(top: str, before: dict[str, str]) -> None:
    """The files of the image BASE, with a directory for each case."""
    for name, lines in before.items():
        os.makedirs(f"{top}/c/{name}")
        make(f"{top}/c/{name}", lines, BEFORE_TIME)
    for name, text in (("passwd", PASSWD), ("group", GROUP)):
        os.makedirs(f"{top}/etc", exist_ok=True)
        with open(f"{top}/etc/{name}", "w") as file:
            file.write(text)
    os.mkdir(f"{top}/from")
    make(f"{top}/from", FROM, BEFORE_TIME)


class Build:
    """An image of files below ``lower`` that instructions are carried out on, and where to look at it."""

    def __init__(self, context: str, lower: str, work: str, ignore: Ignore | None = None) -> None:
        os.makedirs(f"{work}/upper")
        os.mkdir(f"{work}/work")
        self.lower = lower
        self.upper = f"{work}/upper"
        self.root = overlay.detached([lower], self.upper, f"{work}/work")
        self.context = Tree(context, ignore)
        self.workdir = "/"
        self.last: Copying | None = None

    def tree(self, origin: str) -> Tree:
        return Tree(self.lower, what=origin) if origin else self.context

    def resolve(self, line: str, **variables: str) -> Copying:
        """What one line is about."""
        instruction = parse(f"FROM scratch\n{line}\n".encode()).stages[0].instructions[0]
        return sources.resolve(
            instruction, lambda word: words.expand(word, variables), self.tree, self.workdir, variables
        )

    def do(self, lines: str, **variables: str) -> None:
        """Carry out instructions, COPY, ADD and as far as it is needed here WORKDIR."""
        for instruction in parse(f"FROM scratch\n{lines}\n".encode()).stages[0].instructions:
            if instruction.name == "WORKDIR":
                self.workdir = os.path.join(self.workdir, instruction.rest)
                os.makedirs(self.path(self.workdir), exist_ok=True)
                continue
            with sources.resolve(
                instruction, lambda word: words.expand(word, variables), self.tree, self.workdir, variables
            ) as asked:
                copying.digest(asked)
                copying.run(asked, self.root)
                self.last = asked

    def path(self, inside: str = "/") -> str:
        return f"/proc/self/fd/{self.root}/{inside.lstrip('/')}"

    def close(self) -> None:
        self.context.close()
        os.close(self.root)


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("context"))
    make_context(path)
    return path


@pytest.fixture
def build(context, tmp_path) -> Iterator[Build]:
    """A build on the image BASE, from the context of the table."""
    make_image(str(tmp_path / "image"), {})
    (tmp_path / "image/here").mkdir()
    build = Build(context, str(tmp_path / "image"), str(tmp_path / "work"))
    yield build
    build.close()


@pytest.fixture
def files(tmp_path) -> Iterator[Build]:
    """A build on an image with nothing in it, from an empty context that a test fills: ``tmp_path / "context"``."""
    (tmp_path / "context").mkdir()
    (tmp_path / "image").mkdir()
    build = Build(str(tmp_path / "context"), str(tmp_path / "image"), str(tmp_path / "work"))
    yield build
    build.close()


# -- the table --


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_what_is_in_the_image_afterwards(case: Case, context, tmp_path):
    make_image(str(tmp_path / "image"), {case.name: case.before})
    with contextlib.closing(Build(context, str(tmp_path / "image"), str(tmp_path / "work"))) as build:
        build.do(case.line.replace("HERE", f"/c/{case.name}"))
        assert listing(build.path(f"c/{case.name}")) == case.ours


def docker_makes(docker, context: str, directory: str, cases: list[Case]) -> dict[str, list[str]]:
    """What Docker's classic builder makes of the whole table, in one image."""
    name = f"minicontainer-copying-{os.getpid()}"
    make_image(f"{directory}/image", {case.name: case.before for case in cases})
    tar = [
        "tar",
        "--xattrs",
        "--xattrs-include=*",
        "-C",
        f"{directory}/image",
        "-cf",
        f"{directory}/image.tar",
        ".",
    ]
    subprocess.run(tar, check=True)
    with open(f"{directory}/Dockerfile", "w") as file:
        print(f"FROM {name}-base", file=file)
        for case in cases:
            line = case.line.replace("HERE", f"/c/{case.name}").replace("BASE", f"{name}-base")
            print(line + "\nWORKDIR /" * ("WORKDIR" in line), file=file)
    try:
        assert docker("import", f"{directory}/image.tar", f"{name}-base").returncode == 0
        built = docker("build", "-q", "-f", f"{directory}/Dockerfile", "-t", name, context, timeout=280)
        assert built.returncode == 0, built.stdout + built.stderr
        assert docker("create", "--name", name, name, "x").returncode == 0
        assert docker("export", "-o", f"{directory}/made.tar", name).returncode == 0
    finally:
        docker("rm", name)
        docker("rmi", "-f", name, f"{name}-base")
    outcomes = {}
    for case in cases:
        with tarfile.open(f"{directory}/made.tar") as made:
            outcomes[case.name] = listing_of_archive(made, f"c/{case.name}")
    return outcomes


@pytest.mark.slow
def test_docker_does_the_same(docker, context, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")  # the table is of the classic builder
    outcomes = docker_makes(docker, context, str(tmp_path), CASES)
    assert outcomes == {case.name: case.after for case in CASES}


def test_the_exceptions_are_few_and_each_has_a_reason():
    different = [case for case in CASES if case.ours != case.after]
    assert [case.name for case in different] == ["from-suid", "add-zstd"]
    assert all(case.why for case in different)


# -- what cannot be done --


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        (
            "COPY missing /x",
            NotFound,
            "COPY failed: missing to /x: no such file or directory in the build context",
        ),
        ("COPY file missing /x/", NotFound, "COPY failed: missing to /x/: no such file"),
        ("COPY no*thing /x", NotFound, "COPY failed: no*thing to /x: no file in the build context matches"),
        ("ADD dangling /x", NotFound, "ADD failed: dangling to /x: a symlink that leads to nothing"),
        ("COPY outlink /x", NotFound, "COPY failed: outlink to /x: a symlink that leads to nothing"),
        ("COPY ../file /x", InvalidArgument, "forbidden path outside the build context: ../file"),
        ("COPY dir/../../file /x", InvalidArgument, "forbidden path outside the build context"),
        ("COPY --from=BASE /no /x", NotFound, "COPY failed: /no to /x: no such file or directory in BASE"),
        (
            "COPY file dir /x",
            InvalidArgument,
            "more than one source file, the destination must be a directory",
        ),
        ("COPY glob/*.txt /x", InvalidArgument, "the destination must be a directory and end with a /: /x/"),
        (
            "COPY file /etc/passwd/x",
            Error,
            "COPY failed: file to /etc/passwd/x: a file of the image is in the way",
        ),
        ("COPY dir /etc/passwd", Error, "COPY failed: dir to /etc/passwd: a file of the image is in the way"),
        ("COPY file /circle/x", InvalidArgument, "/circle/x runs in a circle of symlinks"),
        ("COPY --chown=nobody:root file /x", Error, "--chown=nobody:root: unable to find user nobody"),
        ("COPY --chown=root:nogroup file /x", Error, "unable to find group nogroup"),
        ("COPY --chown=lonely file /x", Error, "unable to find group lonely"),
        ("COPY --chown=:staff file /x", InvalidArgument, "--chown=:staff: expected user, or user:group"),
        ("COPY --chown=99999999999 file /x", Error, "must be in the range"),
        ("COPY --chmod=999 file /x", InvalidArgument, "--chmod=999: expected octal digits"),
        ("COPY --chmod=77777 file /x", InvalidArgument, "--chmod=77777: expected octal digits"),
        ("COPY http://localhost/x /y", InvalidArgument, "source can't be a URL for COPY"),
        ("ADD --checksum=sha256:0 file /x", InvalidArgument, "--checksum is for a source with http://"),
        ("COPY --parents dir/./../file /x", InvalidArgument, "file is not in dir, which is before the /./"),
        ("ADD cut.tar /x", InvalidArgument, "ADD failed: cut.tar to /x: not a tar archive, or a damaged one"),
        ("ADD cut.tgz /x", InvalidArgument, "ADD failed: cut.tgz to /x: "),
    ],
)
def test_an_error_names_source_destination_and_reason(build, line, error, message):
    os.symlink("circle", build.path("circle"))
    with pytest.raises(error) as raised:
        build.do(line)
    assert message in str(raised.value)


def test_an_error_says_when_a_file_is_there_but_excluded(files, tmp_path):
    (tmp_path / "context/secret.txt").write_text("x")
    with contextlib.closing(
        Build(str(tmp_path / "context"), str(tmp_path / "image"), str(tmp_path / "other"), Ignore(b"*.txt"))
    ) as build:
        with pytest.raises(NotFound, match=r"COPY failed: secret.txt to /x: .dockerignore excludes it"):
            build.do("COPY secret.txt /x")
        with pytest.raises(NotFound, match=r"sec\* to /x: .*or .dockerignore excludes it"):
            build.do("COPY sec* /x")


def test_no_descriptor_stays_open(build):
    before = os.listdir("/proc/self/fd")
    build.do("COPY dir /x\nCOPY --from=BASE /from/dir /y\nADD a.tgz /z\nCOPY --parents dir/sub/c /p/")
    build.do("COPY <<EOF /heredoc\ntext\nEOF")
    for line in ("COPY --from=BASE /from/dir /no /x/", "ADD cut.tgz /x", "COPY <<EOF missing /x/\nEOF"):
        with pytest.raises(Error):
            build.do(line)
    assert os.listdir("/proc/self/fd") == before


# -- whose files they are --


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("app", (100, 101)),
        ("app:staff", (100, 50)),
        ("100", (100, 100)),
        ("100:staff", (100, 50)),
        ("app:7", (100, 7)),
        ("7777:8888", (7777, 8888)),
        ("0", (0, 0)),
    ],
)
def test_names_of_chown_are_those_of_the_image(build, text, owner):
    assert copying.find_owner(build.root, text) == owner
    build.do(f"COPY --chown={text} file /owned/x")
    status = os.stat(build.path("owned/x"))
    assert (status.st_uid, status.st_gid) == owner


def test_variables_are_replaced_in_flags_and_words(build):
    build.do(
        "COPY --chown=$WHO --chmod=$MODE ${NAME%.old} $WHERE/",
        WHO="app",
        MODE="700",
        NAME="file.old",
        WHERE="/w",
    )
    status = os.stat(build.path("w/file"))
    assert (status.st_uid, oct(status.st_mode)) == (100, "0o100700")


# -- the flags that came with BuildKit --


def test_chmod_is_for_all_that_is_copied(build):
    build.do("COPY --chmod=2710 --chown=1:2 dir /x/y\nCOPY --chmod=4711 file /z/f")
    build.do("COPY --from=BASE --chmod=600 /from/suid /s")
    assert listing(build.path("x")) == [
        "d755 1:2 - y",
        "f2710 1:2 S y/a = dir/a",
        "l 1:2 S y/abs -> /etc/hostname",
        "f2710 1:2 S y/b = dir/b",
        "l 1:2 S y/dangling -> nowhere",
        "d2710 1:2 S y/empty",
        "l 1:2 S y/link -> a",
        "d2710 1:2 S y/sub",
        "f2710 1:2 S y/sub/c = dir/sub/c",
    ]
    assert listing(build.path("z")) == ["f4711 0:0 S f = file"]
    assert oct(os.stat(build.path("z")).st_mode) == "0o40755"
    assert (os.stat(build.path("s")).st_uid, oct(os.stat(build.path("s")).st_mode)) == (5, "0o100600")


def test_link_follows_no_symlink_of_the_image(build):
    os.symlink("/etc", build.path("here/link"))
    build.do("COPY --link file /here/link/x\nCOPY --link dir/sub /here/new/")
    assert listing(build.path("here")) == [
        "d755 0:0 - link",
        "f640 0:0 S link/x = file",
        "d755 0:0 - new",
        "f755 0:0 S new/c = dir/sub/c",
    ]
    assert not os.path.exists(build.path("etc/x"))


def test_link_leaves_directories_as_they_are(build):
    os.chmod(build.path("here"), 0o1777)
    build.do("COPY --link file /here/x")
    assert oct(os.stat(build.path("here")).st_mode) == "0o41777"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("COPY --exclude=*.txt glob /x", ["[x]", ".hidden"]),
        ("COPY --exclude=1.txt --exclude=d.txt glob /x", ["2.txt", "[x]", "l.txt", ".hidden"]),
        ("COPY --exclude=*.txt glob/* /x/", ["[x]", ".hidden"]),
        ("COPY --exclude=glob/1* glob/?.txt /x/", ["2.txt", "in", "l.txt"]),
        ("COPY --exclude=**/in glob /x", ["1.txt", "2.txt", "[x]", "d.txt", "l.txt", ".hidden"]),
        (
            "COPY --exclude=d* --exclude=!d.txt/in glob /x",
            ["1.txt", "2.txt", "[x]", "d.txt", "d.txt/in", "l.txt", ".hidden"],
        ),
        ("COPY --exclude=caps --from=BASE /from/dir /x", ["a", "sub", "suid"]),
    ],
)
def test_what_is_excluded_is_not_copied(build, line, names):
    build.do(line)
    found = [
        os.path.join(place, name)
        for place, *both in os.walk(build.path("x"))
        for name in itertools.chain(*both)
    ]
    assert sorted(os.path.relpath(name, build.path("x")) for name in found) == sorted(names)


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("COPY --parents dir/sub/c one/1.txt /here/", ["dir", "dir/sub", "dir/sub/c", "one", "one/1.txt"]),
        ("COPY --parents ./dir/./sub /here", ["sub", "sub/c"]),
        ("COPY --parents /dir/./sub/* /here/", ["sub", "sub/c"]),
        ("COPY --parents ./**/1.txt /here/", ["glob", "glob/1.txt", "one", "one/1.txt"]),
        ("COPY --from=BASE --parents /from/./dir/a /here/", ["dir", "dir/a"]),
        ("COPY --parents --exclude=dir/sub dir/a dir/sub /here/", ["dir", "dir/a"]),
        ("COPY --parents --exclude=dir ./dir/./sub/c /here/", ["sub", "sub/c"]),
        ("COPY --parents ./././dir/sub/c /here/", ["dir", "dir/sub", "dir/sub/c"]),
        (
            "COPY --parents dir/./ /here/x",
            ["x", "x/a", "x/abs", "x/b", "x/dangling", "x/empty", "x/link", "x/sub", "x/sub/c"],
        ),
    ],
)
def test_parents_are_kept(build, line, lines):
    build.do(line)
    assert [text.split(" ")[3] for text in listing(build.path("here"))] == lines


def test_kept_parents_have_their_mode(build):
    build.do("COPY --parents dir/sub/c /here/")
    assert listing(build.path("here"))[:2] == ["d750 0:0 S dir", "d700 0:0 S dir/sub"]


def test_heredocs_are_files(build):
    build.do(
        "COPY <<one <<'two' /here/\n$NAME\none\n$NAME\ntwo\nCOPY --chmod=755 <<-EOF /here/run\n\t#!/bin/sh\nEOF",
        NAME="text",
    )
    assert listing(build.path("here")) == [
        "f644 0:0 - one = (bytes)",
        "f755 0:0 - run = (bytes)",
        "f644 0:0 - two = (bytes)",
    ]
    with (
        open(build.path("here/one")) as one,
        open(build.path("here/two")) as two,
        open(build.path("here/run")) as run,
    ):
        assert (one.read(), two.read(), run.read()) == ("text\n", "$NAME\n", "#!/bin/sh\n")


@pytest.mark.parametrize("destination", [".", "/new/.", "./"])
def test_several_sources_may_go_to_a_dot(build, destination):
    build.do(f"WORKDIR /here\nCOPY file other {destination}")
    where = build.path(os.path.normpath(os.path.join("/here", destination)))
    assert sorted(os.listdir(where)) == ["file", "other"]


# -- files of all kinds --


def test_a_large_file_is_the_same(files, tmp_path):
    data = os.urandom(5 << 20)
    (tmp_path / "context/large").write_bytes(data)
    files.do("COPY large /a/\nCOPY --from=BASE . /b/")
    with open(files.path("a/large"), "rb") as file:
        assert file.read() == data


def test_holes_stay_holes(files, tmp_path):
    with open(tmp_path / "context/sparse", "wb") as file:
        for offset, data in ((1 << 20, b"one"), (40 << 20, b"two")):
            file.seek(offset)
            file.write(data)
        file.truncate(64 << 20)
    files.do("COPY sparse /")
    with open(files.path("sparse"), "rb") as copy, open(tmp_path / "context/sparse", "rb") as original:
        assert copy.read() == original.read()
    assert os.stat(files.path("sparse")).st_blocks * 512 < 1 << 20


def test_names_may_be_any_bytes(files, tmp_path):
    top = os.fsencode(tmp_path / "context")
    os.mkdir(top + b"/d\xff")
    with open(top + b"/d\xff/\xfe\n*", "wb") as file:
        file.write(b"x")
    os.symlink(b"to \xfd", top + b"/d\xff/l")
    files.do("COPY . /x")
    copy = os.fsencode(files.path("x"))
    assert sorted(os.listdir(copy + b"/d\xff")) == [b"l", b"\xfe\n*"]
    assert os.readlink(copy + b"/d\xff/l") == b"to \xfd"


def test_a_fifo_is_copied_and_a_socket_left_out(files, tmp_path):
    os.mkfifo(tmp_path / "context/fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "context/socket"))
        files.do("COPY . /x\nADD fifo /y/")
    assert [text.split()[0] for text in listing(files.path("x")) + listing(files.path("y"))] == [
        "p644",
        "p644",
    ]


def test_a_directory_of_the_image_is_replaced_with_all_below(tmp_path):
    make(
        str(tmp_path / "image"),
        "d755 x\nd755 x/a\nd755 x/a/b\nf644 x/a/b/c\nd755 x/d\nl x/a/l -> /",
        BEFORE_TIME,
    )
    make(str(tmp_path / "context"), "d755 in\nf644 in/x", BEFORE_TIME)
    with contextlib.closing(
        Build(str(tmp_path / "context"), str(tmp_path / "image"), str(tmp_path / "w"))
    ) as build:
        build.do("COPY in /")
        assert listing(build.path()) == ["f644 0:0 - x = in/x"]


def test_modes_do_not_depend_on_the_umask(files, tmp_path):
    make(str(tmp_path / "context"), "d777 d\nf666 d/f\nd755 d/e\nl d/l -> f\np622 d/p", BEFORE_TIME)
    before = os.umask(0o077)
    try:
        files.do("COPY . /new/x")
    finally:
        os.umask(before)
    found = [text.split()[0] for text in listing(files.path("new"))]
    assert found == ["d755", "d777", "d755", "f666", "l", "p622"]
    assert oct(os.stat(files.path("new")).st_mode) == "0o40755"


def test_times_are_whole_seconds(files, tmp_path):
    (tmp_path / "context/f").touch()
    os.utime(tmp_path / "context/f", ns=(0, 1_700_000_000_987_654_321))
    files.do("COPY f /f")
    assert os.stat(files.path("f")).st_mtime_ns == 1_700_000_000_000_000_000


# -- the digest --


def digest_of(files: Build, line: str = "COPY . /x") -> str:
    with files.resolve(line) as asked:
        return copying.digest(asked)


@pytest.fixture
def tree(files, tmp_path):
    """A directory whose digest is asked for; its modes are those it is made with, whatever the umask is."""
    top = tmp_path / "context"
    make(str(top), "d755 d\nf644 d/a\nf644 d/b = text\nl d/l -> a\nd755 d/e\nf644 single", BEFORE_TIME)
    return top / "d"


@pytest.mark.parametrize(
    "change",
    [
        lambda d: (d / "a").write_text("more"),
        lambda d: (d / "a").chmod(0o755),
        lambda d: (d / "a").rename(d / "c"),
        lambda d: (d / "a").unlink(),
        lambda d: (d / "new").touch(),
        lambda d: (d / "f").mkdir(),
        lambda d: (d / "e").chmod(0o700),
        lambda d: ((d / "l").unlink(), (d / "l").symlink_to("b")),
        lambda d: ((d / "l").unlink(), (d / "l").write_text("a")),
        lambda d: ((d / "b").unlink(), os.link(d / "a", d / "b")),
        lambda d: ((d / "a").write_text("d"), (d / "b").write_text("/atext")),
    ],
)
def test_the_digest_changes_with_what_is_copied(files, tree, change):
    before = digest_of(files)
    change(tree)
    assert digest_of(files) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda d: os.utime(d / "a"),
        lambda d: os.chown(d / "a", 5, 6),
        lambda d: (d.parent).chmod(0o700),
        lambda d: os.link(d / "a", d.parent.parent / "elsewhere"),
        lambda d: ((d / "a").unlink(), (d / "a").write_text("d/a"), (d / "a").chmod(0o644)),
    ],
)
def test_the_digest_does_not_change_with_what_is_not(files, tree, change):
    before = digest_of(files)
    change(tree)
    assert digest_of(files) == before


def test_the_digest_says_what_was_copied(files, tree):
    kinds = [
        digest_of(files, f"COPY {words} /x/").partition(":")
        for words in ("single", "d", "single d", "d/[ab]")
    ]
    assert [kind for kind, _, _ in kinds] == ["file", "dir", "multi", "multi"]
    assert {len(digits) for _, _, digits in kinds} == {64}
    assert digest_of(files, "COPY --exclude=a d /x") != digest_of(files, "COPY d /x")


def test_the_digest_knows_owners_that_are_kept(build):
    line = "COPY --from=BASE /from/dir /x"
    before = digest_of(build, line)
    os.chown(f"{build.lower}/from/dir/a", 1, 1)
    changed = digest_of(build, line)
    os.setxattr(f"{build.lower}/from/dir/caps", "security.capability", b"\1\0\0\2" + bytes(16))
    assert len({before, changed, digest_of(build, line)}) == 3


def test_a_file_that_changes_between_digest_and_copy_is_noticed(files, tree):
    with files.resolve("COPY d /x") as asked:
        time.sleep(0.05)
        copying.digest(asked)
        copying.run(asked, files.root)
        assert not asked.changed
        (tree / "a").write_text("other")
        copying.run(asked, files.root)
        assert asked.changed


def test_is_file(files, tree):
    answers = []
    for source in ("single", "d", "d/l", "d/[ab]"):
        with files.resolve(f"COPY {source} /x/") as asked:
            answers.append(asked.is_file())
    assert answers == [True, False, True, False]
