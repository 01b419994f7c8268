"""gunicorn's settings: used by `manage.py serve`, and with `gunicorn -c python:config.gunicorn config.wsgi`."""

import gc
import os
import signal
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
from django.conf import settings

bind = f"[{settings.HOST}]:{settings.PORT}" if ":" in settings.HOST else f"{settings.HOST}:{settings.PORT}"
workers = settings.WEB_CONCURRENCY
worker_class = "gthread"  # keeps connections open, and each thread keeps its connection to the database
threads = settings.WEB_THREADS
keepalive = 75
timeout = 60
graceful_timeout = 30
preload_app = True
accesslog = "-" if settings.ACCESS_LOG else None
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(B)s %(M)sms'  # the path without its query
logconfig_dict = settings.LOGGING
forwarded_allow_ips = "127.0.0.1,::1"
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


def worker_exit(server: Any, worker: Any) -> None:
    """Write what the worker has counted."""
    from apikeys import usage

    usage.flush_at_exit()
