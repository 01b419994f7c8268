"""Several Keyhouse servers as on several machines: production settings, one PostgreSQL and one Redis."""

import base64
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from tests.live import Postgres, Redis, Server, WebSession

PASSWORD = "a good long phrase"


class Cluster:
    """`servers`, started, with the account `operator`; `postgres` and `redis` may be stopped and started."""

    def __init__(self, folder: Path, count: int = 2, **variables: str):
        self.redis, self.postgres = Redis(), Postgres(folder / "postgres")
        settings = {
            "DEBUG": "off",
            "SECRET_KEY": secrets.token_urlsafe(64),
            "API_KEY_ENCRYPTION_KEYS": "k1:" + base64.b64encode(os.urandom(32)).decode(),
            "ALLOWED_HOSTS": "keys.example.org,127.0.0.1",
            "TRUSTED_PROXIES": "1",
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
        }
        self.servers = [Server(folder / f"machine-{n}", **(settings | variables)) for n in range(1, count + 1)]
        first = self.servers[0]
        first.shell(
            "from django.core.management import call_command; from accounts.models import User\n"
            "call_command('migrate', verbosity=0); call_command('collectstatic', verbosity=0, interactive=False)\n"
            f"User.objects.create_superuser('operator', password='{PASSWORD}')"
        )
        for server in self.servers:
            if server is not first:
                shutil.copytree(first.data_dir / "static", server.data_dir / "static")
            server.start()

    def stop(self) -> None:
        for server in self.servers:
            if server.process is not None:
                server.stop()
        self.postgres.stop()
        self.redis.stop()


class TlsSession(WebSession):
    """A browser behind the proxy that ends TLS. Cookies are for every server, as with one host name for all."""

    def __init__(self, url: str):
        super().__init__(url)
        origin = url.replace("http:", "https:")
        self.http.headers.update({"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9", "Origin": origin})
        self.http.event_hooks["request"].append(self._send_secure_cookies)

    def _send_secure_cookies(self, request: Any) -> None:
        found = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.http.cookies.jar)
        request.headers["Cookie"] = found

    def at(self, url: str) -> "TlsSession":
        """The same browser, talking to another server."""
        other = TlsSession(url)
        other.http.cookies = self.http.cookies
        return other
