"""From an invitation to the team: signed out, signed in, as somebody else, too late; by mail and without."""

import logging
import re
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.contrib.sessions.models import Session
from django.core import mail
from django.db.models.functions import Now

from accounts.models import User
from config.logs import RedactingFormatter
from config.redaction import redact
from tests.conftest import PASSWORD, actor_of, assert_error, make_user
from tests.live import WebSession, last_link
from workspaces import invitations, members
from workspaces.access import Role
from workspaces.models import Activity, Invitation, Membership

FIELDS = {"username": "newcomer", "email": "new@example.org", "password1": PASSWORD, "password2": PASSWORD}


def invite(cast, who="olga", role=Role.EDITOR, **options):
    """The invitation with the path of its link."""
    options = {"email": "new@example.org", "only_this_address": False} | options
    invitation, token = invitations.invite(actor_of(getattr(cast, who), cast.team), role=role, **options)
    return invitation, f"/invites/{token}"


def role_of(team, user):
    return Membership.objects.filter(workspace=team, user=user).values_list("role", flat=True).first()


def text_of(answer):
    return answer.content.decode()


def with_password(user):
    user.set_password(PASSWORD)
    user.save()
    return user


# Signed out


def test_a_visitor_sees_what_it_is_and_chooses_how_to_come_in(browser, cast):
    invitation, path = invite(cast)
    nobody = browser()
    opened = nobody.get(path)
    assert (opened.status_code, opened["Location"]) == (302, f"/invites/{invitation.pk}")
    page = text_of(nobody.get(opened["Location"]))
    for part in ("Join Acme?", "Olga (olga)", "new@example.org", "Editor", "/accounts/login/", "/accounts/signup/"):
        assert part in page
    assert "<form" not in page
    assert nobody.send("POST", opened["Location"]).status_code == 200
    assert Membership.objects.filter(workspace=cast.team).count() == 4, "nobody joined"


def test_who_signs_up_comes_back_accepts_and_is_in_the_team(browser, cast):
    invitation, path = invite(cast)
    someone = browser()
    here = someone.get(path)["Location"]
    someone.get(here)
    assert 'value="new@example.org"' in text_of(someone.get("/accounts/signup/"))
    assert someone.send("POST", "/accounts/signup/", FIELDS)["Location"] == here
    page = text_of(someone.get(here))
    assert "Join as newcomer" in page
    assert "You are signed in as" not in page, "it is the address that was invited"
    landed = someone.get(someone.send("POST", here)["Location"])
    assert "<strong>acme</strong>" in text_of(landed)
    assert "You are in Acme now, as Editor." in text_of(landed)
    newcomer = User.objects.get(username="newcomer")
    assert role_of(cast.team, newcomer) == Role.EDITOR
    invitation.refresh_from_db()
    assert invitation.accepted_by == newcomer
    joined = Activity.objects.get(workspace=cast.team, kind="member.joined")
    assert (joined.user, joined.address) == (newcomer, "127.0.0.1")


def test_who_signs_in_comes_back_once(browser, cast):
    with_password(cast.stan)
    _, path = invite(cast)
    someone = browser()
    here = someone.get(path)["Location"]
    someone.get(here)
    fields = {"login": "stan", "password": PASSWORD}
    assert someone.send("POST", "/accounts/login/", fields)["Location"] == here
    someone.send("POST", here)
    assert role_of(cast.team, cast.stan) == Role.EDITOR
    someone.send("POST", "/accounts/logout/")
    assert someone.send("POST", "/accounts/login/", fields)["Location"] == "/"


def test_who_has_a_second_factor_comes_back_after_it(browser, cast):
    from allauth.mfa.totp.internal import auth as totp

    with_password(cast.stan)
    secret = totp.generate_totp_secret()
    totp.TOTP.activate(cast.stan, secret)
    _, path = invite(cast)
    someone = browser()
    here = someone.get(path)["Location"]
    someone.get(here)
    asked = someone.send("POST", "/accounts/login/", {"login": "stan", "password": PASSWORD})
    assert asked["Location"] == "/accounts/2fa/authenticate/"
    assert "Join as" not in text_of(someone.get(here)), "half a sign-in is none"
    code = totp.format_hotp_value(totp.hotp_value(secret, next(iter(totp.yield_hotp_counters_from_time()))))
    assert someone.send("POST", asked["Location"], {"code": code})["Location"] == here
    assert someone.send("POST", here).status_code == 302
    assert role_of(cast.team, cast.stan) == Role.EDITOR


