"""The pages of projects and runs: what they show, in which order, to whom, and at which cost."""

import hashlib
import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.staticfiles import finders
from django.utils import timezone

from apikeys.tokens import contains_token
from tests.apikeys.test_lookup import statements_sent
from tests.conftest import actor_of, assert_error
from tests.training.stream import epoch, event, send, start, started
from training import services
from training.models import ConsoleChunk, Epoch, Project, Run, SystemSample

pytestmark = pytest.mark.django_db
UPLOT = {
    "uplot/uplot.iife.min.js": "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
    "uplot/uplot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


@pytest.fixture
def look(browser):
    """`look(person, path)`: the page as the person gets it, in the team."""
    browsers = {}

    def get(person, path, status=200):
        if person not in browsers:
            browsers[person] = browser(person)
        path += "&" if "?" in path else "?"
        answer = browsers[person].get(f"{path}workspace=acme")
        assert answer.status_code == status, answer.content
        return answer

    return get


def queries(action):
    """What `action` sends to PostgreSQL."""
    from django.db import connection

    return [sent[-1] for sent in statements_sent(connection.connection, action)]


def rows(answer):
    """The runs of a project's page, in their order."""
    return re.findall(r'data-name="([^"]+)"', answer.content.decode())


@pytest.fixture
def run(call, edda_key):
    """A run of three epochs that is in its second."""
    pk = start(call, edda_key)
    send(call, edda_key, epoch(pk, 0))
    send(call, edda_key, epoch(pk, 1))
    return Run.objects.get(pk=pk)


def test_the_charting_library_is_the_official_one():
    for name, digest in UPLOT.items():
        with open(finders.find(name), "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == digest


# Projects


def test_an_empty_workspace_shows_how_to_begin(look, cast, edda_key):
    text = look(cast.edda, "/acme").content.decode()
    assert "export ULTRALYTICS_PLATFORM_URL=http://testserver\n" in text
    assert "export ULTRALYTICS_API_KEY=ul_…\n" in text
    assert "yolo train model=yolo26n.yaml data=coco8.yaml project=acme/my-project name=exp1" in text
    assert not contains_token(text)
    assert look(cast.edda, "/projects", 302)["Location"] == "/acme"


def test_a_viewer_sees_everything_and_no_button_that_changes(look, cast, run):
    for path in ("/acme", "/acme/my-project", "/acme/my-project/exp1", "/trash"):
        hers, editors = (look(who, path).content.decode().partition("<main")[2] for who in (cast.vera, cast.edda))
        buttons = [re.findall(r'href="[^"]*/(create|change|delete|cancel)\b', text) for text in (hers, editors)]
        assert buttons[0] == []
        assert buttons[1] or path == "/trash"


def test_a_project_is_made_changed_deleted_and_brought_back(look, browser, cast):
    edda = browser(cast.edda)
    answer = edda.send("POST", "/projects/create?workspace=acme", {"name": "Cats & Dogs", "slug": "cats"})
    assert answer["Location"] == "/acme/cats"
    project = Project.objects.get()
    for data, problem in (
        ({"name": "x", "slug": "cats"}, "Project already exists"),
        ({"name": "x", "slug": "No Good"}, "Use a-z"),
        ({"name": "", "slug": "x"}, "This field is required"),
        ({"name": "a\0b", "slug": "x"}, "Null characters"),
    ):
        answer = edda.send("POST", "/projects/create?workspace=acme", data)
        assert answer.status_code == 400
        assert problem in answer.content.decode()
    change = f"/projects/{project.pk}/change?workspace=acme"
    assert "Cats &amp; Dogs" in edda.get(change).content.decode()
    assert edda.send("POST", change, {"name": "Cats", "slug": "kittens", "description": "Small"}).status_code == 302
    text = look(cast.vera, "/acme/kittens").content.decode()
    assert "Small" in text
    delete = f"/projects/{project.pk}/delete?workspace=acme"
    assert "0 runs" in edda.get(delete).content.decode()
    edda.send("POST", delete)
    look(cast.vera, "/acme/kittens", 404)
    assert "Cats" in look(cast.vera, "/trash").content.decode()
    assert edda.send("POST", f"/projects/{project.pk}/restore?workspace=acme")["Location"] == "/acme/kittens"


def test_deleting_a_project_says_what_goes_and_who_still_trains(look, cast, run):
    text = look(cast.edda, f"/projects/{run.project_id}/delete").content.decode()
    assert "its 1 run, their curves" in text
    assert "Still training: exp1" in text


def test_what_was_deleted_longer_ago_than_30_days_is_gone(look, browser, cast, run):
    edda = browser(cast.edda)
    edda.send("POST", f"/runs/{run.pk}/delete?workspace=acme")
    assert "exp1" in look(cast.edda, "/trash").content.decode()
    Run.objects.update(deleted_at=timezone.now() - timedelta(days=31))
    assert "exp1" not in look(cast.edda, "/trash").content.decode()
    assert edda.send("POST", f"/runs/{run.pk}/restore?workspace=acme").status_code == 404


# The table of runs


@pytest.fixture
def runs(cast):
    """Runs in which every column has its own order: a is finished, b runs, c is silent, d has not begun."""
    edda, olga = actor_of(cast.edda, cast.team), actor_of(cast.olga, cast.team)
    project = services.create_project(edda, slug="sorted", name="Sorted")
    now = timezone.now()

    def make(actor, slug, **fields):
        run = services.create_run(actor, project, slug=slug)
        Run.objects.filter(pk=run.pk).update(**fields)

    def ago(hours):
        return now - timedelta(hours=hours)

    made = {"planned_epochs": 10}
    made |= {"last_metrics": {"metrics/mAP50-95(B)": 0.5, "lr": 1e-05}, "last_epoch": 10, "last_validated_epoch": 9}
    times = {"started_at": ago(9), "attempt_started_at": ago(9), "heard_at": ago(4), "completed_at": ago(4)}
    make(edda, "a", status="completed", best_fitness=0.2, **made | times)
    made |= {"last_metrics": {"metrics/mAP50-95(B)": 0.25, "lr": None}, "last_epoch": 3, "last_validated_epoch": None}
    times = {"started_at": ago(3), "attempt_started_at": ago(3), "heard_at": now}
    make(olga, "b", status="running", best_fitness=0.9, **made | times)
    made |= {"last_metrics": {"metrics/mAP50-95(B)": 0.75, "lr": 0.1}, "last_epoch": 7}
    times = {"started_at": ago(6), "attempt_started_at": ago(6), "heard_at": ago(5)}
    make(edda, "c", status="running", **made | times)
    make(olga, "d")
    return project


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", "bcad"),
        ("name", "abcd"),
        ("-name", "dcba"),
        ("status", "bcad"),
        ("-epochs", "acbd"),
        ("epochs", "dbca"),
        ("-fitness", "badc"),
        ("-metric", "cabd"),
        ("metric", "bacd"),
        ("metric&metric=lr", "acdb"),
        ("-duration", "abcd"),
        ("-started", "bcad"),
        ("started", "acbd"),
        ("by", "cadb"),
        ("nonsense", "bcad"),
        ("--name", "bcad"),
    ],
)
def test_runs_are_sorted_by_every_column_and_what_has_no_value_comes_last(look, cast, runs, sort, order):
    assert "".join(rows(look(cast.vera, f"/acme/sorted?sort={sort}"))) == order


