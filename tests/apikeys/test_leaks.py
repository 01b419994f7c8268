"""Keys that have got out: found in pasted text, reported by anybody, asked about by their hash; and decoys."""

import hashlib
import html
import os
import re
import subprocess
import tomllib
import uuid

import pytest
import yaml
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from apikeys import leak_admin, leaks, services, tokens
from apikeys.models import ApiKey, Decoy, LeakReport
from tests.conftest import CSRF, actor_of, assert_error, make_key, make_user
from tests.live import wait_for
from workspaces.models import Activity

pytestmark = pytest.mark.django_db
REVOKE = "POST /api/credentials/revoke"
SEARCH = "/admin/apikeys/apikey/leaks/"
UNKNOWN = "ul_" + "0" * 40


def value(key):
    return str.__str__(key)


@pytest.fixture
def operator(db):
    return make_user("operator", is_staff=True, is_superuser=True)


@pytest.fixture
def mails(settings):
    settings.HAS_EMAIL = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    mail.outbox = []
    return mail.outbox


# Text


@given(
    st.lists(st.sampled_from(["ul_", "a" * 40, "0123456789abcdef" * 3, "ul_" + "b" * 40, "\n", "ul", "é", " "])),
    st.data(),
)
def test_keys_are_found_however_the_text_is_cut_into_pieces(parts, data):
    text = "".join(parts)
    cut = leaks.Scanner()
    while text:
        size = data.draw(st.integers(1, max(1, len(text))))
        cut.feed(text[:size])
        text = text[size:]
    assert list(dict.fromkeys(tokens.FORMAT.findall("".join(parts)))) == list(cut.found)


def post(browser, operator, **data):
    return browser(operator).post(SEARCH, data | {"csrfmiddlewaretoken": CSRF})


def test_pasted_text_tells_which_keys_are_live_and_whose(browser, operator, cast, edda_key, stan_key):
    ended = make_key(actor_of(cast.edda, cast.team), "an old one")
    services.revoke_key(actor_of(cast.edda, cast.team), ended.row)
    decoy, hidden = leaks.create_decoy(actor_of(cast.edda, cast.team), name="backup disk")
    text = f"KEY={value(edda_key)}\n{{'k':'{value(stan_key)}'}} {value(ended)} {UNKNOWN} {hidden} ul_tooshort"
    page = post(browser, operator, text=text)
    assert page.status_code == 200
    states = {f.prefix: (f.is_live, f.key and f.key.workspace.slug, f.decoy) for f in page.context["findings"]}
    assert states == {
        edda_key[:11]: (True, "acme", None),
        stan_key[:11]: (True, "stan", None),
        ended[:11]: (False, "acme", None),
        UNKNOWN[:11]: (False, None, None),
        hidden[:11]: (False, None, decoy),
    }
    assert not tokens.contains_token(page.content.decode())
    assert ApiKey.objects.get(pk=edda_key.id).last_used_at is None


def test_a_file_of_any_size_is_searched_and_stored_nowhere(browser, operator, edda_key, settings, tmp_path):
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    # The key lies across the border of two chunks.
    content = b"x" * (64 * 1024 - 20) + value(edda_key).encode() + b"\xff\x00" * 3_000_000
    page = post(browser, operator, file=SimpleUploadedFile("dump.bin", content))
    assert [finding.prefix for finding in page.context["findings"]] == [edda_key[:11]]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "cp1252"])
def test_a_key_is_found_in_a_file_of_any_usual_encoding(browser, operator, edda_key, encoding):
    file = SimpleUploadedFile("log.txt", f"Schlüssel={value(edda_key)}\r\n".encode(encoding))
    assert [finding.prefix for finding in post(browser, operator, file=file).context["findings"]] == [edda_key[:11]]


def test_a_text_full_of_keys_costs_a_constant_number_of_statements(edda_key, django_assert_num_queries):
    many = [f"ul_{n:040x}" for n in range(9000)] + [value(edda_key)]
    with django_assert_num_queries(3):
        findings = leaks.examine(many)
    assert (len(findings), findings[0].key.pk, findings[0].is_live) == (9001, edda_key.id, True)


