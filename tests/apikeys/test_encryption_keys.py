"""Encryption keys in practice: where they come from, and their life from made to retired."""

import base64
import io
import os
import subprocess
import sys

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.management import CommandError, call_command
from django.db import connection

from apikeys.keyring import Keyring, Undecryptable, keyring
from apikeys.models import ApiKey
from apikeys.second_factors import Adapter
from config.startup import encryption_key_problems
from tests.live import ROOT

KEYS = {name: f"{name}:{base64.b64encode(bytes([n]) * 32).decode()}" for n, name in enumerate(("one", "two", "three"))}


def run(*arguments):
    out = io.StringIO()
    call_command("encryption_keys", *arguments, stdout=out)
    return out.getvalue().strip()


@pytest.fixture
def file(settings, tmp_path):
    path = tmp_path / "keys"
    path.write_text(KEYS["one"])
    path.chmod(0o600)
    settings.API_KEY_ENCRYPTION_KEYS_FILE = str(path)
    settings.API_KEY_ENCRYPTION_KEYS = KEYS["one"]

    def reread():
        settings.API_KEY_ENCRYPTION_KEYS = path.read_text().strip()
        return keyring().ids

    return path, reread


def test_a_key_that_is_made_can_be_used():
    made = run("make")
    assert len(Keyring.parse(made).ids) == 1
    assert Keyring.parse(run("make", "mine")).ids == ["mine"]
    assert run("make") != made
    with pytest.raises(CommandError):
        run("make", "not an id!")


def test_a_text_of_any_length_comes_back_and_what_is_no_blob_is_undecryptable():
    ring = Keyring.parse(KEYS["one"])
    for text in ("", "a", "ul_" + "0" * 40):
        key_id, blob = ring.encrypt(text, b"row")
        assert ring.decrypt(key_id, blob, b"row") == text
        for cut in range(len(blob)):
            with pytest.raises(Undecryptable):
                ring.decrypt(key_id, blob[:cut], b"row")
    nonce = bytes(12)
    foreign = b"\x01" + nonce + AESGCM(bytes(32)).encrypt(nonce, "Zoë".encode(), b"row")
    with pytest.raises(Undecryptable):
        ring.decrypt("one", foreign, b"row")


def test_check_warns_of_an_encryption_key_that_has_encrypted_much(edda_key, capsys, settings):
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if not cursor.fetchone()[0]:
            pytest.skip("the estimate can be set by a superuser of PostgreSQL only")

    def warning(rows):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE pg_class SET reltuples = %s WHERE relname = 'apikeys_apikey'", [rows])
        call_command("check", "--database", "default")
        return "has encrypted" in capsys.readouterr().err

    assert warning(2**31)
    assert not warning(2**31 - 2**8)


def test_a_key_goes_second_then_first_and_the_old_one_is_retired_only_when_it_holds_nothing(file, request):
    path, reread = file
    token = request.getfixturevalue("edda_key")
    run("add", "two")
    assert reread() == ["one", "two"]
    with pytest.raises(CommandError, match="already"):
        run("add", "two")
    run("promote", "two")
    assert reread() == ["two", "one"]
    with pytest.raises(CommandError, match="encrypts"):
        run("retire", "two")
    with pytest.raises(CommandError, match="1 API keys are encrypted with one"):
        run("retire", "one")
    assert "one" in run("list")
    call_command("rotate_encryption_key", stdout=io.StringIO())
    run("retire", "one")
    assert reread() == ["two"]
    assert path.stat().st_mode & 0o777 == 0o600
    call = request.getfixturevalue("call")
    assert call(token, "GET /api/account/summary").status_code == 200
    for step in ("promote", "retire"):
        with pytest.raises(CommandError, match="no key called"):
            run(step, "unknown")