def test_the_head_of_each_column_sorts_by_it_and_says_how_it_is_sorted(look, cast, runs):
    text = look(cast.vera, "/acme/sorted?sort=-epochs&q=").content.decode()
    links = re.findall(r'aria-sort="(\w+)"><a href="([^"]+)"', text)
    assert len(links) == 8
    assert [state for state, _ in links] == ["none", "none", "descending", *["none"] * 5]
    assert "sort=epochs" in links[2][1]
    for _, link in links:
        look(cast.vera, "/acme/sorted" + link.replace("&amp;", "&"))
    (stalled,) = re.findall(r'data-state="stalled".*?data-name="(\w)"', text, re.S)
    assert stalled == "c"


@pytest.mark.parametrize(
    "query", ["sort=metric&metric=0", "metric=%00", "q=%00%25_", "page=99", "page=x", "metric=" + "x" * 500]
)
def test_an_address_that_somebody_made_up_does_no_harm(look, cast, runs, query):
    look(cast.vera, f"/acme/sorted?{query}")


def test_runs_are_found_by_a_part_of_their_name(look, cast, runs):
    assert rows(look(cast.vera, "/acme/sorted?q=B")) == ["b"]
    assert "No run is called" in look(cast.vera, "/acme/sorted?q=zzz").content.decode()


