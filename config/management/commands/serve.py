"""`manage.py serve`: gunicorn with the application; unless in production, with all that it needs prepared first."""

import fcntl
import os
import re
import secrets
import socket
import time
from typing import Any, TextIO

import psutil
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from gunicorn.app.base import BaseApplication

from config import embedded

OPERATOR = "operator"
ORPHANS_SECONDS = 35  # how long workers may go on without their server: they finish what they are at


class Command(BaseCommand):
    help = "Run the server. On embedded defaults, first create and migrate the database and the account `operator`."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        lock = None if settings.IS_PRODUCTION else self._lock()
        self._require_free_port()
        try:
            if not settings.IS_PRODUCTION:
                self._prepare()
            self._refuse_wrong_encryption_key()
            self._greet()
            connections.close_all()  # connections must not be shared with the workers
            Server().run()
        finally:
            connections.close_all()
            embedded.stop()
            if lock is not None:
                lock.close()

    def _lock(self) -> TextIO:
        settings.DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = open(settings.DATA_DIR / "serve.lock", "a+")  # noqa: SIM115 (held until the server ends)
        deadline = time.monotonic() + ORPHANS_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip()
                if is_running(holder) or time.monotonic() > deadline:
                    raise CommandError(
                        f"A server is running with the data in {settings.DATA_DIR} already ({holder}). "
                        "Stop it first, or set DATA_DIR and PORT to run another one beside it."
                    ) from None
                time.sleep(0.1)  # workers of a server that was killed notice it, and end by themselves
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, port {settings.PORT}\n")
        lock.flush()
        return lock

    def _require_free_port(self) -> None:
        if os.environ.get("LISTEN_PID") == str(os.getpid()):
            return  # systemd listens for us, and gunicorn takes its socket
        family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.HOST, settings.PORT))
            except OSError as error:
                raise CommandError(
                    f"Port {settings.PORT} on {settings.HOST} cannot be used ({error.strerror}). Set PORT."
                ) from None

    def _prepare(self) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        call_command("collectstatic", verbosity=0, interactive=False)
        users = get_user_model().objects
        if not users.filter(username=OPERATOR).exists() and not users.filter(is_superuser=True).exists():
            password = secrets.token_urlsafe(12)
            users.create_superuser(OPERATOR, password=password)
            self.stdout.write(
                f"\n  Made the account {OPERATOR} with the password  {password}\n"
                "  It is shown this once. Sign in and change it under Settings > Profile.\n"
            )

    def _refuse_wrong_encryption_key(self) -> None:
        from config.startup import refuse_wrong_encryption_key

        refuse_wrong_encryption_key()

    def _greet(self) -> None:
        host = f"[{settings.HOST}]" if ":" in settings.HOST else settings.HOST
        if host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 (only told)
            host = "localhost"
        address = settings.PUBLIC_URL or f"http://{host}:{settings.PORT}"
        self.stdout.write(f"\n  Keyhouse runs at  {address}\n  Stop it with Ctrl-C.\n\n")
        self.stdout.flush()


def is_running(holder: str) -> bool:
    """Is there the process that a lock file names, as `process 123, port 8000`?"""
    found = re.match(r"process (\d+)", holder)
    try:
        return found is None or psutil.Process(int(found[1])).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Server(BaseApplication):
    """gunicorn with our settings; `config/gunicorn.py` has the same for the command `gunicorn`."""

    def load_config(self) -> None:
        from config import gunicorn

        for name, value in vars(gunicorn).items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        from config.wsgi import application

        return application
