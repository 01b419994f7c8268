"""What stands in deploy/, run: nginx with TLS in front of two servers, the systemd unit's line, deploys under load."""

import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import httpx
import pytest

from tests.cluster import PASSWORD, Cluster
from tests.live import ROOT, Server, _accepts, free_port, wait_for

DEPLOY = ROOT / "deploy"


class Load:
    """Reads and writes without pause, on kept and on new connections, until `end`; `bad` has what was not answered."""

    def __init__(self, url, token, **client):
        self.url, self.headers, self.client = url, {"Authorization": f"Bearer {token}"}, client
        self.stop, self.good, self.bad = threading.Event(), [], []
        work = (self.read_on_kept, self.read_on_new, self.write, self.write_on_new)
        self.threads = [threading.Thread(target=self.repeat, args=(one,)) for one in work]
        for thread in self.threads:
            thread.start()

    def repeat(self, work):
        with httpx.Client(base_url=self.url, headers=self.headers, timeout=30, **self.client) as client:
            while not self.stop.is_set():
                try:
                    answer = work(client)
                except httpx.HTTPError as error:
                    self.bad.append((work.__name__, repr(error), time.monotonic()))
                else:
                    (self.good if answer.status_code in (200, 201) else self.bad).append(answer.status_code)

    def read_on_kept(self, client):
        return client.get("/api/account/summary")

    def read_on_new(self, client):
        return client.get("/api/account/summary", headers={"Connection": "close"})

    def write(self, client):
        return client.post("/api/projects", json=self.project())

    def write_on_new(self, client):
        return client.post("/api/projects", json=self.project(), headers={"Connection": "close"})

    def project(self):
        return {"project": f"project-{time.monotonic_ns()}"}

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        return self.bad


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("deploy"), RATE_LIMIT_DEFAULT="unlimited", ACCESS_LOG="on")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def site(cluster, tmp_path_factory):
    """The site of deploy/nginx.conf with ports, certificate and machines of ours; what else is in it is not touched."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    subject = ["-subj", "/CN=keys.example.org", "-addext", "subjectAltName=DNS:keys.example.org"]
    made = ["-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(["openssl", "req", "-x509", "-days", "2", *made, *subject], check=True, capture_output=True)
    plain, tls = free_port(), free_port()
    text = (DEPLOY / "nginx.conf").read_text()
    machine = "server 127.0.0.1:8000 max_fails=0;"
    for old, new in (
        (machine, "\n".join(machine.replace("8000", str(server.port)) for server in cluster.servers)),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{tls} ssl;"),
        ("/etc/ssl/keyhouse.pem", f"{folder}/cert.pem"),
        ("/etc/ssl/private/keyhouse.key", f"{folder}/key.pem"),
        ("/var/log/nginx/keyhouse.log", f"{folder}/access.log"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "site.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    main = folder / "nginx.conf"
    main.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log warn; worker_processes 1;\n"
        f"events {{ worker_connections 256; }}\nhttp {{ {temporary}\ninclude {folder}/site.conf; }}\n"
    )
    command = [program, "-c", str(main), "-e", f"{folder}/error.log"]
    tried = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert tried.returncode == 0, tried.stderr
    process = subprocess.Popen(command)
    wait_for(lambda: _accepts(tls), 10, "nginx did not start")
    trust = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    trust.check_hostname = False  # keys.example.org is 127.0.0.1 here
    site = Site(f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}", trust, folder / "access.log")
    yield site
    process.terminate()
    process.wait(10)


class Site:
    def __init__(self, plain, url, trust, access_log):
        self.plain, self.url, self.trust, self.access_log = plain, url, trust, access_log

    def ask(self, method="GET", path="/", token=None, **more):
        headers = {"Host": "keys.example.org"} | more.pop("headers", {})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return httpx.request(method, self.url + path, headers=headers, verify=self.trust, timeout=30, **more)


def test_nginx_in_front(site, cluster):
    token = cluster.servers[0].new_key()
    assert site.ask(path="/api/account/summary?secret=abc", token=token).status_code == 200
    assert httpx.get(f"{site.plain}/api/account/summary").status_code == 403
    moved = httpx.get(f"{site.plain}/accounts/login/", headers={"Host": "keys.example.org"})
    assert moved.headers["Location"] == "https://keys.example.org/accounts/login/"
    page = site.ask(path="/accounts/login/")
    assert page.status_code == 200
    assert all("Secure" in cookie for cookie in page.headers.get_list("set-cookie"))
    assert "max-age" in page.headers["Strict-Transport-Security"]

    forged = {"X-Forwarded-For": "198.51.100.9", "X-Request-Id": "chosen-by-the-client"}
    answer = site.ask(path="/api/api-keys/current", token=token, headers=forged)
    known = answer.headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", known)
    wait_for(
        lambda: any(known in server.output for server in cluster.servers), 5, "the id of nginx is not in Keyhouse's log"
    )
    logs = "".join(server.output for server in cluster.servers)
    assert "198.51.100.9" not in logs
    wait_for(lambda: known in site.access_log.read_text(), 5)
    assert site.ask(path="/metrics").status_code == 404
    assert site.ask("POST", "/api/api-keys", token, content=b"x" * (21 << 20)).status_code == 413
    upload = "/api/uploads/0b9d0000-0000-4000-8000-000000000000/best.pt"
    # 502: Keyhouse has refused it and closed while nginx was still sending.
    assert site.ask("PUT", upload, content=b"x" * (21 << 20)).status_code in (401, 403, 404, 502), "not 413: it arrived"
    # Of any size, too; 302 or 502: nobody is signed in.
    assert site.ask("POST", "/admin/apikeys/apikey/leaks/", content=b"x" * (21 << 20)).status_code in (302, 403, 502)
    for secret in (token, "secret=abc"):
        assert secret not in site.access_log.read_text() + logs
    with httpx.Client(base_url=site.url, headers={"Host": "keys.example.org"}, verify=site.trust) as browser:
        form = browser.get("/accounts/login/")
        csrf = form.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        cookie = form.headers["set-cookie"].split(";")[0]
        fields = {"login": "operator", "password": PASSWORD, "csrfmiddlewaretoken": csrf}
        headers = {"Cookie": cookie, "Referer": "https://keys.example.org/accounts/login/"}
        assert browser.post("/accounts/login/", data=fields, headers=headers).status_code == 302


def test_a_deploy_machine_by_machine_behind_nginx_loses_no_request(site, cluster):
    token = cluster.servers[0].new_key()
    load = Load(site.url, token, verify=site.trust)
    load.headers["Host"] = "keys.example.org"
    try:
        wait_for(lambda: len(load.good) > 30, 20, lambda: f"no load: {load.bad[:3]}")
        for server in cluster.servers:
            assert server.stop(signal.SIGTERM) == 0
            server.start()
            before = len(load.good)
            wait_for(lambda before=before: len(load.good) > before + 30, 20)
    finally:
        bad = load.end()
    assert bad == []


def test_a_request_that_is_half_sent_is_answered_after_sigterm(cluster):
    server = cluster.servers[0]
    token = server.new_key()
    body = b'{"project": "sent-in-two-halves"}'
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as wire:
        wire.sendall(
            f"POST /api/projects HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body[:10]
        )
        time.sleep(0.5)  # the worker has it
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not _accepts(server.port), 10, "it goes on accepting")
        wire.sendall(body[10:])
        answer = wire.recv(65536)
    assert b" 201 " in answer.split(b"\r\n")[0] or b" 200 " in answer.split(b"\r\n")[0], answer[:300]
    assert server.process.wait(40) == 0
    server.start()


def test_systemd_takes_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for name in ("keyhouse.service", "keyhouse.socket"):
        text = (DEPLOY / name).read_text().replace("/opt/keyhouse/.venv/bin/python", sys.executable)
        (tmp_path / name).write_text(text.replace("/opt/keyhouse", str(ROOT)))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
    done = subprocess.run(
        [*command, str(tmp_path / "keyhouse.service"), str(tmp_path / "keyhouse.socket")],
        capture_output=True,
        text=True,
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "keyhouse" in line]
    assert complaints == []


# As systemd does: the socket is file 3, and the process that the line becomes is told that it is meant.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_the_units_line_restarted_under_load_on_the_socket_that_systemd_holds_loses_no_request(cluster):
    text = (DEPLOY / "keyhouse.service").read_text()
    line = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)[1].split()
    assert line[0] == "/opt/keyhouse/.venv/bin/python"
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as held:
        server = Server(cluster.servers[0].data_dir, **cluster.servers[0].variables)
        server.port = held.getsockname()[1]
        command = [sys.executable, "-c", HAND_OVER, str(held.fileno()), sys.executable, *line[1:]]

        def start():
            with open(server.log_file, "a") as log:
                return subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=server.environment | {"PORT": str(server.port)},
                    pass_fds=(held.fileno(),),
                    stdout=log,
                    stderr=log,
                )

        process = start()
        token = cluster.servers[0].new_key()
        load = Load(server.url, token)
        try:
            for _ in range(2):
                before = len(load.good)
                wait_for(lambda before=before: len(load.good) > before + 30, 40, lambda: f"{load.bad[:3]}")
                process.send_signal(signal.SIGTERM)
                assert process.wait(40) == 0
                process = start()
            before = len(load.good)
            wait_for(lambda before=before: len(load.good) > before + 30, 40)
        finally:
            bad = load.end()
            process.send_signal(signal.SIGTERM)
            process.wait(40)
    assert bad == []
