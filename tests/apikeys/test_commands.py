"""Commands: what they print, what they leave, how they end."""

import io
import re
import signal
import subprocess
import sys

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apikeys import tokens
from apikeys.keyring import Keyring, keyring
from apikeys.models import ApiKey
from tests.conftest import actor_of, assert_error, make_key
from tests.live import ROOT, wait_for
from tests.security.hammer import Hammers
from workspaces.models import Activity

SUMMARY = "GET /api/account/summary"
OLD, NEW = "old:" + "A" * 43 + "=", "new:" + "B" * 43 + "="


def run(name, *arguments, text=""):
    """(standard output, standard error) of a command; CommandError means an exit status of 1."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        call_command(name, *arguments, stdout=out, stderr=err)
    except CommandError as error:
        error.printed = out.getvalue() + err.getvalue()
        raise
    finally:
        sys.stdin = before
    return out.getvalue(), err.getvalue()


def test_create_prints_the_value_and_nothing_else(call, olga):
    out, err = run("create_api_key", "--workspace", "olga", "--name", "ci")
    assert tokens.is_token(out.rstrip("\n"))
    assert "ci" in err
    assert out.strip() not in err
    assert call(out.strip(), SUMMARY).json()["username"] == "olga"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--workspace", "nowhere", "--name", "x"), "no workspace called 'nowhere'"),
        (("--workspace", "acme", "--name", " "), "Give the key a name"),
        (("--workspace", "acme", "--name", "x", "--creator", "stan"), "no member"),
        (("--workspace", "acme", "--name", "x", "--creator", "vera"), "Permission denied"),
    ],
)
def test_create_says_what_is_wrong_and_makes_nothing(cast, arguments, sentence):
    with pytest.raises(CommandError, match=sentence):
        run("create_api_key", *arguments)
    assert not ApiKey.objects.exists()


def test_create_refuses_a_creator_who_is_suspended(olga):
    type(olga).objects.update(is_active=False)
    with pytest.raises(CommandError, match="suspended"):
        run("create_api_key", "--workspace", "olga", "--name", "x")


def test_revoke_by_id(call, edda_key, stan_key):
    out, _ = run("revoke_api_key", str(edda_key.id), "--reason", "cleaning")
    assert "revoked" in out
    assert_error(call(edda_key, SUMMARY), 401)
    assert call(stan_key, SUMMARY).status_code == 200
    assert Activity.objects.get(kind="key.revoked").details["reason"] == "cleaning"


def test_revoke_by_value_finds_keys_in_any_text_and_repeats_none(call, edda_key, stan_key):
    text = f'curl -H "Authorization: Bearer {edda_key}"\n{stan_key},{stan_key} and ul_short'
    out, err = run("revoke_api_key", "--value", text=text)
    assert out.count("revoked") == 2
    assert not tokens.contains_token(out + err)
    for key in (edda_key, stan_key):
        assert_error(call(key, SUMMARY), 401)


@pytest.mark.parametrize("how", ["unknown id", "unknown value", "no value", "nothing", "both", "not an id", "revoked"])
def test_revoke_fails_when_it_did_nothing(edda, team, edda_key, how):
    if how == "revoked":
        run("revoke_api_key", str(edda_key.id))
    arguments, text = {
        "unknown id": ((str(team.pk),), ""),
        "unknown value": (("--value",), "ul_" + "0" * 40),
        "no value": (("--value",), "nothing here"),
        "nothing": ((), ""),
        "both": (("--value", str(edda_key.id)), str.__str__(edda_key)),
        "not an id": (("abc",), ""),
        "revoked": ((str(edda_key.id),), ""),
    }[how]
    with pytest.raises(CommandError):
        run("revoke_api_key", *arguments, text=text)


def test_a_value_as_an_argument_is_refused_without_repeating_it(edda_key):
    with pytest.raises(CommandError) as refused:
        run("revoke_api_key", str.__str__(edda_key))
    assert not tokens.contains_token(str(refused.value) + refused.value.printed)
    assert "standard input" in str(refused.value)


# The encryption key


@pytest.fixture
def old_keys(settings, edda, team):
    settings.API_KEY_ENCRYPTION_KEYS = OLD
    keys = [make_key(actor_of(edda, team), f"key {n}") for n in range(12)]
    settings.API_KEY_ENCRYPTION_KEYS = f"{NEW},{OLD}"
    return keys


def test_all_keys_are_encrypted_anew_and_go_on_working(call, settings, old_keys):
    assert call(old_keys[0], SUMMARY).status_code == 200
    out, _ = run("rotate_encryption_key", "--batch", "5")
    assert "12 keys" in out
    settings.API_KEY_ENCRYPTION_KEYS = NEW
    assert {call(key, SUMMARY).status_code for key in old_keys} == {200}


def test_nothing_to_do_is_said_and_is_a_failure(settings, old_keys):
    run("rotate_encryption_key")
    with pytest.raises(CommandError, match="Nothing to do"):
        run("rotate_encryption_key")


def test_it_can_be_stopped_and_continued(settings, old_keys):
    from apikeys import reencryption

    steps = reencryption.run(batch=4)
    next(steps)
    steps.close()
    assert reencryption.remaining() == 8
    run("rotate_encryption_key")
    assert reencryption.remaining() == 0


def test_each_batch_begins_where_the_last_one_ended(old_keys):
    """What is done already is not gone over again: with a million keys that would take longer with each batch."""
    from apikeys import reencryption

    with CaptureQueriesContext(connection) as seen:
        list(reencryption.run(batch=4))
    last = [query["sql"] for query in seen if "LIMIT 4" in query["sql"]][-1]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {last}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "apikey_encrypted_by" in plan
    assert re.search(r"Index Cond: \(\(\(encryption_key_id\)::text = 'old'::text\) AND \(id > ", plan), plan
    assert "Filter" not in plan


def test_a_key_that_is_revoked_meanwhile_stays_revoked(call, edda, team, old_keys, monkeypatch):
    from apikeys import services

    real = keyring().encrypt
    victim = old_keys[3]

    def encrypt(token, associated):
        if token == victim and ApiKey.objects.active().filter(pk=victim.id).exists():
            services.revoke_key(actor_of(edda, team), victim.row)
        return real(token, associated)

    monkeypatch.setattr(keyring(), "encrypt", encrypt)
    out, _ = run("rotate_encryption_key")
    assert "1 had changed meanwhile" in out
    row = ApiKey.objects.get(pk=victim.id)
    assert bytes(row.ciphertext) == b""
    assert_error(call(victim, SUMMARY), 401)


def test_a_row_that_cannot_be_decrypted_is_left_and_reported(old_keys):
    ApiKey.objects.filter(pk=old_keys[0].id).update(ciphertext=b"\x01" * 72)
    with pytest.raises(CommandError, match="1 keys could not be decrypted"):
        run("rotate_encryption_key", "--batch", "3")
    assert ApiKey.objects.filter(encryption_key_id="new").count() == 11


def test_beside_a_running_server_no_request_fails_and_ctrl_c_only_pauses_it(new_server):
    server = new_server(API_KEY_ENCRYPTION_KEYS=OLD, RATE_LIMIT_DEFAULT="unlimited")
    server.shell(
        "from apikeys import services; from workspaces.services import actor_in; from accounts.models import User\n"
        "a = actor_in(User.objects.get(), 'operator')\n"
        "for n in range(1000): services.create_key(a, name=str(n))"
    )
    token = server.new_key()
    victims = [server.new_key(f"victim {n}") for n in range(2)]
    server.stop()
    server.variables["API_KEY_ENCRYPTION_KEYS"] = f"{NEW},{OLD}"
    server.start()
    hammers = Hammers(server.url, token, processes=1)
    command = [sys.executable, "manage.py", "rotate_encryption_key", "--batch", "2"]
    address = f"postgres://postgres@/keyhouse?host={server.data_dir / 'pg'}"
    with psycopg.connect(address, autocommit=True) as database:

        def count(what):
            return database.execute(f"SELECT count(*) FROM apikeys_apikey WHERE {what}").fetchone()[0]

        # A row that somebody else holds: it cannot come to its end before it is stopped, however slow we are.
        with psycopg.connect(address) as other:
            last = other.execute("SELECT id FROM apikeys_apikey ORDER BY id DESC LIMIT 1 FOR UPDATE").fetchone()
            assert last
            first = subprocess.Popen(
                command, cwd=ROOT, env=server.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            wait_for(lambda: count("encryption_key_id = 'new'") >= 100 or first.poll() is not None, 60)
            first.send_signal(signal.SIGINT)
            _, said = first.communicate(timeout=60)
        assert first.returncode == 1, "stopped in the middle"
        assert "Start it again to go on" in said
        assert "Traceback" not in said
        assert 0 < count("encryption_key_id = 'new'") < 1003

        revoked = server.manage("revoke_api_key", "--value", text=" ".join(victims))
        assert revoked.stdout.count("revoked") == 2
        done = server.manage("rotate_encryption_key", "--batch", "50")
        assert done.stdout.startswith("Encrypted ")
        assert count("encryption_key_id = 'old' AND revoked_at IS NULL") == 0
        assert count("revoked_at IS NOT NULL AND ciphertext = ''") == 2
        again = server.manage("rotate_encryption_key", check=False)
        assert again.returncode == 1
        assert "Nothing to do" in again.stderr
    assert {status for _, _, status in hammers.requests()} == {200}
    server.stop()
    server.variables["API_KEY_ENCRYPTION_KEYS"] = NEW
    server.start()
    assert server.get(token).status_code == 200
    assert [server.get(victim).status_code for victim in victims] == [401, 401]


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        (("create_api_key", "--workspace", "operator", "--name", "ci"), "", 0),
        (("create_api_key", "--workspace", "nowhere", "--name", "ci"), "", 1),
        (("revoke_api_key", "ul_" + "0" * 40), "", 1),
        (("revoke_api_key", "--value"), "ul_" + "0" * 40, 1),
        (("rotate_encryption_key",), "", 1),
    ],
)
def test_as_a_program_it_ends_with_a_status_and_says_why_in_a_line(server, arguments, text, status):
    done = server.manage(*arguments, text=text, check=False)
    assert done.returncode == status
    if status:
        assert done.stdout == ""
        assert done.stderr.strip().splitlines()[-1].startswith("CommandError: ")
    else:
        assert tokens.is_token(done.stdout.removesuffix("\n")), "exactly the value"
        assert server.get(done.stdout.strip()).status_code == 200
    assert "Traceback" not in done.stderr
    assert not tokens.contains_token(done.stderr)


def test_checks_tell_of_an_encryption_key_that_lacks_or_is_wrong(settings, old_keys):
    from apikeys.checks import stored_keys_problem

    assert stored_keys_problem() is None
    settings.API_KEY_ENCRYPTION_KEYS = NEW
    assert "'old'" in stored_keys_problem()
    settings.API_KEY_ENCRYPTION_KEYS = "old:" + "C" * 43 + "="
    assert "does not open" in stored_keys_problem()


def test_encryption_keys_are_read_in_their_order_with_blanks_between_them():
    assert Keyring.parse(f"{NEW} ,\n {OLD}").ids == ["new", "old"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "entry 1 needs an id"),
        ("k1", "called k1 is not"),
        ("k1:", "called k1 is not"),
        (":AAAA", "entry 1 needs an id"),
        ("k1:short", "called k1 is not"),
        (f"{NEW},{NEW}", "entry 2 needs an id of its own"),
        ("k 1:" + "A" * 43 + "=", "entry 1 needs an id"),
        ("k" * 33 + ":" + "A" * 43 + "=", "entry 1 needs an id"),
        ("k1:" + "A" * 42, "called k1 is not"),
        ("k1:" + "!" * 44, "called k1 is not"),
        ("k1:" + "A" * 43 + "=!", "called k1 is not"),
    ],
)
def test_encryption_keys_that_are_none_are_refused_and_not_repeated(text, sentence):
    with pytest.raises(ImproperlyConfigured, match=sentence) as refused:
        Keyring.parse(text)
    assert "B" * 20 not in str(refused.value)
    assert "AAAA" not in str(refused.value)
