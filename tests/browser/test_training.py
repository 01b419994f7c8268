"""A run is watched while it trains: curves, console and state move without reloading. And what is done with it."""

import csv
import io
import json
import math
import random
import time
from pathlib import Path

import httpx
import pytest

from tests.training.stream import WEIGHTS, started


class Trainer:
    """A machine that trains and reports, over HTTP with a key."""

    def __init__(self, site, *, name="exp1", project="operator/demo", epochs=30, seed=0, args=None):
        self.site, self.chance, self.project, self.values = site, random.Random(seed), project, []
        self.key = site.new_key(f"trainer {name}")
        self.http = httpx.Client(base_url=site.url, headers={"Authorization": f"Bearer {self.key}"})
        start = started(project=project, name=name, epochs=epochs, seed=seed, **(args or {}))
        answer = self.send(start, with_id=False)
        self.model_id, self.slug, self.chunk, self.epoch = answer["modelId"], answer["modelSlug"], 0, 0

    def send(self, body, *, with_id=True):
        body = body | ({"modelId": self.model_id} if with_id else {})
        answer = self.http.post("/api/webhooks/training/metrics", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def console(self, text, progress=None):
        self.chunk += 1
        data = {"chunkId": self.chunk, "content": text, "lineCount": 1, "progress": progress or {}}
        return self.send({"event": "console_output", "data": data})

    def train(self, epochs, extra=()):
        """Report so many more epochs, with values that look like a training, and `extra` ones."""
        for _ in range(epochs):
            n, wobble = self.epoch, self.chance.uniform(-0.02, 0.02)
            share = 1 - math.exp(-n / 12)
            metrics = {
                "train/box_loss": 3.2 * math.exp(-n / 15) + 0.8 + wobble,
                "train/cls_loss": 4.1 * math.exp(-n / 10) + 0.5 + wobble,
                "train/l1_loss": 1.9 * math.exp(-n / 18) + 0.6 + wobble,
                "val/box_loss": 3.4 * math.exp(-n / 14) + 0.95 - wobble,
                "val/cls_loss": 4.3 * math.exp(-n / 9) + 0.65 - wobble,
                "val/l1_loss": 2.0 * math.exp(-n / 17) + 0.7 - wobble,
                "metrics/precision(B)": 0.9 * share + wobble,
                "metrics/recall(B)": 0.85 * share - wobble,
                "metrics/mAP50(B)": 0.88 * share + wobble,
                "metrics/mAP50-95(B)": 0.62 * share + wobble / 2,
                "lr": 0.01 * (1 - n / 40),
            } | dict(extra)
            self.values.append(metrics)
            gpu = {"0": {"usage": 93 + 60 * wobble, "memory": 71.5, "temp": 64 + n / 4, "power": 280 + 900 * wobble}}
            system = {
                "cpu": 52 + 400 * wobble,
                "ram": 38.2 + n / 10,
                "gpus": gpu,
                "disk": [{"mount": "/", "used_gb": 48}],
            }
            data = {"epoch": n, "metrics": metrics, "system": system, "fitness": metrics["metrics/mAP50-95(B)"]}
            answer = self.send({"event": "epoch_end", "data": data | {"best_fitness": data["fitness"]}})
            self.console(
                f"\x1b[1m{n + 1:>6}/30\x1b[0m   \x1b[34m4.2G\x1b[0m   box_loss {metrics['train/box_loss']:.3f}"
            )
            self.epoch += 1
        return answer

    def finish(self):
        asked = self.http.post(
            "/api/webhooks/models/upload", json={"modelId": self.model_id, "runId": 1, "filename": "best.pt"}
        ).json()
        assert httpx.put(asked["uploadUrl"], content=WEIGHTS).status_code == 204
        self.send({"event": "checkpoint_saved", "data": {"modelPath": asked["gcsPath"], "runId": 1}})
        xs = [n / 100 for n in range(101)]
        falling = [[max(0.0, 1 - x**power) for x in xs] for power in (3, 6)]
        humped = [[4 * x * (1 - x) * height for x in xs] for height in (0.8, 0.9)]
        plots = [
            {"type": "confusion_matrix", "matrix": [[41, 3, 2], [4, 52, 1], [5, 2, 0]]},
            {"type": "pr_curve", "x": xs, "y": falling, "ap": [[0.7], [0.8]]},
            {"type": "f1_curve", "x": xs, "y": humped},
            {"type": "something_new", "values": [1, 2, 3]},
        ]
        results = {"metrics": {"metrics/mAP50-95(B)": 0.61, "fitness": 0.61}, "bestEpoch": 28, "bestFitness": 0.61}
        data = {"results": results, "plots": plots, "classNames": ["square", "disc"], "runId": 1}
        self.send({"event": "training_complete", "data": data})

    @property
    def path(self):
        return f"/{self.project}/{self.slug}"


@pytest.fixture
def operator(site, person):
    def open_browser(**options):
        return person(**options).sign_in("operator", site.password)

    return open_browser


def wait_until(page, condition, seconds=20):
    """Let the page go on until `condition` is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        page.wait_for_timeout(100)


def chart(page, title):
    return page.locator(".chart-card", has=page.locator("figcaption", has_text=title))


def value(card, name):
    return card.locator("button.curve", has_text=name).locator(".value").inner_text()


def point_at(page, card, share):
    """Put the pointer on a chart, so far from its left end."""
    card.scroll_into_view_if_needed()
    box = card.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)


def ends(page, card):
    """What a chart says of its first and its last point, where the pointer is at its left and its right end."""
    found = []
    for share in (0.001, 0.999):
        point_at(page, card, share)
        found.append(card.locator(".at").inner_text())
    page.mouse.move(0, 0)
    return found


def test_a_run_is_watched_from_its_start_to_its_weights_without_reloading(site, operator):
    trainer = Trainer(site, name="watched")
    watcher = operator()
    page = watcher.page
    page.goto(trainer.path)
    page.evaluate("window.notReloaded = true")
    page.get_by_text("No epoch has ended yet.").wait_for()
    export = page.locator("summary", has_text="Export")
    assert export.count() == 0
    trainer.train(3)
    export.wait_for()  # with the first epoch come its export and the metric that tells best how good the run is
    assert page.locator(".tiles dt", has_text="mAP50-95(B)").count() == 1
    loss, mean, load = (chart(page, title) for title in ("Training loss", "mAP", "Load in %"))
    page.get_by_text("3 / 30", exact=True).wait_for()
    loss.locator(".at", has_text="Epoch 3").wait_for()
    titles = page.locator("[data-charts] figcaption span:first-child").all_inner_texts()
    assert titles == ["Training loss", "Validation loss", "Precision and recall", "mAP", "Learning rate"]
    assert loss.locator("button.curve .name").all_inner_texts() == ["box_loss", "cls_loss", "l1_loss"]
    assert ends(page, loss) == ["Epoch 1", "Epoch 3"]
    begin, end = ends(page, load)
    assert "box_loss" in page.locator("[data-lines]").inner_text()
    assert "\x1b" not in page.locator("[data-lines]").inner_text()

    trainer.train(9)
    bars = {"1": "  13/30: 1%\r  13/30: 2%\r  13/30  4.2G: 33% ━━━───── 10/30"}
    trainer.console("[2026-11-23 09:54:17] one\rtwo\ra \x1b[34m\x1b[1mblue\x1b[0m line\r", bars)
    page.get_by_text("12 / 30", exact=True).wait_for()
    page.get_by_text("40 %", exact=True).wait_for()
    page.get_by_text("13/30  4.2G").wait_for()
    assert page.locator("[data-bars]").inner_text().strip() == "13/30  4.2G: 33% ━━━───── 10/30"
    assert page.locator(".chunk", has_text="blue").inner_text().strip() == "09:54:17 a blue line"
    assert page.locator(".ansi-bold.ansi-4", has_text="blue").is_visible()
    assert page.locator(".stamp", has_text="09:54:17").get_attribute("title") == "2026-11-23"
    page.get_by_role("heading", name="Machine").wait_for()
    assert float(value(load, "GPU 0 load")) > 80
    assert ends(page, loss) == ends(page, mean) == ["Epoch 1", "Epoch 12"]  # the charts grow with their curves
    assert ends(page, load)[0] == begin
    assert ends(page, load)[1] > end

    # The epoch and the values under the pointer, in all charts at once.
    shown = trainer.values
    assert loss.locator(".at").inner_text() == "Epoch 12"
    assert value(loss, "box_loss") == f"{shown[11]['train/box_loss']:.4g}"
    point_at(page, loss, 0.001)
    assert loss.locator(".at").inner_text() == mean.locator(".at").inner_text() == "Epoch 1"
    assert value(loss, "box_loss") == f"{shown[0]['train/box_loss']:.4g}"
    page.mouse.move(0, 0)

    # A part of the chart looked at more closely stays that part while epochs come, until a double click.
    point_at(page, loss, 0.25)
    page.mouse.down()
    point_at(page, loss, 0.75)
    page.mouse.up()
    zoomed = ends(page, loss)
    assert zoomed not in ([], ["Epoch 1", "Epoch 12"])
    trainer.train(1)
    page.get_by_text("13 / 30", exact=True).wait_for()
    assert ends(page, loss) == ends(page, mean) == zoomed
    loss.locator(".u-over").dblclick()
    assert ends(page, loss) == ["Epoch 1", "Epoch 13"]

    # The same with the keyboard; and a curve is switched off.
    loss.locator(".chart").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert loss.locator(".at").inner_text() == mean.locator(".at").inner_text() == "Epoch 2"
    assert "box_loss" in page.locator("#announcer").inner_text()
    page.keyboard.press("Escape")
    assert loss.locator(".at").inner_text() == "Epoch 13"
    button = loss.get_by_role("button", name="cls_loss")
    button.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    page.get_by_label("Log scale").check()
    page.get_by_label("Log scale").uncheck()
    watcher.assert_accessible()
    watcher.assert_fits()
    watcher.shot("training-run-live")

    trainer.train(17)
    export.focus()
    trainer.finish()
    page.get_by_text("Completed", exact=True).wait_for()
    page.get_by_role("heading", name="Results").wait_for()
    assert page.get_by_role("link", name="Cancel").count() == 1  # nothing is taken away from under somebody's hands
    page.keyboard.press("Tab")
    page.get_by_role("link", name="Download weights").wait_for()
    page.get_by_role("heading", name="Machine").scroll_into_view_if_needed()  # plots are drawn when they are seen
    page.locator(".matrix").wait_for()
    chart(page, "F1 by confidence").locator("button", has_text="mean of all classes").wait_for()
    page.get_by_text("Numbers").wait_for()
    assert page.get_by_role("link", name="Cancel").count() == 0
    assert page.evaluate("window.notReloaded") is True
    watcher.assert_accessible()
    watcher.shot("training-run-done")

    with page.expect_download() as download:
        page.get_by_role("link", name="Download weights").click()
    assert Path(download.value.path()).read_bytes() == WEIGHTS
    files = {}
    for name in ("Epochs as CSV", "Everything as JSON", "Console as text"):
        page.locator("summary", has_text="Export").press("Enter")
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        files[download.value.suggested_filename] = Path(download.value.path()).read_text()
    assert set(files) == {"demo-watched.csv", "demo-watched.json", "demo-watched.log"}
    rows = list(csv.DictReader(io.StringIO(files["demo-watched.csv"])))
    assert [float(row["train/box_loss"]) for row in rows] == [values["train/box_loss"] for values in shown]
    assert len(json.loads(files["demo-watched.json"])["epochs"]) == 30
    assert "\x1b[34m" in files["demo-watched.log"]


def test_the_console_follows_its_end_unless_somebody_reads_further_up(site, operator):
    trainer = Trainer(site, name="talkative")
    for number in range(260):  # more chunks than one piece has
        trainer.console(f"line {number}")
    page = operator().page
    page.goto(trainer.path)
    log, follow = page.locator("[data-console]"), page.get_by_label("Follow the end")
    page.get_by_text("line 259", exact=True).wait_for()
    above = "element => element.scrollHeight - element.clientHeight - element.scrollTop"
    assert log.evaluate(above) < 8
    assert page.get_by_text("line 0", exact=True).count() == 0

    log.focus()
    page.keyboard.press("PageUp")
    wait_until(page, lambda: not follow.is_checked())
    trainer.console("a line that is new")
    page.get_by_text("a line that is new").wait_for()
    assert log.evaluate(above) > 8
    follow.check()
    assert log.evaluate(above) < 8

    page.keyboard.press("Tab")
    log.evaluate("element => element.scrollTop = 0")
    page.get_by_role("button", name="Load older lines").click()
    page.get_by_text("line 0", exact=True).wait_for()
    lines = [line for line in page.locator("[data-lines]").inner_text().splitlines() if line.startswith("line")]
    assert lines == [f"line {number}" for number in range(260)]


def test_what_clients_send_is_text_and_nothing_else(site, operator):
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    trainer = Trainer(site, name="evil", args={"model": evil, "=cmd": evil})
    trainer.train(2, extra={f"train/{evil}": 1.5, "__proto__": 3, "constructor": 4})
    trainer.console(f"{evil}\x1b[31m{evil}\x1b]8;;javascript:alert(3)\x07link\x1b]8;;\x07", {"1": evil})
    trainer.send({"event": "training_failed", "data": {"error": evil}})
    watcher = operator()
    page = watcher.page
    page.on("dialog", lambda dialog: watcher.complaints.append(f"a dialog: {dialog.message}"))
    page.goto(trainer.path)
    page.locator("button.curve", has_text=evil).wait_for()
    page.locator("[data-lines]", has_text=evil).wait_for()
    page.locator("[data-bars]", has_text=evil).wait_for()
    page.get_by_role("alert").filter(has_text=evil).wait_for()
    assert page.locator("main img, main script").count() == 0
    page.locator("summary", has_text="Arguments").click()
    watcher.assert_accessible()
    watcher.assert_fits()
    watcher.shot("training-run-failed")


def test_runs_are_chosen_on_their_project_and_compared(site, operator):
    first = Trainer(site, name="first", seed=1, project="operator/compared")
    second = Trainer(site, name="second", seed=2, project="operator/compared", args={"lr0": "0.02"})
    first.train(20)
    second.train(15)
    watcher = operator()
    page = watcher.page
    page.goto("/operator/compared")
    overlay = page.locator("[data-overlay]")
    overlay.locator("button.curve", has_text="first").wait_for()
    assert overlay.locator("button.curve .name").all_inner_texts() == ["second", "first"]
    page.get_by_label("Choose first").uncheck()
    overlay.locator("button.curve", has_text="first").wait_for(state="detached")
    page.get_by_label("Metric", exact=True).select_option("train/box_loss")
    overlay.locator("figcaption", has_text="train/box_loss").wait_for()
    assert page.get_by_label("Choose first").is_checked() is False  # the choice is remembered
    page.get_by_label("Choose first").check()
    overlay.locator("button.curve", has_text="first").wait_for()

    second.train(1)  # the row and the curve follow without reloading
    page.get_by_text("16 / 30").wait_for()
    overlay.locator("button.curve", has_text="second").locator(
        ".value", has_text=f"{second.values[15]['train/box_loss']:.4g}"
    ).wait_for()
    watcher.assert_accessible()
    watcher.assert_fits()
    watcher.shot("training-project")

    page.get_by_role("link", name="Epochs").click()
    page.wait_for_url("**sort=-epochs**")
    assert page.locator("tbody th[scope=row] a").all_inner_texts() == ["first", "second"]
    page.get_by_role("button", name="Compare the chosen").click()
    page.get_by_role("heading", name="2 runs beside each other").wait_for()
    assert page.get_by_role("row", name="lr0").locator("td").all_inner_texts() == ["–", "0.02"]
    chart(page, "metrics/mAP50(B)").locator("button.curve", has_text="second").wait_for()
    watcher.assert_accessible()
    watcher.assert_fits()
    watcher.shot("training-compare")

    page.goto(second.path)
    page.get_by_label("Compare with").select_option("first")
    other = chart(page, "Training loss").locator("button.curve", has=page.locator(".dashed"))
    other.first.wait_for()
    assert other.locator(".name").all_inner_texts() == ["first"] * 3
    watcher.shot("training-run-compared")


def test_a_run_is_cancelled_deleted_and_brought_back(site, operator):
    trainer = Trainer(site, name="doomed")
    trainer.train(2)
    watcher = operator()
    page = watcher.page
    page.goto(trainer.path)
    page.get_by_role("link", name="Cancel").click()
    watcher.assert_accessible()
    page.get_by_role("button", name="Cancel the training").click()
    page.get_by_text("Cancelled", exact=True).wait_for()
    assert trainer.train(1)["cancelled"] is True
    page.get_by_role("link", name="Delete").click()
    watcher.assert_accessible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("is in the trash").wait_for()
    page.goto("/trash")
    watcher.assert_accessible()
    page.get_by_role("button", name="Bring back doomed").click()
    page.get_by_text("3 / 30").wait_for()


@pytest.mark.parametrize(
    "look", [{"dark": True}, {"phone": True}, {"javascript": False}], ids=["dark", "phone", "plain"]
)
def test_the_pages_are_good_in_the_dark_on_a_phone_and_without_javascript(site, operator, look):
    name = next(iter(look))
    trainer = Trainer(site, name=f"look-{name}", seed=3)
    trainer.train(12)
    trainer.console("\x1b[34mcoloured\x1b[0m")
    watcher = operator(**look)
    page = watcher.page
    for path, shot in (("/operator", "projects"), ("/operator/demo", "project"), (trainer.path, "run")):
        page.goto(path)
        if look.get("javascript", True):
            page.wait_for_load_state("networkidle")
            watcher.assert_accessible()
        watcher.assert_fits()
        watcher.shot(f"training-{shot}-{name}")
    page.get_by_text("12 / 30").wait_for()
    lines = page.locator("[data-lines]").inner_text()
    assert "box_loss" in lines
    assert "\x1b" not in lines
    if not look.get("javascript", True):
        page.goto("/operator/demo?sort=name")
        page.get_by_role("button", name="Compare the chosen").click()
        page.get_by_role("heading", name="beside each other").wait_for()


def test_polls_grow_rare_stop_while_nobody_looks_and_say_when_the_run_is_gone(site, operator):
    trainer = Trainer(site, name="silent")
    trainer.train(1)
    watcher = operator()
    page = watcher.page
    page.add_init_script(
        "window.looksAway = false; Object.defineProperty(document, 'hidden', {get: () => window.looksAway})"
    )
    asked = []
    page.on("request", lambda request: asked.append(time.monotonic()) if "/live?" in request.url else None)
    page.goto(trainer.path)
    wait_until(page, lambda: len(asked) == 2)
    assert asked[1] - asked[0] > 3.5  # longer than the first wait, of three seconds

    look = "window.looksAway = {}; document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(look.format("true"))
    before = len(asked)
    trainer.console("while nobody looked")
    page.wait_for_timeout(4000)
    assert len(asked) == before
    page.evaluate(look.format("false"))
    page.get_by_text("while nobody looked").wait_for(timeout=2000)  # at once, not after the wait

    deleter = operator()
    deleter.page.goto(trainer.path)
    deleter.page.get_by_role("link", name="Delete").click()
    deleter.page.get_by_role("button", name="Delete").click()
    page.get_by_text("This has been deleted").wait_for()
    watcher.complaints[:] = [text for text in watcher.complaints if "404" not in text]
