"""With e-mail configured: addresses are verified, passwords can be reset. Against a live server that mails to files."""

from tests.conftest import PASSWORD
from tests.live import WebSession, last_link


def test_an_address_is_verified_and_a_password_can_be_reset(mailing):
    alice = WebSession(mailing.url)
    fields = {"username": "alice", "email": "", "password1": PASSWORD, "password2": PASSWORD}
    assert "This field is required" in alice.post("/accounts/signup/", fields).text
    alice.post("/accounts/signup/", fields | {"email": "alice@example.org"})
    assert "/accounts/login" in str(alice.http.get("/settings").url), (
        "nobody is signed in before the address is verified"
    )

    link = last_link(mailing, "/accounts/confirm-email/")
    alice.post(link, {})
    assert WebSession(mailing.url).sign_in("alice", PASSWORD)

    someone = WebSession(mailing.url)
    someone.post("/accounts/password/reset/", {"email": "alice@example.org"})
    link = last_link(mailing, "/accounts/password/reset/key/")
    landed = str(someone.http.get(link).url.path)
    someone.post(landed, {"password1": "another good phrase", "password2": "another good phrase"})
    assert WebSession(mailing.url).sign_in("alice", "another good phrase")

    for address in ("alice@example.org", "nobody@example.org"):
        answer = someone.post("/accounts/password/reset/", {"email": address})
        assert answer.url.path == "/accounts/password/reset/done/", "the answer does not tell who has an account"