def test_a_page_that_was_asked_for_later_is_where_a_sign_in_leads(browser, cast):
    with_password(cast.stan)
    someone = browser()
    someone.get(invite(cast)[1], follow=True)
    fields = {"login": "stan", "password": PASSWORD, "next": "/settings?tab=profile"}
    assert someone.send("POST", "/accounts/login/", fields)["Location"] == "/settings?tab=profile"


def test_nothing_but_the_link_shows_an_invitation(browser, cast):
    invitation, path = invite(cast)
    for person in (None, cast.stan):
        for method in ("GET", "POST"):
            answer = browser(person).send(method, f"/invites/{invitation.pk}")
            assert answer.status_code == 404
            assert "Acme" not in text_of(answer)
    someone = browser(cast.stan)
    for wrong in (path[:-1], path + "x", path[:-4] + "abcd", "/invites/nonsense", "/invites/inv_" + "0" * 75):
        answer = someone.get(wrong, follow=True)
        assert answer.status_code in (404, 409), wrong
        assert "Acme" not in text_of(answer)
    assert someone.get(f"/invites/{invitation.pk}").status_code == 404


def test_two_invitations_in_two_tabs_are_not_confused(browser, cast):
    from workspaces.services import create_team

    other = create_team(actor_of(cast.olga), slug="other-team", name="Other")
    _, first = invite(cast)
    _, token = invitations.invite(
        actor_of(cast.olga, other), email="new@example.org", role=Role.VIEWER, only_this_address=False
    )
    someone = browser(cast.stan)
    here = someone.get(first)["Location"]
    someone.get(f"/invites/{token}", follow=True)
    someone.send("POST", here)
    assert (role_of(cast.team, cast.stan), role_of(other, cast.stan)) == (Role.EDITOR, None)


# The secret


def test_the_secret_leaves_the_address_and_is_in_no_session(browser, cast):
    _, path = invite(cast)
    secret = path.removeprefix("/invites/")
    someone = browser()
    opened = someone.get(path)
    assert opened["Referrer-Policy"] == "no-referrer"
    assert "no-store" in opened["Cache-Control"]
    assert secret not in opened["Location"]
    page = someone.get(opened["Location"])
    assert secret[-40:] not in text_of(page)
    assert "no-store" in page["Cache-Control"]
    someone.send("POST", "/accounts/signup/", FIELDS)
    sessions = [session.get_decoded() for session in Session.objects.all()]
    assert any("invitations" in session for session in sessions)
    assert secret[-43:] not in str(sessions)


def test_no_line_of_a_log_has_the_secret(cast):
    _, path = invite(cast)
    secret = path.removeprefix("/invites/")
    formatter = RedactingFormatter("%(message)s")
    for text in (f'"GET {path}" 302', f"/api/invites/info?token={secret}&x=1", f'{{"token": "{secret}"}}'):
        line = formatter.format(logging.LogRecord("gunicorn.access", 20, "", 0, "%s", (text,), None))
        assert line == text.replace(secret, "inv_[redacted]")
    assert redact("inv_short and /invites/3f") == "inv_short and /invites/3f"


def test_a_server_that_logs_each_request_does_not_log_the_secret(new_server):
    server = new_server(ACCESS_LOG="on", LOG_LEVEL="DEBUG")
    operator = server.sign_in()
    operator.api("POST", "/api/teams/create", {"username": "acme-labs", "name": "Acme"})
    body = {"email": "new@example.org", "role": "viewer"}
    url = operator.api("POST", "/api/members?workspace=acme-labs", body).json()["url"]
    token = url.rsplit("/", 1)[1]
    assert operator.http.get(url).status_code == 200
    assert operator.http.get(f"/api/invites/info?token={token}").status_code == 200
    server.stop()
    assert "/invites/inv_[redacted]" in server.output
    assert token[-43:] not in server.output
    for file in server.data_dir.rglob("*"):
        if file.is_file() and not file.is_symlink():
            assert token[-43:].encode() not in file.read_bytes(), file


