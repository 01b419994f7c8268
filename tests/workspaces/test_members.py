"""Members and roles, invitations, handing over and deleting: the services, and what they refuse.

Races are in test_races.py.
"""

import contextlib
import itertools
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import transaction
from django.db.models.functions import Now
from django.db.utils import IntegrityError
from django.utils import timezone

from apikeys import services as keys
from apikeys.models import ApiKey
from config.errors import Conflict, Invalid, NotAllowed, NotFound, ServiceError
from tests.conftest import actor_of, assert_error, make_key, make_user, member
from workspaces import invitations, members, services
from workspaces.access import Right, Role
from workspaces.links import Link, link_of
from workspaces.models import Activity, Invitation, Membership, MembershipPeriod

SUMMARY = "GET /api/account/summary"
V, E, A, O = Role.VIEWER, Role.EDITOR, Role.ADMIN, Role.OWNER  # noqa: E741


def role_of(team, user):
    return Membership.objects.filter(workspace=team, user=user).values_list("role", flat=True).first()


# Who may change whom: (actor, target, new role) -> allowed
CHANGES = [
    (who, whom, to, allowed)
    for who, table in {
        "vera": {},
        "edda": {},
        "adam": {("vera", E): True, ("edda", V): True},
        "olga": {
            ("vera", E): True,
            ("edda", V): True,
            ("vera", A): True,
            ("edda", A): True,
            ("adam", V): True,
            ("adam", E): True,
        },
    }.items()
    for whom in ("vera", "edda", "adam", "olga")
    for to in (V, E, A, O)
    for allowed in [table.get((whom, to), False)]
]


@pytest.mark.parametrize(("who", "whom", "to", "allowed"), CHANGES)
def test_roles_are_changed_by_those_who_may(cast, who, whom, to, allowed):
    actor, member = actor_of(getattr(cast, who), cast.team), getattr(cast, whom)
    before = role_of(cast.team, member)
    try:
        members.change_role(actor, member.pk, to)
        done = role_of(cast.team, member) != before
    except ServiceError:
        done = False
    assert done == allowed
    if not allowed:
        assert role_of(cast.team, member) == before


def test_the_owners_role_is_handed_over_and_never_changed(cast):
    for who, whom, role in (("olga", "olga", A), ("adam", "olga", E), ("adam", "vera", O), ("olga", "adam", O)):
        with pytest.raises(Conflict, match="hand the team over"):
            members.change_role(actor_of(getattr(cast, who), cast.team), getattr(cast, whom).pk, role)
    assert [role_of(cast.team, member) for member in (cast.vera, cast.adam, cast.olga)] == [V, A, O]


def test_an_admin_has_no_power_over_another_admin(cast):
    alma = make_user("alma")
    Membership.objects.create(workspace=cast.team, user=alma, role=A)
    adam = actor_of(cast.adam, cast.team)
    for act in (lambda: members.change_role(adam, alma.pk, V), lambda: members.remove_member(adam, alma.pk)):
        with pytest.raises(NotAllowed):
            act()
    assert role_of(cast.team, alma) == A


def test_the_log_says_who_became_what_and_who_left_or_was_removed(cast):
    olga = actor_of(cast.olga, cast.team)
    members.change_role(olga, cast.vera.pk, E)
    members.change_role(olga, cast.vera.pk, E)
    members.remove_member(olga, cast.vera.pk)
    members.remove_member(actor_of(cast.edda, cast.team), cast.edda.pk)
    members.transfer_ownership(olga, cast.adam.pk, confirmation="acme")
    entries = Activity.objects.filter(workspace=cast.team).exclude(kind="team.created").order_by("pk")
    assert [(entry.user.username, entry.kind, entry.target_name, entry.details) for entry in entries] == [
        ("olga", "member.role_changed", "vera", {"before": "Viewer", "after": "Editor"}),
        ("olga", "member.removed", "vera", {"role": "Editor"}),
        ("edda", "member.left", "edda", {"role": "Editor"}),
        ("olga", "team.handed_over", "adam", {}),
    ]


