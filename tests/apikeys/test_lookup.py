"""The one statement of a request: it answers as the ORM does, and it is the only one."""

import os
import socket
import tempfile

import psycopg
import pytest
from django.core.cache import caches
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from apikeys import lookup, services, tokens
from apikeys.models import ApiKey
from tests.conftest import actor_of, make_key
from workspaces.access import Role
from workspaces.models import Membership

SUMMARY = "GET /api/account/summary"


def digest_of(key):
    return tokens.digest(str.__str__(key))


def assert_same(key):
    """What `find` builds equals what the ORM loads, column for column."""
    found = lookup.find(digest_of(key))
    row = ApiKey.objects.select_related("workspace", "creator").get(pk=key.id)
    for mine, theirs in ((found.key, row), (found.key.workspace, row.workspace), (found.key.creator, row.creator)):
        loaded = {name for name in mine.__dict__ if not name.startswith("_")}
        assert len(loaded) >= 4
        for name in loaded:
            value, expected = mine.__dict__[name], getattr(theirs, name)
            assert value == (bytes(expected) if isinstance(expected, memoryview) else expected), name
        assert mine == theirs
        assert not mine._state.adding
        assert mine._state.db == "default"
    assert "password" not in found.key.creator.__dict__, "no password's hash travels"
    [orm] = lookup.queryset(digest_of(key))
    assert (found.role, found.is_live) == orm[-2:]
    membership = Membership.objects.filter(workspace=row.workspace, user=row.creator).first()
    assert found.role == (membership.role if membership else None)
    assert found.is_live == ApiKey.objects.active().filter(pk=row.pk).exists()
    return found


def test_an_active_key(edda_key):
    found = assert_same(edda_key)
    assert found.is_live
    assert found.role == Role.EDITOR


def test_what_was_not_loaded_is_loaded_when_asked_for(edda, edda_key):
    found = lookup.find(digest_of(edda_key))
    assert found.key.created_at == ApiKey.objects.get(pk=edda_key.id).created_at
    assert found.key.creator.email == edda.email


@pytest.mark.parametrize("state", ["revoked", "scheduled", "due", "demoted", "left", "deactivated", "suspended"])
def test_every_state_of_a_key(edda, team, edda_key, state):
    actor = actor_of(edda, team)
    if state == "revoked":
        services.revoke_key(actor, edda_key.row)
    elif state == "scheduled":
        services.rotate_key(actor, edda_key.row, grace="1h")
    elif state == "due":
        ApiKey.objects.filter(pk=edda_key.id).update(revokes_at=Now())
    elif state == "demoted":
        Membership.objects.filter(user=edda, workspace=team).update(role=Role.VIEWER)
    elif state == "left":
        Membership.objects.filter(user=edda, workspace=team).delete()
    elif state == "deactivated":
        type(edda).objects.filter(pk=edda.pk).update(is_active=False)
    else:
        type(team).objects.filter(pk=team.pk).update(suspended_at=Now())
    assert assert_same(edda_key).is_live == (state not in ("revoked", "due"))


def test_an_unknown_digest_is_nothing(db):
    assert lookup.find(bytes(32)) is None


@hypothesis_settings(max_examples=200, deadline=None)
@given(digest=st.binary(max_size=64))
def test_no_digest_breaks_it(django_db_blocker, digest):
    with django_db_blocker.unblock():
        assert lookup.find(digest) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("prepared", [True, False])
def test_prepared_or_not_the_answer_is_the_same(edda_key, settings, prepared):
    settings.PREPARED_STATEMENTS = prepared
    connection.close()
    for _ in range(2):
        assert_same(edda_key)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE name = %s", [lookup._PREPARED])
        assert cursor.fetchone() == (prepared,), "none of ours behind a proxy that gives each transaction another link"


