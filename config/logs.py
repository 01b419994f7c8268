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
    """Every record of the process, whichever logger makes it: with the id of its request, and redacted when made."""

    was_redacted = False  # the tests' question: nothing of ours should try

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.request_id = request_id.current()
        redact_record(self)


def redact_record(record: logging.LogRecord) -> None:
    """Redact all that `record` holds, in place, so that a handler of a package that is not ours gets no value either:
    name, message, arguments, exception, stack, and what it was given as `extra`, whatever its type.
    """
    before = record.__dict__.copy()
    record.name = redact(record.name or "")
    try:
        text = record.getMessage()
    except Exception:  # arguments that do not fit: the handler would report them as they are
        record.msg, record.args = f"{record.msg!r} with {record.args!r}", None
        text = record.msg
    # Arguments that the message leaves out are seen by handlers all the same.
    if _is_secret(text) or _is_secret(repr(record.args)):
        record.msg, record.args = redact(text), None
    if record.exc_info and record.exc_info[0] is not None:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        record.exc_text = redact(text)  # formatters take this one
        if record.exc_text != text:
            record.exc_info = None
    if record.exc_text:
        record.exc_text = redact(record.exc_text)
    if record.stack_info:
        record.stack_info = redact(record.stack_info)
    for name in vars(record).keys() - _ATTRIBUTES:
        value = vars(record)[name]
        if isinstance(value, int | float | None):
            continue
        for text in (str(value), repr(value)):
            if _is_secret(text):
                setattr(record, name, redact(text))
                break
    if any(vars(record).get(name) is not value for name, value in before.items() if name in _REDACTED):
        record.was_redacted = True


def _is_secret(text: str) -> bool:
    return redact(text) != text


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


_REDACTED = ("msg", "args", "exc_info")
_ATTRIBUTES = {*vars(logging.makeLogRecord({})), "message", "asctime", "request_id", "was_redacted", "taskName"}


_python_calls_handlers = logging.Logger.callHandlers


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    redact_record(record)
    _python_calls_handlers(logger, record)


def configure(settings: dict[str, Any]) -> None:
    """Django's `LOGGING_CONFIG`: what it would do, for records of ours, and with warnings in the log as well.

    Filters of a logger are not for the loggers below it, and those of a handler not for other handlers. So that no
    record escapes, redacting hangs where all pass: where they are made, and, for what `extra` adds and for records that
    were made elsewhere, where a logger gives them to handlers.
    """
    logging.setLogRecordFactory(Record)
    logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign, assignment]
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
