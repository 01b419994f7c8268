"""How the tables of who may do what are written. Each app has its own in `tests/<app>/roles.py`:

    API, PAGES  "METHOD /path": the status for each of WHO; `{things}` in braces are filled in
    BODIES      what is sent with it
    PUBLIC      "METHOD /path": the status for who is signed out, and for who is signed in
    WITHOUT_FACTOR  what members may still do without the second factor that the team asks for, and which of them
    FOREIGN     more places where an id is accepted, as ("METHOD /path", body); `{own_…}` are of the caller's team
    things()    makes one thing of each kind in a team

and `tests/security/test_roles.py` asserts them.
"""

from types import SimpleNamespace
from typing import Any

PEOPLE = ("stan", "vera", "edda", "adam", "olga")  # stranger, Viewer, Editor, Admin, Owner
MEMBERS = PEOPLE[1:]
KEYS = ("vera's key", "edda's key", "adam's key", "olga's key", "stan's key")
ACTIVE = ("nobody", *PEOPLE, *KEYS)
SUSPENDED = ("suspended edda", "suspended edda's key")
WHO = ACTIVE + SUSPENDED
LEAST = {"viewer": 1, "editor": 2, "admin": 3, "owner": 4}


def api(least: str, ok: int = 200, *, keys: str = "", foreign: int | None = None) -> tuple[int, ...]:
    """A row of the API: the least role of a person, the least of a key's creator (none: no key), a foreign key's."""
    roles = [ok if LEAST[least] <= rank else 403 for rank in (1, 2, 3, 4)]
    by_key = [403] * 4 if not keys else [ok if LEAST[keys] <= rank else 403 for rank in (1, 2, 2, 2)]
    return (401, 404, *roles, *by_key, foreign or (ok if keys else 403), 403, 401)


def page(least: str, ok: int = 200, *, suspended: int = 403) -> tuple[int, ...]:
    """A row of pages: whoever is not signed in, key or not, is sent to sign in."""
    roles = [ok if LEAST[least] <= rank else 403 for rank in (1, 2, 3, 4)]
    return (302, 404, *roles, *[302] * 5, suspended, 302)


def everybody(status: int) -> tuple[int, ...]:
    return (status,) * len(WHO)


class Team(SimpleNamespace):
    """A team in which things are made: `owner` and `editor` are users, `ids` what is there by name."""

    call: Any
    workspace: Any
    owner: Any
    editor: Any
    editor_key: Any
    ids: dict[str, str]