def test_the_newest_eight_are_chosen(look, cast, call, edda_key):
    for number in range(10):
        start(call, edda_key, name=f"run{number}", seed=number)
    text = look(cast.vera, "/acme/my-project?sort=name").content.decode()
    assert re.findall(r'data-name="([^"]+)" checked', text) == [f"run{n}" for n in range(2, 10)]


def test_pages_cost_the_same_with_a_thousand_runs(look, browser, cast, run):
    edda = actor_of(cast.edda, cast.team)
    look(cast.vera, "/acme")
    paths = ("/acme", "/acme/my-project", "/acme/my-project?sort=-metric", "/acme/my-project/exp1", "/trash")
    before = {path: len(queries(lambda path=path: look(cast.vera, path))) for path in paths}
    gone = services.create_project(edda, slug="gone", name="Gone")
    fields = {"workspace": cast.team, "creator": cast.edda, "status": "running", "last_metrics": run.last_metrics}
    made = [Run(project=run.project, slug=f"run{n}", name=f"Run {n}", **fields) for n in range(1000)]
    Run.objects.bulk_create(made + [Run(project=gone, slug=f"x{n}", name="x", **fields) for n in range(100)])
    Run.objects.filter(project=gone).update(deleted_at=timezone.now())
    Project.objects.bulk_create(
        Project(workspace=cast.team, slug=f"p{n}", name="p", creator=cast.edda) for n in range(60)
    )
    after = {path: len(queries(lambda path=path: look(cast.vera, path))) for path in paths}
    assert after == before
    assert max(after.values()) <= 14
    text = look(cast.vera, "/acme/my-project").content.decode()
    assert text.count("data-run ") == 50
    assert "Page 1 of 21" in text


# Curves and comparing


def test_the_curves_of_chosen_runs_and_how_their_rows_stand(look, cast, call, edda_key, run):
    other = start(call, edda_key, name="other")
    send(call, edda_key, epoch(other, 0))
    base = f"/projects/{run.project_id}/curves?metric=train/box_loss&run={run.pk}&row={run.pk}&row={other}"
    found = look(cast.vera, base).json()
    assert found["curves"] == {str(run.pk): {"x": [1, 2], "y": [4.0, 3.99], "group": "Training loss"}}
    assert {pk: state["epochs"] for pk, state in found["states"].items()} == {str(run.pk): "2 / 3", other: "1 / 3"}
    assert look(cast.vera, f"{base}&seen={found['stamp']}", 204).content == b""
    send(call, edda_key, epoch(other, 1))
    assert look(cast.vera, f"{base}&seen={found['stamp']}").json()["states"][other]["epochs"] == "2 / 3"


@pytest.mark.parametrize("name", ["a b", "a__b", "0", "val/x__len", "100%", "%s", "q'\"; --", "\\", "\t", "экс"])
def test_a_curve_and_a_column_may_have_any_name(look, cast, call, edda_key, run, name):
    send(call, edda_key, epoch(str(run.pk), 2, metrics={name: 7.5, "val/loss": 1}))
    query = urlencode({"run": run.pk, "metric": name})
    [curve] = look(cast.vera, f"/projects/{run.project_id}/curves?{query}").json()["curves"].values()
    assert (curve["x"], curve["y"]) == ([3], [7.5])
    other = start(call, edda_key, name="other")
    send(call, edda_key, epoch(other, 0, metrics={name: 8}))
    start(call, edda_key, name="none")
    query = urlencode({"sort": "metric", "metric": name})
    assert rows(look(cast.vera, f"/acme/my-project?{query}")) == ["exp1", "other", "none"]