def test_as_many_keys_as_are_shown_are_revoked_at_once(browser, operator, edda_key):
    ids = [str(uuid.uuid4()) for _ in range(leak_admin.MAX_SHOWN - 1)] + [str(edda_key.id)]
    assert post(browser, operator, key=ids, reason="x", revoke="1").status_code == 302
    assert not ApiKey.objects.active().filter(pk=edda_key.id).exists()


def test_a_creators_keys_of_a_workspace_are_one_mail_and_none_has_a_value_in_it(
    cast, operator, edda_key, stan_key, mails, browser, django_capture_on_commit_callbacks
):
    for person in (cast.edda, cast.stan):
        type(person).objects.filter(pk=person.pk).update(email=f"{person.username}@example.org")
    second = make_key(actor_of(cast.edda, cast.team), "a second one")
    own = make_key(actor_of(cast.edda), "her own")
    keys = [edda_key, second, own, stan_key]
    reason = f"found beside {value(stan_key)}"
    with django_capture_on_commit_callbacks(execute=True):
        post(browser, operator, key=[str(key.id) for key in keys], reason=reason, revoke="1")
    told = {(m.to[0], m.subject.rpartition(" revoked")[0]) for m in mails}
    assert told == {
        ("edda@example.org", "2 API keys of acme were"),
        ("edda@example.org", "An API key of edda was"),
        ("stan@example.org", "An API key of stan was"),
    }
    assert len(mails) == 3
    assert all("found beside ul_" in m.body and not tokens.contains_token(m.body) for m in mails)
    [both] = [m.body for m in mails if "acme" in m.subject]
    assert "a second one" in both
    assert edda_key[:11] in both


def test_leaked_keys_are_revoked_with_the_reason_and_their_people_are_told(
    call, browser, operator, cast, edda_key, mails, django_capture_on_commit_callbacks
):
    type(cast.edda).objects.filter(pk=cast.edda.pk).update(email="edda@example.org")
    type(cast.olga).objects.filter(pk=cast.olga.pk).update(email="olga@example.org")
    data = {"key": [str(edda_key.id), "nonsense"], "reason": "in a public repository", "revoke": "1"}
    with django_capture_on_commit_callbacks(execute=True):
        assert post(browser, operator, **data).status_code == 302
    assert call(edda_key, "GET /api/account/summary").status_code == 401
    entry = Activity.objects.get(kind="key.revoked")
    assert entry.details["reason"] == "in a public repository"
    assert entry.user == operator
    assert sorted(m.to[0] for m in mails) == ["edda@example.org", "olga@example.org"]
    assert "in a public repository" in mails[0].body
    assert not tokens.contains_token(mails[0].subject + mails[0].body)


def test_the_form_is_for_operators_and_checks_for_forged_posts(browser, cast, operator, edda_key):
    assert browser().get(SEARCH).status_code == 302
    assert browser(cast.olga).get(SEARCH).status_code in (302, 403)
    helper = make_user("helper", is_staff=True)
    assert browser(helper).get(SEARCH).status_code == 403
    assert browser(operator).get(SEARCH).status_code == 200
    forged = browser(operator).post(SEARCH, {"key": [str(edda_key.id)], "revoke": "1"})
    assert forged.status_code == 403
    assert ApiKey.objects.active().filter(pk=edda_key.id).exists()


# Reports


@pytest.mark.django_db(transaction=True)
def test_anybody_can_report_keys_and_they_end(call, cast, edda_key, stan_key):
    decoy, hidden = leaks.create_decoy(actor_of(cast.edda, cast.team), name="backup disk")
    answer = call(None, REVOKE, {"credentials": [f"KEY='{value(edda_key)}'", UNKNOWN, "nonsense", hidden]})
    assert answer.status_code == 202
    wait_for(lambda: not ApiKey.objects.active().filter(pk=edda_key.id).exists(), 10)
    assert call(edda_key, "GET /api/account/summary").status_code == 401
    assert call(stan_key, "GET /api/account/summary").status_code == 200
    wait_for(lambda: not LeakReport.objects.exists(), 10)
    assert Activity.objects.get(kind="key.revoked").details["reason"] == "reported as leaked"
    assert Activity.objects.filter(kind="decoy.reported", target_id=str(decoy.pk)).exists()