def test_seeds_of_second_factors_are_stored_encrypted_and_move_with_the_api_keys(file, cast, settings):
    """A copy of the database gives nobody the codes of an app, nor the recovery codes that follow from their seed."""
    _, reread = file
    totp, recovery = TOTP.activate(cast.edda, "JBSWY3DPEHPK3PXP"), RecoveryCodes.activate(cast.edda)
    codes = recovery.get_unused_codes()
    old = Authenticator.objects.create(user=cast.vera, type="totp", data={"secret": "KRSXG5CTMVRXEZLU"})

    def stored():
        return {a.pk: a.data.get("secret") or a.data["seed"] for a in Authenticator.objects.all()}

    before = stored()
    assert before.pop(old.pk) == "KRSXG5CTMVRXEZLU", "as from before there was encryption"
    assert all(value.startswith("aes256gcm:one:") for value in before.values())
    assert len(set(before.values())) == 2
    assert "JBSWY3DPEHPK3PXP" not in str(before)
    assert "2 second factors" in run("list")
    assert "1 second factors are not encrypted yet" in run("list")

    run("add", "two")
    run("promote", "two")
    reread()
    with pytest.raises(CommandError, match="2 second factors are encrypted with one"):
        run("retire", "one")
    call_command("rotate_encryption_key", stdout=io.StringIO())
    assert all(value.startswith("aes256gcm:two:") for value in stored().values())
    with pytest.raises(CommandError, match="Nothing to do"):
        call_command("rotate_encryption_key", stdout=io.StringIO())
    run("retire", "one")
    assert reread() == ["two"]
    mfa = Adapter()
    seeds = {a.user.username: mfa.decrypt(a.data["secret"]) for a in Authenticator.objects.filter(type="totp")}
    assert seeds == {"edda": "JBSWY3DPEHPK3PXP", "vera": "KRSXG5CTMVRXEZLU"}
    again = RecoveryCodes(Authenticator.objects.get(type="recovery_codes"))
    assert again.get_unused_codes() == codes
    assert again.validate_code(codes[3])
    assert codes[3] not in RecoveryCodes.activate(cast.edda).get_unused_codes()
    assert totp.instance.pk in stored()

    settings.API_KEY_ENCRYPTION_KEYS = KEYS["three"]
    with pytest.raises(Undecryptable):
        mfa.decrypt(stored()[totp.instance.pk])
    assert "MISSING" in run("list")
    assert "second factors encrypted with the encryption key 'two'" in encryption_key_problems()[0]


def test_list_and_check_tell_what_each_holds_and_what_is_missing(file, edda_key, settings, capsys):
    settings.API_KEY_ENCRYPTION_KEYS = f"{KEYS['two']},{KEYS['one']}"
    lines = run("list").splitlines()
    assert lines[0].split()[:3] == ["two", "encrypts", "0"]
    assert lines[1].split()[:3] == ["one", "decrypts", "1"]
    call_command("check", "--database", "default")
    assert "The encryption key one holds 1 API keys and 0 second factors." in capsys.readouterr().err
    settings.API_KEY_ENCRYPTION_KEYS = KEYS["two"]
    assert "MISSING" in run("list")


def test_without_a_file_nothing_is_changed_and_retiring_only_looks(settings, edda_key):
    settings.API_KEY_ENCRYPTION_KEYS += "," + KEYS["three"]
    for step in ("add", "promote"):
        with pytest.raises(CommandError, match="not set"):
            run(step, "two")
    assert "take it out" in run("retire", "three")
    assert ApiKey.objects.active().count() == 1


def start(tmp_path, **variables):
    """What the settings say with these variables, in a process of its own."""
    code = "from django.conf import settings; print(settings.API_KEY_ENCRYPTION_KEYS)"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("API_KEY", "SECRET_KEY", "DJANGO"))}
    environment = clean | {"DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings"} | variables
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_keys_come_from_a_file_or_a_program(tmp_path):
    path = tmp_path / "keys"
    path.write_text(KEYS["one"] + "\n")
    path.chmod(0o600)
    assert start(tmp_path, API_KEY_ENCRYPTION_KEYS_FILE=str(path)).stdout.strip() == KEYS["one"]
    assert start(tmp_path, API_KEY_ENCRYPTION_KEYS_COMMAND=f"cat {path}").stdout.strip() == KEYS["one"]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"API_KEY_ENCRYPTION_KEYS_FILE": "/nonexistent"}, "cannot be read"),
        ({"API_KEY_ENCRYPTION_KEYS_FILE": "{open}"}, "chmod 600"),
        ({"API_KEY_ENCRYPTION_KEYS_COMMAND": "false"}, "gave no keys"),
        ({"API_KEY_ENCRYPTION_KEYS_COMMAND": "true"}, "gave no keys"),
        ({"API_KEY_ENCRYPTION_KEYS_COMMAND": "no-such-program"}, "could not be run"),
        ({"API_KEY_ENCRYPTION_KEYS_COMMAND": "'"}, "could not be run"),
        ({"API_KEY_ENCRYPTION_KEYS": KEYS["one"], "API_KEY_ENCRYPTION_KEYS_COMMAND": "true"}, "only one of them"),
    ],
)
def test_a_source_that_is_no_good_is_one_sentence_without_the_secret(tmp_path, variables, sentence):
    public = tmp_path / "open"
    public.write_text(KEYS["two"])
    public.chmod(0o644)
    done = start(tmp_path, **{name: value.format(open=public) for name, value in variables.items()})
    assert done.returncode != 0
    assert sentence in done.stderr.strip().splitlines()[-1]
    for secret in KEYS.values():
        assert secret.partition(":")[2] not in done.stderr
