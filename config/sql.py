"""Statements of our own that run often: prepared on the connection, so that PostgreSQL plans them once.

psycopg's own prepared statements are not used: to forget them after a rollback it drops all, also those of
`apikeys.lookup`.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import connection
from psycopg.pq import ConnStatus, ExecStatus


class Statement:
    """One statement with `%(name)s` in it, whose types PostgreSQL must be able to tell: cast where it cannot."""

    def __init__(self, name: str, sql: str):
        self.name, self.sql = f"keyhouse_{name}", sql

    @cached_property
    def parameters(self) -> list[str]:
        return list(dict.fromkeys(re.findall(r"%\((\w+)\)s", self.sql)))

    @cached_property
    def numbered(self) -> bytes:
        numbers = {name: number for number, name in enumerate(self.parameters, 1)}
        return re.sub(r"%\((\w+)\)s", lambda found: f"${numbers[found[1]]}", self.sql).encode()

    def fetch_one(self, values: Mapping[str, Any]) -> tuple[str | None, ...] | None:
        """Run it and return its first row as text. Raises django.db's errors."""
        texts = [_as_text(values[name]) for name in self.parameters]
        connection.ensure_connection()
        link = connection.connection
        with connection.wrap_database_errors:
            if not settings.PREPARED_STATEMENTS:
                result = link.pgconn.exec_params(self.numbered, texts)
            else:
                if not hasattr(link, self.name):
                    checked(link, link.pgconn.prepare(self.name.encode(), self.numbered), ExecStatus.COMMAND_OK)
                    setattr(link, self.name, True)
                result = link.pgconn.exec_prepared(self.name.encode(), texts)
            checked(link, result, ExecStatus.TUPLES_OK)
        if not result.ntuples:
            return None
        row = [result.get_value(0, column) for column in range(result.nfields)]
        return tuple(None if value is None else value.decode() for value in row)


def checked(link: psycopg.Connection, result: Any, wanted: ExecStatus) -> Any:
    """`result`, or its error. libpq makes up the result of a lost connection, without the code that names the error."""
    if result.status == wanted:
        return result
    if link.pgconn.status == ConnStatus.BAD:
        raise psycopg.OperationalError(result.get_error_message())
    raise psycopg.errors.error_from_result(result)


def _as_text(value: Any) -> bytes | None:
    match value:
        case None:
            return None
        case bytes():
            return b"\\x" + value.hex().encode()
        case bool():
            return b"t" if value else b"f"
        case str() | int() | float() | UUID():
            return str(value).encode()
    raise TypeError(f"{type(value).__name__} is not sent to PostgreSQL here")
