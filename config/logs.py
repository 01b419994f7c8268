"""Logs and error reports without key values, as lines for people or as JSON for machines."""

import json
import logging
import logging.config
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any

from django.views.debug import SafeExceptionReporterFilter

from config import request_id
from config.redaction import redact

CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), 127)} | {10: "\\n", 13: "\\r", 9: "\t"}


class Record(logging.LogRecord):
    """Every record of the process, whichever logger makes it and whichever handler writes it.

    Message, arguments, exception and stack are redacted as the record is made, so that a handler of a package that is
    not ours gets no value either. What comes in `extra` is put on later; our formatters redact the finished line.
    """

    was_redacted = False  # the tests' question: nothing of ours should try

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.request_id = request_id.current()
        try:
            text = super().getMessage()
        except Exception:  # arguments that do not fit: the handler would report them as they are
            self.msg, self.args = f"{self.msg!r} with {self.args!r}", None
            text = self.msg
        # Arguments that the message leaves out are seen by handlers all the same.
        if redact(text) != text or redact(repr(self.args)) != repr(self.args):
            self.msg, self.args, self.was_redacted = redact(text), None, True
        if self.exc_info and self.exc_info[0] is not None:
            text = "".join(traceback.format_exception(*self.exc_info)).rstrip("\n")
            self.exc_text = redact(text)  # formatters take this one
            if self.exc_text != text:
                self.exc_info, self.was_redacted = None, True
        if self.stack_info:
            self.stack_info = redact(self.stack_info)


class RedactingFormatter(logging.Formatter):
    """A line for people. A message cannot forge another line; a traceback has its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record).translate(CONTROL)
        current = getattr(record, "request_id", "")
        return f"{line} [{current}]" if current else line

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object in a line: `time` (ISO 8601, UTC), `level`, `logger`, `message`, `request_id` in a request,
    `exception` and `stack` where there are some, and what the record was given as `extra`, if it is plain.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", "") or None,
            "process": record.process,
        }
        for name, value in vars(record).items():
            if name not in _ATTRIBUTES and isinstance(value, str | int | float | bool):
                line.setdefault(name, value)
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        line["exception"], line["stack"] = record.exc_text, record.stack_info
        return redact(json.dumps({name: value for name, value in line.items() if value is not None}))


_ATTRIBUTES = {*vars(logging.makeLogRecord({})), "message", "asctime", "request_id", "was_redacted", "taskName"}


def configure(settings: dict[str, Any]) -> None:
    """Django's `LOGGING_CONFIG`: what it would do, for records of ours, and with warnings in the log as well."""
    logging.setLogRecordFactory(Record)
    logging.config.dictConfig(settings)
    logging.captureWarnings(True)


def log_what_nobody_caught() -> None:
    """Exceptions that end a thread or the process go to the log, where they are redacted, not to standard error."""
    log = logging.getLogger("keyhouse")

    def ended(kind: Any, error: Any, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            log.critical("%s was not caught", kind.__name__, exc_info=(kind, error, trace))

    sys.excepthook = ended
    threading.excepthook = lambda args: ended(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: ended(args.exc_type, args.exc_value, args.exc_traceback)


class RedactingReporterFilter(SafeExceptionReporterFilter):
    """For Django's error page (`DEBUG=on`): the values of local variables are not shown at all."""

    def get_traceback_frame_variables(self, request: Any, tb_frame: Any) -> Any:
        return [(name, self.cleansed_substitute) for name in tb_frame.f_locals]

    def is_active(self, request: Any) -> bool:
        return True

    def get_safe_request_meta(self, request: Any) -> dict[str, Any]:
        meta = super().get_safe_request_meta(request)
        return {
            k: self.cleansed_substitute if k in ("HTTP_AUTHORIZATION", "HTTP_COOKIE") else v for k, v in meta.items()
        }