def test_runs_of_another_project_are_not_drawn(look, cast, call, edda_key, run):
    other = start(call, edda_key, project="other")
    found = look(cast.vera, f"/projects/{run.project_id}/curves?metric=lr&run={other}&run=nonsense&row=%00").json()
    assert found["curves"] == found["states"] == {}


def test_runs_beside_each_other_show_what_differs_and_which_is_best(look, cast, call, edda_key):
    first = start(call, edda_key, name="first", lr0="0.01")
    second = start(call, edda_key, name="second", lr0="0.02")
    for pk, number in ((first, 0), (second, 1)):
        send(call, edda_key, epoch(pk, number))
    path = f"/projects/{Project.objects.get().pk}/compare"
    text = re.sub(r"\s+", " ", look(cast.vera, f"{path}?run={second}&run={first}").content.decode())
    assert "2 runs beside each other" in text
    assert '<th scope="row">lr0</th><td><code>0.01</code></td><td><code>0.02</code></td>' in text
    assert '<th scope="row">batch</th>' not in text
    assert '<th scope="row">train/box_loss</th><td>4</td><td><strong>3.99</strong>' in text
    assert '<th scope="row">metrics/mAP50-95(B)</th><td>0</td><td><strong>0.001</strong>' in text
    assert look(cast.vera, f"{path}?run={first}", 302)["Location"] == "/acme/my-project"
    foreign = look(cast.vera, f"{path}?run={first}&run=0b6f4a4e-6a0e-4c8f-9a80-6f1a3c0d6a11&run=x", 302)
    assert foreign["Location"] == "/acme/my-project"


# A run


def test_a_runs_page_says_all_about_it(look, cast, call, edda_key, run):
    send(
        call,
        edda_key,
        event(str(run.pk), "console_output", chunkId=1, content="\x1b[34mblue\x1b[0m & <b>", lineCount=1),
    )
    text = look(cast.vera, "/acme/my-project/exp1").content.decode()
    for part in ("2 / 3", "epoch 2", "yolo26n.yaml", "gpu-1", "imgsz", "blue &amp; &lt;b&gt;", "edda&#x27;s key"):
        assert part in text, part
    assert edda_key.row.prefix in text
    assert not contains_token(text)
    assert "\x1b" not in text
    send(call, edda_key, event(str(run.pk), "training_failed", error="CUDA <out> of memory"))
    assert "CUDA &lt;out&gt; of memory" in look(cast.vera, "/acme/my-project/exp1").content.decode()


def test_a_path_of_another_spelling_leads_to_the_same_run(look, cast, run):
    look(cast.vera, "/ACME/my-project/exp1")
    for path in ("/acme/my-project/exp2", "/acme/nothing", "/nobody-here", "/acme/%00", "/acme/my-project/%00"):
        look(cast.vera, path, 404)


def test_a_nul_in_a_path_of_the_api_is_not_found(call, edda_key, run):
    for path in ("projects/acme/%00", "projects/%00", "models/acme/%00/x", "models/acme/my-project/%00/files"):
        assert_error(call(edda_key, f"GET /api/{path}"), 404)
    assert call(edda_key, "GET /api/users?username=%00").status_code in (400, 404)


def test_whoever_is_not_signed_in_comes_back_to_the_run_after_signing_in(browser, run):
    answer = browser().get("/acme/my-project/exp1")
    assert answer.status_code == 302
    assert answer["Location"] == "/accounts/login/?next=/acme/my-project/exp1"


