"""What happens at the same moment: real threads on PostgreSQL, each race in several new teams.

Whoever comes first, afterwards the invariants hold, and nobody has met a deadlock.
"""

import threading
import time
from types import SimpleNamespace

import pytest
from django.db import connection, transaction

from apikeys import services as keys
from apikeys.models import ApiKey
from config.errors import NotAllowed, ServiceError
from tests.conftest import CSRF, actor_of, make_key, make_user
from workspaces import invitations, members, services
from workspaces.access import Role
from workspaces.models import Activity, Invitation, Membership, MembershipPeriod
from workspaces.signals import team_ending

ROUNDS = 6
V, E, A, O = Role.VIEWER, Role.EDITOR, Role.ADMIN, Role.OWNER  # noqa: E741


def at_once(*acts):
    """Start all at the same moment; what each came to, `done` or the kind of an error of ours."""
    barrier, results = threading.Barrier(len(acts)), [None] * len(acts)

    def run(number, act):
        try:
            barrier.wait()
            act()
            results[number] = "done"
        except ServiceError as error:
            results[number] = type(error).__name__
        except Exception as error:
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def meanwhile(first, *others):
    """Do `first` and commit it only when all others, started after it, wait for it; what each of these came to."""
    results = []
    threads = [threading.Thread(target=lambda act=act: results.append((act, at_once(act)[0]))) for act in others]
    with transaction.atomic():
        first()
        for thread in threads:
            thread.start()
        wait_until_blocked(len(threads))
    for thread in threads:
        thread.join()
    assert len(results) == len(others)
    return [result for act in others for other, result in results if other is act]


def wait_until_blocked(number):
    """Until as many connections wait for a lock, or for ten seconds, whatever then comes of it."""
    for _ in range(200):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")  # or a transaction sees the same each time
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if cursor.fetchone()[0] >= number:
                return
        time.sleep(0.05)


@pytest.fixture
def in_new_teams(transactional_db):
    """Runs the decorated race in several new teams, one after the other, and looks at each afterwards."""
    people = {name: make_user(name) for name in ("olga", "adam", "edda", "vera", "stan")}

    def run(race):
        for number in range(ROUNDS):
            slug = f"race-{number}"
            workspace = services.create_team(actor_of(people["olga"]), slug=slug, name="Race")
            for name, role in {"adam": A, "edda": E, "vera": V}.items():
                Membership.objects.create(workspace=workspace, user=people[name], role=role)
            team = SimpleNamespace(workspace=workspace, slug=slug, **people)
            team.actor = lambda name, workspace=workspace: actor_of(people[name], workspace)
            team.key = make_key(team.actor("edda"), "edda's")
            race(team)
            assert_sound(workspace)

    return run


def assert_sound(team):
    """One Owner, or nobody at all; no active key of somebody who is no member, and none without its value."""
    team.refresh_from_db()
    roles = dict(Membership.objects.filter(workspace=team).values_list("user", "role"))
    assert list(roles.values()).count(O) == (team.deleted_at is None)
    assert roles == {} or team.deleted_at is None
    active = list(ApiKey.objects.active().filter(workspace=team))
    assert {key.creator_id for key in active} <= set(roles)
    assert [key for key in active if keys._value(key) is None] == []
    open_periods = MembershipPeriod.objects.filter(workspace=team, until_at=None)
    assert dict(open_periods.values_list("user", "role")) == roles


def invite(team, who="olga", role=E):
    return invitations.invite(team.actor(who), email="new@example.org", role=role, only_this_address=False)


# Members and roles


def test_of_two_handovers_at_once_one_happens(in_new_teams):
    @in_new_teams
    def race(team):
        results = at_once(
            *(
                lambda to=to: members.transfer_ownership(team.actor("olga"), to.pk, confirmation=team.slug)
                for to in (team.adam, team.edda)
            )
        )
        assert sorted(results) == ["NotAllowed", "done"]


def test_of_a_handover_and_the_operators_choice_at_once_one_owner_comes(in_new_teams):
    operator = make_user("operator")

    @in_new_teams
    def race(team):
        chosen = Membership.objects.get(workspace=team.workspace, user=team.edda)
        results = at_once(
            lambda: members.transfer_ownership(team.actor("olga"), team.adam.pk, confirmation=team.slug),
            lambda: members.appoint_owner(operator, chosen),
        )
        assert results in (["done", "done"], ["NotAllowed", "done"])
        assert Membership.objects.get(workspace=team.workspace, role=O).user in (team.edda, team.adam)


