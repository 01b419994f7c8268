"""The operator's side of teams: who gets into the admin, one workspace on a page, who had access when, the log."""

import csv
import html
import io
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.services import suspend_users
from apikeys import endpoints, leaks, tokens
from apikeys import services as keys
from apikeys.models import ApiKey
from tests.conftest import actor_of, make_key, make_user
from tests.training.stream import start
from tests.workspaces.crowd import fill
from workspaces import activity, invitations, members, services
from workspaces.access import Role
from workspaces.models import Activity, Membership, MembershipPeriod

WORKSPACES = "/admin/workspaces/workspace/"
ACTIVITY = "/admin/workspaces/activity/"
ACCESS = "/admin/apikeys/apikey/access/"


@pytest.fixture
def operator(db):
    return make_user("operator", is_staff=True, is_superuser=True)


# Who gets in. Where a GET ends for nobody, a member, staff without permissions, a superuser.
WHO = ("nobody", "member", "helper", "operator")
OPEN, NEVER = ("sign in", 403, 200, 200), ("sign in", 403, 403, 403)
SUPERUSER = ("sign in", 403, 403, 200)
# Of each model: its list, the page to add one, one row, its history, deleting it, and pages of its own.
MODELS = {
    "accounts/user": (SUPERUSER, SUPERUSER, SUPERUSER, SUPERUSER, NEVER, {"{id}/password/": SUPERUSER}),
    "account/emailaddress": (SUPERUSER, SUPERUSER, SUPERUSER, SUPERUSER, SUPERUSER, {}),
    "apikeys/apikey": (SUPERUSER, NEVER, SUPERUSER, SUPERUSER, NEVER, {"access/": SUPERUSER, "leaks/": SUPERUSER}),
    "apikeys/decoy": (SUPERUSER, NEVER, SUPERUSER, SUPERUSER, NEVER, {}),
    "apikeys/endpoint": (SUPERUSER, NEVER, SUPERUSER, SUPERUSER, NEVER, {}),
    "auth/group": (SUPERUSER, SUPERUSER, SUPERUSER, SUPERUSER, SUPERUSER, {}),
    "mfa/authenticator": (SUPERUSER, NEVER, SUPERUSER, SUPERUSER, SUPERUSER, {}),
    "training/project": (SUPERUSER, NEVER, SUPERUSER, SUPERUSER, NEVER, {}),
    "training/run": (SUPERUSER, NEVER, SUPERUSER, SUPERUSER, NEVER, {}),
    "usersessions/usersession": (SUPERUSER, NEVER, SUPERUSER, SUPERUSER, NEVER, {}),
    "workspaces/activity": (SUPERUSER, NEVER, SUPERUSER, SUPERUSER, NEVER, {}),
    "workspaces/invitation": (SUPERUSER, NEVER, SUPERUSER, SUPERUSER, NEVER, {}),
    "workspaces/membership": (SUPERUSER, NEVER, SUPERUSER, SUPERUSER, NEVER, {}),
    "workspaces/workspace": (SUPERUSER, NEVER, SUPERUSER, SUPERUSER, NEVER, {}),
}
ROWS = {"": OPEN, "password_change/": OPEN, "jsi18n/": OPEN, "nonsense/": ("sign in", 403, 404, 404)} | {
    f"{app}/": ("sign in", 403, 404, 200) for app in sorted({name.split("/")[0] for name in MODELS})
}
for name, (*common, own) in MODELS.items():
    paths = ("", "add/", "{id}/change/", "{id}/history/", "{id}/delete/")
    ROWS |= {f"{name}/{path}": row for path, row in (zip(paths, common, strict=True))}
    ROWS |= {f"{name}/{path}": row for path, row in own.items()}
CELLS = [(path, who, status) for path, row in ROWS.items() for who, status in zip(WHO, row, strict=True)]


