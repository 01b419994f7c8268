"""Names that several want at the same moment: real threads on PostgreSQL."""

from collections import Counter

import pytest

from config.errors import Conflict
from tests.conftest import actor_of, make_user
from tests.training.stream import started
from tests.workspaces.test_races import at_once
from training import events, ingest, services
from training.models import Project, Run

ROUNDS = 6


@pytest.fixture
def actor(transactional_db):
    return actor_of(make_user("racer"))


def test_a_run_gets_a_name_of_its_own_whoever_takes_it_at_the_same_moment(actor):
    for number in range(ROUNDS):
        event = events.parse(started(project=f"racing-{number}", name="exp1"))
        gone, other = (Run.objects.get(pk=ingest.take(actor, event, b"%d" % n).run_id) for n in range(2))
        services.delete_run(actor, gone)
        results = at_once(
            lambda gone=gone: services.restore_run(actor, gone.pk),
            lambda other=other: services.update_run(actor, other, slug="exp1"),
            lambda other=other: services.create_run(actor, other.project, slug="exp1"),
            *[lambda event=event, n=n: ingest.take(actor, event, b"at once %d" % n) for n in range(3)],
        )
        # Only who insists on the very name may be refused.
        assert Counter(results) - Counter(done=5) in (Counter(done=1), Counter(Conflict=1))
        slugs = sorted(Run.objects.kept().filter(project=gone.project_id).values_list("slug", flat=True))
        assert slugs[:2] == ["exp1", "exp1-2"]
        assert len(set(slugs)) == len(slugs) == 6


def test_a_project_gets_a_name_of_its_own_whoever_takes_it_at_the_same_moment(actor):
    for number in range(ROUNDS):
        gone = services.create_project(actor, slug=f"racing-{number}", name="Racing")
        services.delete_project(actor, gone)
        event = events.parse(started(project=gone.slug))
        results = at_once(
            lambda gone=gone: services.restore_project(actor, gone.pk),
            lambda gone=gone: services.create_project(actor, slug=gone.slug, name="Another"),
            *[lambda event=event, n=n: ingest.take(actor, event, b"%d" % n) for n in range(3)],
        )
        assert set(results) <= {"done", Conflict.__name__}
        assert results[2:] == ["done"] * 3, "no client is refused"
        assert Run.objects.kept().filter(project__slug=gone.slug, project__deleted_at=None).count() == 3
    assert max(Counter(Project.objects.kept().values_list("slug", flat=True)).values()) == 1
