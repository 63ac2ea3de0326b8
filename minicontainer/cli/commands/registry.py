"""pull, push, login, logout and search: images from and to registries."""

from __future__ import annotations

import sys

from minicontainer.cli import table
from minicontainer.cli.flags import BOOL, INT, LIST, STRING, Command, Flag, UsageError
from minicontainer.cli.progress import Progress
from minicontainer.engine import transfer
from minicontainer.errors import InvalidArgument
from minicontainer.images.reference import DEFAULT_TAG, Reference
from minicontainer.images.registry import client, credentials
from minicontainer.images.registry.pull import last_word
from minicontainer.images.registry.search import search as ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine

_SEARCH_HEADERS: dict[str, object] = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
}
_LONGEST_DESCRIPTION = 45  # characters, as docker search has it


def pull(engine: Engine, values: Values, words: list[str]) -> None:
    """Bring an image, or all of a repository, from a registry."""
    reference = Reference.parse(words[0])
    named = _is_named(words[0], reference)
    if values.all_tags and named:
        raise UsageError("tag can't be used with --all-tags/-a", 1)
    if not (named or values.all_tags or values.quiet):
        print(f"Using default tag: {DEFAULT_TAG}", flush=True)
    with Progress(sys.stdout, quiet=values.quiet) as progress:
        fetch = transfer.pull_all if values.all_tags else transfer.pull
        pulled = fetch(engine, reference, platform=values.platform or "", report=progress.report)
        name = pulled[-1].reference
        familiar = name.familiar_repository if values.all_tags else name.familiar
        progress.report("", last_word(familiar, any(each.fresh for each in pulled)))
    print(name.repository if values.all_tags else name)


def _is_named(word: str, reference: Reference) -> bool:
    """Whether a tag or a digest was typed, and not just meant."""
    return bool(reference.digest) or ":" in word.rpartition("/")[2]


def push(engine: Engine, values: Values, words: list[str]) -> None:
    """Bring an image, or all tags of a repository, to a registry."""
    reference = Reference.parse(words[0])
    named = _is_named(words[0], reference)
    if values.all_tags and named:
        raise UsageError("tag can't be used with --all-tags/-a", 1)
    if not (named or values.all_tags or values.quiet):
        print(f"Using default tag: {DEFAULT_TAG}", flush=True)
    with Progress(sys.stdout, quiet=values.quiet) as progress:
        bring = transfer.push_all if values.all_tags else transfer.push
        bring(engine, reference, report=progress.report)
    if values.quiet:
        print(reference.repository if values.all_tags else reference)


def login(engine: Engine, values: Values, words: list[str]) -> None:
    """Try a user name and a password, and keep them when they are good."""
    registry = credentials.registry_of(words[0] if words else "")
    user, password = _ask_for_login(values, registry)
    client.connect(registry, login=credentials.Login(user, password))
    credentials.save(registry, credentials.Login(user, password))
    print(
        f"WARNING! Your password is stored unencrypted in '{credentials.path()}', which only you can read.",
        file=sys.stderr,
    )
    print("Login Succeeded")


def _ask_for_login(values: Values, registry: str) -> tuple[str, str]:
    if values.password is not None and values.password_stdin:
        raise UsageError("--password and --password-stdin are mutually exclusive", 1)
    if values.password is not None:
        print(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
            file=sys.stderr,
            flush=True,
        )
    if values.password_stdin and not values.username:
        raise UsageError("Must provide --username with --password-stdin", 1)
    user, password = values.username, values.password
    if values.password_stdin:
        password = sys.stdin.read().rstrip("\r\n")
    if (not user or password is None) and not sys.stdin.isatty():
        raise InvalidArgument(
            "cannot ask for a user name and a password, the input is no terminal; use -u and --password-stdin"
        )
    user = user or input(f"Username for {registry}: ").strip()
    if password is None:
        import getpass

        password = getpass.getpass("Password: ")
    if not user or not password or ":" in user:
        raise InvalidArgument("a login is a user name, without a colon, and a password")
    return user, password


