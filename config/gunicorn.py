"""gunicorn's settings: used by `manage.py serve`, and with `gunicorn -c python:config.gunicorn config.wsgi`."""

import gc
import logging
import os
import signal
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
from django.conf import settings
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from config import request_id
from config.address import address_in
from config.logs import log_what_nobody_caught

log_what_nobody_caught()


class Worker(ThreadWorker):
    """gunicorn's, which while it stops leaves new connections in the listening socket, to be reset when it is gone.

    This one takes those that are there and closes the socket: who comes later is refused at once, which a proxy answers
    with the next machine, or waits where systemd holds the socket, too.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            before = -1
            while before < self.nr_conns < self.worker_connections:
                before = self.nr_conns
                self.accept(listener)
            listener.close()


class AccessLogger(Logger):
    """gunicorn's, with a line for each request that has neither the query nor a key's value in it."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        if not self.access_log.isEnabledFor(logging.INFO) or "REQUEST_METHOD" not in environ:
            return
        facts = {
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"],  # without the query
            "status": getattr(resp, "status_code", 500),
            "bytes": resp.sent,
            "milliseconds": round(request_time.total_seconds() * 1000, 1),
            "key_prefix": environ.get("keyhouse.key_prefix", ""),
            "address": address_in(environ),
        }
        line = '%(address)s "%(method)s %(path)s" %(status)s %(bytes)s %(milliseconds)sms %(key_prefix)s'
        self.access_log.info(line, facts, extra=facts)


bind = f"[{settings.HOST}]:{settings.PORT}" if ":" in settings.HOST else f"{settings.HOST}:{settings.PORT}"
workers = settings.WEB_CONCURRENCY
worker_class = Worker  # keeps connections open, and each thread keeps its connection to the database
threads = settings.WEB_THREADS
keepalive = 75
timeout = 60
graceful_timeout = 30
preload_app = True
logconfig_dict = settings.LOGGING
forwarded_allow_ips = "127.0.0.1,::1"
logger_class = AccessLogger
proc_name = "keyhouse"
control_socket_disable = True


def when_ready(server: Any) -> None:
    """What is loaded by now stays: the workers share its memory, and the garbage collector leaves it alone."""
    gc.collect()
    gc.freeze()
    # Ctrl-C lets workers finish, as SIGTERM does: gunicorn's quick way can hang in a worker, and its counts are lost.
    signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


def post_worker_init(worker: Any) -> None:
    """A terminal sends Ctrl-C to workers as well; they wait for the master's word."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def pre_fork(server: Any, worker: Any) -> None:
    """A connection that the start of the server has used must not be shared with workers."""
    from django.db import connections

    connections.close_all()


def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    request_id.end()


def worker_exit(server: Any, worker: Any) -> None:
    """Write what the worker has counted."""
    from apikeys import usage

    usage.flush_at_exit()