def test_a_demoted_creators_key_reads_only_from_the_next_request_on(call, cast, edda_key):
    assert call(edda_key, "POST /api/api-keys/current/rotate", {"grace": "manual"}).status_code == 200
    members.change_role(actor_of(cast.adam, cast.team), cast.edda.pk, V)
    assert call(edda_key, SUMMARY).status_code == 200
    assert_error(call(edda_key, "POST /api/api-keys/current/rotate", {}), 403)


REMOVALS = {
    ("vera", "vera"): True,
    ("edda", "edda"): True,
    ("adam", "adam"): True,
    ("adam", "vera"): True,
    ("adam", "edda"): True,
    ("olga", "vera"): True,
    ("olga", "edda"): True,
    ("olga", "adam"): True,
}


@pytest.mark.parametrize("who", ["vera", "edda", "adam", "olga"])
@pytest.mark.parametrize("whom", ["vera", "edda", "adam", "olga"])
def test_members_are_removed_by_those_who_may(cast, who, whom):
    actor, member = actor_of(getattr(cast, who), cast.team), getattr(cast, whom)
    with contextlib.suppress(ServiceError):
        members.remove_member(actor, member.pk)
    assert (role_of(cast.team, member) is None) == REMOVALS.get((who, whom), False)


def test_a_stranger_is_no_member(cast):
    with pytest.raises(NotFound):
        members.remove_member(actor_of(cast.olga, cast.team), cast.stan.pk)
    with pytest.raises(NotFound):
        members.change_role(actor_of(cast.olga, cast.team), cast.stan.pk, E)


def test_a_member_who_leaves_takes_their_keys_along_and_coming_back_revives_none(call, cast, edda_key):
    members.remove_member(actor_of(cast.adam, cast.team), cast.edda.pk)
    assert_error(call(edda_key, SUMMARY), 401, "Invalid API key")
    row = ApiKey.objects.get(pk=edda_key.id)
    assert (row.revoke_reason, bytes(row.ciphertext)) == ("its creator left the team", b"")
    Membership.objects.create(workspace=cast.team, user=cast.edda, role=E)
    assert_error(call(edda_key, SUMMARY), 401)


def test_a_key_can_be_handed_over_and_goes_on_with_the_same_value(call, cast, edda_key, settings):
    other = make_key(actor_of(cast.edda, cast.team), "not handed over")
    settings.API_KEY_ENCRYPTION_KEYS = "newer:" + "A" * 43 + "=," + settings.API_KEY_ENCRYPTION_KEYS
    members.remove_member(actor_of(cast.adam, cast.team), cast.edda.pk, handovers={edda_key.id: cast.olga.pk})
    assert call(edda_key, SUMMARY).json()["username"] == "acme"
    assert_error(call(other, SUMMARY), 401)
    row = ApiKey.objects.get(pk=edda_key.id)
    assert (row.creator, row.encryption_key_id) == (cast.olga, "newer")
    assert keys.reveal(actor_of(cast.adam, cast.team), row) == edda_key
    entry = Activity.objects.get(kind="key.handed_over", target_id=str(row.pk))
    assert entry.details == {"before": str(cast.edda.pk), "after": "olga"}


def test_a_key_that_cannot_be_decrypted_is_revoked_instead_of_handed_over(cast, edda_key, stan_key):
    ApiKey.objects.filter(pk=edda_key.id).update(encryption_key_id="nowhere")
    members.remove_member(actor_of(cast.adam, cast.team), cast.edda.pk, handovers={edda_key.id: cast.olga.pk})
    row = ApiKey.objects.get(pk=edda_key.id)
    assert row.revoked_at is not None
    assert (row.creator, row.revoke_reason) == (cast.edda, "could not be handed over")