def test_the_answer_is_the_same_for_known_and_unknown_and_takes_as_many_statements(
    call, edda_key, django_assert_num_queries
):
    answers = []
    for values in ([value(edda_key)], [UNKNOWN], ["nonsense"], [UNKNOWN] * 1000):
        with django_assert_num_queries(1):
            answers.append(call(None, REVOKE, {"credentials": values}))
    assert {(answer.status_code, answer.content) for answer in answers} == {(202, answers[0].content)}


def test_only_digests_are_kept_of_a_report(call, edda_key):
    call(None, REVOKE, {"credentials": [value(edda_key)]})
    with connection.cursor() as cursor:
        cursor.execute("SELECT t::text FROM apikeys_leakreport t")
        assert value(edda_key) not in cursor.fetchone()[0]


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        {"credentials": "x"},
        {"credentials": []},
        {"credentials": [1]},
        {"credentials": ["x"] * 1001},
        {"keys": []},
    ],
)
def test_a_report_that_is_none_is_refused(call, body):
    assert_error(call(None, REVOKE, body), 400, code="VALIDATION_ERROR")
    assert not LeakReport.objects.exists()


@pytest.mark.django_db
def test_reports_are_limited_per_address_and_not_by_who_signs_in(call, edda_key, settings):
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"report": (3, 60)}
    statuses = [
        call(who, REVOKE, {"credentials": [UNKNOWN]}).status_code for who in (None, edda_key, None, None, edda_key)
    ]
    assert statuses == [202, 202, 202, 429, 429]
    assert call(None, REVOKE, {"credentials": [UNKNOWN]}, REMOTE_ADDR="10.1.2.3").status_code == 202


def test_a_report_whose_process_died_is_seen_to_by_the_clean_up(edda_key):
    LeakReport.objects.create(digests=[tokens.digest(value(edda_key))], address="10.1.2.3")
    from apikeys import usage

    usage.clean_up()
    assert not ApiKey.objects.active().filter(pk=edda_key.id).exists()


# Hashes


def rest_of(key):
    digest = hashlib.sha256(value(key).encode()).hexdigest()
    return digest[:5], digest[5:]


def test_a_hook_learns_whether_a_key_is_live_by_five_digits_of_its_hash(call, cast, edda_key, stan_key):
    prefix, rest = rest_of(edda_key)
    asked = f"GET /api/leaks/range/{prefix}"
    for who in (edda_key, cast.edda, cast.olga):
        assert rest in call(who, asked).json()["suffixes"]
    for who in (stan_key, cast.stan):
        assert call(who, asked).json() == {"suffixes": []}
    assert call(edda_key, f"GET /api/leaks/range/{prefix.upper()}").json()["suffixes"] == [rest]
    services.revoke_key(actor_of(cast.edda, cast.team), edda_key.row)
    assert call(cast.edda, asked).json() == {"suffixes": []}


def test_a_person_learns_of_all_workspaces_where_they_edit_and_a_key_of_its_own(call, cast, edda_key):
    own = make_key(actor_of(cast.edda), "personal")
    prefix, rest = rest_of(own)
    assert rest in call(cast.edda, f"GET /api/leaks/range/{prefix}").json()["suffixes"]
    assert rest not in call(edda_key, f"GET /api/leaks/range/{prefix}").json()["suffixes"]


@pytest.mark.parametrize("prefix", ["0", "0000", "000000", "zzzzz", "%00%00%00%00%00", "..", "00-00"])
def test_what_is_no_prefix_is_404(call, edda_key, prefix):
    assert_error(call(edda_key, f"GET /api/leaks/range/{prefix}"), 404)


def test_viewers_and_strangers_learn_nothing(call, cast, vera_key):
    assert_error(call(cast.vera, "GET /api/leaks/range/00000"), 403)
    assert_error(call(vera_key, "GET /api/leaks/range/00000"), 403)
    assert_error(call(None, "GET /api/leaks/range/00000"), 401)


