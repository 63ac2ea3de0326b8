"""Who may: passwords and tokens, TLS and its authorities, and where a password may go."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pathlib
import shutil
import ssl
import stat
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator

import pytest
from at_terminal import Terminal
from conftest import Cli
from registries import LAYER, Fake, Handler, archive, fake, real

from minicontainer.errors import Error, InvalidArgument, NotFound
from minicontainer.images.reference import Reference
from minicontainer.images.registry import auth, client, credentials, hosts, transport
from minicontainer.images.registry.auth import Denied
from minicontainer.images.registry.pull import pull
from minicontainer.images.registry.push import push
from minicontainer.images.registry.transport import Unreachable
from minicontainer.images.store import Store

USER, PASSWORD = "reader", "öpen: sesame"
# What `htpasswd -nB` of Debian's apache2-utils makes of them: bcrypt, which is all that the registry takes.
HTPASSWD = "reader:$2b$05$abcdefghijklmnopqrstuuf/Cn9LfVxE.1DY5n8qjzG8249zgV7mq\n"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """A home directory without logins, and short pauses."""
    monkeypatch.setattr(transport, "PAUSES", (0.01, 0.02))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "REGISTRY_AUTH_FILE", hosts.MIRROR, hosts.INSECURE):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def store(tmp_path: pathlib.Path) -> Store:
    return Store(str(tmp_path / "root"))


@pytest.fixture
def server() -> Iterator[Fake]:
    with fake() as server:
        yield server


def put(store: Store, name: str, **files: str) -> None:
    """An image of one layer, under a name."""
    import gzip
    import io

    tar = archive(**files)
    layer = store.add_blob_stream(io.BytesIO(gzip.compress(tar, mtime=0)))
    diff_id = "sha256:" + hashlib.sha256(tar).hexdigest()
    document = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    store.add_image(document, [{"mediaType": f"{LAYER}+gzip", **layer}], Reference.parse(name))


# ------------------------------------------------------------------ a password, at Debian's registry


@pytest.fixture
def guarded(tmp_path: pathlib.Path) -> Iterator[str]:
    """docker-registry that asks for a user name and a password."""
    (tmp_path / "registry").mkdir()
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    access = {"htpasswd": {"realm": "the tests", "path": str(tmp_path / "htpasswd")}}
    with real(tmp_path / "registry", auth=access) as name:
        yield name


@pytest.fixture
def user(cli: Cli, home: pathlib.Path) -> Cli:
    """The command line of somebody with an empty home directory."""
    cli.env = {**cli.env, "HOME": str(home)}
    cli.env.pop("XDG_CONFIG_HOME", None)
    return cli


def test_login_push_logout(user: Cli, rootfs_archive: str, guarded: str, home: pathlib.Path) -> None:
    file = home / ".config/minicontainer/auth.json"
    name = f"{guarded}/team/app"
    user("import", rootfs_archive, name)
    try:
        denied = user("push", name, code=1).stderr
        assert name in denied
        assert "minicontainer login" in denied
        wrong = user("login", "-u", USER, "--password-stdin", guarded, input="wrong\n", code=1).stderr
        assert guarded in wrong
        assert not file.exists()

        said = user("login", "-u", USER, "--password-stdin", guarded, input=PASSWORD + "\n")
        assert said.stdout == "Login Succeeded\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) & 0o077 == 0
        kept = json.loads(file.read_text())["auths"][guarded]["auth"]
        assert base64.b64decode(kept).decode() == f"{USER}:{PASSWORD}"
        user("push", name)
        user("rmi", name)
        assert user.out("run", "--rm", name, "cat", "/etc/hostname")
        assert user.out("logout", guarded) == f"Removing login credentials for {guarded}"
        assert user.out("logout", guarded) == f"Not logged in to {guarded}"
        assert "minicontainer login" in user("pull", name, code=1).stderr
    finally:
        user("rmi", name, code=None)


def test_login_at_a_terminal_asks_and_does_not_show_the_password(user: Cli, guarded: str) -> None:
    with Terminal([*user.argv, "login", guarded], user.env) as terminal:
        terminal.expect(f"Username for {guarded}: ")
        terminal.type(f"{USER}\n")
        terminal.expect("Password: ")
        terminal.type(f"{PASSWORD}\n")
        terminal.expect("Login Succeeded")
        assert terminal.wait() == 0
        assert PASSWORD not in terminal.shown


def test_login_with_the_password_on_the_command_line_warns(user: Cli, guarded: str) -> None:
    said = user("login", "-u", USER, "-p", PASSWORD, guarded)
    assert "--password-stdin" in said.stderr
    assert PASSWORD not in said.stderr


def test_login_that_cannot_be(user: Cli, guarded: str) -> None:
    assert "no terminal" in user("login", guarded, code=1).stderr
    assert "--username" in user("login", "--password-stdin", guarded, input="x", code=1).stderr
    both = user("login", "-u", "a", "-p", "b", "--password-stdin", guarded, input="x", code=1)
    assert "mutually exclusive" in both.stderr
    assert "user name" in user("login", "-u", "a:b", "-p", "c", guarded, code=1).stderr
    nobody = user("login", "-u", "a", "-p", "b", "127.0.0.1:1", code=1)
    assert "127.0.0.1:1 cannot be reached" in nobody.stderr


def test_other_tools_read_our_login_and_we_theirs(
    user: Cli, rootfs_archive: str, guarded: str, home: pathlib.Path
) -> None:
    skopeo = shutil.which("skopeo") or pytest.skip("needs skopeo")
    shared = str(home / "shared.json")
    subprocess.run(
        [
            skopeo,
            "login",
            "--tls-verify=false",
            "--authfile",
            shared,
            "-u",
            USER,
            "--password-stdin",
            guarded,
        ],
        input=PASSWORD.encode(),
        check=True,
        capture_output=True,
    )
    user.env["REGISTRY_AUTH_FILE"] = shared
    name = f"{guarded}/app"
    user("import", rootfs_archive, name)
    user("push", name)
    user("rmi", name)
    user("login", "-u", USER, "--password-stdin", guarded, input=PASSWORD)
    done = subprocess.run(
        [skopeo, "inspect", "--tls-verify=false", "--authfile", shared, f"docker://{name}"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["Name"] == name
    (home / ".docker").mkdir()
    os.rename(shared, home / ".docker/config.json")
    del user.env["REGISTRY_AUTH_FILE"]
    user("pull", "-q", name)
    user("rmi", name)


# ------------------------------------------------------------------ the file


def test_one_login_leaves_the_others_alone(home: pathlib.Path) -> None:
    file = home / ".config/minicontainer/auth.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"auths": {"quay.io": {"auth": "YTpi"}}, "credsStore": "x", "more": [1]}')
    credentials.save("localhost:1", credentials.Login("u", "p"))
    credentials.save("docker.io", credentials.Login("hub", "p"))
    document = json.loads(file.read_text())
    assert set(document["auths"]) == {"quay.io", "localhost:1", "https://index.docker.io/v1/"}
    assert (document["credsStore"], document["more"]) == ("x", [1])
    login = credentials.find("docker.io")
    assert login and login.user == "hub"
    assert "p" not in repr(login).replace("<Login hub>", "")
    assert credentials.forget("quay.io")
    assert not credentials.forget("quay.io")
    assert credentials.find("quay.io") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"auths": []}', '{"auths": {"x:1": {"auth": "?"}}}'])
def test_a_damaged_file_is_named(home: pathlib.Path, text: str) -> None:
    file = home / ".config/minicontainer/auth.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(Error, match=str(file)):
        credentials.find("x:1")


@pytest.mark.parametrize(
    ("typed", "registry"),
    [
        ("", "docker.io"),
        ("docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("localhost:5000", "localhost:5000"),
        ("https://quay.io/", "quay.io"),
        ("http://127.0.0.1:1/v2/", "127.0.0.1:1"),
    ],
)
def test_servers_as_people_type_them(typed: str, registry: str) -> None:
    assert credentials.registry_of(typed) == registry


def test_logins_at_once_are_all_kept() -> None:
    threads = [
        threading.Thread(target=credentials.save, args=(f"r{n}:1", credentials.Login("u", str(n))))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [credentials.find(f"r{n}:1") for n in range(20)]
    assert [login and login.password for login in found] == [str(n) for n in range(20)]


# ------------------------------------------------------------------ tokens


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", {}),
        ("Negotiate", {}),
        ('Basic realm="a, b=c"', {"basic": {"realm": "a, b=c"}}),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"',
            {"bearer": {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"}},
        ),
        ('bearer realm = "x" , service=y', {"bearer": {"realm": "x", "service": "y"}}),
        ('Basic realm="one", Bearer realm="two"', {"basic": {"realm": "one"}, "bearer": {"realm": "two"}}),
    ],
)
def test_what_a_challenge_asks_for(header: str, found: dict[str, dict[str, str]]) -> None:
    assert auth.challenges(header) == found


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A directory with an authority (ca.crt) and what it signed for 127.0.0.1 (server.crt, server.key)."""
    directory = tmp_path_factory.mktemp("certificates")
    make_certificates(directory)
    return directory