def test_only_a_live_key_of_the_workspace_is_handed_over(cast, edda_key, stan_key):
    actor = actor_of(cast.adam, cast.team)
    due, *live = (make_key(actor_of(cast.edda, cast.team)) for _ in range(5))
    keys.revoke_key(actor, edda_key.row)
    ApiKey.objects.filter(pk=due.id).update(revokes_at=Now())
    for key in (edda_key, stan_key, due):
        keys.hand_over_key(actor, key.row, cast.olga)
    assert not ApiKey.objects.filter(creator=cast.olga).exists()
    assert not ApiKey.objects.filter(revoke_reason="could not be handed over").exists()
    for number, key in enumerate(live, start=1):
        keys.hand_over_key(actor, key.row, cast.olga)
        assert set(ApiKey.objects.filter(creator=cast.olga)) == {one.row for one in live[:number]}


@pytest.mark.django_db(transaction=True)
def test_handing_a_key_over_needs_no_transaction_around_it(cast, edda_key):
    keys.hand_over_key(actor_of(cast.adam, cast.team), edda_key.row, cast.olga)
    assert ApiKey.objects.get().creator == cast.olga


@pytest.mark.parametrize("taker", ["vera", "stan", "edda"])
def test_a_key_goes_only_to_another_editor_who_stays_or_nothing_happens(call, cast, edda_key, taker):
    with pytest.raises(Invalid):
        members.remove_member(
            actor_of(cast.adam, cast.team), cast.edda.pk, handovers={edda_key.id: getattr(cast, taker).pk}
        )
    assert role_of(cast.team, cast.edda) == E
    assert call(edda_key, SUMMARY).status_code == 200


def test_the_owner_cannot_hand_the_team_to_themselves_nor_to_somebody_suspended(cast):
    invite(cast, role=A)
    type(cast.vera).objects.filter(pk=cast.vera.pk).update(is_active=False)
    for taker, sentence in ((cast.olga, "the Owner already"), (cast.vera, "account is suspended")):
        with pytest.raises(Conflict, match=sentence):
            members.transfer_ownership(actor_of(cast.olga, cast.team), taker.pk, confirmation="acme")
    assert invitations.open_invitations(actor_of(cast.olga, cast.team)).count() == 1
    assert [role_of(cast.team, one) for one in (cast.olga, cast.vera)] == [O, V]


def test_who_has_left_meanwhile_is_not_made_owner(cast):
    membership = Membership.objects.get(workspace=cast.team, user=cast.edda)
    members.remove_member(actor_of(cast.edda, cast.team), cast.edda.pk)
    with pytest.raises(NotFound):
        members.appoint_owner(None, membership)


def test_the_operators_choice_of_an_owner_says_where_it_came_from(cast):
    membership = Membership.objects.get(workspace=cast.team, user=cast.edda)
    members.appoint_owner(cast.stan, membership, address="192.0.2.1", client="a browser")
    entry = Activity.objects.get(kind="team.handed_over")
    assert (entry.user, entry.address, entry.client) == (cast.stan, "192.0.2.1", "a browser")


def test_a_key_is_offered_to_other_editors_who_stay_the_owner_first(cast):
    gone, emil, dora = member(cast.team, "gone", A), member(cast.team, "emil", E), member(cast.team, "dora", E)
    type(gone).objects.filter(pk=gone.pk).update(is_active=False)
    actor, leaving = actor_of(cast.adam, cast.team), Membership.objects.get(workspace=cast.team, user=cast.edda)
    takers = [m.user for m in members.who_may_take_over(actor, leaving)]
    assert takers == [cast.olga, cast.adam, dora, emil]


def test_who_may_not_manage_keys_cannot_make_theirs_write_again_on_the_way_out(call, browser, cast, vera_key):
    """A Viewer's key only reads; under an Editor it would write, and the Viewer knows its value."""
    with pytest.raises(NotAllowed):
        members.remove_member(actor_of(cast.vera, cast.team), cast.vera.pk, handovers={vera_key.id: cast.olga.pk})
    path = f"/settings/teams/members/{cast.vera.pk}/remove?workspace=acme"
    page = browser(cast.vera).get(path).content.decode()
    assert vera_key[:11] in page
    assert "As a Viewer you cannot hand one over" in page
    assert "Hand over to" not in page
    assert browser(cast.vera).send("POST", path, {f"key-{vera_key.id}": str(cast.olga.pk)}).status_code == 400
    assert role_of(cast.team, cast.vera) == V
    members.remove_member(actor_of(cast.olga, cast.team), cast.vera.pk, handovers={vera_key.id: cast.olga.pk})
    assert call(vera_key, "POST /api/api-keys/current/rotate", {"grace": "manual"}).status_code == 200