def logout(engine: Engine, values: Values, words: list[str]) -> None:
    """Forget a login."""
    registry = credentials.registry_of(words[0] if words else "")
    if credentials.forget(registry):
        print(f"Removing login credentials for {credentials.key_of(registry)}")
    else:
        print(f"Not logged in to {credentials.key_of(registry)}")


def search(engine: Engine, values: Values, words: list[str]) -> None:
    """Look for images by a word."""
    found = ask(words[0], limit=values.limit)
    tests = [_search_filter(text) for text in values.filter]
    rows = [_search_row(entry, values.no_trunc) for entry in found if all(test(entry) for test in tests)]
    columns = tuple(_SEARCH_HEADERS)
    print(table.formatted(rows, values.format, _SEARCH_HEADERS, columns, None), end="")


def _search_row(entry: dict[str, Any], no_trunc: bool) -> dict[str, str]:
    description = " ".join(str(entry.get("description") or "").split())
    if not no_trunc and len(description) > _LONGEST_DESCRIPTION:
        description = description[: _LONGEST_DESCRIPTION - 1] + "…"
    return {
        "Name": str(entry.get("name") or ""),
        "Description": description,
        "StarCount": str(entry.get("star_count") or 0),
        "IsOfficial": "[OK]" if entry.get("is_official") else "",
        "IsAutomated": "[OK]" if entry.get("is_automated") else "",
    }


def _search_filter(text: str) -> Callable[[dict[str, Any]], bool]:
    key, _, value = text.partition("=")
    if key == "stars" and value.isdecimal():
        return lambda entry: int(entry.get("star_count") or 0) >= int(value)
    if key in ("is-official", "is-automated") and value in ("true", "false"):
        name = key.replace("-", "_")
        return lambda entry: bool(entry.get(name)) == (value == "true")
    raise InvalidArgument(
        f"invalid filter {text!r}; there is is-official=true, is-automated=true and stars=NUMBER"
    )


_ALL_TAGS = ("a", "all-tags", BOOL)
COMMANDS = {
    "pull": Command(
        "pull",
        "[OPTIONS] NAME[:TAG|@DIGEST]",
        "Pull an image or a repository from a registry",
        (
            Flag(*_ALL_TAGS, "Download all tagged images in the repository"),
            Flag("", "platform", STRING, "Set platform if server is multi-platform capable"),
            Flag("q", "quiet", BOOL, "Suppress verbose output"),
        ),
        pull,
        least=1,
        most=1,
        completes="images",
    ),
    "push": Command(
        "push",
        "[OPTIONS] NAME[:TAG]",
        "Push an image or a repository to a registry",
        (
            Flag(*_ALL_TAGS, "Push all tagged images in the repository"),
            Flag("q", "quiet", BOOL, "Suppress verbose output"),
        ),
        push,
        least=1,
        most=1,
        completes="images",
    ),
    "login": Command(
        "login",
        "[OPTIONS] [SERVER]",
        "Log in to a registry; without a server, to Docker Hub",
        (
            Flag("p", "password", STRING, "Password"),
            Flag("", "password-stdin", BOOL, "Take the password from stdin"),
            Flag("u", "username", STRING, "Username"),
        ),
        login,
        most=1,
    ),
    "logout": Command(
        "logout", "[SERVER]", "Log out from a registry; without a server, from Docker Hub", (), logout, most=1
    ),
    "search": Command(
        "search",
        "[OPTIONS] TERM",
        "Search Docker Hub, or a registry that can be searched, for images",
        (
            Flag("f", "filter", LIST, "Filter output based on conditions provided", metavar="filter"),
            Flag("", "format", STRING, "Pretty-print search using a Go template"),
            Flag("", "limit", INT, "Max number of search results", default=25),
            Flag("", "no-trunc", BOOL, "Don't truncate output"),
        ),
        search,
        least=1,
        most=1,
    ),
}