def test_two_owners_never_come_of_a_handover_beside_a_removal_and_a_demotion(in_new_teams):
    @in_new_teams
    def race(team):
        at_once(
            lambda: members.transfer_ownership(team.actor("olga"), team.adam.pk, confirmation=team.slug),
            lambda: members.remove_member(team.actor("adam"), team.adam.pk),
            lambda: members.change_role(team.actor("olga"), team.adam.pk, E),
        )


def test_of_two_removals_with_other_choices_one_happens(in_new_teams):
    @in_new_teams
    def race(team):
        results = at_once(
            lambda: members.remove_member(team.actor("olga"), team.edda.pk, handovers={team.key.id: team.adam.pk}),
            lambda: members.remove_member(team.actor("adam"), team.edda.pk),
            lambda: members.remove_member(team.actor("edda"), team.edda.pk),
        )
        assert results.count("done") == 1
        assert ApiKey.objects.get(pk=team.key.id).is_active() == (results[0] == "done")


# Keys of people whose rights end


def test_a_key_made_beside_a_removal_is_either_not_made_or_revoked(in_new_teams):
    @in_new_teams
    def race(team):
        maker = team.actor("edda")
        results = at_once(
            lambda: keys.create_key(maker, name="raced"),
            lambda: keys.rotate_key(maker, team.key.row),
            lambda: members.remove_member(team.actor("olga"), team.edda.pk),
        )
        assert results[2] == "done"
        assert not ApiKey.objects.active().filter(workspace=team.workspace, creator=team.edda).exists()


def test_a_change_beside_a_demotion_happens_before_it_or_not_at_all(in_new_teams):
    """What was begun as an Editor: each change is wholly done, or refused; afterwards nothing of the kind passes."""

    @in_new_teams
    def race(team):
        maker, mine = team.actor("edda"), ApiKey.objects.filter(workspace=team.workspace)
        results = at_once(
            lambda: keys.create_key(maker, name="raced"),
            lambda: keys.rotate_key(team.actor("edda"), team.key.row),
            lambda: members.change_role(team.actor("olga"), team.edda.pk, V),
        )
        assert results[2] == "done"
        assert mine.filter(name="raced").count() == (results[0] == "done")
        assert mine.filter(replaces=team.key.row).count() == (results[1] == "done")
        with pytest.raises(NotAllowed):
            keys.create_key(maker, name="too late")


def request(browser, statuses, method, path, body="", **headers):
    """Something to be done at once with others: a request over HTTP, to be answered with one of `statuses`."""

    def act():
        answer = browser.generic(method, path, body, content_type="application/json", **headers)
        assert answer.status_code in statuses, (answer.status_code, answer.content)

    return act


def test_a_demotion_during_requests_over_http_is_obeyed_by_the_next_one(in_new_teams, browser):
    """A session makes a key and a key rotates itself, beside the demotion of their person; then both are refused."""

    @in_new_teams
    def race(team):
        own, csrf = bearer(team.key), {"HTTP_X_CSRFTOKEN": CSRF}
        edda, olga = browser(team.edda), browser(team.olga)
        create = ("POST", f"/api/api-keys?workspace={team.slug}", '{"name": "raced"}')
        rotate = ("POST", "/api/api-keys/current/rotate", "{}")
        demote = ("PATCH", f"/api/members/{team.edda.pk}?workspace={team.slug}", '{"role": "viewer"}')
        at_once(
            request(edda, (201, 403), *create, **csrf),
            request(browser(), (200, 403), *rotate, **own),
            request(olga, (200,), *demote, **csrf),
        )
        request(edda, (403,), *create, **csrf)()
        request(browser(), (403,), *rotate, **own)()
        request(browser(), (200,), "GET", "/api/account/summary", **own)()


def bearer(key):
    return {"HTTP_AUTHORIZATION": f"Bearer {str.__str__(key)}"}


def test_a_rotation_beside_the_deletion_of_the_team_leaves_no_key(in_new_teams, browser):
    @in_new_teams
    def race(team):
        results = at_once(
            lambda: keys.rotate_key(team.actor("edda"), team.key.row),
            request(browser(), (200, 401, 403), "POST", "/api/api-keys/current/rotate", "{}", **bearer(team.key)),
            lambda: keys.create_key(team.actor("adam"), name="raced"),
            lambda: members.delete_team(team.actor("olga"), confirmation=team.slug),
        )
        assert results[3] == "done"
        assert not ApiKey.objects.active().filter(workspace=team.workspace).exists()