def test_a_foreign_key_cannot_be_handed_over(cast, edda_key, stan_key):
    olgas = make_key(actor_of(cast.olga, cast.team))
    for key in (stan_key, olgas):
        with pytest.raises(Invalid):
            members.remove_member(actor_of(cast.adam, cast.team), cast.edda.pk, handovers={key.id: cast.adam.pk})
    assert role_of(cast.team, cast.edda) == E


def test_ownership_goes_to_a_member_and_the_former_owner_administers(cast):
    actor = actor_of(cast.olga, cast.team)
    for wrong in ("", "Acme", "acme "):
        for act in (
            lambda wrong=wrong: members.transfer_ownership(actor, cast.vera.pk, confirmation=wrong),
            lambda wrong=wrong: members.delete_team(actor, confirmation=wrong),
        ):
            with pytest.raises(Invalid) as refused:
                act()
            assert refused.value.details == {"confirmation": ["Type acme to confirm."]}
    stale = actor_of(cast.olga, cast.team)
    members.transfer_ownership(actor, cast.vera.pk, confirmation="acme")
    assert actor.role == A
    with pytest.raises(NotAllowed):
        members.delete_team(stale, confirmation="acme")
    assert (role_of(cast.team, cast.vera), role_of(cast.team, cast.olga)) == (O, A)
    with pytest.raises(NotAllowed):
        members.transfer_ownership(actor_of(cast.olga, cast.team), cast.edda.pk, confirmation="acme")


def test_a_personal_workspace_is_not_handed_over_left_or_deleted(cast):
    actor = actor_of(cast.olga)
    for act in (
        lambda: members.transfer_ownership(actor, cast.edda.pk, confirmation="olga"),
        lambda: members.delete_team(actor, confirmation="olga"),
        lambda: members.remove_member(actor, cast.olga.pk),
        lambda: invitations.invite(actor, email="x@example.org", role=V, only_this_address=False),
        lambda: services.rename_team(actor, slug="other", name="Other"),
    ):
        with pytest.raises(Conflict):
            act()


def test_deleting_a_team_stops_its_keys_and_keeps_its_log_and_its_name(call, cast, edda_key, stan_key):
    ended = make_key(actor_of(cast.edda, cast.team), "ended before")
    keys.revoke_key(actor_of(cast.edda, cast.team), ended.row, reason="was lost")
    members.delete_team(actor_of(cast.olga, cast.team), confirmation="acme")
    assert_error(call(edda_key, SUMMARY), 401)
    assert not Membership.objects.filter(workspace=cast.team).exists()
    assert Activity.objects.get(workspace=cast.team, kind="team.deleted").details == {"members": 4}
    row = ApiKey.objects.get(pk=edda_key.id)
    assert (bytes(row.ciphertext), row.revoked_by, row.revoke_reason) == (b"", cast.olga, "the team was deleted")
    assert ApiKey.objects.get(pk=ended.id).revoke_reason == "was lost"
    assert call(stan_key, SUMMARY).status_code == 200
    assert cast.stan.memberships.count() == 1
    with pytest.raises(Conflict):
        services.create_team(actor_of(cast.stan), slug="acme", name="Mine now")
    for who in ("vera", "edda", "adam", "stan"):
        with pytest.raises(NotFound):
            actor_of(getattr(cast, who), cast.team)


@pytest.mark.parametrize("who", ["vera", "edda", "adam"])
def test_only_the_owner_deletes_hands_over_and_renames(cast, who):
    actor = actor_of(getattr(cast, who), cast.team)
    for act in (
        lambda: members.delete_team(actor, confirmation="acme"),
        lambda: members.delete_team(actor, confirmation="not even the name"),
        lambda: members.transfer_ownership(actor, cast.edda.pk, confirmation="acme"),
        lambda: members.transfer_ownership(actor, cast.edda.pk, confirmation="not even the name"),
        lambda: services.rename_team(actor, slug="acme", name="Mine"),
    ):
        with pytest.raises(NotAllowed):
            act()


