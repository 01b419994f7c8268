"""The one statement that authenticates a request.

It is compiled once from the models, asks only for the columns that are needed, and runs prepared: compiling the query
and planning the join would otherwise cost more than all the rest of a request.
`tests/apikeys/test_lookup.py` holds it to what the ORM answers.
"""

from functools import cache
from typing import Any, NamedTuple

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import BooleanField, ExpressionWrapper, Model, OuterRef, Q, Subquery
from django.db.models.base import ModelState
from django.db.models.functions import Now
from django.db.utils import DatabaseError, InterfaceError
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, Format

from accounts.models import User
from apikeys.models import ApiKey
from config.sql import checked
from workspaces.models import Membership, Workspace

_PREPARED = "keyhouse_find_key"  # the statement's name, and the mark of a connection that knows it
_LOADER = "keyhouse_loader"  # where a connection keeps it
_BYTEA = psycopg.adapters.types["bytea"].oid


def _columns(model: type[Model], *wanted: str) -> tuple[str, ...]:
    """`wanted`, after a look that the model has all of them."""
    assert set(wanted) <= {field.attname for field in model._meta.concrete_fields}
    return wanted


# What views and services need of a key at every request; the rest is deferred, as Django calls it.
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
    "rotated_at",
)
_WORKSPACE_COLUMNS = _columns(Workspace, "slug", "name", "is_personal", "suspended_at")
_USER_COLUMNS = _columns(User, "username", "name", "is_active")


class Found(NamedTuple):
    key: ApiKey
    role: int | None  # the creator's, None if they are no member
    is_live: bool  # neither revoked nor past a scheduled revocation, by the database's clock


def queryset(digest: bytes) -> Any:
    """The look-up as the ORM would do it, as rows of columns."""
    role = Membership.objects.filter(workspace=OuterRef("workspace_id"), user=OuterRef("creator_id")).values("role")
    live = Q(revoked_at__isnull=True) & (Q(revokes_at__isnull=True) | Q(revokes_at__gt=Now()))
    return ApiKey.objects.filter(digest=digest).values_list(
        *_KEY_COLUMNS,
        *(f"workspace__{name}" for name in _WORKSPACE_COLUMNS),
        *(f"creator__{name}" for name in _USER_COLUMNS),
        Subquery(role),
        ExpressionWrapper(live, BooleanField()),
    )


@cache
def statement() -> bytes:
    """The SQL of `queryset`, with the digest as PostgreSQL's parameter `$1`."""
    sql, params = queryset(b"").query.get_compiler(DEFAULT_DB_ALIAS).as_sql()
    assert len(params) == sql.count("%s") == 1, "the look-up takes the digest and nothing else"
    return sql.replace("%s", "$1").encode()


def find(digest: bytes) -> Found | None:
    """The key with this digest, with its workspace, creator and the creator's role: one statement.

    Raises django.db.OperationalError if the database is away.
    """
    database = connections[DEFAULT_DB_ALIAS]  # django.db.connection would look this up at each use
    try:
        row = _run(database, digest)
    except (DatabaseError, InterfaceError):
        # A connection from before a restart of PostgreSQL, or a statement prepared before a migration changed a
        # column: to try again on a new connection is cheaper than to ask before each request.
        if database.in_atomic_block:
            raise
        database.close()
        row = _run(database, digest)
    return None if row is None else _build(row)


def _run(database: Any, digest: bytes) -> tuple[Any, ...] | None:
    if database.connection is None:
        database.ensure_connection()
    with database.wrap_database_errors:
        result = checked(database.connection, _execute(database.connection, digest), ExecStatus.TUPLES_OK)
    database.health_check_done = True  # it has just answered
    if not result.ntuples:
        return None
    loader = _loader(database.connection)
    loader.set_pgresult(result)
    return loader.load_row(0, tuple)


def _loader(link: psycopg.Connection) -> Any:
    """What makes Python's values of a row: one for each connection, as a new one searches for each type's way anew."""
    loader = getattr(link, _LOADER, None)
    if loader is None:
        loader = Transformer(link)
        setattr(link, _LOADER, loader)
    return loader


def _execute(link: psycopg.Connection, digest: bytes) -> Any:
    """Run the statement by psycopg's wrapper of libpq, which is half the time of a cursor of psycopg's own."""
    if not settings.PREPARED_STATEMENTS:
        return link.pgconn.exec_params(statement(), [digest], [_BYTEA], [Format.BINARY], Format.BINARY)
    if not hasattr(link, _PREPARED):
        checked(link, link.pgconn.prepare(_PREPARED.encode(), statement(), [_BYTEA]), ExecStatus.COMMAND_OK)
        setattr(link, _PREPARED, True)
    return link.pgconn.exec_prepared(_PREPARED.encode(), [digest], [Format.BINARY], Format.BINARY)


def _build(row: tuple[Any, ...]) -> Found:
    a = len(_KEY_COLUMNS)
    b = a + len(_WORKSPACE_COLUMNS)
    key = _instance(ApiKey, _KEY_COLUMNS, row[:a])
    workspace = _instance(Workspace, ("id", *_WORKSPACE_COLUMNS), (key.workspace_id, *row[a:b]))
    creator = _instance(User, ("id", *_USER_COLUMNS), (key.creator_id, *row[b:-2]))
    key._state.fields_cache = {"workspace": workspace, "creator": creator}
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
