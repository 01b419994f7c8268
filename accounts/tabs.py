"""The tabs of the settings page. Higher apps add theirs when they are loaded."""

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import reverse


@dataclass(frozen=True)
class Tab:
    slug: str
    label: str
    view: Callable
    order: int
    icon: str

    @property
    def url(self) -> str:
        return f"{reverse('accounts:settings')}?tab={self.slug}"


_tabs: dict[str, Tab] = {}


def register(slug: str, label: str, view: Callable, *, order: int, icon: str) -> None:
    """Add a tab; `view` answers `/settings?tab=<slug>` and says itself who may open it."""
    _tabs[slug] = Tab(slug, label, view, order, icon)


def find(slug: str) -> Tab | None:
    return _tabs.get(slug)


def all_tabs() -> list[Tab]:
    return sorted(_tabs.values(), key=lambda tab: tab.order)


def url_of(slug: str) -> str:
    return _tabs[slug].url
