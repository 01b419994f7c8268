"""A real nginx for tests, and a small service behind it."""

import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.live import _accepts, free_port, wait_for


class Nginx:
    """nginx with `locations` in its one server. Skips the test, saying so, where none is installed."""

    def __init__(self, folder: Path, locations: str):
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("nginx is not installed")
        self.port = free_port()
        temporary = "\n".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration = folder / "nginx.conf"
        configuration.write_text(
            f"""
            daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
            worker_processes 1;
            events {{ worker_connections 256; }}
            http {{
                access_log off; {temporary}
                server {{ listen 127.0.0.1:{self.port}; {locations} }}
            }}"""
        )
        self.process = subprocess.Popen([program, "-c", str(configuration), "-e", f"{folder}/error.log"])
        wait_for(lambda: _accepts(self.port), 10, "nginx did not start")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Echo:
    """A service that answers with the headers that it was given."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                content = json.dumps({"headers": dict(self.headers), "path": self.path, "body": body}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