def test_a_renamed_team_keeps_its_old_name_taken(call, cast, edda_key):
    services.rename_team(actor_of(cast.olga, cast.team), slug="acme-labs", name="Acme Labs")
    assert call(edda_key, SUMMARY).json()["username"] == "acme-labs"
    with pytest.raises(Conflict):
        make_user("acme")
    for person in (cast.olga, cast.stan):
        with pytest.raises(Conflict):
            services.create_team(actor_of(person), slug="acme", name="Another")


def test_a_team_may_go_back_to_a_name_that_it_had_and_to_no_other(call, cast, edda_key):
    other = services.create_team(actor_of(cast.olga), slug="other-team", name="Other")
    for slug in ("acme-labs", "acme", "acme-labs"):
        services.rename_team(actor_of(cast.olga, cast.team), slug=slug, name="Acme")
        assert call(edda_key, SUMMARY).json()["username"] == slug
        cast.team.refresh_from_db()
    services.rename_team(actor_of(cast.olga, other), slug="new-name", name="Other")
    for slug in ("other-team", "new-name", "stan"):
        with pytest.raises(Conflict):
            services.rename_team(actor_of(cast.olga, cast.team), slug=slug, name="Acme")


@pytest.mark.parametrize(
    ("reason", "sentence"), [("unpaid", "This workspace is suspended: unpaid"), ("", "This workspace is suspended")]
)
def test_a_suspended_workspace_refuses_keys_and_restoring_brings_them_back(call, cast, edda_key, reason, sentence):
    services.suspend(None, cast.team, reason=reason)
    assert_error(call(edda_key, SUMMARY), 401)
    assert_error(call(cast.olga, "GET /api/members"), 403, sentence, "SUSPENDED")
    owner = actor_of(cast.olga, cast.team)
    assert [right for right in Right if owner.can(right)] == [Right.OWN_ACCOUNT]
    services.restore(None, cast.team)
    assert call(edda_key, SUMMARY).status_code == 200


# Invitations


@pytest.mark.parametrize("who", ["vera", "edda", "adam", "olga"])
@pytest.mark.parametrize("role", [V, E, A, O])
def test_admins_invite_viewers_and_editors_the_owner_also_admins(cast, who, role):
    allowed = role in {"adam": (V, E), "olga": (V, E, A)}.get(who, ())
    actor = actor_of(getattr(cast, who), cast.team)
    if allowed:
        invitation, token = invitations.invite(actor, email="New@Example.org ", role=role, only_this_address=False)
        assert (invitation.email, len(token) >= 40) == ("new@example.org", True)
        assert token.encode() not in bytes(invitation.token_digest)
    else:
        with pytest.raises(NotAllowed):
            invitations.invite(actor, email="new@example.org", role=role, only_this_address=False)
        assert not Invitation.objects.exists()


@pytest.mark.parametrize("email", ["", "nonsense", "a@b", "ul_" + "0" * 40 + "@example.org"])
def test_what_is_no_address_or_has_a_key_in_it_is_not_invited(cast, email):
    with pytest.raises(Invalid) as refused:
        invite(cast, email=email)
    assert set(refused.value.details) == {"email"}
    assert not Invitation.objects.exists()


def test_a_member_is_not_invited_again(cast):
    type(cast.edda).objects.filter(pk=cast.edda.pk).update(email="Edda@example.org")
    with pytest.raises(Conflict, match="a member already"):
        invite(cast, email="edda@Example.org")
    assert not Invitation.objects.exists()


def invite(cast, role=E, who="olga", **options):
    options = {"email": "new@example.org", "only_this_address": False} | options
    return invitations.invite(actor_of(getattr(cast, who), cast.team), role=role, **options)


