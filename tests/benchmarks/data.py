"""Databases full of keys: one for each number of rows, kept for the next run, and the credentials to use in them.

Person number n owns personal workspace number n and has one token of each rival; key number n belongs to one of
them. Everything follows from the numbers, so that a later run knows the credentials without having stored them.
"""

import hashlib
import time
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection, connections

from accounts.models import User
from apikeys import services, tokens
from apikeys.keyring import keyring
from apikeys.models import ApiKey
from workspaces.access import Role
from workspaces.models import Membership
from workspaces.services import actor_in, create_team

PEOPLE = 1_000_000  # at most so many; more keys than that are shared among them
USED = 1000  # different keys, evenly spread over the table, take turns in the requests

# Those that are dropped while filling and made again: keeping them up to date with each row takes longer.
INDEXES = """
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
    WHERE NOT indisunique AND indrelid::regclass::text ~ '^(accounts|workspaces|apikeys|authtoken|knox)_'
"""
# No triggers and no foreign keys while filling: the rows fit by construction.
FILL = """
SET session_replication_role = replica;
SET synchronous_commit = off;
INSERT INTO accounts_name (name) SELECT 'u' || n FROM generate_series(1000000001, 1000000000 + {people}) n;
INSERT INTO accounts_user (id, username, name, email, password, is_superuser, is_staff, is_active, date_joined)
    SELECT md5('user' || n)::uuid, 'u' || 1000000000 + n, 'Person ' || n, n || '@example.org', '!', false, false, true,
    now() FROM generate_series(1, {people}) n;
INSERT INTO workspaces_workspace (id, slug, name, is_personal, suspended_reason)
    SELECT md5('workspace' || n)::uuid, 'u' || 1000000000 + n, 'Person ' || n, true, ''
    FROM generate_series(1, {people}) n;
INSERT INTO workspaces_membership (workspace_id, user_id, role)
    SELECT md5('workspace' || n)::uuid, md5('user' || n)::uuid, 4 FROM generate_series(1, {people}) n;
INSERT INTO apikeys_apikey (id, workspace_id, creator_id, name, prefix, digest, ciphertext, encryption_key_id,
    revoke_reason, refused_address)
    SELECT md5('key' || n)::uuid, md5('workspace' || owner)::uuid, md5('user' || owner)::uuid, 'Key ' || n,
    left(token, 11), sha256(token::bytea),
    '\\x01'::bytea || sha512(token::bytea) || '\\x00010203040506'::bytea, '{encryption_key_id}', '', ''
    FROM (SELECT n, (n - 1) % {people} + 1 AS owner, 'ul_' || left(encode(sha256(('key' || n)::bytea), 'hex'), 40)
    AS token FROM generate_series(1, {keys}) n) numbered;
"""
FILL_RIVALS = """
SET session_replication_role = replica;
SET synchronous_commit = off;
INSERT INTO authtoken_token (key, created, user_id)
    SELECT left(encode(sha256(('token' || n)::bytea), 'hex'), 40), now(), md5('user' || n)::uuid
    FROM generate_series(1, {people}) n;
INSERT INTO knox_authtoken (digest, token_key, user_id, created, expiry)
    SELECT encode(sha512(token::bytea), 'hex'), left(token, 15), md5('user' || n)::uuid, now(),
    now() + interval '10 years'
    FROM (SELECT n, encode(sha256(('knox' || n)::bytea), 'hex') AS token FROM generate_series(1, {people}) n) numbered;
"""


