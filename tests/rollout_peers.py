"""What the rollout tests put around HAProxy: replicas that are plain HTTP servers, and clients that count answers.

As a program, ``serve`` is one replica and ``load`` a client with several connections, each in a process of its own.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

# ------------------------------------------------------------------ a replica


def serve(address: str, port: str, image: str, _: str) -> None:
    """Answer each request with the name of the image, one request a connection.

    What the image is called says how: ``bad`` answers 500, ``slow`` after 0.3 s, ``mute`` closes without an answer,
    ``hang`` never answers, ``sick`` answers a health check at /health with 503 and all else well.
    """
    with socket.create_server((address, int(port)), backlog=1024) as listener:
        while True:
            client, _ = listener.accept()
            if "slow" in image or "hang" in image:
                threading.Thread(target=_answer, args=(client, image), daemon=True).start()
            else:
                _answer(client, image)


def _answer(client: socket.socket, image: str) -> None:
    with client, contextlib.suppress(ConnectionError):
        asked = client.recv(4096)
        if not asked or "mute" in image:
            return
        if "slow" in image or "hang" in image:
            time.sleep(0.3 if "slow" in image else 3600)
        failing = "bad" in image or ("sick" in image and b"/health" in asked)
        status = "503 Service Unavailable" if failing else "200 OK"
        body = image.encode()
        client.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
            status.encode(), len(body), body,
        ))  # fmt: skip


# ------------------------------------------------------------------ clients


class Client:
    """One connection that stays open, as a browser's does; a request that gets no answer raises OSError."""

    def __init__(self, port: int, method: str = "GET") -> None:
        self.port = port
        self.method = method
        self.connection: socket.socket | None = None

    def ask(self) -> str:
        """Status and body: ``200 v1``."""
        if self.connection is None:
            self.connection = socket.create_connection(("127.0.0.1", self.port), 10)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.sendall(f"{self.method} / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        fields = {}
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip()
        while len(body) < int(fields.get(b"content-length", 0)):
            body += self._receive()
        status = head.split()[1].decode()
        if fields.get(b"connection", b"").lower() == b"close":  # as it may be announced with an answer
            self.connection.close()
            self.connection = None
        return f"{status} {body.decode()}" if len(body) < 50 else status

    def _receive(self) -> bytes:
        data = self.connection.recv(65536)
        if not data:
            raise ConnectionError("closed without an answer")
        return data


def requests(port: int, count: int) -> collections.Counter[str]:
    """Send so many requests over one connection; how often each answer came."""
    client = Client(port)
    return collections.Counter(client.ask() for _ in range(count))


def load(port: str, connections: str, method: str) -> None:
    """Send requests over several connections until SIGTERM; print how often each answer, or error, came."""
    counts: collections.Counter[str] = collections.Counter()
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())

    def work() -> None:
        client = Client(int(port), method)
        while going:
            try:
                answer = client.ask()
            except OSError as error:
                answer, client = f"lost: {error}", Client(int(port), method)
                time.sleep(0.01)
            with lock:
                counts[answer] += 1

    lock = threading.Lock()
    threads = [threading.Thread(target=work) for _ in range(int(connections))]
    for thread in threads:
        thread.start()
    print("going", flush=True)
    for thread in threads:
        thread.join()
    print(json.dumps(counts))


class Load:
    """The clients of ``load`` in a process of their own, for a ``with``; ``answers`` counts theirs at the end."""

    def __init__(self, port: int, connections: int = 4, method: str = "GET") -> None:
        self.argv = [sys.executable, __file__, "load", str(port), str(connections), method]
        self.answers: dict[str, int] = {}

    def __enter__(self) -> Load:
        self.process = subprocess.Popen(self.argv, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "going\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.answers = json.loads(self.process.communicate(timeout=30)[0])

    @property
    def lost(self) -> dict[str, int]:
        """All that was no answer 200."""
        return {answer: count for answer, count in self.answers.items() if not answer.startswith("200 ")}


# ------------------------------------------------------------------ replicas in place of containers


class Servers:
    """Plain servers in the place of a rollout's containers, with the methods of Replicas.

    They are known by their command lines alone: whoever is killed, the next one finds them.
    """

    def __init__(self, directory: pathlib.Path, record: object) -> None:
        self.directory = directory
        self.record = record

    def start(self, colour: str) -> None:
        document = self.record.document
        image = document["Versions"][colour]["Image"]
        for number in range(1, document["Replicas"] + 1):
            if number not in self.addresses(colour) and "dead" not in image:
                argv = [sys.executable, "-I", "-S", __file__, *self._words(colour, number), image]
                subprocess.Popen([*argv, str(self.directory)], start_new_session=True)

    def addresses(self, colour: str) -> dict[int, str]:
        numbers = range(1, self.record.document["Replicas"] + 1)
        return {number: self._address(colour, number) for number in numbers if self.pid(colour, number)}

    def why_ended(self, colour: str) -> object:
        from minicontainer.engine.rollout.replicas import NotReady  # which a server has no use for

        image = self.record.document["Versions"][colour]["Image"]
        return NotReady("it", "ended with 1") if "dead" in image else None

    def last_line(self, colour: str, number: int) -> str:
        return ""

    def states(self) -> dict[str, str]:
        return {}

    def smoke(self, colour: str, command: str, address: str, seconds: float, look: object) -> str:
        done = subprocess.run(["/bin/sh", "-c", command], env={**os.environ, "TARGET": address}, check=False)
        return f"{command!r} ended with {done.returncode}" if done.returncode else ""

    def stop(self, colour: str) -> None:
        """The hard way: what is still under way is lost."""
        for number in range(1, self.record.document["Replicas"] + 1):
            if pid := self.pid(colour, number):
                os.kill(pid, signal.SIGKILL)
                while self.pid(colour, number):
                    time.sleep(0.001)

    def remove(self, colour: str = "") -> None:
        for each in [colour] if colour else ["blue", "green"]:
            if each in ("blue", "green"):
                self.stop(each)

    def remove_network(self) -> None:
        pass

    def pid(self, colour: str, number: int) -> int:
        """The process of a server; 0 without one."""
        wanted = "\0".join(self._words(colour, number)).encode()
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                if wanted in words and os.fsencode(self.directory) in words:
                    return int(pid)
        return 0

    def _words(self, colour: str, number: int) -> list[str]:
        return ["serve", self._address(colour, number), str(self.record.document["Port"])]

    def _address(self, colour: str, number: int) -> str:
        return f"127.0.{1 if colour == 'blue' else 2}.{number}"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        {"serve": serve, "load": load}[sys.argv[1]](*sys.argv[2:])
