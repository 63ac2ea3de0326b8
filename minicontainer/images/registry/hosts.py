"""Where a registry answers, and how far it is to be trusted on the way.

Three things are known before the first byte is sent. Which host: Docker Hub's is not called docker.io, and a
mirror may stand before it. Which protocol: https, except that what never leaves this host, and what
``MINICONTAINER_INSECURE_REGISTRIES`` lists, may do without. Whose signature: the system's authorities, or those
in a directory with the registry's name, as Docker has them:

    /etc/minicontainer/certs.d/HOST[:PORT]/*.crt        authorities (also below ~/.config, and /etc/docker)
                                           *.cert *.key who we are, for registries that want to know

Source: dockerd(8) on insecure registries, https://docs.docker.com/engine/security/certificates/.
"""

from __future__ import annotations

import os
import ssl
from urllib.parse import urlsplit

from minicontainer.errors import InvalidArgument
from minicontainer.images.reference import DEFAULT_REGISTRY

INSECURE = "MINICONTAINER_INSECURE_REGISTRIES"  # names of registries, with commas between
MIRROR = "MINICONTAINER_REGISTRY_MIRROR"  # the URL that Docker Hub's images are asked of first
_HUB = "registry-1.docker.io"


def config_directory() -> str:
    """The user's own directory for settings: ``~/.config/minicontainer`` (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.config"), "minicontainer")


class Address:
    """One place to ask: its ``url``, and the ``registry`` whose login is for it."""

    def __init__(self, url: str, registry: str, *, is_mirror: bool = False) -> None:
        self.url = url
        self.registry = registry
        self.is_mirror = is_mirror


def addresses(registry: str, *, writes: bool = False) -> list[Address]:
    """Where to ask, the best first: ``docker.io`` is ``https://registry-1.docker.io``.

    ``writes`` leaves the mirror out, which only reads. What may do without TLS is asked with it first, and only
    with it when somebody has gone to the trouble of giving it an authority.
    """
    if registry == DEFAULT_REGISTRY:
        hub = [Address(f"https://{_HUB}", registry)]
        mirror = "" if writes else os.environ.get(MIRROR, "").rstrip("/")
        return [*_mirror(mirror), *hub] if mirror else hub
    found = [Address(f"https://{registry}", registry)]
    if is_insecure(registry) and not certificates(registry)[0]:
        found.append(Address(f"http://{registry}", registry))
    return found


def _mirror(url: str) -> list[Address]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        raise InvalidArgument(f"{MIRROR}={url}: it must be a URL of a host alone, as http://192.0.2.1:5000")
    return [Address(url, parts.netloc, is_mirror=True)]


def is_insecure(host: str) -> bool:
    """Whether ``host[:port]`` may do without TLS, or with a certificate that nobody signed."""
    listed = [each.strip() for each in os.environ.get(INSECURE, "").split(",") if each.strip()]
    name = urlsplit(f"//{host}").hostname or ""
    return host in listed or name in listed or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def tls(host: str) -> ssl.SSLContext:
    """How to know the host: by its own authorities if there are any for it, or else by the system's.

    A host that may do without TLS is not verified, unless it has authorities of its own.
    """
    context = ssl.create_default_context()
    authorities, identities = certificates(host)
    if authorities:  # made by hand, perhaps, and since 3.13 Python is stricter about their form than others
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        for path in authorities:
            context.load_verify_locations(path)
        for certificate, key in identities:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        files = ", ".join([*authorities, *(path for pair in identities for path in pair)])
        raise InvalidArgument(f"cannot use the certificates for {host} ({files}): {error}") from None
    if is_insecure(host) and not authorities:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def certificates(host: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The files of a host's authorities, and pairs of our certificate and its key; of the first place with any."""
    for parent in (config_directory(), "/etc/minicontainer", "/etc/docker"):
        directory = os.path.join(parent, "certs.d", host)
        try:
            names = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        paths = [os.path.join(directory, name) for name in names]
        authorities = [path for path in paths if path.endswith(".crt")]
        own = [path for path in paths if path.endswith(".cert")]
        return authorities, [(path, path.removesuffix(".cert") + ".key") for path in own]
    return [], []