# Signed in as somebody


def test_another_address_is_named_beside_the_invited_one_and_both_ways_are_open(browser, cast):
    User.objects.filter(pk=cast.stan.pk).update(email="stan@example.org")
    _, path = invite(cast)
    someone = browser(cast.stan)
    here = someone.get(path)["Location"]
    page = text_of(someone.get(here))
    for part in ("new@example.org", "stan@example.org", "Join as stan", "Use another account"):
        assert part in page

    with_password(make_user("newcomer", email="new@example.org"))
    answer = someone.send("POST", f"{here}/sign-out")
    assert (answer.status_code, answer["Location"]) == (302, here)
    assert "Sign in" in text_of(someone.get(here))
    someone.send("POST", "/accounts/login/", {"login": "newcomer", "password": PASSWORD})
    someone.send("POST", here)
    assert role_of(cast.team, User.objects.get(username="newcomer")) == Role.EDITOR
    assert role_of(cast.team, cast.stan) is None


def test_joining_with_another_address_is_a_choice(browser, cast):
    _, path = invite(cast)
    someone = browser(cast.stan)
    someone.send("POST", someone.get(path)["Location"])
    assert role_of(cast.team, cast.stan) == Role.EDITOR


def test_an_invitation_for_one_address_only_offers_no_other_way(browser, cast):
    User.objects.filter(pk=cast.stan.pk).update(email="stan@example.org")
    _, path = invite(cast, only_this_address=True)
    someone = browser(cast.stan)
    here = someone.get(path)["Location"]
    page = text_of(someone.get(here))
    assert "for that address only" in page
    assert "Join as" not in page
    assert someone.send("POST", here).status_code == 403
    assert role_of(cast.team, cast.stan) is None
    EmailAddress.objects.create(user=cast.stan, email="NEW@example.org")
    assert "Join as stan" in text_of(someone.get(here))
    assert someone.send("POST", here).status_code == 302


def test_where_mail_is_sent_only_a_verified_address_counts(browser, cast, settings):
    settings.HAS_EMAIL = True
    User.objects.filter(pk=cast.stan.pk).update(email="new@example.org")
    address = EmailAddress.objects.create(user=cast.stan, email="new@example.org", verified=False)
    _, path = invite(cast, only_this_address=True)
    someone = browser(cast.stan)
    here = someone.get(path)["Location"]
    assert someone.send("POST", here).status_code == 403
    EmailAddress.objects.filter(pk=address.pk).update(verified=True)
    assert someone.send("POST", here).status_code == 302


@pytest.mark.parametrize("has_email", [True, False])
def test_only_this_address_is_the_default_where_addresses_are_verified(browser, call, cast, settings, has_email):
    settings.HAS_EMAIL = has_email
    page = text_of(browser(cast.olga).get("/settings/teams/invite?workspace=acme"))
    box = re.search(r'<input type="checkbox" name="only_this_address"[^>]*>', page)[0]
    assert ("checked" in box) == has_email
    sent = call(cast.olga, "POST /api/members", {"email": "a@example.org", "role": "viewer"}).json()
    assert sent["invite"]["onlyThisAddress"] == has_email
    body = {"email": "b@example.org", "role": "viewer", "onlyThisAddress": not has_email}
    assert call(cast.olga, "POST /api/members", body).json()["invite"]["onlyThisAddress"] == (not has_email)


# Not open, in the words of a page


def test_a_used_invitation(browser, cast):
    _, path = invite(cast)
    first, second = browser(cast.stan), browser(make_user("newcomer"))
    here = first.get(path)["Location"]
    second.get(path)
    assert first.send("POST", here).status_code == 302
    again = first.send("POST", here)
    assert "You are in Acme already" in text_of(again), "a second click does no harm"
    for answer in (second.get(here), second.send("POST", here), browser().get(path, follow=True)):
        assert answer.status_code == 409
        assert "has been used already" in text_of(answer)


