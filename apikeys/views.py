"""Settings > API Keys."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from apikeys import services, tokens, usage
from apikeys.forms import NewKeyForm, RotateForm
from apikeys.models import ApiKey, KeyReveal
from config.context import base_url
from config.errors import Conflict, Invalid, NotFound
from config.pages import PageRequest, page
from workspaces.access import Actor, Right

PAGE_SIZE = 20
CHART_DAYS = 30
UNUSED_AFTER = timedelta(days=90)
# What higher apps know of keys: called with the actor and the ids of keys, gives for some of them `shown`, a list of
# {"label", "url"}, and `total`, how many there are.
uses: list[Callable[[Actor, list[UUID]], dict[UUID, dict[str, Any]]]] = []
PATTERN = tokens.FORMAT.pattern
STEPS = ("create", "update", "verify", "revoke")


@page(Right.VIEW)
def key_list(request: PageRequest) -> HttpResponse:
    """A card for each key: the active ones with their values, or with `?show=revoked` those that ended."""
    actor = request.actor
    shows_revoked = request.GET.get("show") == "revoked"
    search = request.GET.get("q", "").replace("\0", "").strip()[:100]
    context: dict[str, Any] = {"tab": "api-keys", "shows_revoked": shows_revoked, "search": search}
    if not actor.can(Right.MANAGE_KEYS):
        return render(request, "apikeys/keys.html", context | {"keys": None})
    keys = actor.workspace.api_keys.select_related("creator", "revoked_by").newest_first().named(search)
    active = keys.active()
    shown = keys.exclude(pk__in=active.values("pk")) if shows_revoked else active
    page_of_keys = Paginator(shown, PAGE_SIZE).get_page(request.GET.get("page"))
    cards = cards_of(actor, list(page_of_keys.object_list), with_values=not shows_revoked)
    return render(request, "apikeys/keys.html", context | {"keys": cards, "page": page_of_keys})


@page(Right.MANAGE_KEYS, "GET", "POST")
def key_create(request: PageRequest) -> HttpResponse:
    """Ask for a name; then the new key's page shows the value and how to use it."""
    actor = request.actor
    form = NewKeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            key, _ = services.create_key(actor, **form.cleaned_data)
        except Invalid as error:
            form.add_error("name", error.details["name"])
        else:
            return redirect(address(actor, "apikeys:key-detail", key, new=1))
    return render(
        request, fragment(request, "create"), {"tab": "api-keys", "form": form}, status=400 if form.errors else 200
    )


@page(Right.MANAGE_KEYS)
def key_detail(request: PageRequest, key_id: UUID) -> HttpResponse:
    """One key with its value and the lines to copy for each kind of client."""
    actor = request.actor
    key = find_key(actor, key_id)
    [card] = cards_of(actor, [key], with_values=True)
    context = {"tab": "api-keys", "card": card, "is_new": "new" in request.GET}
    if card["value"]:
        context["snippets"] = snippets(base_url(request), card["value"], actor.workspace.slug)
    return render(request, "apikeys/key.html", context)


@page(Right.MANAGE_KEYS)
def key_usage(request: PageRequest, key_id: UUID) -> HttpResponse:
    """What a key was used for in 30 or 90 days: by day, by category, from which addresses and with which clients."""
    key = find_key(request.actor, key_id)
    days = 90 if request.GET.get("days") == "90" else 30
    usage.flush()
    context = {
        "tab": "api-keys",
        "key": key,
        "days": days,
        "chart": bars(usage.daily([key.pk], days)[key.pk], height=120),
        "categories": usage.by_category(key, days),
        "addresses": usage.by_address(key, days)[:50],
        "clients": usage.by_client(key, days)[:50],
    }
    return render(request, "apikeys/usage.html", context)


@page(Right.MANAGE_KEYS, "GET", "POST")
def key_rotate(request: PageRequest, key_id: UUID) -> HttpResponse:
    """Step 1 of a rotation: make the successor, and say when the old key ends."""
    actor = request.actor
    old = find_key(actor, key_id, active=True)
    form = RotateForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        successor, _ = services.rotate_key(actor, old, grace=form.cleaned_data["grace"])
        return redirect(address(actor, "apikeys:key-rotation", successor, step="update"))
    context = {"tab": "api-keys", "key": old, "form": form, "steps": steps("create")}
    return render(request, "apikeys/rotate.html", context, status=400 if form.errors else 200)


