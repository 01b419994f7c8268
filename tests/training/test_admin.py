"""The operator's view of projects and runs."""

import pytest
from django.urls import reverse

from tests.conftest import make_user
from tests.training.stream import epoch, send, start

pytestmark = pytest.mark.django_db
PAGES = ("project", "run")


@pytest.fixture
def operator(browser):
    return browser(make_user("operator", is_staff=True, is_superuser=True))


@pytest.mark.parametrize("page", PAGES)
def test_the_list_and_each_row_can_be_looked_at_and_nothing_changed(call, operator, edda_key, page):
    model_id = start(call, edda_key)
    send(call, edda_key, epoch(model_id, 0))
    listed = operator.get(reverse(f"admin:training_{page}_changelist"))
    assert listed.status_code == 200
    assert "my-project" in listed.content.decode()
    row = listed.context["cl"].result_list[0]
    address = reverse(f"admin:training_{page}_change", args=[row.pk])
    assert operator.get(address).status_code == 200
    assert operator.send("POST", address, {"slug": "other"}).status_code == 403
    assert operator.get(reverse(f"admin:training_{page}_add")).status_code == 403
    assert (
        operator.send("POST", reverse(f"admin:training_{page}_delete", args=[row.pk]), {"post": "yes"}).status_code
        == 403
    )


def test_the_list_of_runs_takes_the_same_number_of_queries_for_one_and_for_many(call, operator, edda_key):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts: list[int] = []
    operator.get(reverse("admin:training_run_changelist"))  # notes the session
    for _ in range(2):
        for number in range(10):
            start(call, edda_key, name=f"exp-{number}", project=f"project-{number}", seed=len(counts))
        with CaptureQueriesContext(connection) as queries:
            assert operator.get(reverse("admin:training_run_changelist")).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