def test_a_late_invitation(browser, cast):
    invitation, path = invite(cast)
    Invitation.objects.filter(pk=invitation.pk).update(expires_at=Now() - timedelta(seconds=1))
    page = browser(cast.stan).get(path, follow=True)
    assert page.status_code == 409
    assert "This invitation has expired" in text_of(page)
    assert "good for 14 days: ask Olga or an Admin of the team" in text_of(page)


def test_a_cancelled_invitation_and_one_that_a_newer_one_replaced(browser, cast):
    invitation, path = invite(cast)
    invitations.cancel(actor_of(cast.adam, cast.team), invitation.pk)
    assert "This invitation was cancelled</h1>" in text_of(browser(cast.stan).get(path, follow=True))
    _, newer = invite(cast)
    assert "a newer one was sent" in text_of(browser(cast.stan).get(path, follow=True))
    assert "Join Acme?" in text_of(browser(cast.stan).get(newer, follow=True))


def test_a_link_that_was_sent_again(browser, cast):
    invitation, path = invite(cast)
    someone = browser(cast.stan)
    here = someone.get(path)["Location"]
    _, token = invitations.resend(actor_of(cast.adam, cast.team), invitation.pk)
    for answer in (someone.get(here), someone.send("POST", here), browser().get(path)):
        assert answer.status_code == 409
        assert "A newer link was sent" in text_of(answer)
        assert "Acme" not in text_of(answer), "an old link tells nothing any more"
    assert "Join Acme?" in text_of(someone.get(f"/invites/{token}", follow=True))


@pytest.mark.parametrize("how", ["demoted", "removed"])
def test_an_invitation_whose_sender_lost_the_right(browser, cast, how):
    _, path = invite(cast, who="adam")
    someone = browser(cast.stan)
    here = someone.get(path)["Location"]
    owner = actor_of(cast.olga, cast.team)
    if how == "demoted":
        members.change_role(owner, cast.adam.pk, Role.EDITOR)
    else:
        members.remove_member(owner, cast.adam.pk)
    for answer in (someone.get(here), someone.send("POST", here)):
        assert answer.status_code == 409
        assert "may no longer invite" in text_of(answer)
    assert role_of(cast.team, cast.stan) is None


def test_an_invitation_into_a_team_that_is_gone(browser, cast):
    _, path = invite(cast)
    members.delete_team(actor_of(cast.olga, cast.team), confirmation="acme")
    page = browser(cast.stan).get(path, follow=True)
    assert page.status_code == 409
    assert "was deleted" in text_of(page)


def test_a_member_is_told_and_uses_nothing_up(browser, cast):
    invitation, path = invite(cast, role=Role.VIEWER)
    someone = browser(cast.adam)
    here = someone.get(path)["Location"]
    for answer in (someone.get(here), someone.send("POST", here)):
        assert "You are in Acme already" in text_of(answer)
        assert "stays good for" in text_of(answer)
    assert role_of(cast.team, cast.adam) == Role.ADMIN
    invitation.refresh_from_db()
    assert invitation.accepted_at is None
    other = browser(cast.stan)
    other.send("POST", other.get(path)["Location"])
    assert role_of(cast.team, cast.stan) == Role.VIEWER


def test_a_member_may_rise_by_an_invitation(browser, cast):
    _, path = invite(cast, role=Role.EDITOR)
    someone = browser(cast.vera)
    here = someone.get(path)["Location"]
    assert "accepting makes you Editor" in text_of(someone.get(here))
    someone.send("POST", here)
    assert role_of(cast.team, cast.vera) == Role.EDITOR


# Where not everybody may sign up


@pytest.fixture
def invited_only(settings):
    settings.SIGNUP_OPEN, settings.SIGNUP_BY_INVITATION = False, True


def test_where_only_the_invited_sign_up_they_do_with_the_address_that_was_invited(browser, cast, invited_only):
    _, path = invite(cast)
    someone = browser()
    page = text_of(someone.get(path, follow=True))
    assert "Create an account" in page
    for wrong in ("other@example.org", ""):
        answer = someone.send("POST", "/accounts/signup/", FIELDS | {"email": wrong})
        assert answer.status_code == 200
        assert not User.objects.filter(username="newcomer").exists(), wrong
    assert someone.send("POST", "/accounts/signup/", FIELDS).status_code == 302
    assert User.objects.get(username="newcomer").email == "new@example.org"


