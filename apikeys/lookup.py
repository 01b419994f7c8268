"""The one statement that authenticates a request.

It is compiled once from the models, asks only for the columns that are needed, and runs prepared on a psycopg cursor
of its own: compiling the query and planning the join would otherwise cost more than all the rest of a request.
`tests/apikeys/test_lookup.py` holds it to what the ORM answers.
"""

from functools import cache
from typing import Any, NamedTuple

import psycopg
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import BooleanField, Case, Model, OuterRef, Q, Subquery, Value, When
from django.db.models.base import ModelState
from django.db.models.functions import Now
from django.db.utils import InterfaceError, OperationalError

from apikeys.models import ApiKey
from workspaces.models import Membership, Workspace

_PLACEHOLDER = b"the digest goes here"


def _columns(model: type[Model], *wanted: str) -> tuple[str, ...]:
    """`wanted`, after a look that the model has all of them."""
    assert set(wanted) <= {field.attname for field in model._meta.concrete_fields}
    return wanted


_KEY_COLUMNS = _columns(
    ApiKey,
    "id",
    "workspace_id",
    "creator_id",
    "name",
    "prefix",
    "digest",
    "ciphertext",
    "encryption_key_id",
    "created_at",
    "last_used_at",
    "revokes_at",
    "rotated_at",
)
_WORKSPACE_COLUMNS = _columns(Workspace, "id", "slug", "name", "is_personal", "suspended_at")
_USER_COLUMNS = _columns(get_user_model(), "id", "username", "name", "email", "is_active", "is_staff", "is_superuser")


class Found(NamedTuple):
    key: ApiKey
    role: int | None  # the creator's, None if they are no member
    is_live: bool  # neither revoked nor past a scheduled revocation, by the database's clock


class _Statement(NamedTuple):
    sql: str
    params: tuple[Any, ...]
    position: int  # of the digest in params


def queryset(digest: bytes) -> Any:
    """The look-up as the ORM would do it, as rows of columns."""
    role = Membership.objects.filter(workspace=OuterRef("workspace_id"), user=OuterRef("creator_id")).values("role")
    ended = Q(revoked_at__isnull=False) | Q(revokes_at__lte=Now())
    live = Case(When(ended, then=Value(False)), default=Value(True), output_field=BooleanField())
    return ApiKey.objects.filter(digest=digest).values_list(
        *_KEY_COLUMNS,
        *(f"workspace__{name}" for name in _WORKSPACE_COLUMNS),
        *(f"creator__{name}" for name in _USER_COLUMNS),
        Subquery(role),
        live,
    )


@cache
def _statement() -> _Statement:
    sql, params = queryset(_PLACEHOLDER).query.get_compiler(DEFAULT_DB_ALIAS).as_sql()
    plain = [bytes(p) if isinstance(p, memoryview | bytes | bytearray) else getattr(p, "obj", p) for p in params]
    return _Statement(sql, tuple(plain), plain.index(_PLACEHOLDER))


def find(digest: bytes) -> Found | None:
    """The key with this digest, with its workspace, creator and the creator's role: one statement.

    Raises django.db.OperationalError if the database is away.
    """
    statement = _statement()
    params = list(statement.params)
    params[statement.position] = digest
    row = _fetch(statement.sql, params)
    return None if row is None else _build(row)


def _fetch(sql: str, params: list[Any]) -> tuple[Any, ...] | None:
    try:
        return _run(sql, params)
    except (OperationalError, InterfaceError):
        # A connection from before a restart of PostgreSQL: this is cheaper than asking it before each request.
        if connection.in_atomic_block:
            raise
        connection.close()
        return _run(sql, params)


def _run(sql: str, params: list[Any]) -> tuple[Any, ...] | None:
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor = psycopg.Cursor(connection.connection)
        row = cursor.execute(sql, params, prepare=settings.PREPARED_STATEMENTS, binary=True).fetchone()
    connection.health_check_done = True  # type: ignore[attr-defined]  # it has just answered
    return row


def _build(row: tuple[Any, ...]) -> Found:
    a = len(_KEY_COLUMNS)
    b = a + len(_WORKSPACE_COLUMNS)
    key = _instance(ApiKey, _KEY_COLUMNS, row[:a])
    key.workspace = _instance(Workspace, _WORKSPACE_COLUMNS, row[a:b])
    key.creator = _instance(get_user_model(), _USER_COLUMNS, row[b:-2])
    return Found(key, row[-2], row[-1])


def _instance(model: Any, columns: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    """A row as a model with the other columns deferred: what `Model.from_db` makes, at a fifth of the time.

    `from_db` walks all fields of the model and sends two signals that nothing of ours listens to.
    """
    instance = model.__new__(model)
    instance.__dict__ = dict(zip(columns, values, strict=True))
    state = instance._state = ModelState()
    state.adding, state.db = False, DEFAULT_DB_ALIAS
    return instance