def test_a_key_handed_over_beside_the_takers_end_belongs_to_a_member_or_has_ended(in_new_teams):
    @in_new_teams
    def race(team):
        results = at_once(
            lambda: members.remove_member(team.actor("olga"), team.edda.pk, handovers={team.key.id: team.adam.pk}),
            lambda: members.remove_member(team.actor("olga"), team.adam.pk),
        )
        assert results[1] == "done"
        is_there = Membership.objects.filter(workspace=team.workspace, user=team.edda).exists()
        assert is_there == (results[0] == "Invalid")


def test_people_who_rotate_one_key_at_once_get_one_successor(in_new_teams):
    @in_new_teams
    def race(team):
        people = [lambda who=who: keys.rotate_key(team.actor(who), team.key.row) for who in ("edda", "adam", "olga")]
        assert at_once(*people) == ["done"] * 3
        assert ApiKey.objects.filter(replaces=team.key.row).count() == 1


def test_a_key_is_handed_over_or_rotated_or_revoked_and_is_whole_in_the_end(in_new_teams):
    @in_new_teams
    def race(team):
        handovers = {team.key.id: team.adam.pk}
        at_once(
            lambda: members.remove_member(team.actor("olga"), team.edda.pk, handovers=handovers),
            lambda: keys.rotate_key(team.actor("adam"), team.key.row, grace="now"),
            lambda: keys.revoke_key(team.actor("adam"), team.key.row),
        )
        assert not ApiKey.objects.get(pk=team.key.id).is_active()


def test_the_operator_revokes_keys_beside_the_deletion_of_their_team(in_new_teams):
    @in_new_teams
    def race(team):
        made = [make_key(team.actor(name)).id for name in ("edda", "adam", "olga") for _ in range(3)]
        results = at_once(
            lambda: keys.revoke_as_operator(None, made),
            lambda: members.delete_team(team.actor("olga"), confirmation=team.slug),
        )
        assert results == ["done", "done"]


def test_a_key_is_ended_by_whoever_comes_first_and_by_nobody_else(transactional_db, cast, edda_key):
    """Whoever waits for the first sees what it did: by person, by the operator and with the team."""
    results = meanwhile(
        lambda: keys.revoke_key(actor_of(cast.adam, cast.team), edda_key.row, reason="the first"),
        lambda: keys.revoke_as_operator(None, [edda_key.id]),
        lambda: keys.revoke_key(actor_of(cast.olga, cast.team), edda_key.row),
        lambda: members.delete_team(actor_of(cast.olga, cast.team), confirmation="acme"),
    )
    assert results == ["done"] * 3
    row = ApiKey.objects.get()
    assert (row.revoked_by, row.revoke_reason) == (cast.adam, "the first")
    assert [entry.user for entry in Activity.objects.filter(kind="key.revoked")] == [cast.adam]


# Invitations


def test_of_many_who_accept_one_invitation_at_once_one_gets_in(in_new_teams):
    @in_new_teams
    def race(team):
        people = [make_user(f"person-{n}-{team.slug}") for n in range(4)]
        _, token = invite(team)
        results = at_once(*(lambda p=p: invitations.accept(p, token) for p in people))
        assert sorted(results) == ["NotOpen"] * 3 + ["done"]
        assert Membership.objects.filter(workspace=team.workspace, user__in=people).count() == 1


def test_who_accepts_twice_at_once_is_a_member_once(in_new_teams):
    @in_new_teams
    def race(team):
        _, token = invite(team)
        results = at_once(*[lambda: invitations.accept(team.stan, token)] * 3)
        assert sorted(results) == ["NotOpen"] * 2 + ["done"]


def test_an_invitation_is_accepted_or_cancelled_or_renewed_without_a_deadlock(in_new_teams):
    """The same rows are locked by who is invited and by who has invited."""

    @in_new_teams
    def race(team):
        invitation, token = invite(team)
        results = at_once(
            lambda: invitations.accept(team.stan, token),
            lambda: invitations.cancel(team.actor("olga"), invitation.pk),
            lambda: invitations.resend(team.actor("olga"), invitation.pk),
        )
        invitation.refresh_from_db()
        has_joined = Membership.objects.filter(workspace=team.workspace, user=team.stan).exists()
        assert has_joined == (results[0] == "done") == (invitation.accepted_at is not None)
        assert (results[1] == "done") == (invitation.cancelled_at is not None)
        assert results.count("done") == 1 or results == ["NotOpen", "done", "done"]  # renewed, then cancelled


