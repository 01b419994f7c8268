"""What a validation says of single images, in the form of the SDK's `models.retrieve(analysis="1")`.

Clients report how many objects of each image were found (tp), made up (fp) and missed (fn). This server has no data
sets, so no image is matched with one, and nothing of the images themselves can be compared.
"""

from statistics import mean, quantiles
from typing import Any


def analysis_of(validation: Any) -> dict[str, Any] | None:
    """The analysis of what `training_complete` reported as `results.validation`, or None if that is nothing usable."""
    if not isinstance(validation, dict):
        return None
    rows = _rows(validation.get("rows"))
    population = validation.get("population")
    if not isinstance(population, int) or isinstance(population, bool) or population < len(rows):
        population = len(rows)
    if not rows:
        return None
    extremes = validation.get("extremes")
    worst, best = (_rows(extremes.get(name)) if isinstance(extremes, dict) else [] for name in ("worst", "best"))
    return {
        "population": population,
        "retained": len(rows),
        "matched": 0,
        "unmatched": len(rows),
        "traitsAvailable": False,
        "sourceSplit": None,
        "coverage": {
            "mode": "full" if len(rows) == population else "sampled",
            "omittedMiddle": population - len(rows),
            "unmatchedExtremes": len({row[0] for row in worst + best}),
        },
        "scatterSample": {"eligible": 0, "rows": []},
        "cohorts": {"worst": _cohort(worst), "best": _cohort(best)},
        "comparisons": None,
    }


def _rows(rows: Any) -> list[tuple[str, int, int, int]]:
    """Those that are a name and three counts; they come from the client unchecked."""
    return [
        tuple(row)
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, list) and [type(value) for value in row] == [str, int, int, int] and min(row[1:]) >= 0
    ]


def _cohort(rows: list[tuple[str, int, int, int]]) -> dict[str, Any]:
    scores = [_f1(*row[1:]) for row in rows]
    return {
        "count": len(rows),
        "matched": 0,
        "metrics": {
            "tp": sum(row[1] for row in rows),
            "fp": sum(row[2] for row in rows),
            "fn": sum(row[3] for row in rows),
            "f1": _spread(scores) if scores else None,
        },
        "examples": [
            {"hash": name, "tp": tp, "fp": fp, "fn": fn, "f1": score, "isEmptyGroundTruth": tp + fn == 0}
            for (name, tp, fp, fn), score in zip(rows, scores, strict=True)
        ],
    }


def _f1(tp: int, fp: int, fn: int) -> float:
    """1 where there was nothing to find and nothing was found."""
    return round(2 * tp / (2 * tp + fp + fn), 6) if tp + fp + fn else 1.0


def _spread(scores: list[float]) -> dict[str, float]:
    p25, median, p75 = quantiles(scores, n=4, method="inclusive") if len(scores) > 1 else scores * 3
    spread = {"min": min(scores), "p25": p25, "median": median, "p75": p75, "max": max(scores), "mean": mean(scores)}
    return {"count": len(scores)} | {name: round(value, 6) for name, value in spread.items()}
