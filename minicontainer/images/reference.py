"""Image references: what ``alpine`` is short for.

``[registry/]path[:tag][@digest]``, with Docker's defaults: no registry means Docker Hub, a single word on
Docker Hub means an official image below ``library/``, no tag means ``latest``. So ``alpine`` is
``docker.io/library/alpine:latest``; :attr:`Reference.familiar` goes the other way.
"""

from __future__ import annotations

from minicontainer.errors import InvalidArgument

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_LONGEST = 255  # characters of registry and path together
_HEX = frozenset("0123456789abcdef")


class Reference:
    """A parsed image reference; ``tag`` is "" when only a digest was given, ``digest`` is "" without one."""

    def __init__(self, registry: str, path: str, tag: str, digest: str = "") -> None:
        self.registry = registry
        self.path = path
        self.tag = tag
        self.digest = digest

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as people type it; InvalidArgument says what is wrong with it."""
        rest, at, digest = text.partition("@")
        if at and not is_digest(digest):
            raise InvalidArgument(f"invalid reference {text!r}: {digest!r} is not a sha256 digest")
        registry, path = _split_registry(rest)
        if not _is_host(registry):
            raise InvalidArgument(f"invalid reference {text!r}: {registry!r} is not the name of a registry")
        path, colon, tag = path.partition(":")
        if colon and not _is_tag(tag):
            raise InvalidArgument(f"invalid reference {text!r}: {tag!r} is not a tag")
        if path != path.lower():
            raise InvalidArgument(f"invalid reference {text!r}: repository name must be lowercase")
        if not all(_is_component(part) for part in path.split("/")):
            raise InvalidArgument(f"invalid reference format: {text!r}")
        if len(f"{registry}/{path}") > _LONGEST:
            raise InvalidArgument(
                f"invalid reference {text[:40]!r}...: it is longer than {_LONGEST} characters"
            )
        if registry == DEFAULT_REGISTRY and "/" not in path:
            path = f"library/{path}"
        return cls(registry, path, tag or ("" if digest else DEFAULT_TAG), digest)

    @property
    def repository(self) -> str:
        """Registry and path: ``docker.io/library/alpine``."""
        return f"{self.registry}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """The repository as people write it: ``alpine``."""
        if self.registry != DEFAULT_REGISTRY:
            return self.repository
        return self.path.removeprefix("library/")

    @property
    def familiar(self) -> str:
        """The reference as people write it, with its tag: ``alpine:latest``."""
        return self._with(self.familiar_repository)

    def _with(self, repository: str) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self._with(self.repository)

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def _split_registry(text: str) -> tuple[str, str]:
    """The first component is a registry when it could be a host: it has a dot or a port, or is localhost."""
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return ("docker.io" if first == "index.docker.io" else first), rest
    return DEFAULT_REGISTRY, text


def _is_host(registry: str) -> bool:
    """A host name, an IPv4 address or a bracketed IPv6 one, perhaps with a port."""
    bracket = registry.rfind("]") + 1  # the colons before it are the address's own
    name, colon, port = registry[bracket:].partition(":")
    if colon and not (port.isascii() and port.isdecimal()):
        return False
    if registry.startswith("["):
        return not name and _HEX.issuperset(registry[1 : bracket - 1].lower().replace(":", ""))
    return all(_is_label(label) for label in name.split("."))


def _is_label(label: str) -> bool:
    return label != "" and _word(label, "-", uppercase=True) and "-" not in (label[0], label[-1])


def is_digest(text: str) -> bool:
    """Whether this is ``sha256:`` and 64 hexadecimal digits."""
    algorithm, _, digits = text.partition(":")
    return algorithm == "sha256" and len(digits) == 64 and _HEX.issuperset(digits)


def digest_of(data: bytes) -> str:
    """The name that these bytes have by what they are, ``sha256:…``."""
    import hashlib

    return "sha256:" + hashlib.sha256(data).hexdigest()


def _is_tag(tag: str) -> bool:
    return 0 < len(tag) <= 128 and tag[0] not in ".-" and _word(tag, "._-", uppercase=True)


def _is_component(part: str) -> bool:
    """Letters and digits, joined by a dot, one or two underscores, or dashes."""
    if not _word(part, "._-") or part[:1] not in _LOWER or part[-1:] not in _LOWER:
        return False
    joints = "".join(" " if character in _LOWER else character for character in part).split()
    return all(joint in (".", "_", "__") or set(joint) == {"-"} for joint in joints)


def _word(text: str, punctuation: str, uppercase: bool = False) -> bool:
    letters = text.lower() if uppercase else text
    return text.isascii() and all(character in _LOWER or character in punctuation for character in letters)