@pytest.mark.parametrize(("path", "who", "status"), CELLS)
def test_each_page_of_the_admin_opens_for_whom_it_is_meant(browser, call, cast, operator, edda_key, path, who, status):
    person = {
        "nobody": None,
        "member": cast.olga,
        "helper": make_user("helper", is_staff=True),
        "operator": operator,
    }[who]
    if "{id}" in path:
        if path.startswith("training/"):
            start(call, edda_key)
        path = path.replace("{id}", str(a_row(path.split("/{id}")[0], cast, edda_key).pk))
    answer = browser(person).get(f"/admin/{path}", follow=True)
    signs_in = answer.redirect_chain and answer.redirect_chain[-1][0].startswith("/accounts/login/")
    assert ("sign in" if signs_in else answer.status_code) == status
    assert not tokens.contains_token(answer.content.decode())


def a_row(name, cast, key):
    from allauth.account.models import EmailAddress
    from allauth.mfa.models import Authenticator
    from allauth.usersessions.models import UserSession

    match name:
        case "accounts/user":
            return cast.edda
        case "account/emailaddress":
            return EmailAddress.objects.create(user=cast.edda, email="edda@example.org")
        case "apikeys/apikey":
            return key.row
        case "apikeys/decoy":
            return leaks.create_decoy(actor_of(cast.olga, cast.team), name="in the wiki")[0]
        case "apikeys/endpoint":
            address = {"upstream": "http://10.0.0.5:9000", "required_role": Role.VIEWER}
            return endpoints.create_endpoint(actor_of(cast.olga, cast.team), name="inference", **address)
        case "auth/group":
            return Group.objects.create(name="helpers")
        case "mfa/authenticator":
            return Authenticator.objects.create(user=cast.edda, type="totp", data={"secret": "SECRETSECRET"})
        case "training/project" | "training/run":
            return apps.get_model(*name.split("/")).objects.first()
        case "usersessions/usersession":
            return UserSession.objects.create(user=cast.edda, ip="192.0.2.1", session_key="x" * 32)
        case "workspaces/activity":
            return Activity.objects.first()
        case "workspaces/invitation":
            return invite(cast)
        case "workspaces/membership":
            return Membership.objects.first()
    return cast.team


def opened(page, path):
    """The text of a page and the statements that it took."""
    with CaptureQueriesContext(connection) as queries:
        answer = page.get(path)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split()), [query["sql"] for query in queries.captured_queries]


def invite(cast, email="new@example.org"):
    owner = actor_of(cast.olga, cast.team)
    return invitations.invite(owner, email=email, role=Role.VIEWER, only_this_address=False)[0]


def test_every_model_of_the_admin_is_in_the_table():
    assert {f"{m._meta.app_label}/{m._meta.model_name}" for m in admin.site._registry} == set(MODELS)


def test_an_operator_sees_no_secret_of_a_second_factor(browser, operator, cast, edda_key):
    row = a_row("mfa/authenticator", cast, edda_key)
    for path in ("", f"{row.pk}/change/", f"{row.pk}/delete/"):
        assert "SECRETSECRET" not in browser(operator).get(f"/admin/mfa/authenticator/{path}").content.decode()


# One workspace on a page


def test_the_page_of_a_workspace_shows_members_keys_invitations_and_activity(browser, operator, cast, edda_key):
    invite(cast)
    ended = make_key(actor_of(cast.olga, cast.team), "ended")
    keys.revoke_key(actor_of(cast.olga, cast.team), ended.row)
    Membership.objects.filter(workspace=cast.team, user=cast.vera).update(seen_at=timezone.now() - timedelta(hours=3))
    answer = browser(operator).get(f"{WORKSPACES}{cast.team.pk}/change/")
    page = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())
    for text in (
        "Members (4)",
        "olga Owner just now never",
        "vera Viewer just now 3 hours ago",
        "API keys (1 active of 2)",
        f"{edda_key[:11]}… edda's key edda just now never Active",
        f"{ended[:11]}… ended olga just now never Revoked just now",
        "new@example.org Viewer olga just now in",
        "just now olga key.revoked",
        "just now olga team.created acme",
    ):
        assert text in page, text
    for key in (edda_key, ended):
        assert str.__str__(key) not in answer.content.decode()
        assert key.row.digest.hex() not in answer.content.decode()