def make_certificates(directory: pathlib.Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    (directory / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    for words in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=tests-authority",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile san",
    ):
        subprocess.run(["openssl", *words.split()], cwd=directory, check=True, capture_output=True)


class Tokens(Handler):
    """A token server: gives signed tokens that docker-registry believes, for what the user may (RFC 7519)."""

    directory: pathlib.Path
    issued: list[list[str]] = []
    lifetime = 300

    def do_GET(self) -> None:  # noqa: N802
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") not in (None, wanted):
            self.send(401, b'{"details": "incorrect username or password"}')
            return
        known = "Authorization" in self.headers
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            may = [each for each in actions.split(",") if each == "pull" or known]
            access.append({"type": kind, "name": name, "actions": may})
        self.issued.append(query.get("scope", []))
        token = self.token(query["service"][0], access)
        self.send(200, json.dumps({"token": token, "expires_in": self.lifetime}).encode())

    def token(self, service: str, access: list[dict[str, object]]) -> str:
        lines = (self.directory / "server.crt").read_text().split("-----")[2]
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(lines.split())]}
        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": USER,
            "aud": service,
            "iat": now,
            "nbf": now - 60,
            "exp": now + self.lifetime,
            "jti": os.urandom(8).hex(),
            "access": access,
        }
        text = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
        key = self.directory / "server.key"
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(), check=True, capture_output=True
        ).stdout
        return f"{text}.{encoded(signature)}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.fixture