class Database:
    """The database with `keys` rows of keys. `use` makes it the one that the product talks to."""

    def __init__(self, keys: int, *, rivals: bool):
        self.keys, self.people, self.rivals = keys, min(keys, PEOPLE), rivals
        self.name = f"keyhouse_{keys}{'_rivals' if rivals else ''}"
        self.connection = connections.create_connection("default")
        self.connection.settings_dict = self.connection.settings_dict | {"NAME": self.name}
        self.numbers = [1 + i * keys // min(USED, keys) for i in range(min(USED, keys))]

    def use(self) -> None:
        connections["default"] = self.connection

    def prepare(self) -> None:
        """Fill it, unless an earlier run has done so."""
        with connections.create_connection("default").cursor() as cursor:  # the server's first database
            cursor.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [self.name]
            )
            if cursor.fetchone() != ("complete",):
                cursor.execute(f"DROP DATABASE IF EXISTS {self.name}")
                cursor.execute(f"CREATE DATABASE {self.name}")
        self.use()
        call_command("migrate", verbosity=0)
        if not User.objects.exists():
            self._fill()
            with connection.cursor() as cursor:
                cursor.execute(f"COMMENT ON DATABASE {self.name} IS 'complete'")

    def _fill(self) -> None:
        print(f"Filling {self.name} …", end=" ", flush=True)
        begun = time.monotonic()
        numbers = {"people": self.people, "keys": self.keys, "encryption_key_id": keyring().current_id}
        with connection.cursor() as cursor:
            cursor.execute(INDEXES)
            indexes = cursor.fetchall()
            for name, _ in indexes:
                cursor.execute(f"DROP INDEX {name}")
            for script in (FILL, FILL_RIVALS) if self.rivals else (FILL,):
                cursor.execute(script.format(**numbers))
            cursor.execute("SET maintenance_work_mem = '256MB'")
            for _, definition in indexes:
                cursor.execute(definition)
            cursor.execute("RESET session_replication_role")
            self._encrypt()
            cursor.execute("VACUUM (ANALYZE, FREEZE)")
            cursor.execute("CHECKPOINT")
        print(f"{time.monotonic() - begun:.0f} s", flush=True)

    def _encrypt(self) -> None:
        """Give the keys that are used their real ciphertext, and the first one, which the start of the server tries."""
        values = {_id("key", number): key(number) for number in self.numbers}
        first = ApiKey.objects.order_by("pk").first()
        number = int(first.name.removeprefix("Key "))
        values[str(first.pk)] = key(number)
        rows = list(ApiKey.objects.filter(pk__in=values))
        assert len(rows) == len(values)
        for row in rows:
            row.encryption_key_id, row.ciphertext = keyring().encrypt(values[str(row.pk)], row.binding)
        ApiKey.objects.bulk_update(rows, ["encryption_key_id", "ciphertext"])

    def owner(self, number: int) -> int:
        return (number - 1) % self.people + 1

    def credentials(self, kind: str) -> list[str]:
        """An Authorization header for each of the keys or tokens that are used: of `key`, `token` or `knox`."""
        if kind == "key":
            return [f"Bearer {key(number)}" for number in self.numbers]
        length = 40 if kind == "token" else 64
        return [f"Token {_hex(kind, self.owner(number))[:length]}" for number in self.numbers]

    def session_with_keys(self, count: int) -> tuple[str, str]:
        """The cookie of an Editor in a team with `count` keys, and the team's name in addresses."""
        owner, editor = User.objects.order_by("pk")[:2]
        membership = Membership.objects.filter(user=editor, workspace__slug="the-team").first()
        if membership is None:
            team = create_team(actor_in(owner, owner.username), slug="the-team", name="The team")
            membership = Membership.objects.create(workspace=team, user=editor, role=Role.EDITOR)
        actor = actor_in(editor, "the-team")
        for number in range(ApiKey.objects.filter(workspace=actor.workspace).count(), count):
            services.create_key(actor, name=f"Key {number}")
        session = SessionStore()
        session[SESSION_KEY] = str(editor.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = editor.get_session_auth_hash()
        session.save()
        return f"{settings.SESSION_COOKIE_NAME}={session.session_key}", "the-team"


def key(number: int) -> str:
    token = "ul_" + _hex("key", number)[:40]
    assert tokens.is_token(token)
    return token


def _hex(kind: str, number: int) -> str:
    return hashlib.sha256(f"{kind}{number}".encode()).hexdigest()


def _id(kind: str, number: int) -> Any:
    from uuid import UUID

    return str(UUID(hashlib.md5(f"{kind}{number}".encode()).hexdigest()))