def test_the_page_of_500_members_and_1000_keys_takes_as_many_queries_as_that_of_few(browser, operator, cast, edda_key):
    page, path = browser(operator), f"{WORKSPACES}{cast.team.pk}/change/"
    invite(cast)
    page.get(path)
    _, few = opened(page, path)
    fill(cast.team, cast.edda, people=500, keys=1000, entries=1000)
    text, many = opened(page, path)
    assert len(many) == len(few) <= 20
    assert "Members (504)" in text
    assert "(1001 active of 1001)" in text
    assert not any("digest" in sql or "ciphertext" in sql for sql in many)
    links = [link for link in re.findall(r'href="([^"]+)"', text) if "workspace__id__exact" in link]
    assert len(links) == 3
    for link, at_least in zip(links, ("504 memberships", "1001 API keys", "1003 activity"), strict=True):
        assert at_least in opened(page, link)[0]


def test_each_part_of_the_page_needs_its_own_permission(browser, cast, edda_key):
    helper = make_user("helper", is_staff=True)
    path = f"{WORKSPACES}{cast.team.pk}/change/"
    for codename, heading in (
        ("view_workspace", "acme"),
        ("view_membership", "Members (4)"),
        ("view_apikey", edda_key[:11]),
        ("view_invitation", "Open invitations"),
        ("view_activity", "Recent activity"),
    ):
        assert heading not in browser(helper).get(path).content.decode()
        helper.user_permissions.add(Permission.objects.get(codename=codename))
        assert heading in browser(helper).get(path).content.decode()


# A team whose Owner is gone


def appoint(page, *memberships):
    chosen = [str(membership.pk) for membership in memberships]
    fields = {"action": "appoint", "_selected_action": chosen, "confirmed": "yes"}
    answer = page.send("POST", "/admin/workspaces/membership/", fields)
    return page.get(answer["Location"]).content.decode() if answer.status_code == 302 else answer.content.decode()


def roles_in(team):
    return dict(Membership.objects.filter(workspace=team).values_list("user__username", "role"))


def test_the_operator_gives_a_team_whose_owner_has_left_to_a_member(browser, operator, cast):
    suspend_users(operator, [cast.olga.pk], reason="left the company")
    edda = Membership.objects.get(workspace=cast.team, user=cast.edda)
    page = browser(operator)
    assert "Make Owner" in page.get(f"/admin/workspaces/membership/{edda.pk}/change/").content.decode()
    asked = page.send("POST", "/admin/workspaces/membership/", {"action": "appoint", "_selected_action": [edda.pk]})
    assert "edda in acme: Editor" in asked.content.decode()
    assert roles_in(cast.team)["edda"] == Role.EDITOR, "it was only asked"
    assert "Edda owns acme now." in appoint(page, edda)
    assert roles_in(cast.team) == {"olga": Role.ADMIN, "adam": Role.ADMIN, "edda": Role.OWNER, "vera": Role.VIEWER}
    [entry] = Activity.objects.filter(workspace=cast.team, kind="team.handed_over")
    assert (entry.user, entry.target_name, entry.details) == (operator, "edda", {"by": "operator"})
    members.change_role(actor_of(cast.edda, cast.team), cast.adam.pk, Role.VIEWER)  # an Owner's right


def test_nobody_is_made_owner_who_cannot_be(browser, operator, cast):
    suspend_users(operator, [cast.edda.pk])
    of = {m.user.username: m for m in Membership.objects.filter(workspace=cast.team).select_related("user")}
    personal, page = Membership.objects.get(user=cast.stan), browser(operator)
    for chosen, complaint in (
        ([of["olga"]], "They are the Owner already"),
        ([of["edda"]], "account is suspended"),
        ([personal], "A personal workspace cannot be handed over"),
        ([of["adam"], of["vera"]], "Choose one member"),
    ):
        assert complaint in html.unescape(appoint(page, *chosen))
    for membership in (of["olga"], of["edda"], personal):
        form = page.get(f"/admin/workspaces/membership/{membership.pk}/change/").content.decode()
        assert "Make Owner" not in form
    helper = make_user("helper", is_staff=True)
    helper.user_permissions.add(Permission.objects.get(codename="view_membership"))
    appoint(browser(helper), of["adam"])
    assert roles_in(cast.team) == {"olga": Role.OWNER, "adam": Role.ADMIN, "edda": Role.EDITOR, "vera": Role.VIEWER}
    assert not Activity.objects.filter(kind="team.handed_over").exists()


