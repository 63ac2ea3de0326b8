"""ADD of a URL: a file is downloaded, and copied as it came.

It is not unpacked, and only its owner may read it (mode 0600), for nobody has said anything else. It has the time
that the server gives it. Its name is the last part of the address, or what the server calls it.

Whoever controls the server, or the way to it, controls what ends up in the image. ``--checksum`` says beforehand
what is to come, and anything else is refused.
"""

from __future__ import annotations

import os
import tempfile

from minicontainer.build.copy_sources import Content
from minicontainer.errors import Error, IntegrityError, InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_CHUNK = 1 << 20
_SHOWN = 200  # characters of a server's explanation


def fetch(url: str, checksum: str = "", *, name: str = "") -> Content:
    """Download a file, into one that nobody else can see; the source has it open.

    :param checksum: ``sha256:`` and 64 hexadecimal digits that it has to have, or ""
    :param name: what it is called when neither the address nor the server says so; "" for an error then

    Raises Error when the server cannot be reached, NotFound when it answers with anything but the file,
    IntegrityError when it is another file, InvalidArgument for an address or checksum that cannot be meant.
    """
    digits = _sha256(checksum)
    response = _request(url)
    try:
        if response.status != 200:
            raise NotFound(f"failed to GET {_shown(url)} with status {response.status} {_reason(response)}")
        name = _name(url, response) or name
        if not name:
            raise InvalidArgument(
                f"cannot determine filename for source {_shown(url)}; give a destination without a /"
            )
        with tempfile.TemporaryFile() as file:
            _receive(url, response, file.fileno(), digits)
            fd = os.dup(file.fileno())
    finally:
        response.close()
    os.fchmod(fd, 0o600)
    modified = _modified(response)
    os.utime(fd, (modified, modified))
    return Content(fd, name, url)


def _sha256(checksum: str) -> str:
    """The digits of a checksum."""
    algorithm, _, digits = checksum.partition(":")
    if checksum and (algorithm != "sha256" or len(digits) != 64 or digits.strip("0123456789abcdef")):
        raise InvalidArgument(f"--checksum={checksum}: expected sha256: and 64 hexadecimal digits")
    return digits


def _request(url: str) -> BaseHTTPResponse:
    """Ask for a file, as patiently as a registry is asked for a layer."""
    import urllib3  # 60 ms, and only when something is downloaded

    from minicontainer.images.registry.transport import Transport

    try:
        address = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationValueError as error:
        raise InvalidArgument(f"{url} is no address: {error}") from None
    if not address.host:
        raise InvalidArgument(f"{url} is no address: it has no host")
    headers = urllib3.make_headers(basic_auth=address.auth) if address.auth else {}
    return Transport().send("GET", url, dict(headers))


def _reason(response: BaseHTTPResponse) -> str:
    """What the server says: its phrase, and the first line of its explanation if that is text."""
    phrase = response.reason or ""
    said = response.read(_SHOWN).decode("utf-8", "replace").strip().partition("\n")[0]
    if said and response.headers.get("Content-Type", "").startswith("text/plain"):
        return f"{phrase}: {said}"
    return phrase


def _receive(url: str, response: BaseHTTPResponse, fd: int, digits: str) -> None:
    import hashlib

    import urllib3

    found = hashlib.sha256()
    try:
        while chunk := response.read(_CHUNK):
            found.update(chunk)
            while chunk:
                chunk = chunk[os.write(fd, chunk) :]
    except urllib3.exceptions.HTTPError as error:
        raise Error(f"{_shown(url)} broke off: {error}; try again") from error
    if digits and found.hexdigest() != digits:
        raise IntegrityError(
            f"{_shown(url)} is not the file that was meant: its digest is sha256:{found.hexdigest()}, "
            f"--checksum says sha256:{digits}"
        )


def _name(url: str, response: BaseHTTPResponse) -> str:
    """The last part of the address, or of the name that the server gives (RFC 6266); "" for none."""
    from urllib.parse import unquote, urlsplit

    path = unquote(urlsplit(url).path)
    if not path.endswith("/"):
        return os.path.basename(path)
    from email.message import Message

    header = Message()
    header["Content-Disposition"] = response.headers.get("Content-Disposition", "")
    return os.path.basename(header.get_filename() or "")


def _modified(response: BaseHTTPResponse) -> float:
    """When the server says that the file was changed, in seconds since 1970; 0 when it does not."""
    from email.utils import parsedate_to_datetime

    try:
        return max(parsedate_to_datetime(response.headers.get("Last-Modified", "")).timestamp(), 0)
    except (ValueError, TypeError):
        return 0


def _shown(url: str) -> str:
    """An address without the password that may be in it."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
