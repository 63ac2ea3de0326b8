"""Search: images by a word. Docker Hub answers, and hardly anybody else.

It is no part of the distribution specification: ``GET /v1/search?q=WORD`` is what has remained of the first version
of Docker's protocol, and Docker Hub has it at another host than its images.
"""

from __future__ import annotations

from urllib.parse import urlencode

from minicontainer.errors import InvalidArgument, NotFound, Unsupported
from minicontainer.images.reference import DEFAULT_REGISTRY, Reference
from minicontainer.images.registry import client, credentials, hosts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HUB = "https://index.docker.io"
_MOST = 100  # results that Docker Hub gives at once


def search(text: str, *, limit: int = 25) -> list[dict[str, Any]]:
    """What a registry has that answers to ``[registry/]word``, as its API has it: name, description, star_count, …

    Unsupported when the registry has no search; Unreachable when it does not answer.
    """
    if not 1 <= limit <= _MOST:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, {_MOST}]")
    registry, word = _split(text)
    if registry == DEFAULT_REGISTRY:
        login = credentials.find(registry)
        places = [client.Repository(hosts.Address(_HUB, registry), "", login, [])]
    else:
        places = client.candidates(registry)
    where = f"/v1/search?{urlencode({'q': word, 'n': limit})}"
    try:
        answer = client.first_that_answers(places, lambda place: place.get_json(where), ping=False)
    except NotFound:
        raise Unsupported(f"{registry} cannot be searched; look at what its website has") from None
    found = answer.get("results")
    if not isinstance(found, list):
        raise Unsupported(f"{registry} answers a search with something else than results")
    return [entry for entry in found if isinstance(entry, dict)]


def _split(text: str) -> tuple[str, str]:
    """``quay.io/web`` is the word ``web`` at quay.io; a word without a registry is one for Docker Hub."""
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return Reference.parse(f"{first}/x").registry, rest
    return DEFAULT_REGISTRY, text