# Who had access to what


def ask(browser, operator, at, **question):
    return browser(operator).get(f"{ACCESS}?{urlencode({'at': at.isoformat()} | question)}")


def as_rows(answer):
    text = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def past(cast, edda_key):
    """A team with a past: moments, and what changed between them."""
    owner = actor_of(cast.olga, cast.team)
    moments = {"before": cast.team.created_at - timedelta(days=1), "at first": now()}
    late = make_key(owner, "late")
    members.change_role(owner, cast.vera.pk, Role.ADMIN)
    moments["vera is Admin"] = now()
    members.remove_member(owner, cast.edda.pk)
    keys.rotate_key(owner, late.row, grace="1h")
    moments["edda is gone"] = now()
    services.rename_team(owner, slug="acme-labs", name="Acme Labs")
    return moments


def now():
    with connection.cursor() as cursor:  # as the trigger on memberships and the keys take it
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
def test_who_had_access_at_each_moment_of_the_past(browser, operator, cast, past, edda_key):
    first = {("edda", "Editor"), ("olga", "Owner"), ("adam", "Admin"), ("vera", "Viewer")}
    expected = {
        "before": (set(), set()),
        "at first": (first, {"edda's key"}),
        "vera is Admin": (first - {("vera", "Viewer")} | {("vera", "Admin")}, {"edda's key", "late"}),
        "edda is gone": ({("olga", "Owner"), ("adam", "Admin"), ("vera", "Admin")}, {"late"}),
    }
    for name, moment in past.items():
        rows = as_rows(ask(browser, operator, moment, workspace="acme-labs", csv=1))
        people = {(row["person"], row["role"]) for row in rows if row["what"] == "member"}
        assert (people, {row["key name"] for row in rows if row["what"] == "key"}) == expected[name], name
        page = ask(browser, operator, moment, workspace="acme-labs").content.decode()
        assert ("vera" in page, edda_key[:11] in page) == (bool(people), "edda's key" in expected[name][1]), name
        assert not tokens.contains_token(page)


@pytest.mark.django_db(transaction=True)
def test_what_one_person_had_access_to(browser, operator, cast, past, edda_key, stan_key):
    type(cast.edda).objects.filter(pk=cast.edda.pk).update(email="Edda@example.org")
    for person in ("edda", "edda@EXAMPLE.org"):
        then = as_rows(ask(browser, operator, past["at first"], person=person, csv=1))
        assert [(row["what"], row["workspace"], row["person"], row["role"], row["key name"]) for row in then] == [
            ("member", "acme-labs", "edda", "Editor", ""),
            ("member", "edda", "edda", "Owner", ""),
            ("key", "acme-labs", "edda", "", "edda's key"),
        ]
    later = as_rows(ask(browser, operator, past["edda is gone"], person="edda", csv=1))
    assert [(row["what"], row["workspace"]) for row in later] == [("member", "edda")]
    assert as_rows(ask(browser, operator, past["edda is gone"], person="edda", workspace="acme-labs", csv=1)) == []


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        ({"at": "2026-01-01T00:00"}, "Name a workspace, a person, or both."),
        ({"at": "yesterday", "workspace": "acme"}, "Enter a valid date/time."),
        ({"at": "", "workspace": "acme"}, "This field is required."),
        ({"at": "9000-01-01T00:00", "workspace": "acme"}, "Choose a moment in the past."),
        ({"at": "9999-12-31T23:59:59-12:00", "workspace": "acme"}, "Choose a moment in the past."),
        ({"at": "2026-01-01T00:00", "workspace": "nowhere"}, "There is no workspace of this name."),
        ({"at": "2026-01-01T00:00", "person": "nobody-here"}, "There is nobody of this name or address."),
        ({"at": "2026-01-01T00:00", "workspace": "a\0b"}, "Null characters are not allowed."),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_beside_its_field(browser, operator, cast, question, complaint):
    answer = browser(operator).get(f"{ACCESS}?{urlencode(question)}")
    assert answer.status_code == 400
    assert complaint in answer.content.decode()
    assert browser(operator).get(f"{ACCESS}?at=0001-01-01T00:00&workspace=acme").status_code == 200