# Decoys


def test_a_decoy_never_works_and_its_use_raises_an_alarm(
    call, browser, cast, mails, django_capture_on_commit_callbacks, caplog
):
    type(cast.adam).objects.filter(pk=cast.adam.pk).update(email="adam@example.org")
    page = browser(cast.edda).send("POST", "/settings/api-keys/decoys?workspace=acme", {"name": "backup disk"})
    hidden = tokens.FORMAT.search(page.content.decode())[0]
    assert not tokens.contains_token(
        browser(cast.edda).get("/settings/api-keys/decoys?workspace=acme").content.decode()
    )
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(3):
            answer = call(hidden, "GET /api/account/summary", REMOTE_ADDR="10.6.6.6", HTTP_USER_AGENT="thief/1.0")
            assert_error(answer, 401, "Invalid API key")
    entry = Activity.objects.get(kind="decoy.used")
    assert (entry.address, entry.client) == ("10.6.6.6", "thief/1.0")
    assert [m.to[0] for m in mails] == ["adam@example.org"]
    assert "10.6.6.6" in mails[0].body
    assert any("ALARM" in record.getMessage() for record in caplog.records)
    page = browser(cast.edda).get("/settings/api-keys/decoys?workspace=acme").content.decode()
    assert "10.6.6.6" in page


def test_a_decoy_is_like_an_unknown_key_everywhere(cast, edda_key):
    _, hidden = leaks.create_decoy(actor_of(cast.edda, cast.team), name="x")
    for path in ("/api/auth/verify", "/api/account/summary"):
        answers = [Client().get(path, HTTP_AUTHORIZATION=f"Bearer {t}") for t in (hidden, UNKNOWN)]
        assert answers[0].content == answers[1].content
        assert dict(answers[0].headers) == dict(answers[1].headers)


def test_a_decoy_is_deleted_by_its_workspace_only(browser, cast):
    decoy, _ = leaks.create_decoy(actor_of(cast.edda, cast.team), name="x")
    path = f"/settings/api-keys/decoys/{decoy.pk}/delete"
    assert browser(cast.stan).send("POST", f"{path}?workspace=stan").status_code == 404
    assert browser(cast.vera).send("POST", f"{path}?workspace=acme").status_code == 403
    assert Decoy.objects.exists()
    assert browser(cast.edda).send("POST", f"{path}?workspace=acme").status_code == 302
    assert not Decoy.objects.exists()


def test_the_rules_for_repositories_find_keys_and_are_shown_to_editors(browser, cast, edda_key, tmp_path):
    page = browser(cast.edda).get("/settings/api-keys/leaks?workspace=acme").content.decode()
    shown = {n: html.unescape(c) for n, c in re.findall(r'<pre id="code-([\w-]+)"[^>]*>(.*?)</pre>', page, re.DOTALL)}
    [rule] = tomllib.loads(shown["gitleaks"])["rules"]
    [hook] = yaml.safe_load(shown["pre-commit"])["repos"][0]["hooks"]
    for pattern in (shown["pattern"], rule["regex"], hook["entry"]):
        assert re.findall(pattern, f"KEY={value(edda_key)}, ul_tooshort") == [value(edda_key)]
    assert all(word in value(edda_key) for word in rule["keywords"])
    assert (hook["language"], hook["types"]) == ("pygrep", ["text"])
    assert browser(cast.vera).get("/settings/api-keys/leaks?workspace=acme").status_code == 403


def test_the_script_tells_that_a_key_is_live_in_any_shell(server):
    page = server.sign_in().http.get("/settings/api-keys/leaks?workspace=operator").text
    script = html.unescape(re.search(r'<pre id="code-live"[^>]*>(.*?)</pre>', page, re.DOTALL)[1])
    key = server.new_key()

    def run(found):
        environment = os.environ | {"FOUND": found, "ULTRALYTICS_API_KEY": key}
        return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=30)

    assert run(key).stdout.strip() == "This key is live: revoke it"
    assert (run(UNKNOWN).stdout, run(UNKNOWN).stderr) == ("", "")