@pytest.mark.parametrize("what", ["no link", "cancelled", "used"])
def test_where_only_the_invited_sign_up_nobody_else_does(browser, cast, invited_only, what):
    invitation, path = invite(cast)
    someone = browser()
    if what != "no link":
        someone.get(path, follow=True)
    if what == "cancelled":
        invitations.cancel(actor_of(cast.olga, cast.team), invitation.pk)
    if what == "used":
        invitations.accept(cast.stan, path.removeprefix("/invites/"))
    assert "Sign Up Closed" in text_of(someone.get("/accounts/signup/"))
    someone.send("POST", "/accounts/signup/", FIELDS)
    assert not User.objects.filter(username="newcomer").exists()


def test_where_sign_up_is_closed_an_invitation_opens_no_door(browser, cast, settings):
    settings.SIGNUP_OPEN = False
    _, path = invite(cast)
    someone = browser()
    page = text_of(someone.get(path, follow=True))
    assert "Create an account" not in page
    assert "the operator makes them" in page
    someone.send("POST", "/accounts/signup/", FIELDS)
    assert not User.objects.filter(username="newcomer").exists()


# Mail


def test_nobody_mails_invitations_without_end(browser, call, cast, settings):
    """Whoever makes a team could else send mail in this server's name to whomever they like."""
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"invite": (3, 3600)}
    invitation, _ = invite(cast)
    body = {"email": "a@example.org", "role": "viewer"}
    assert call(cast.olga, "POST /api/members", body).status_code == 201
    assert call(cast.olga, f"POST /api/invites/{invitation.pk}/resend").status_code == 200
    fields = {"email": "b@example.org", "role": Role.VIEWER.value}
    assert browser(cast.olga).send("POST", "/settings/teams/invite?workspace=acme", fields).status_code == 200
    count = Invitation.objects.count()
    resend = f"/settings/teams/invites/{invitation.pk}/resend?workspace=acme"
    for path in ("/settings/teams/invite?workspace=acme", resend):
        assert browser(cast.olga).send("POST", path, fields | {"email": "c@example.org"}).status_code == 429
    for what in ("POST /api/members", f"POST /api/invites/{invitation.pk}/resend"):
        assert_error(call(cast.olga, what, body), 429, code="RATE_LIMITED")
    assert Invitation.objects.count() == count
    assert call(cast.olga, "GET /api/members").status_code == 200, "the rest goes on"
    assert call(cast.adam, "POST /api/members", {"email": "d@example.org", "role": "viewer"}).status_code == 201


@pytest.fixture
def outbox(settings):
    settings.HAS_EMAIL = True
    mail.outbox = []
    return mail.outbox


def test_who_must_confirm_the_address_first_comes_back_from_the_mail(mailing):
    """On a server that mails: in the browser that signed up at once, in another one after signing in there."""
    alice = WebSession(mailing.url)
    sign_up(alice, "alice")
    alice.post(last_link(mailing, "/accounts/confirm-email/"), {})
    alice.api("POST", "/api/teams/create", {"username": "acme-labs", "name": "Acme"})

    for name, other_browser in (("bobby", False), ("carol", True)):
        body = {"email": f"{name}@example.org", "role": "editor"}
        assert alice.api("POST", "/api/members?workspace=acme-labs", body).json()["mailed"] is True
        path = last_link(mailing, "/invites/inv_")
        someone = WebSession(mailing.url)
        here = someone.http.get(path).url.path
        sign_up(someone, name)
        assert someone.http.get("/settings").url.path == "/accounts/login/", "the address is not confirmed yet"
        confirm = last_link(mailing, "/accounts/confirm-email/")
        if other_browser:
            WebSession(mailing.url).post(confirm, {})
            landed = someone.post("/accounts/login/", {"login": name, "password": PASSWORD})
        else:
            landed = someone.post(confirm, {})
        assert landed.url.path == here
        assert f"Join as {name}" in landed.text
        joined = someone.post(here, {})
        assert "You are in Acme now, as Editor." in joined.text
    members = alice.api("GET", "/api/members?workspace=acme-labs").json()["members"]
    assert [m["username"] for m in members] == ["alice", "bobby", "carol"]