@page(Right.MANAGE_KEYS)
def key_rotation(request: PageRequest, key_id: UUID) -> HttpResponse:
    """Steps 2 to 4, on the successor: update the applications, see who still uses the old key, revoke that."""
    actor = request.actor
    new = find_key(actor, key_id)
    old = new.replaces
    if old is None or old.workspace_id != actor.workspace.pk:
        raise NotFound("This key does not replace another one")
    step = request.GET.get("step", "update")
    if step not in STEPS[1:]:
        raise NotFound("There is no such step")
    usage.flush()
    new.refresh_from_db()
    context: dict[str, Any] = {"tab": "api-keys", "new": new, "old": old, "step": step, "steps": steps(step)}
    context["old_is_active"] = ApiKey.objects.active().filter(pk=old.pk).exists()
    if step == "update":
        [card] = cards_of(actor, [new], with_values=True)
        context["card"] = card
        context["snippets"] = snippets(base_url(request), card["value"], actor.workspace.slug) if card["value"] else []
    else:
        context["still_used"] = list(usage.since(old, new.first_used_at)) if new.first_used_at else []
        context["recent"] = list(usage.recent(old))
        context["is_safe"] = bool(new.first_used_at) and not context["still_used"]
    template = "apikeys/_verify.html" if request.htmx and step == "verify" else "apikeys/rotation.html"
    return render(request, template, context)


@page(Right.MANAGE_KEYS, "GET", "POST")
def key_revoke(request: PageRequest, key_id: UUID) -> HttpResponse:
    """Say what will stop, then stop it."""
    actor = request.actor
    key = find_key(actor, key_id)
    if request.method == "POST":
        if services.revoke_key(actor, key):
            messages.success(request, f"“{key.name}” is revoked. Requests with it are refused from now on.")
        else:
            messages.info(request, f"“{key.name}” had been revoked already.")
        return redirect(address(actor, "accounts:settings", tab="api-keys"))
    if not key.is_active():
        raise Conflict(f"“{key.name}” has been revoked already")
    usage.flush()
    recent = list(usage.recent(key))
    context = {
        "tab": "api-keys",
        "key": key,
        "recent": recent[:10],
        "more_origins": max(0, len(recent) - 10),
        "total": sum(row["total"] for row in recent),
    }
    return render(request, fragment(request, "revoke"), context)


@page(Right.LIST_KEYS)
def leak_rules(request: PageRequest) -> HttpResponse:
    """Rules for gitleaks and pre-commit, and a check whether what was found is live."""
    context = {"tab": "api-keys", "pattern": PATTERN, "snippets": leak_snippets(base_url(request))}
    return render(request, "apikeys/leaks.html", context)


def find_key(actor: Actor, key_id: UUID, *, active: bool = False) -> ApiKey:
    """A key of the actor's workspace, ended or not. Raises NotFound, or Conflict if it must be active and is not."""
    key = actor.workspace.api_keys.select_related("creator", "revoked_by", "replaces").filter(pk=key_id).first()
    if key is None:
        raise NotFound("API key not found")
    if active and not key.is_active():
        raise Conflict(f"“{key.name}” has been revoked already")
    return key


def cards_of(actor: Actor, keys: list[ApiKey], *, with_values: bool) -> list[dict[str, Any]]:
    """What the card of each key shows: key, value (or None), who looked last (before now), successor, state."""
    ids = [key.pk for key in keys]
    seen = {r.key_id: r for r in KeyReveal.objects.filter(key__in=ids).select_related("person").order_by("last_at")}
    theirs = actor.workspace.api_keys.active().filter(replaces__in=ids).order_by("-created_at")
    successors = {k.replaces_id: k for k in theirs}
    values = services.reveal_all(actor, keys) if with_values else {}
    used = usage.daily(ids, CHART_DAYS)
    theirs_by_key = [use(actor, ids) for use in uses]
    now = timezone.now()
    return [
        {
            "key": key,
            "value": values.get(key.pk),
            "value_id": f"value-{key.pk}",
            "seen": seen.get(key.pk),
            "successor": successors.get(key.pk),
            "is_active": key.is_active(now),
            "chart": bars(used[key.pk]),
            "uses": [found[key.pk] for found in theirs_by_key if key.pk in found],
            "is_unused": now - (key.last_used_at or key.created_at) > UNUSED_AFTER,
        }
        for key in keys
    ]