def test_a_run_of_another_workspace_is_not_found(browser, cast, run):
    stan = browser(cast.stan)
    for path in ("/acme", "/acme/my-project", "/acme/my-project/exp1", f"/runs/{run.pk}/live?workspace=acme&after=0"):
        assert stan.get(path).status_code == 404
    for action in ("cancel", "delete", "change"):
        assert stan.send("POST", f"/runs/{run.pk}/{action}?workspace=stan", {"name": "x"}).status_code == 404
    run.refresh_from_db()
    assert (run.status, run.deleted_at, run.name) == ("running", None, "exp1")


def test_a_run_is_renamed_and_described(look, browser, cast, run):
    edda, path = browser(cast.edda), f"/runs/{run.pk}/change?workspace=acme"
    assert (
        edda.send("POST", path, {"name": "The <best>", "description": "One\nTwo"})["Location"]
        == "/acme/my-project/exp1"
    )
    text = look(cast.vera, "/acme/my-project/exp1").content.decode()
    assert "The &lt;best&gt;" in text
    assert "One<br>Two" in text
    assert edda.send("POST", path, {"name": "x" * 201}).status_code == 400


# Live


def live(run, after, **query):
    return f"/runs/{run.pk}/live?after={after}" + "".join(f"&{name}={value}" for name, value in query.items())


def test_a_poll_brings_what_is_new_and_only_that(look, cast, call, edda_key, run):
    seen = run.version
    assert look(cast.vera, live(run, seen), 204).content == b""
    pk = str(run.pk)
    send(call, edda_key, epoch(pk, 2))
    big = 2**62
    send(call, edda_key, event(pk, "console_output", chunkId=big, content="new", lineCount=1, progress={"1": "bar"}))
    send(call, edda_key, event(pk, "system_metrics", cpu=50, gpus={"0": {"usage": 99}}, disk={"used_gb": 7}))
    found = look(cast.vera, live(run, seen)).json()
    changes, state = found["changes"], found["state"]
    assert [row["x"] for row in changes["epochs"]] == [3]
    assert changes["epochs"][0]["metrics"]["train/box_loss"] == 3.98
    assert changes["console"] == [{"id": str(big), "text": "new"}]
    assert changes["system"][-1]["values"] == {"CPU": 50, "GPU 0 load": 99, "Used on disk": 7}
    assert changes["groups"]["train/box_loss"] == "Training loss"
    assert (state["epochs"], state["progress"], state["version"]) == ("3 / 3", ["bar"], seen + 3)
    look(cast.vera, live(run, state["version"]), 204)

    send(call, edda_key, epoch(pk, 0, fitness=0.9))  # an epoch that came again with another value
    assert [row["x"] for row in look(cast.vera, live(run, seen + 3)).json()["changes"]["epochs"]] == [1]


def test_the_final_validation_is_no_point_of_the_curves(look, cast, call, edda_key):
    pk = start(call, edda_key, epochs=100)
    for number in range(3):
        send(call, edda_key, epoch(pk, number))
    final = epoch(pk, 3, metrics={"train/box_loss": 1, "metrics/mAP50-95(B)": 0.9})  # stopped early
    send(call, edda_key, final)
    run = Run.objects.get(pk=pk)
    assert look(cast.vera, f"/runs/{pk}/curves").json()["metrics"]["train/box_loss"]["x"] == [1, 2, 3]
    assert [row["x"] for row in look(cast.vera, live(run, 0)).json()["changes"]["epochs"]] == [1, 2, 3]
    curves = look(cast.vera, f"/projects/{run.project_id}/curves?run={pk}&metric=train/box_loss").json()["curves"]
    assert curves[pk]["x"] == [1, 2, 3]


