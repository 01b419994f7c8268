"""Curves are thinned so that every peak stays, and metrics stand in the client's order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.stream import RECORDINGS, recorded
from training import metrics
from training.models import Run

values = st.none() | st.floats(-1e6, 1e6) | st.integers(-5, 5)


@given(st.lists(values, max_size=400), st.integers(4, 60))
def test_a_thinned_curve_is_short_and_keeps_its_ends_its_order_and_the_peaks_of_each_part(ys, points):
    xs = list(range(len(ys)))
    found, kept = metrics.thin(xs, ys, points)
    assert len(found) == len(kept) <= points
    assert found == sorted(set(found))
    assert [ys[x] for x in found] == kept
    if not xs:
        return
    assert (found[0], found[-1]) == (xs[0], xs[-1])
    if len(xs) <= points:
        assert found == xs
        return
    parts = (points - 2) // 2
    for part in range(parts):
        begin, end = part * len(xs) // parts, (part + 1) * len(xs) // parts
        theirs = [y for y in ys[begin:end] if y is not None]
        ours = [y for x, y in zip(found, kept, strict=True) if begin <= x < end]
        if theirs:
            assert min(theirs) in ours
            assert max(theirs) in ours
        else:
            assert None in ours  # a gap stays one


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_metrics_stand_in_the_order_of_the_client_whatever_the_database_does_to_it(path):
    events = [request["json"] or {} for request in recorded(path)]
    sent = next(list(event["data"]["metrics"]) for event in events if event.get("event") == "epoch_end")
    assert sorted(sorted(sent), key=metrics.rank) == sent
    assert metrics.main_of(sent) == "metrics/mAP50-95(B)"


def test_the_order_of_other_tasks_and_of_names_of_ones_own():
    segment = ["train/box_loss", "train/seg_loss", "train/cls_loss", "train/dfl_loss"]
    segment += [f"metrics/{name}({part})" for part in "BM" for name in ("precision", "recall", "mAP50", "mAP50-95")]
    pose = ["train/pose_loss", "train/kobj_loss", "train/zeal", "metrics/accuracy_top1", "metrics/accuracy_top5"]
    rest = ["val/loss", "lr", "lr/pg1", "my own", "zeal"]
    for names in (segment, pose, rest):
        assert sorted(sorted(names), key=metrics.rank) == names


@pytest.mark.parametrize(
    ("names", "main"),
    [
        ([], ""),
        (["lr"], "lr"),
        (["metrics/accuracy_top5", "metrics/accuracy_top1"], "metrics/accuracy_top1"),
        (["metrics/recall(B)", "metrics/mAP50-95(P)"], "metrics/mAP50-95(P)"),
        (["train/loss", "metrics/own"], "metrics/own"),
    ],
)
def test_the_metric_that_tells_how_good_a_run_is(names, main):
    assert metrics.main_of(names) == main


@pytest.mark.parametrize(
    ("planned", "last", "validated", "end"),
    [
        (None, None, None, None),
        (3, 1, 1, 3),
        (3, 3, 2, 3),  # all done, and validated once more
        (100, 4, 3, 4),  # stopped early, or cancelled
        (100, 6, 3, 6),  # the same, and an epoch was lost on the way
        (None, 4, None, None),  # nothing is ever validated
    ],
)
def test_which_number_is_no_epoch(planned, last, validated, end):
    run = Run(planned_epochs=planned, last_epoch=last, last_validated_epoch=validated)
    assert metrics.end_of_epochs(run) == end