def test_the_plan_asks_indexes_only(edda, team, edda_key):
    for n in range(50):
        make_key(actor_of(edda, team), f"key {n}")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + lookup.statement().decode().replace("$1", "'\\x00'::bytea"))
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan
    assert "digest" in plan


def end_backend():
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])


def sever_socket():
    with socket.socket(fileno=os.dup(connection.connection.pgconn.socket)) as link:
        link.shutdown(socket.SHUT_RDWR)


def forget_statements():
    connection.cursor().execute("DEALLOCATE ALL")


def change_column():
    """As a migration beside the running server: the prepared statement's columns are others now."""
    connection.cursor().execute(f"ALTER TABLE {ApiKey._meta.db_table} ALTER COLUMN name TYPE text")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mishap", [end_backend, sever_socket, forget_statements, change_column])
def test_a_mishap_between_two_requests_is_not_seen_by_the_second(edda_key, mishap):
    assert lookup.find(digest_of(edda_key)).is_live
    mishap()
    try:
        assert lookup.find(digest_of(edda_key)).is_live
    finally:
        if mishap is change_column:
            connection.cursor().execute(f"ALTER TABLE {ApiKey._meta.db_table} ALTER COLUMN name TYPE varchar(100)")


@pytest.mark.django_db(transaction=True)
def test_a_mishap_within_a_transaction_ends_it(edda_key):
    """What came before it in the transaction is lost: to go on as if it were not would be half a change."""
    with pytest.raises(OperationalError), transaction.atomic():
        end_backend()
        lookup.find(digest_of(edda_key))


@pytest.mark.django_db(transaction=True)
def test_a_database_that_stays_away_is_said_to_be_away(edda_key, monkeypatch):
    def refuse(parameters):
        raise OperationalError("nobody listens")

    lookup.find(digest_of(edda_key))
    sever_socket()
    with monkeypatch.context() as away:
        away.setattr(connection, "get_new_connection", refuse)
        with pytest.raises(OperationalError):
            lookup.find(digest_of(edda_key))
    assert lookup.find(digest_of(edda_key)).is_live


def statements_sent(link, act):
    """How often PostgreSQL was asked to execute something, by libpq's own trace of the protocol."""
    with tempfile.TemporaryFile("w+") as trace:
        link.pgconn.trace(trace.fileno())
        try:
            act()
        finally:
            link.pgconn.untrace()
        trace.seek(0)
        sent = [line.split("\t") for line in trace if "\tF\t" in line or line.startswith("F\t")]
    return [parts for parts in sent if any(word.strip() in ("Execute", "Query") for word in parts)]


def test_an_authenticated_and_limited_request_is_one_statement_one_round_trip_and_no_write(
    call, edda_key, redis_server, settings, monkeypatch
):
    settings.CACHES = settings.CACHES | {
        "ratelimit": {"BACKEND": "config.ratelimit_cache.RedisCounters", "LOCATION": redis_server.url}
    }
    counters = caches["ratelimit"]
    # Output of a console that belongs to no run is answered without a look at any table.
    unheard = ("POST /api/webhooks/training/metrics", {"event": "console_output", "data": {"chunkId": 1}})
    call(edda_key, *unheard)  # prepares the statement on this connection
    commands = []
    send = counters._connection.send_packed_command
    monkeypatch.setattr(
        counters._connection, "send_packed_command", lambda c, **more: (commands.append(c), send(c, **more))[1]
    )
    sent = statements_sent(connection.connection, lambda: call(edda_key, *unheard))
    assert len(sent) == 1, sent
    assert len(commands) == 1
    assert b"EVAL" in commands[0][0]
    assert lookup.statement().startswith(b"SELECT"), "the one statement reads"


def test_a_malformed_key_asks_nobody(call, edda_key):
    call(edda_key, SUMMARY)
    assert statements_sent(connection.connection, lambda: call("ul_nonsense", SUMMARY)) == []
    assert statements_sent(connection.connection, lambda: call(None, SUMMARY)) == []
