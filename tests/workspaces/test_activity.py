"""The log: what is in it, how it is found again, and what looking for it costs in a log of 100,000 entries."""

import csv
import io
import json
import re
import uuid
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apikeys import services as keys
from apikeys.models import ApiKey
from tests.config.test_structure import ORDER, sources
from tests.conftest import PASSWORD, actor_of, make_key
from tests.workspaces.crowd import fill
from workspaces import activity, members, services
from workspaces.models import Activity, Membership

PAGE = "/settings?tab=activity&workspace=acme"


def page_of(browser, who, **query):
    return browser(who).get(f"{PAGE}&{urlencode(query)}")


def kinds_on(page):
    return re.findall(r'<span class="badge">([a-z_.]+)</span>', page.content.decode())


def exported(browser, who, **query):
    answer = browser(who).get(f"{PAGE}&{urlencode(query | {'format': 'csv'})}")
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


# Kinds


def test_every_kind_that_is_recorded_can_be_chosen(browser, cast):
    words = "|".join(activity.KINDS)
    written = {
        kind
        for app in ORDER
        for path in sources(app)
        if path.name not in ("serializers.py", "examples.py", "api.py")
        for kind in re.findall(rf'"((?:{words})\.[a-z_]+)"', path.read_text())
    }
    written -= {
        "project.name",
        "project.slug",
        "project.visibility",
        "workspace.pk",
        "workspace.slug",
        "workspace.name",
    }
    known = {f"{first}.{second}" for first, (_, seconds) in activity.KINDS.items() for second in seconds}
    assert written == known
    offered = set(re.findall(r'<option value="([a-z_.]+)"', page_of(browser, cast.olga).content.decode()))
    assert offered == known | set(activity.KINDS)


def test_a_kind_is_chosen_whole_or_with_all_of_its_family(browser, cast, edda_key):
    keys.revoke_key(actor_of(cast.olga, cast.team), edda_key.row)
    assert kinds_on(page_of(browser, cast.olga, kind="key")) == ["key.revoked", "key.created"]
    assert kinds_on(page_of(browser, cast.olga, kind="key.created")) == ["key.created"]
    assert kinds_on(page_of(browser, cast.olga, kind="key", person="Edda ")) == ["key.created"]
    assert kinds_on(page_of(browser, cast.olga, person="nobody-here")) == []


def test_a_day_is_chosen_from_its_first_to_its_last_second(browser, cast):
    day = timezone.now() - timedelta(days=3)
    times = {
        "before": day.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(microseconds=1),
        "first": day.replace(hour=0, minute=0, second=0, microsecond=0),
        "last": day.replace(hour=23, minute=59, second=59, microsecond=999_999),
        "after": day.replace(hour=23, minute=59, second=59, microsecond=999_999) + timedelta(microseconds=1),
    }
    for name, at in times.items():
        Activity.objects.create(workspace=cast.team, kind="key.created", target_name=name, at=at)
    found = exported(browser, cast.olga, since=f"{day:%Y-%m-%d}", until=f"{day:%Y-%m-%d}")
    assert [row["target"] for row in found] == ["last", "first"]
    assert {row["target"] for row in exported(browser, cast.olga, until=f"{day:%Y-%m-%d}")} == {
        "before",
        "first",
        "last",
    }


@pytest.mark.parametrize("query", [{"kind": "nonsense"}, {"since": "yesterday"}, {"until": "2026-13-01"}])
def test_a_filter_that_makes_no_sense_is_said_and_exports_nothing(browser, cast, query):
    assert page_of(browser, cast.olga, since="0001-01-01", until="9999-12-31").status_code == 200
    answer = page_of(browser, cast.olga, **query)
    assert answer.status_code == 400
    assert "errorlist" in answer.content.decode()
    assert page_of(browser, cast.olga, **query, format="csv").status_code == 400