def test_an_invitation_is_accepted_once(cast):
    _, token = invite(cast)
    actor = invitations.accept(cast.stan, token)
    assert (actor.role, role_of(cast.team, cast.stan)) == (E, E)
    newcomer = make_user("newcomer")
    with pytest.raises(Conflict, match="used already"):
        invitations.accept(newcomer, token)
    assert role_of(cast.team, newcomer) is None


def test_a_new_link_kills_the_old_one(cast):
    invitation, first = invite(cast)
    _, second = invitations.resend(actor_of(cast.olga, cast.team), invitation.pk)
    with pytest.raises(Conflict, match="A newer link was sent"):
        invitations.accept(cast.stan, first)
    with pytest.raises(NotFound):
        invitations.accept(cast.stan, second[:-1])
    invitations.accept(cast.stan, second)


def test_the_log_says_what_became_of_an_invitation_and_a_new_link_is_its_senders(cast):
    invitation, _ = invite(cast)
    Invitation.objects.update(expires_at=Now() + timedelta(minutes=1))
    again, token = invitations.resend(actor_of(cast.adam, cast.team), invitation.pk)
    assert again.expires_at - timezone.now() > timedelta(days=13, hours=23)
    assert (again.invited_by, again.token_digest) == (cast.adam, link_of(token).digest)
    invitations.accept(cast.stan, token, address="192.0.2.1", client="a browser", session="a1b2c3d4")
    other, _ = invite(cast, role=V, email="other@example.org")
    invitations.cancel(actor_of(cast.adam, cast.team), other.pk)
    entries = Activity.objects.filter(workspace=cast.team).exclude(kind="team.created").order_by("pk")
    assert [(entry.user.username, entry.kind, entry.target_id, entry.details) for entry in entries] == [
        ("olga", "invitation.sent", str(invitation.pk), {"role": "Editor"}),
        ("adam", "invitation.resent", str(invitation.pk), {}),
        ("stan", "member.joined", str(cast.stan.pk), {"role": "Editor", "email": "new@example.org"}),
        ("olga", "invitation.sent", str(other.pk), {"role": "Viewer"}),
        ("adam", "invitation.cancelled", str(other.pk), {}),
    ]
    joined = entries[2]
    assert (joined.address, joined.client, joined.session) == ("192.0.2.1", "a browser", "a1b2c3d4")


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("cancelled", "was cancelled"),
        ("late", "has expired"),
        ("demoted", "no longer invite"),
        ("left", "no longer invite"),
    ],
)
def test_an_invitation_that_is_not_open_says_why(cast, what, sentence):
    invitation, token = invite(cast, who="adam")
    owner = actor_of(cast.olga, cast.team)
    if what == "cancelled":
        invitations.cancel(owner, invitation.pk)
    elif what == "late":
        Invitation.objects.update(expires_at=Now() - timedelta(seconds=1))
    elif what == "demoted":
        members.change_role(owner, cast.adam.pk, E)
    else:
        members.remove_member(owner, cast.adam.pk)
    for act in (lambda: invitations.look_up(token), lambda: invitations.accept(cast.stan, token)):
        with pytest.raises(Conflict, match=sentence):
            act()
    assert role_of(cast.team, cast.stan) is None


def test_accepting_never_lowers_a_role_and_may_raise_it(cast):
    _, token = invite(cast, role=V)
    with pytest.raises(Conflict, match="You are in Acme already, as Editor"):
        invitations.accept(cast.edda, token)
    assert invitations.accept(cast.stan, token).role == V, "it stayed good for whom it was meant"
    _, token = invite(cast, role=A)
    assert invitations.accept(cast.edda, token).role == A
    assert role_of(cast.team, cast.edda) == A
    assert Activity.objects.filter(user=cast.edda, kind="member.joined").count() == 0, "she was in before"
    [entry] = Activity.objects.filter(user=cast.edda, kind="member.role_changed")
    assert entry.details == {"before": "Editor", "after": "Admin", "by": "invitation"}
    periods = MembershipPeriod.objects.filter(workspace=cast.team, user__in=[cast.edda, cast.stan])
    assert sorted(periods.values_list("user__username", "role")) == [("edda", E), ("edda", A), ("stan", V)]


