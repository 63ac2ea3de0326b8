"""Is a replica ready, and does it pass its test?

Both are asked of the replica itself, not through the load balancer: nobody uses it yet, and that it is answered by
the right version is sure.
"""

from __future__ import annotations

import http.client
import socket

_PATIENCE = 5  # seconds for one answer


def is_ready(address: str, port: int, path: str) -> str:
    """Why a replica is not ready to serve; "" when it is.

    :param path: what to ask it for, which it must answer well; "" to open a connection alone
    """
    if path:
        return get(address, port, path)
    try:
        socket.create_connection((address, port), _PATIENCE).close()
    except OSError as error:
        return _say(error)
    return ""


def get(address: str, port: int, path: str) -> str:
    """Ask for a path over HTTP: "" when the answer's status is 2xx or 3xx, otherwise what is wrong with it."""
    connection = http.client.HTTPConnection(address, port, timeout=_PATIENCE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
    except OSError as error:
        return _say(error)
    except http.client.HTTPException as error:
        return f"no HTTP answer to GET {path}: {type(error).__name__} {error}".rstrip()
    finally:
        connection.close()
    if answer.status < 400:
        return ""
    return f"GET {path} was answered with {answer.status} {answer.reason}"


def _say(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()