def test_an_invitation_that_is_cancelled_is_not_accepted_and_the_other_way_round(transactional_db, cast):
    """By somebody who did not send it: they and who accepts it meet at the invitation only."""
    olga, options = actor_of(cast.olga, cast.team), {"role": E, "only_this_address": False}
    one, token = invitations.invite(actor_of(cast.adam, cast.team), email="one@example.org", **options)
    other, other_token = invitations.invite(actor_of(cast.adam, cast.team), email="other@example.org", **options)
    results = meanwhile(
        lambda: invitations.cancel(olga, one.pk),
        lambda: invitations.accept(cast.stan, token),
        lambda: invitations.resend(actor_of(cast.adam, cast.team), one.pk),
    )
    assert results == ["NotOpen", "NotFound"]
    results = meanwhile(
        lambda: invitations.accept(cast.stan, other_token),
        lambda: invitations.cancel(olga, other.pk),
        lambda: invitations.resend(olga, other.pk),
    )
    assert results == ["NotFound"] * 2
    one.refresh_from_db()
    other.refresh_from_db()
    assert (one.accepted_at, other.cancelled_at) == (None, None)


def test_an_invitation_that_somebody_else_makes_theirs_outlives_its_sender(transactional_db, cast):
    options = {"email": "one@example.org", "role": E, "only_this_address": False}
    invitation, _ = invitations.invite(actor_of(cast.adam, cast.team), **options)
    results = meanwhile(
        lambda: invitations.resend(actor_of(cast.olga, cast.team), invitation.pk),
        lambda: members.remove_member(actor_of(cast.adam, cast.team), cast.adam.pk),
    )
    assert results == ["done"]
    invitation.refresh_from_db()
    assert (invitation.invited_by, invitation.cancelled_at) == (cast.olga, None)


def test_who_is_raised_meanwhile_does_not_use_up_an_invitation_to_less(transactional_db, cast):
    options = {"email": "vera@example.org", "only_this_address": False}
    invitation, token = invitations.invite(actor_of(cast.adam, cast.team), role=E, **options)
    results = meanwhile(
        lambda: members.change_role(actor_of(cast.olga, cast.team), cast.vera.pk, A),
        lambda: invitations.accept(cast.vera, token),
    )
    assert results == ["Conflict"]
    invitation.refresh_from_db()
    assert invitation.accepted_at is None


def test_of_two_who_invite_the_same_person_at_once_one_link_is_good(in_new_teams):
    @in_new_teams
    def race(team):
        assert at_once(lambda: invite(team), lambda: invite(team, "adam")) == ["done", "done"]
        assert Invitation.objects.open().filter(workspace=team.workspace).count() == 1


@pytest.mark.parametrize("fate", ["demoted", "removed"])
def test_an_invitation_beside_its_senders_end_lets_nobody_in_afterwards(in_new_teams, fate):
    @in_new_teams
    def race(team):
        sent, owner = [], team.actor("olga")
        end = {
            "demoted": lambda: members.change_role(owner, team.adam.pk, E),
            "removed": lambda: members.remove_member(owner, team.adam.pk),
        }
        results = at_once(lambda: sent.append(invite(team, "adam", V)), end[fate])
        assert results[1] == "done"
        assert bool(sent) == (results[0] == "done")
        for _, token in sent:
            with pytest.raises(invitations.NotOpen):
                invitations.accept(team.stan, token)


def test_who_joins_beside_the_demotion_of_the_sender_has_joined_before_it(in_new_teams):
    @in_new_teams
    def race(team):
        _, token = invite(team, "adam", V)
        results = at_once(
            lambda: invitations.accept(team.stan, token),
            lambda: members.change_role(team.actor("olga"), team.adam.pk, E),
        )
        assert Membership.objects.filter(workspace=team.workspace, user=team.stan).exists() == (results[0] == "done")


def test_who_joined_just_before_the_team_is_deleted_leaves_no_key_there(in_new_teams):
    """Not yet a member when the deletion locked the members, but one when it ends what they have made."""

    @in_new_teams
    def race(team):
        _, token = invite(team)
        threads, results = [], {}

        def start(name, act):
            threads.append(threading.Thread(target=lambda: results.update({name: at_once(act)})))
            threads[-1].start()

        def make_a_key(**kwargs):
            start("key", lambda: keys.create_key(team.actor("stan"), name="raced"))
            wait_until(lambda: "key" in results or somebody_waits())

        team_ending.connect(make_a_key)
        try:
            with transaction.atomic():
                invitations.accept(team.stan, token)
                start("team", lambda: members.delete_team(team.actor("olga"), confirmation=team.slug))
                wait_until(somebody_waits)
            while threads:
                threads.pop(0).join()
        finally:
            team_ending.disconnect(make_a_key)
        assert results == {"team": ["done"], "key": ["NotAllowed"]}


def somebody_waits():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0


def wait_until(is_so):
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
