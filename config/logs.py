"""Logs and error reports without key values."""

import logging
from typing import Any

from django.views.debug import SafeExceptionReporterFilter

from config.redaction import redact


class RedactingFormatter(logging.Formatter):
    """Works on the finished line, so arguments, exceptions and tracebacks are covered as well."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


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