def with_tokens(tmp_path: pathlib.Path, signed: pathlib.Path) -> Iterator[str]:
    """docker-registry that believes the tokens of a server; everybody may pull, and who has a password push."""
    (tmp_path / "registry").mkdir()
    with fake() as realm:
        realm.RequestHandlerClass = type("Handler", (Tokens,), {"directory": signed, "issued": Tokens.issued})
        Tokens.issued.clear()
        access = {
            "token": {
                "realm": f"http://{realm.name}/token",
                "service": "registry of the tests",
                "issuer": "tests",
                "rootcertbundle": str(signed / "ca.crt"),
            }
        }
        with real(tmp_path / "registry", auth=access) as name:
            yield name


def test_tokens(store: Store, with_tokens: str) -> None:
    put(store, f"{with_tokens}/lib/base", a="1")
    put(store, f"{with_tokens}/me/app", a="1")
    base, app = (Reference.parse(f"{with_tokens}/{path}") for path in ("lib/base", "me/app"))
    with pytest.raises(Denied, match="minicontainer login"):
        push(store, base)
    with pytest.raises(Denied, match=f"refuses the user name or the password of '{USER}'"):
        client.connect(with_tokens, login=credentials.Login(USER, "wrong"))
    client.connect(with_tokens, login=credentials.Login(USER, PASSWORD))
    credentials.save(with_tokens, credentials.Login(USER, PASSWORD))
    push(store, base)
    said: list[str] = []
    push(store, app, report=lambda layer, status, *_: said.append(status))
    assert "Mounted from lib/base" in said
    assert ["repository:me/app:pull,push", "repository:lib/base:pull"] in Tokens.issued
    credentials.forget(with_tokens)
    fresh = Store(os.path.join(store.images_path, "..", "..", "other"))
    assert pull(fresh, app).digest == store.find(str(app)).digest
    with pytest.raises(NotFound, match="no/such"):
        pull(fresh, Reference.parse(f"{with_tokens}/no/such"))