ENDS = {
    "demoted": lambda cast, owner: members.change_role(owner, cast.adam.pk, E),
    "removed": lambda cast, owner: members.remove_member(owner, cast.adam.pk),
    "left": lambda cast, owner: members.remove_member(actor_of(cast.adam, cast.team), cast.adam.pk),
}


@pytest.mark.parametrize("how", ENDS)
def test_invitations_end_for_good_with_the_right_of_their_sender(call, cast, how):
    """They leave the list, the log says so, and who gets the right back does not get them back."""
    (dead, token), (open_one, _) = invite(cast, who="adam", role=V), invite(cast, email="other@example.org")
    owner = actor_of(cast.olga, cast.team)
    used, used_token = invite(cast, who="adam", role=V, email="used@example.org")
    invitations.accept(make_user("newcomer"), used_token)
    other = services.create_team(actor_of(cast.adam), slug="other", name="Other")
    elsewhere, _ = invitations.invite(
        actor_of(cast.adam, other), email="new@example.org", role=V, only_this_address=False
    )
    ENDS[how](cast, owner)
    assert [i["id"] for i in call(cast.olga, "GET /api/members").json()["invites"]] == [str(open_one.pk)]
    assert [i.pk for i in invitations.open_invitations(actor_of(cast.adam, other))] == [elsewhere.pk]
    used.refresh_from_db()
    assert used.cancelled_at is None
    [entry] = Activity.objects.filter(kind="invitation.cancelled")
    assert (entry.target_id, entry.details) == (str(dead.pk), {"reason": "its sender may no longer invite"})
    with pytest.raises(Conflict, match="may no longer invite"):
        invitations.accept(cast.stan, token)
    Membership.objects.update_or_create(workspace=cast.team, user=cast.adam, defaults={"role": A})
    with pytest.raises(Conflict, match="was cancelled"):
        invitations.accept(cast.stan, token)
    with pytest.raises(NotFound):
        invitations.resend(owner, dead.pk)


def test_a_former_owners_invitations_go_on_where_an_admin_could_send_them(cast):
    (_, for_admin), (_, for_editor) = invite(cast, role=A), invite(cast, email="other@example.org", role=E)
    members.transfer_ownership(actor_of(cast.olga, cast.team), cast.adam.pk, confirmation="acme")
    with pytest.raises(Conflict, match="may no longer invite"):
        invitations.accept(cast.stan, for_admin)
    assert set(Invitation.objects.exclude(cancelled_at=None).values_list("role", flat=True)) == {A}, "for good"
    members.change_role(actor_of(cast.adam, cast.team), cast.edda.pk, A)  # somebody else's role changes none of them
    assert invitations.accept(cast.stan, for_editor).role == E


def test_an_invitation_for_one_address_is_for_that_address(cast):
    _, token = invite(cast, only_this_address=True)
    with pytest.raises(NotAllowed, match=r"new@example\.org only"):
        invitations.accept(cast.stan, token)
    type(cast.stan).objects.filter(pk=cast.stan.pk).update(email="NEW@example.org")
    cast.stan.refresh_from_db()
    invitations.accept(cast.stan, token)


def test_one_invitation_is_used_and_the_others_stay_as_they_are(cast):
    (_, used), (late, late_token), (open_one, open_token) = (invite(cast, email=f"{n}@example.org") for n in range(3))
    Invitation.objects.filter(pk=late.pk).update(expires_at=Now())
    actor = invitations.accept(cast.stan, used)
    assert Membership.objects.get(workspace=cast.team, user=cast.stan).chosen_at is not None, "it is where they are now"
    assert actor.workspace == cast.team
    newcomer = make_user("newcomer")
    with pytest.raises(Conflict, match="has expired"):
        invitations.accept(newcomer, late_token)
    assert [i.pk for i in invitations.open_invitations(actor_of(cast.olga, cast.team))] == [open_one.pk]
    invitations.accept(newcomer, open_token)