def test_the_question_takes_as_many_queries_for_500_members_and_1000_keys(browser, operator, cast, edda_key):
    path = f"{ACCESS}?{urlencode({'at': timezone.now().isoformat(), 'workspace': 'acme', 'person': ''})}"
    MembershipPeriod.objects.update(from_at=timezone.now() - timedelta(hours=1))
    page = browser(operator)
    page.get(path)
    _, few = opened(page, path)
    fill(cast.team, cast.edda, people=500, keys=1000)
    MembershipPeriod.objects.update(from_at=timezone.now() - timedelta(hours=1))
    ApiKey.objects.update(created_at=timezone.now() - timedelta(hours=1))
    text, many = opened(page, path)
    assert len(many) == len(few) <= 14
    assert text.count("These are the first 500; the file has all.") == 2
    assert len(as_rows(page.get(path + "&csv=1"))) == 504 + 1001
    assert not any("digest" in sql or "ciphertext" in sql for sql in many)


# The log


def test_nobody_adds_changes_or_deletes_an_entry(browser, operator, cast):
    entry = Activity.objects.get(kind="team.created")
    page = browser(operator)
    before = list(Activity.objects.order_by("pk").values())
    fields = {"kind": "x", "target_name": "x", "post": "yes", "workspace": cast.team.pk}
    for path in ("add/", f"{entry.pk}/change/", f"{entry.pk}/delete/"):
        assert page.send("POST", ACTIVITY + path, fields).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [entry.pk], "post": "yes"}
    page.send("POST", ACTIVITY, chosen)
    page.send("POST", f"{WORKSPACES}{cast.team.pk}/delete/", {"post": "yes"})
    page.send("POST", WORKSPACES, {"action": "delete_selected", "_selected_action": [cast.team.pk], "post": "yes"})
    assert list(Activity.objects.order_by("pk").values()) == before
    for change in (lambda: Activity.objects.all().delete(), lambda: Activity.objects.update(kind="x")):
        with pytest.raises(DatabaseError, match="only ever added to"), transaction.atomic():
            change()


def test_the_log_is_searched_and_filtered(browser, operator, cast, edda_key, stan_key):
    page = browser(operator)

    def found(**query):
        return re.findall(r'field-kind">([a-z_.-]+)<', page.get(f"{ACTIVITY}?{urlencode(query)}").content.decode())

    assert found() == ["member.signed_in", "key.created", "key.created", "team.created"]
    assert found(q="acme") == ["key.created", "team.created"]
    assert found(q="Stan") == ["key.created"]
    assert found(q=str(edda_key.id)) == ["key.created"]
    assert found(q="nothing") == []
    assert found(kind="team") == ["team.created"]
    assert found(kind="key.created") == ["key.created", "key.created"]
    assert found(workspace__id__exact=cast.team.pk, kind="team") == ["team.created"]