def bearer(server: Fake, realm: str) -> list[str]:
    """Let a fake registry want a token: ``t0`` for four requests, and then ``t1``; returns what it saw."""
    seen: list[str] = []

    def check(handler: Handler) -> None:
        seen.append(handler.headers.get("Authorization", ""))
        good = seen[-1] == "Bearer t1" or (seen[-1] == "Bearer t0" and seen.count("Bearer t0") <= 4)
        if good:
            handler.usual()
        else:
            handler.send(401, **{"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'})

    server.arrange("^GET /v2/", *[check] * 1000)
    return seen


def test_a_token_that_expires_in_the_middle_is_renewed(store: Store, server: Fake) -> None:
    server.put_image(*[archive(**{f"f{n}": str(n)}) for n in range(6)])
    bearer(server, f"http://{server.name}/token")
    tokens = [
        lambda h, token=token: h.send(200, b'{"access_token": "%s"}' % token) for token in (b"t0", b"t1")
    ]
    server.arrange("^GET /token", *tokens)
    pull(store, Reference.parse(f"{server.name}/app"))
    asked = server.asked("^GET /token")
    assert len(asked) == 2
    assert all("scope=repository%3Aapp%3Apull" in path for _, path, _ in asked)


@pytest.mark.parametrize(
    ("answer", "culprit"),
    [
        (b"", "not a token"),
        (b"[]", "not a token"),
        (b'{"token": 7}', "not a token"),
        (b'{"token": "a\\nb"}', "not a token"),
    ],
)
def test_a_token_that_is_none(store: Store, server: Fake, answer: bytes, culprit: str) -> None:
    server.put_image(archive(a="1"))
    bearer(server, f"http://{server.name}/token")
    server.arrange("^GET /token", lambda h: h.send(200, answer))
    with pytest.raises(Unreachable, match=culprit):
        pull(store, Reference.parse(f"{server.name}/app"))


@pytest.mark.parametrize("realm", ["", "file:///etc/passwd", "http://["])
def test_a_realm_that_is_nowhere(store: Store, server: Fake, realm: str) -> None:
    server.put_image(archive(a="1"))
    seen = bearer(server, realm)
    with pytest.raises(Error):
        pull(store, Reference.parse(f"{server.name}/app"))
    assert len(seen) < 5


def test_a_registry_that_is_never_content(store: Store, server: Fake) -> None:
    """Each token is refused, however fresh: we ask once more, and not for ever."""
    server.put_image(archive(a="1"))
    challenge = {"WWW-Authenticate": f'Bearer realm="http://{server.name}/token"'}
    server.arrange("^GET /v2/", *[lambda h: h.send(401, **challenge)] * 100)
    server.arrange("^GET /token", *[lambda h: h.send(200, b'{"token": "%d"}' % time.time_ns())] * 100)
    with pytest.raises(Denied):
        pull(store, Reference.parse(f"{server.name}/app"))
    assert len(server.seen) < 12


# ------------------------------------------------------------------ where a password may go


def test_the_password_does_not_follow_a_redirect(store: Store, server: Fake) -> None:
    credentials.save(server.name, credentials.Login(USER, PASSWORD))
    layer = server.put_image(archive(a="1"))["layers"][0]["digest"]
    with fake() as elsewhere:
        elsewhere.blobs[layer] = server.blobs[layer]

        def want(handler: Handler) -> None:
            if not handler.headers.get("Authorization"):
                handler.send(401, **{"WWW-Authenticate": 'Basic realm="x"'})
            elif layer in handler.path:
                handler.send(307, Location=f"http://{elsewhere.name}/{layer}/blobs/{layer}")
            else:
                handler.usual()

        server.arrange("^GET /v2/", *[want] * 100)
        pull(store, Reference.parse(f"{server.name}/app"))
        assert [headers.get("Authorization") for _, _, headers in elsewhere.seen] == [None]
        assert any(headers.get("Authorization") for _, _, headers in server.seen)


def test_the_password_goes_to_its_registry_only(store: Store, server: Fake) -> None:
    credentials.save("127.0.0.1:1", credentials.Login(USER, PASSWORD))
    credentials.save("docker.io", credentials.Login(USER, PASSWORD))
    server.put_image(archive(a="1"))
    server.arrange("^GET /v2/$", lambda h: h.send(401, **{"WWW-Authenticate": 'Basic realm="x"'}))
    pull(store, Reference.parse(f"{server.name}/app"))
    assert not any(headers.get("Authorization") for _, _, headers in server.seen)


def test_an_upload_to_another_host_goes_without_proof(store: Store, server: Fake) -> None:
    credentials.save(server.name, credentials.Login(USER, PASSWORD))
    put(store, f"{server.name}/app", a="1")
    with fake() as elsewhere:
        server.arrange("^(GET|HEAD|POST) ", lambda h: h.send(401, **{"WWW-Authenticate": 'Basic realm="x"'}))
        server.arrange("^POST ", *[lambda h: h.send(202, Location=f"http://{elsewhere.name}/up?state=1")] * 9)
        elsewhere.arrange(
            "^PATCH ",
            *[lambda h: (h.rfile.read(int(h.headers["Content-Length"])), h.send(202, Location="/up?state=2"))]
            * 9,
        )
        with pytest.raises(Error):
            push(store, Reference.parse(f"{server.name}/app"))
        assert elsewhere.seen
        assert not any(headers.get("Authorization") for _, _, headers in elsewhere.seen)


# ------------------------------------------------------------------ TLS


@pytest.fixture
def protected(tmp_path: pathlib.Path, signed: pathlib.Path) -> Iterator[str]:
    """docker-registry behind TLS, with a certificate of our own authority."""
    (tmp_path / "registry").mkdir()
    files = {"certificate": str(signed / "server.crt"), "key": str(signed / "server.key")}
    with real(tmp_path / "registry", http={"tls": files}) as name:
        yield name


def trust(home: pathlib.Path, name: str, *files: pathlib.Path) -> None:
    directory = home / ".config/minicontainer/certs.d" / name
    directory.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, directory)


def test_tls_on_this_host_needs_no_authority(store: Store, protected: str) -> None:
    put(store, f"{protected}/app", a="1")
    pushed = push(store, Reference.parse(f"{protected}/app"))
    assert pull(store, Reference.parse(f"{protected}/app")).digest == pushed.digest


def test_tls_with_its_authority(
    store: Store, protected: str, signed: pathlib.Path, home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "is_insecure", lambda host: False)  # as if it were another host
    put(store, f"{protected}/app", a="1")
    with pytest.raises(Unreachable, match=f"{protected} .*certificate is not to be trusted"):
        push(store, Reference.parse(f"{protected}/app"))
    trust(home, protected, signed / "ca.crt")
    pushed = push(store, Reference.parse(f"{protected}/app"))
    assert pull(store, Reference.parse(f"{protected}/app")).digest == pushed.digest


def test_an_authority_that_is_given_is_insisted_on(
    store: Store, protected: str, home: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Even on this host: there is no falling back, neither to no verification nor to no TLS."""
    make_certificates(tmp_path)
    trust(home, protected, tmp_path / "ca.crt")
    with pytest.raises(Unreachable, match="certificate is not to be trusted"):
        pull(store, Reference.parse(f"{protected}/app"))
    assert [each.url for each in hosts.addresses(protected)] == [f"https://{protected}"]


def test_a_damaged_authority_is_named(
    store: Store, protected: str, home: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "bad.crt").write_text("this is no certificate")
    trust(home, protected, tmp_path / "bad.crt")
    with pytest.raises(InvalidArgument, match=r"certs\.d/.*bad\.crt"):
        pull(store, Reference.parse(f"{protected}/app"))


def test_who_we_are_by_a_certificate(
    store: Store, tmp_path: pathlib.Path, signed: pathlib.Path, home: pathlib.Path
) -> None:
    (tmp_path / "registry").mkdir()
    files = {"certificate": str(signed / "server.crt"), "key": str(signed / "server.key")}
    with real(tmp_path / "registry", http={"tls": {**files, "clientcas": [str(signed / "ca.crt")]}}) as name:
        put(store, f"{name}/app", a="1")
        trust(home, name, signed / "ca.crt")
        with pytest.raises(Unreachable):
            push(store, Reference.parse(f"{name}/app"))
        shutil.copy(signed / "server.crt", home / ".config/minicontainer/certs.d" / name / "me.cert")
        shutil.copy(signed / "server.key", home / ".config/minicontainer/certs.d" / name / "me.key")
        push(store, Reference.parse(f"{name}/app"))


def test_from_protected_to_unprotected_is_refused(
    store: Store, signed: pathlib.Path, monkeypatch: pytest.MonkeyPatch, home: pathlib.Path
) -> None:
    """Neither a redirect nor a password goes from https to http."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed / "server.crt", signed / "server.key")
    with fake() as server, fake() as plain:
        monkeypatch.setattr(hosts, "is_insecure", lambda host: False)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        trust(home, server.name, signed / "ca.crt")
        server.put_image(archive(a="1"))
        server.arrange("GET .*/manifests/", lambda h: h.send(302, Location=f"http://{plain.name}/"))
        with pytest.raises(Unreachable, match=f"http://{plain.name}/.*not protected"):
            pull(store, Reference.parse(f"{server.name}/app"))
        credentials.save(server.name, credentials.Login(USER, PASSWORD))
        bearer(server, f"http://{plain.name}/token")
        with pytest.raises(Denied, match="without protection"):
            pull(store, Reference.parse(f"{server.name}/app"))
        assert plain.seen == []