def bars(days: list[dict[str, Any]], height: int = 32) -> dict[str, Any]:
    """The days as a bar chart: for each the height of its bar and of the part that is errors, of `height` at most."""
    most = max((day["requests"] for day in days), default=0)
    drawn = []
    for number, day in enumerate(days):
        tall = max(1, round(day["requests"] / most * height)) if day["requests"] else 0
        wrong = max(1, round(day["errors"] / most * height)) if day["errors"] else 0
        tops = {"y": height - tall, "tall": tall, "wrong_y": height - wrong, "wrong": wrong}
        drawn.append(day | tops | {"x": number * 4})
    total, errors = sum(day["requests"] for day in days), sum(day["errors"] for day in days)
    return {"days": drawn, "height": height, "width": len(days) * 4, "most": most, "total": total, "errors": errors}


def snippets(server: str, value: str, workspace: str) -> list[dict[str, str]]:
    """The lines to copy for each kind of client, with this server's address and the key filled in."""
    return [
        {
            "id": "env",
            "label": "Environment variable",
            "code": f"export ULTRALYTICS_PLATFORM_URL={server}\nexport ULTRALYTICS_API_KEY={value}",
        },
        {
            "id": "yolo",
            "label": "YOLO CLI",
            "code": f"export ULTRALYTICS_PLATFORM_URL={server}\nyolo login {value}",
            "note": "Early releases of ultralytics 8.4 cannot log in here: use the environment variable with those.",
        },
        {
            "id": "train",
            "label": "Remote training",
            "code": (
                f"export ULTRALYTICS_PLATFORM_URL={server}\nexport ULTRALYTICS_API_KEY={value}\n"
                f"yolo train model=yolo26n.yaml data=coco8.yaml project={workspace}/my-project name=exp1"
            ),
            "note": "The run appears under Projects. Without project= the client reports nothing.",
        },
        {
            "id": "python",
            "label": "Python",
            "code": (
                "from ultralytics_platform import Platform\n\n"
                f'platform = Platform(api_key="{value}", base_url="{server}")\n'
                "print(platform.account.summary())"
            ),
        },
        {
            "id": "curl",
            "label": "curl",
            "code": f'curl -H "Authorization: Bearer {value}" {server}/api/account/summary',
        },
    ]


def leak_snippets(server: str) -> list[dict[str, str]]:
    """Rules for the usual tools, and a script that tells whether what they find is live."""
    return [
        {"id": "pattern", "label": "Regular expression", "code": PATTERN},
        {
            "id": "gitleaks",
            "label": "gitleaks, in .gitleaks.toml",
            "code": (
                f'[extend]\nuseDefault = true\n\n[[rules]]\nid = "keyhouse-api-key"\n'
                f"description = \"API key of {server}\"\nregex = '''{PATTERN}'''\nkeywords = [\"ul_\"]"
            ),
        },
        {
            "id": "pre-commit",
            "label": "pre-commit, in .pre-commit-config.yaml",
            "code": (
                "repos:\n  - repo: local\n    hooks:\n      - id: no-api-keys\n        name: no API keys\n"
                f'        language: pygrep\n        entry: "{PATTERN}"\n        types: [text]'
            ),
        },
        {
            "id": "live",
            "label": "Is it live? Without sending it",
            "note": "Sends 5 digits of its hash; the answer has the others of your live keys that begin alike.",
            "code": (
                'hash=$(printf %s "$FOUND" | sha256sum | cut -c1-64)\n'
                "first=$(echo $hash | cut -c1-5) others=$(echo $hash | cut -c6-)\n"
                f'curl -s -H "Authorization: Bearer $ULTRALYTICS_API_KEY" {server}/api/leaks/range/$first |\n'
                '  grep -q $others && echo "This key is live: revoke it"'
            ),
        },
    ]


def steps(current: str) -> list[dict[str, Any]]:
    labels = ("Create", "Update applications", "Verify", "Revoke")
    at = STEPS.index(current)
    return [
        {"slug": slug, "label": label, "is_current": i == at, "is_done": i < at}
        for i, (slug, label) in enumerate(zip(STEPS, labels, strict=True))
    ]


def fragment(request: PageRequest, name: str) -> str:
    """The template for a dialog when htmx asks, for a page otherwise."""
    return f"apikeys/_{name}.html" if request.htmx else f"apikeys/{name}.html"


def address(actor: Actor, name: str, key: ApiKey | None = None, **query: Any) -> str:
    path = reverse(name, args=[key.pk] if key is not None else [])
    return f"{path}?{urlencode({'workspace': actor.workspace.slug} | query)}"