def test_the_curves_of_a_long_run_are_thinned_and_their_peaks_and_ends_stay(look, cast, run):
    Epoch.objects.all().delete()
    same = {"run": run, "version": 2, "at": timezone.now()}
    Epoch.objects.bulk_create(
        Epoch(number=n, metrics={"lr": 9 if n == 3333 else n / 10**4}, system={"cpu": n / 100}, **same)
        for n in reversed(range(5001))  # as a table may have them that has been cleaned up
    )
    Run.objects.update(planned_epochs=9000, last_epoch=5000, last_validated_epoch=None)
    found = look(cast.vera, f"/runs/{run.pk}/curves").json()
    metric, load = found["metrics"]["lr"], found["system"]["CPU"]
    assert len(metric["x"]) <= 500
    assert len(load["x"]) <= 500
    assert (metric["x"][0], metric["x"][-1], metric["y"][metric["x"].index(3334)]) == (1, 5001, 9)
    assert (load["y"][0], load["y"][-1]) == (0, 50)


def test_a_run_that_falls_silent_is_told_without_an_event_and_lives_again_when_it_speaks(
    look, cast, call, edda_key, run, settings
):
    look(cast.vera, live(run, run.version, status="running"), 204)
    settings.RUN_STALLED_SECONDS = 1
    Run.objects.update(heard_at=timezone.now() - timedelta(seconds=5))
    found = look(cast.vera, live(run, run.version, status="running")).json()
    assert found["state"]["status"] == "stalled"
    assert found["changes"]["epochs"] == []
    look(cast.vera, live(run, run.version, status="stalled"), 204)
    for path in ("/acme/my-project", "/acme/my-project/exp1"):
        assert ">Stalled<" in look(cast.vera, path).content.decode()
    send(call, edda_key, epoch(str(run.pk), 2))
    settings.RUN_STALLED_SECONDS = 900
    found = look(cast.vera, live(run, run.version, status="stalled")).json()
    assert (found["state"]["status"], found["state"]["epochs"]) == ("running", "3 / 3")
    for path in ("/acme/my-project", "/acme/my-project/exp1"):
        assert ">Running<" in look(cast.vera, path).content.decode()


def test_cancelling_and_finishing_are_another_stage(look, browser, cast, call, edda_key, run):
    stages = [look(cast.vera, live(run, 0)).json()["state"]["stage"]]
    send(call, edda_key, epoch(str(run.pk), 2))
    stages.append(look(cast.vera, live(run, 0)).json()["state"]["stage"])
    browser(cast.edda).send("POST", f"/runs/{run.pk}/cancel?workspace=acme")
    stages.append(look(cast.vera, live(run, 0)).json()["state"]["stage"])
    assert stages[0] == stages[1] != stages[2]


def test_a_page_that_missed_much_is_told_to_load_anew(look, cast, run):
    Epoch.objects.bulk_create(Epoch(run=run, number=n, metrics={"lr": n}, version=2) for n in range(10, 600))
    Run.objects.update(version=2, planned_epochs=1000, last_epoch=599, last_validated_epoch=None)
    found = look(cast.vera, live(run, 1)).json()
    assert found["changes"] is None
    assert found["state"]["version"] == 2


@pytest.mark.parametrize("after", ["", "-1", "x", "1e5", "٣", "9" * 19])
def test_a_poll_without_a_version_is_refused(look, cast, run, after):
    look(cast.vera, f"/runs/{run.pk}/live?after={after}", 400)


def test_a_poll_of_an_idle_run_is_four_statements_and_one_of_a_live_run_seven_and_none_writes(look, cast, run):
    look(cast.vera, live(run, run.version), 204)  # the session is noted
    idle = queries(lambda: look(cast.vera, live(run, run.version), 204))
    news = queries(lambda: look(cast.vera, live(run, 0)))
    project = f"/projects/{run.project_id}/curves?metric=lr&run={run.pk}"
    stamp = look(cast.vera, project).json()["stamp"]
    overlay = queries(lambda: look(cast.vera, f"{project}&seen={stamp}", 204))
    assert (len(idle), len(news), len(overlay)) == (4, 7, 5)
    for statement in idle + news + overlay:
        assert re.match(r'[\s"]*SELECT\b', statement), statement