def test_pages_of_the_log_follow_each_other_without_a_gap(browser, call, cast):
    at = timezone.now() - timedelta(days=1)
    for n in range(7):  # two at each moment, and the older moment under the higher id
        Activity.objects.create(
            workspace=cast.team, kind="key.created", target_name=str(n), at=at - timedelta(hours=n // 2)
        )
    shown, before = [], ""
    while before is not None:
        answer = call(cast.olga, f"GET /api/activity?kind=key&limit=2{before and f'&before={before}'}").json()
        shown += [entry["target"] for entry in answer["activity"]]
        before = answer["next"]
    assert shown == ["1", "0", "3", "2", "5", "4", "6"]
    foreign = Activity.objects.create(workspace=cast.stan.memberships.get().workspace, kind="key.created")
    for unknown in (foreign.pk, 10**17):
        assert call(cast.olga, f"GET /api/activity?before={unknown}").json() == {"activity": [], "next": None}
        assert kinds_on(page_of(browser, cast.olga, before=unknown)) == []


# What is in an entry


def test_the_entries_of_one_session_bear_its_name_and_those_of_another_do_not(browser, call, cast):
    cast.edda.set_password(PASSWORD)
    cast.edda.save()
    laptop, phone = browser(), browser()
    for one in (laptop, phone):
        assert one.send("POST", "/accounts/login/", {"login": "edda", "password": PASSWORD}).status_code == 302
    for one in (laptop, phone):
        fields = {"name": "a key", "key_id": str(uuid.uuid4())}
        assert one.send("POST", "/settings/api-keys/create?workspace=acme", fields).status_code == 302
    laptop.send("POST", "/settings/teams/create?workspace=edda", {"name": "New", "slug": "new-team"})

    entries = call(cast.olga, "GET /api/activity?person=edda").json()["activity"]
    by_phone, by_laptop, second, first = (entry["session"] for entry in entries if entry["kind"] != "key.shown")
    assert (by_laptop, by_phone) == (first, second)
    assert first != second
    assert re.fullmatch("[0-9a-f]{8}", first)
    assert Activity.objects.get(kind="team.created", workspace__slug="new-team").session == first
    for one in (laptop, phone):
        assert first not in one.cookies["keyhouse_session"].value
    assert f"browser session {first}<br>" in page_of(browser, cast.olga).content.decode()
    assert {row["session"] for row in exported(browser, cast.olga, person="edda")} == {first, second}


def test_a_key_names_no_session(call, cast, edda_key):
    call(edda_key, "POST /api/api-keys/current/rotate", {"grace": "manual"})
    assert Activity.objects.get(kind="key.rotated").session == ""


def test_each_key_that_goes_with_its_team_is_in_the_log(cast, edda_key):
    ended = make_key(actor_of(cast.olga, cast.team), "ended before")
    keys.revoke_key(actor_of(cast.olga, cast.team), ended.row)
    more = make_key(actor_of(cast.adam, cast.team), "more")
    members.delete_team(actor_of(cast.olga, cast.team), confirmation="acme")
    entries = Activity.objects.filter(workspace=cast.team, kind="key.revoked", details__reason="the team was deleted")
    assert {(e.target_id, e.user.username) for e in entries} == {(str(k.id), "olga") for k in (edda_key, more)}


@pytest.mark.django_db(transaction=True)
def test_a_key_that_ends_by_itself_after_its_rotation_is_in_the_log_once(browser, call, cast, edda_key):
    assert call(edda_key, "POST /api/api-keys/current/rotate", {"grace": "1h"}).status_code == 200
    end = timezone.now().replace(microsecond=250_000) - timedelta(minutes=5)
    ApiKey.objects.filter(pk=edda_key.id).update(revokes_at=end)
    assert keys.finish_due_revocations() == 1
    assert keys.finish_due_revocations() == 0
    [entry] = call(cast.olga, "GET /api/activity?kind=key.revoked").json()["activity"]
    assert (entry["targetId"], entry["person"], entry["via"]) == (str(edda_key.id), None, "server")
    assert entry["details"] == {"reason": "rotated", "ended_at": end.isoformat(timespec="seconds")}
    assert ">the server</td>" in page_of(browser, cast.olga, kind="key.revoked").content.decode()


def test_who_used_a_decoy_is_unknown_and_not_the_server(browser, call, cast):
    from apikeys import leaks

    _, token = leaks.create_decoy(actor_of(cast.olga, cast.team), name="in the wiki")
    call(token, "GET /api/account/summary", REMOTE_ADDR="192.0.2.9")
    page = page_of(browser, cast.olga, kind="decoy.used").content.decode()
    assert ">somebody unknown</td>" in page
    assert "192.0.2.9" in page
    assert "the server" not in page


def test_details_are_exported_as_json_and_no_cell_is_a_formula(browser, cast):
    name = "=HYPERLINK(1)"
    services.rename_team(actor_of(cast.olga, cast.team), slug="acme", name=name)
    Activity.objects.create(workspace=cast.team, kind="key.created", target_name="\n=1+1", client="@SUM(A1)")
    made, renamed = (exported(browser, cast.olga, kind=kind)[0] for kind in ("key", "team"))
    assert json.loads(renamed["details"]) == {"before": "acme", "after": "acme", "name": name}
    assert (made["target"], made["client"]) == ("'\n=1+1", "'@SUM(A1)")


# 500 members, 1,000 keys, 100,000 entries

LARGE = {"people": 500, "keys": 1000, "entries": 100_000}


def test_pages_of_a_large_team_take_as_many_statements_as_those_of_a_small_one(browser, call, cast, edda_key):
    olga = browser(cast.olga)
    day = f"{timezone.now() - timedelta(days=30):%Y-%m-%d}"
    places = [
        f"/settings{path}&workspace=acme"
        for path in (
            *("?tab=teams", "?tab=api-keys", "?tab=api-keys&q=bulk", "?tab=activity", "?tab=activity&person=edda"),
            *("?tab=activity&kind=key", f"?tab=activity&since={day}&until={day}"),
            f"/teams/members/{cast.edda.pk}/remove?",
            f"/teams/members/{cast.edda.pk}/role?",
            "/teams/delete?",
        )
    ]
    places += [f"/api/{name}?workspace=acme" for name in ("members", "activity", "teams")]
    places.append("/api/api-keys?workspace=acme&limit=50")

    def ask(place):
        with CaptureQueriesContext(connection) as queries:
            answer = olga.get(place)
        assert answer.status_code == 200, place
        return len(queries), answer.content.decode()

    fill(cast.team, cast.edda, people=1, keys=60, entries=60)
    for place in places:
        ask(place)  # what is written once an hour is written by now
    few = {place: ask(place)[0] for place in places}
    Membership.objects.filter(workspace=cast.team, user__username__startswith="person-").delete()
    type(cast.edda).objects.filter(username__startswith="person-").update(username="someone-else")
    ApiKey.objects.filter(workspace=cast.team, name__startswith="bulk").delete()
    fill(cast.team, cast.edda, **LARGE)
    many = {place: ask(place) for place in places}
    assert {place: number for place, (number, _) in many.items()} == few
    assert "Page 1 of 6, 504 members" in many[places[0]][1]
    assert "1001 keys" in many[places[1]][1]
    assert "All 1001 keys" in many[places[7]][1], "one question instead of half a million choices"
    assert max(len(text) for _, text in many.values()) < 1_000_000


def test_whatever_is_looked_for_in_a_long_log_few_rows_are_read(cast):
    """The time of a page is the rows that PostgreSQL reads for it: as many as it shows, and not the log."""
    activity.record(actor_of(cast.vera, cast.team), "team.renamed")
    fill(cast.team, cast.edda, entries=100_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE workspaces_activity")
    month = timezone.now() - timedelta(days=30)
    olga, vera = actor_of(cast.olga, cast.team), actor_of(cast.vera, cast.team)
    looks = {
        "all": activity.visible_to(olga),
        "one's own": activity.visible_to(vera),
        "somebody rare": activity.visible_to(olga, person="vera"),
        "somebody frequent": activity.visible_to(olga, person="edda"),
        "nobody": activity.visible_to(olga, person="nobody-here"),
        "a rare kind": activity.visible_to(olga, kind="team"),
        "a frequent kind": activity.visible_to(olga, kind="key"),
        "no such kind": activity.visible_to(olga, kind="invitation.sent"),
        "a day": activity.visible_to(olga, since=month, until=month + timedelta(days=1)),
        "before everything": activity.visible_to(olga, until=month - timedelta(days=365)),
        "somebody's kind": activity.visible_to(olga, person="vera", kind="team"),
        "a later page": activity.visible_to(olga, before=Activity.objects.latest("pk").pk - 50_000),
    }
    read = {what: rows_read(entries[:51]) for what, entries in looks.items()}
    assert {what: rows for what, rows in read.items() if rows > 60} == {}


def rows_read(entries):
    """How many rows of the log PostgreSQL has touched, those that it threw away included."""
    try:
        sql, parameters = entries.query.sql_with_params()
    except EmptyResultSet:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
        [[plan]] = cursor.fetchall()
    plan = json.loads(plan) if isinstance(plan, str) else plan

    def touched(node):
        own = 0
        if node.get("Relation Name") == "workspaces_activity":
            own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        return own + sum(touched(child) for child in node.get("Plans", ()))

    return touched(plan[0]["Plan"])
