"""Who may do what with accounts. See tests/roles.py."""

from tests.roles import MEMBERS, api, page

API = {"GET /api/account/summary": api("viewer", keys="viewer")}
PAGES = {
    "GET /settings": page("viewer"),
    "GET /settings?tab=profile": page("viewer", suspended=200),
    "POST /settings?tab=profile": page("viewer", 302, suspended=302),
}
WITHOUT_FACTOR = {"GET /settings?tab=profile": MEMBERS, "POST /settings?tab=profile": MEMBERS}
BODIES = {"POST /settings?tab=profile": {"name": "Somebody"}}
# django-allauth's: what it asks of whom is its own matter, but signed out one comes to these only.
PUBLIC = {
    "GET /accounts/login/": (200, 302),
    "GET /accounts/logout/": (302, 200),
    "GET /accounts/inactive/": (200, 200),
    "GET /accounts/signup/": (200, 302),
    "GET /accounts/reauthenticate/": (302, 403),  # with what? The people of these tests have no password
    "GET /accounts/email/": (302, 200),
    "GET /accounts/confirm-email/": (200, 200),
    "GET /accounts/confirm-email/nonsense/": (200, 200),
    "GET /accounts/password/change/": (302, 302),
    "GET /accounts/password/set/": (302, 200),
    "GET /accounts/password/reset/": (200, 200),
    "GET /accounts/password/reset/done/": (200, 200),
    "GET /accounts/password/reset/key/1-nonsense/": (200, 200),
    "GET /accounts/password/reset/key/done/": (200, 200),
    "GET /accounts/login/code/confirm/": (302, 302),
    "GET /accounts/2fa/": (302, 200),
    "GET /accounts/2fa/authenticate/": (302, 302),
    "GET /accounts/2fa/reauthenticate/": (302, 403),
    "GET /accounts/2fa/totp/activate/": (302, 200),
    "GET /accounts/2fa/totp/deactivate/": (302, 404),
    "GET /accounts/2fa/recovery-codes/": (302, 404),
    "GET /accounts/2fa/recovery-codes/generate/": (302, 200),
    "GET /accounts/2fa/recovery-codes/download/": (302, 404),
    "GET /accounts/2fa/webauthn/": (302, 200),
    "GET /accounts/2fa/webauthn/add/": (302, 200),
    "GET /accounts/2fa/webauthn/reauthenticate/": (302, 403),
    "GET /accounts/2fa/webauthn/login/": (302, 302),
    "GET /accounts/2fa/webauthn/keys/1/remove/": (302, 404),
    "GET /accounts/2fa/webauthn/keys/1/edit/": (302, 404),
    "GET /accounts/sessions/": (302, 200),
}