def sign_up(web, name):
    fields = {"username": name, "email": f"{name}@example.org", "password1": PASSWORD, "password2": PASSWORD}
    web.post("/accounts/signup/", fields)


@pytest.mark.django_db(transaction=True)
def test_an_invitation_is_mailed_and_so_is_a_new_link(transactional_db, browser, call, cast, outbox, settings):
    settings.PUBLIC_URL = "https://keys.example.org"
    fields = {"email": "new@example.org", "role": Role.EDITOR.value}
    olga = browser(cast.olga)
    page = text_of(olga.send("POST", "/settings/teams/invite?workspace=acme", fields))
    [first] = outbox
    link = re.search(r"https://keys\.example\.org/invites/inv_[\w-]+", first.body)[0]
    assert link in page
    assert "It was mailed to <strong>new@example.org</strong>" in page
    assert (first.to, first.subject) == (["new@example.org"], "olga invites you into the team Acme")
    for part in ("olga invites you", "Acme (acme), as Editor", "works once, until", "whoever has it can use it"):
        assert part in first.body
    invitation = Invitation.objects.get()

    olga.send("POST", f"/settings/teams/invites/{invitation.pk}/resend?workspace=acme")
    assert call(cast.olga, f"POST /api/invites/{invitation.pk}/resend").json()["mailed"] is True
    body = {"email": "other@example.org", "role": "viewer"}
    assert call(cast.olga, "POST /api/members", body).json()["mailed"] is True
    assert [m.to for m in outbox] == [["new@example.org"]] * 3 + [["other@example.org"]]
    links = {re.search(r"inv_[\w-]+", m.body)[0] for m in outbox}
    assert len(links) == 4
    assert "for other@example.org only" in outbox[-1].body
    newest = re.search(r"/invites/inv_[\w-]+", outbox[2].body)[0]
    assert "Join Acme?" in text_of(browser(cast.stan).get(newest, follow=True))


@pytest.mark.django_db(transaction=True)
def test_a_mail_that_cannot_be_sent_loses_nothing_and_is_said(
    transactional_db, browser, call, cast, outbox, settings, caplog
):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9  # nobody listens
    fields = {"email": "new@example.org", "role": Role.EDITOR.value}
    page = text_of(browser(cast.olga).send("POST", "/settings/teams/invite?workspace=acme", fields))
    assert "could not be sent" in page
    path = re.search(r"/invites/inv_[\w-]+", page)[0]
    assert call(cast.olga, f"POST /api/invites/{Invitation.objects.get().pk}/resend").json()["mailed"] is False
    assert "A mail could not be sent" in caplog.text
    assert path[-43:] not in caplog.text
    answer = call(cast.olga, "POST /api/members", {"email": "new@example.org", "role": "viewer"}).json()
    path = "/invites/" + answer["url"].rsplit("/", 1)[1]
    assert "Join Acme?" in text_of(browser(cast.stan).get(path, follow=True))


def test_without_mail_the_link_is_all_there_is(browser, call, cast):
    fields = {"email": "new@example.org", "role": Role.EDITOR.value}
    page = text_of(browser(cast.olga).send("POST", "/settings/teams/invite?workspace=acme", fields))
    assert "Send this link to <strong>new@example.org</strong>" in page
    assert "mailed" not in page
    assert "could not be sent" not in page
    assert call(cast.olga, "POST /api/members", {"email": "x@example.org", "role": "viewer"}).json()["mailed"] is False
    assert mail.outbox == []


def test_an_invitation_that_is_refused_is_not_mailed(browser, call, cast, outbox, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        body = {"email": "new@example.org", "role": "admin"}
        assert_error(call(cast.adam, "POST /api/members", body), 403)
        assert_error(call(cast.olga, "POST /api/members", {"email": "nonsense", "role": "viewer"}), 400)
    assert outbox == []