def test_the_calendar_of_the_log_is_every_day_from_the_first_entry_to_the_last(browser, operator, cast):
    rows = [
        Activity(workspace=cast.team, kind="key.created", target_name=f"{at:%Y-%m-%d}", at=at)
        for at in (datetime(2024, 12, 30, 23, 59, tzinfo=UTC), datetime(2026, 1, 1, 0, 30, tzinfo=UTC))
    ]
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('keyhouse.trims_activity', 'on', true)")
        Activity.objects.all().delete()
    Activity.objects.bulk_create(rows)
    page = browser(operator)

    def choices(**query):
        text = page.get(f"{ACTIVITY}?{urlencode(query)}").content.decode()
        listed = re.search(r'<nav class="toplinks">(.*?)</nav>', text, re.S)
        return [choice.strip() for choice in re.findall(r'">([\w ]+)</a>', listed[1])]

    assert choices() == ["2024", "2025", "2026"]
    assert choices(at__year=2024) == ["December 2024"]
    assert choices(at__year=2024, at__month=12) == ["December 30"]
    for query in ({"at__year": 9999}, {"at__year": 9999, "at__month": 12}, {"at__year": "x"}, {"at__year": 0}):
        assert page.get(f"{ACTIVITY}?{urlencode(query)}", follow=True).status_code == 200, query


def test_the_log_of_100_000_entries_opens_with_as_many_queries_as_a_short_one(browser, operator, cast):
    page = browser(operator)
    month = timezone.now() - timedelta(days=35)
    one_month = {"at__year": month.year, "at__month": month.month}
    pages = [ACTIVITY, f"{ACTIVITY}?q=acme", f"{ACTIVITY}?kind=key", f"{ACTIVITY}?{urlencode(one_month)}"]
    fill(cast.team, cast.edda, entries=100)  # over as many days
    page.get(ACTIVITY)
    few = {path: len(opened(page, path)[1]) for path in pages}
    fill(cast.team, cast.edda, entries=100_000)
    pages.append(f"{ACTIVITY}?_facets=True")  # Django's counts of each filter
    few[pages[-1]] = few[ACTIVITY]
    for path in pages:
        text, many = opened(page, path)
        assert len(many) == few[path]
        assert "10000 activity" in text
        assert "Choose a date above for older ones" in text
        assert not any(re.search(r"COUNT\(\*\)(?!.*LIMIT)|DISTINCT", sql) for sql in many)


# Retention


def age(entries, days):
    with transaction.atomic(), connection.cursor() as cursor:  # as only a superuser of the database could
        cursor.execute("ALTER TABLE workspaces_activity DISABLE TRIGGER activity_append_only")
        entries.update(at=timezone.now() - timedelta(days=days))
        cursor.execute("ALTER TABLE workspaces_activity ENABLE TRIGGER activity_append_only")


def run(command, *arguments):
    out = io.StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_old_entries_are_trimmed_in_batches_and_nothing_else(cast, edda_key):
    fill(cast.team, cast.edda, entries=25)
    age(Activity.objects.filter(target_name__startswith="bulk"), 40)
    recent = sorted(Activity.objects.exclude(target_name__startswith="bulk").values_list("pk", flat=True))
    with CaptureQueriesContext(connection) as queries:
        assert activity.trim(30, batch=10) == 25
    assert sum(query["sql"].startswith("DELETE") for query in queries) == 3
    assert sorted(Activity.objects.values_list("pk", flat=True)) == recent
    assert run("trim_activity", "--older-than-days", "30") == "activity entries older than 30 days: 0 deleted\n"
    with pytest.raises(DatabaseError, match="only ever added to"):
        Activity.objects.all().delete()  # the permission ended with the transaction


@pytest.mark.django_db(transaction=True)
def test_the_daily_clean_up_trims_only_where_a_retention_is_set(cast, settings):
    age(Activity.objects.all(), 400)
    run("clean_up")
    assert Activity.objects.exists()
    with pytest.raises(CommandError, match="ACTIVITY_RETENTION_DAYS"):
        run("trim_activity")
    settings.ACTIVITY_RETENTION_DAYS = 500
    assert "older than 500 days: 0 deleted" in run("clean_up")
    settings.ACTIVITY_RETENTION_DAYS = 365
    assert "older than 365 days: 1 deleted" in run("clean_up")
    assert not Activity.objects.exists()


@pytest.mark.parametrize("days", ["0", "-1", "36501"])
def test_a_retention_that_makes_no_sense_deletes_nothing(cast, days):
    with pytest.raises(CommandError, match="from 1 to 36500"):
        run("trim_activity", f"--older-than-days={days}")
    assert Activity.objects.exists()