def test_open_invitations_are_listed_newest_first_and_told_from_closed_and_invented_ones(cast):
    made = [invite(cast, email=f"{n}@example.org") for n in range(4)]
    invitations.cancel(actor_of(cast.olga, cast.team), made[1][0].pk)
    listed = invitations.open_invitations(actor_of(cast.olga, cast.team))
    assert [i.email for i in listed] == ["3@example.org", "2@example.org", "0@example.org"]
    links = [link_of(token) for _, token in made]
    assert invitations.open_addresses([Link(uuid4(), bytes(32)), *links]) == [
        "0@example.org",
        "2@example.org",
        "3@example.org",
    ]


def test_an_invitation_into_another_team_is_not_a_newer_one_into_this(cast):
    invitation, token = invite(cast)
    invitations.cancel(actor_of(cast.olga, cast.team), invitation.pk)
    other = services.create_team(actor_of(cast.stan), slug="other", name="Other")
    invitations.invite(actor_of(cast.stan, other), email=invitation.email, role=E, only_this_address=False)
    with pytest.raises(Conflict, match=r"was cancelled$"):
        invitations.look_up(token)


@pytest.mark.parametrize("act", [invitations.cancel, invitations.resend])
def test_an_invitation_for_an_admin_is_the_owners_alone(cast, act):
    invitation, _ = invite(cast, role=A)
    with pytest.raises(NotAllowed):
        act(actor_of(cast.adam, cast.team), invitation.pk)
    act(actor_of(cast.olga, cast.team), invitation.pk)


@pytest.mark.parametrize("act", [invitations.cancel, invitations.resend])
def test_who_was_an_admin_a_moment_ago_changes_no_invitation(cast, act):
    before, (invitation, _) = actor_of(cast.adam, cast.team), invite(cast)
    members.change_role(actor_of(cast.olga, cast.team), cast.adam.pk, E)
    with pytest.raises(NotAllowed):
        act(before, invitation.pk)


def test_inviting_again_replaces_the_open_invitation(cast):
    _, first = invite(cast)
    _, second = invite(cast, role=V)
    assert invitations.open_invitations(actor_of(cast.olga, cast.team)).count() == 1
    with pytest.raises(Conflict):
        invitations.accept(cast.stan, first)
    assert invitations.accept(cast.stan, second).role == V


# The log and the history


def test_the_log_can_be_neither_changed_nor_deleted(team):
    for act in (
        lambda: Activity.objects.update(kind="nothing"),
        lambda: Activity.objects.all().delete(),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            act()
    assert Activity.objects.filter(kind="team.created").exists()


def test_the_history_says_who_was_what_at_any_time(cast):
    owner = actor_of(cast.olga, cast.team)
    members.change_role(owner, cast.edda.pk, V)
    members.change_role(owner, cast.edda.pk, A)
    members.remove_member(owner, cast.edda.pk)
    periods = MembershipPeriod.objects.filter(workspace=cast.team, user=cast.edda).order_by("from_at")
    assert [p.role for p in periods] == [E, V, A]
    assert [a.until_at <= b.from_at for a, b in itertools.pairwise(periods)] == [True, True]
    assert periods[2].until_at is not None


def test_an_editor_takes_a_key_over_and_somebody_suspended_does_not(cast, edda_key):
    taker, adam = member(cast.team, "emil", Role.EDITOR), actor_of(cast.adam, cast.team)
    type(taker).objects.filter(pk=taker.pk).update(is_active=False)
    with pytest.raises(Invalid) as refused:
        members.remove_member(adam, cast.edda.pk, handovers={edda_key.id: taker.pk})
    assert "handOver" in refused.value.details
    assert ApiKey.objects.active().get(pk=edda_key.id).creator == cast.edda
    type(taker).objects.filter(pk=taker.pk).update(is_active=True)
    members.remove_member(adam, cast.edda.pk, handovers={edda_key.id: taker.pk})
    assert ApiKey.objects.active().get(pk=edda_key.id).creator == taker
