"""Rows in bulk, with one real key among them for each way of authentication."""

import uuid
from typing import Any

import psycopg
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.utils import timezone
from knox.models import AuthToken
from rest_framework.authtoken.models import Token

from accounts.models import User
from apikeys import services, tokens
from apikeys.keyring import binding, keyring
from apikeys.models import ApiKey
from workspaces.services import actor_in

BASE = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "localhost:8000",
    "HTTP_USER_AGENT": "python-httpx/0.28.1",
    "HTTP_ACCEPT": "*/*",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate",
    "REMOTE_ADDR": "127.0.0.1",
    "QUERY_STRING": "",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": None,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}


class Request:
    def __init__(self, path: str, **headers: str):
        self.path, self.headers = path, headers
        self.schema = "public"

    def environ(self) -> dict[str, Any]:
        return BASE | {"PATH_INFO": self.path} | self.headers

    def backend(self) -> int:
        connection.ensure_connection()
        return connection.connection.info.backend_pid

    def activate(self) -> None:
        """Let the request find its own table of keys."""
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute(f"SET search_path = {self.schema}, public")
            cursor.execute("SELECT 1")
        connection.health_check_done = True


def prepare(count: int) -> dict[str, Request]:
    """`count` rows in each table, and the request of each variant."""
    person = User.objects.filter(username="alice").first() or User.objects.create_user("alice")
    actor = actor_in(person, "alice")
    fill_keys(count, actor)
    # One person's many tokens make knox slow by themselves; here each token is a person's own.
    fill("accounts_user", count, PEOPLE, [])
    fill("authtoken_token", count, TOKENS, [])
    fill("knox_authtoken", count, KNOX, [])
    with connection.cursor() as cursor:
        for table in ("apikeys_apikey", "accounts_user", "authtoken_token", "knox_authtoken"):
            cursor.execute(f"VACUUM ANALYZE {table}")
    _, key = services.create_key(actor, name="benchmark")
    Token.objects.filter(user=person).delete()
    token = Token.objects.create(user=person)
    AuthToken.objects.filter(user=person).delete()
    _, knox = AuthToken.objects.create(user=person, expiry=None)
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {key}"}
    plain = {"HTTP_AUTHORIZATION": f"Token {token.key}"}
    return {
        "floor": Request("/api/bench/floor"),
        "ours": Request("/api/bench/ours", **bearer),
        "token": Request("/api/bench/token", **plain),
        "token-throttled": Request("/api/bench/token-throttled", **plain),
        "knox": Request("/api/bench/knox", HTTP_AUTHORIZATION=f"Token {knox}"),
    }


def two_tables(count: int) -> tuple[Request, Request]:
    """A request for a table of 1,000 keys and one for the large table: the same key in both."""
    person = User.objects.get(username="alice")
    key, token = services.create_key(actor_in(person, "alice"), name="in both tables")
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS small CASCADE")
        cursor.execute("CREATE SCHEMA small")
        cursor.execute("CREATE TABLE small.apikeys_apikey (LIKE public.apikeys_apikey INCLUDING ALL)")
        cursor.execute("INSERT INTO small.apikeys_apikey SELECT * FROM public.apikeys_apikey LIMIT 999")
        cursor.execute(
            "INSERT INTO small.apikeys_apikey SELECT * FROM public.apikeys_apikey WHERE id = %s ON CONFLICT DO NOTHING",
            [key.pk],
        )
        cursor.execute("ANALYZE small.apikeys_apikey")
    small, large = (Request("/api/bench/ours", HTTP_AUTHORIZATION=f"Bearer {token}") for _ in range(2))
    small.schema = "small"
    return small, large


def list_of_1000() -> Request:
    """A person's request for the 1,000 keys of their workspace."""
    person = User.objects.filter(username="lister").first() or User.objects.create_user("lister")
    actor = actor_in(person, "lister")
    for n in range(1000 - ApiKey.objects.filter(workspace=actor.workspace).count()):
        services.create_key(actor, name=f"key {n}")
    session = SessionStore()
    session["_auth_user_id"] = str(person.pk)
    session["_auth_user_backend"] = "allauth.account.auth_backends.AuthenticationBackend"
    session["_auth_user_hash"] = person.get_session_auth_hash()
    session.save()
    return Request("/api/api-keys", HTTP_COOKIE=f"keyhouse_session={session.session_key}")


def fill_keys(count: int, actor: Any) -> None:
    """Bring the keys to `count`, all of them real: the start of the server looks whether they can be decrypted."""
    there = ApiKey.objects.count()
    if there >= count:
        return
    print("filling apikeys_apikey …", flush=True)
    ring, now = keyring(), timezone.now()
    columns = "id, workspace_id, creator_id, name, prefix, digest, ciphertext, encryption_key_id, created_at, "
    columns += "revoke_reason, refused_address"
    connection.ensure_connection()
    with (
        psycopg.Cursor(connection.connection) as cursor,
        cursor.copy(f"COPY apikeys_apikey ({columns}) FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.set_types("uuid uuid uuid text text bytea bytea text timestamptz text text".split())
        for _ in range(count - there):
            token = tokens.new_token()
            row_id, digest = uuid.uuid4(), tokens.digest(token)
            binding_ = binding(row_id, actor.workspace.pk, actor.user.pk, digest)
            key_id, blob = ring.encrypt(token, binding_)
            copy.write_row(
                (row_id, actor.workspace.pk, actor.user.pk, "bulk", token[:11], digest, blob, key_id, now, "", "")
            )


def fill(table: str, count: int, statement: str, params: list[Any]) -> None:
    """Bring a table to about `count` rows."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        there = cursor.fetchone()[0]
        if there < count:
            print(f"filling {table} …", flush=True)
            cursor.execute("SET session_replication_role = replica")  # no triggers, no foreign keys: it is a benchmark
            cursor.execute(statement, [*params, there, count])
            cursor.execute("SET session_replication_role = origin")


PEOPLE = """
INSERT INTO accounts_user (id, username, name, email, password, is_superuser, is_staff, is_active, date_joined)
SELECT md5('u' || n)::uuid, 'u' || lpad(n::text, 9, '0'), '', '', '!', false, false, true, now()
FROM generate_series(%s::bigint, %s::bigint) n ON CONFLICT DO NOTHING
"""
TOKENS = """
INSERT INTO authtoken_token (key, created, user_id)
SELECT left(encode(sha256(n::text::bytea), 'hex'), 40), now(), md5('u' || n)::uuid
FROM generate_series(%s::bigint, %s::bigint) n ON CONFLICT DO NOTHING
"""
KNOX = """
INSERT INTO knox_authtoken (digest, token_key, user_id, created, expiry)
SELECT encode(sha512(n::text::bytea), 'hex'), left(encode(sha256(('t' || n)::bytea), 'hex'), 15), md5('u' || n)::uuid,
    now(), NULL FROM generate_series(%s::bigint, %s::bigint) n ON CONFLICT DO NOTHING
"""