def test_older_pieces_of_the_console_follow_each_other(look, cast, run):
    ids = [2**60 + n for n in range(450)]
    ConsoleChunk.objects.bulk_create(
        ConsoleChunk(run=run, chunk_id=pk, content=f"line {pk}", line_count=1, version=1) for pk in ids
    )
    found, before, more = [], "", []
    for _ in range(3):
        piece = look(cast.vera, f"/runs/{run.pk}/console?before={before}").json()
        found = [int(chunk["id"]) for chunk in piece["console"]] + found
        before = piece["console"][0]["id"]
        more.append(piece["hasMore"])
    assert found == ids
    assert more == [True, True, False]


def test_a_chunk_of_a_megabyte_is_cut_for_the_page(look, cast, run):
    ConsoleChunk.objects.create(run=run, chunk_id=1, content="x" * 1_000_000, line_count=1, version=99)
    assert len(look(cast.vera, f"/runs/{run.pk}/console").content) < 30_000
    assert len(look(cast.vera, live(run, 1)).content) < 30_000
    assert len(look(cast.vera, "/acme/my-project/exp1").content) < 80_000


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ({}, {}),
        (
            {"cpu": 1, "ram": 2.5, "disk": [{"mount": "/", "used_gb": 3}, {"mount": "/data", "used_gb": 4}]},
            {"CPU": 1, "RAM": 2.5, "Used on /": 3, "Used on /data": 4},
        ),
        ({"disk": {"read_mbs": 1, "write_mbs": 2, "used_gb": 3}}, {"Disk read": 1, "Disk write": 2, "Used on disk": 3}),
        (
            {"disk_io": {"read_mbs": 1, "write_mbs": 2}, "network": {"recv_mbs": 3, "sent_mbs": 4}},
            {"Disk read": 1, "Disk write": 2, "Network recv": 3, "Network sent": 4},
        ),
        (
            {"gpus": {"0": {"usage": 1, "memory": 2, "temp": 3, "power": 4}}},
            {"GPU 0 load": 1, "GPU 0 memory": 2, "GPU 0 temperature": 3, "GPU 0 power": 4},
        ),
        ({"cpu": None, "ram": "lots", "gpus": [], "disk": "full", "network": None, "disk_io": 5}, {}),
        ({"gpus": {"0": None}, "disk": [None, {}], "cpu": True}, {}),
    ],
)
def test_readings_of_the_machine_in_every_shape(look, cast, run, system, expected):
    Epoch.objects.all().delete()
    SystemSample.objects.create(run=run, digest=b"x", data=system, version=1)
    found = look(cast.vera, f"/runs/{run.pk}/curves").json()["system"]
    assert {name: curve["y"] for name, curve in found.items()} == {name: [value] for name, value in expected.items()}
    look(cast.vera, live(run, 0))


def test_a_plot_is_given_as_it_came(look, cast, call, edda_key, run):
    plots = [{"type": "new_kind", "values": [1, None]}, {"type": "confusion_matrix", "matrix": [[1]]}]
    send(call, edda_key, event(str(run.pk), "training_complete", results={}, plots=plots, classNames=["cat"]))
    assert look(cast.vera, f"/runs/{run.pk}/plots/0").json() == {"plot": plots[0], "classNames": ["cat"]}
    for position in (2, 2**31, 10**30):
        look(cast.vera, f"/runs/{run.pk}/plots/{position}", 404)


def test_values_of_keys_in_what_a_client_sends_are_on_no_page(look, cast, call, edda_key):
    body = started(name="leaky", note=str.__str__(edda_key))
    body["data"]["environment"]["command"] = f"yolo train key={str.__str__(edda_key)}"
    pk = send(call, edda_key, body)["modelId"]
    send(call, edda_key, event(pk, "console_output", chunkId=1, content=f"using {str.__str__(edda_key)}", lineCount=1))
    for path in ("/acme/my-project/leaky", f"/runs/{pk}/console", f"/runs/{pk}/live?after=0"):
        assert not contains_token(look(cast.vera, path).content.decode())
