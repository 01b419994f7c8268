"""docs/security.md goes through OWASP ASVS 5.0.0, levels 1 and 2, where it says so, and names tests that there are."""

import ast
import re

import pytest

from tests.live import ROOT

# How many requirements each section has at level 1 or 2; they are numbered from 1 within it, and level 3 comes last.
LAST = (
    {"3.3": 4, "3.4": 6}
    | {"6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4}
    | {"7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2}
    | {"8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1}
    | {"9.1": 3, "9.2": 4}
    | {"11.1": 2, "11.2": 3, "11.3": 3, "11.4": 4, "11.5": 1, "11.6": 1}
    | {"13.1": 1, "13.2": 5, "13.3": 2, "13.4": 5}
    | {"16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 3}
)
ROW = re.compile(r"^\| (\d+\.\d+\.\d+) \| (.*) \| (.*) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "security.md").read_text())


def test_every_requirement_is_in_the_table_once():
    wanted = [f"{section}.{number}" for section, last in LAST.items() for number in range(1, last + 1)]
    assert [requirement for requirement, _, _ in ROWS] == wanted


@pytest.mark.parametrize(("requirement", "how", "shown"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_met_is_shown_by_a_test_that_there_is(requirement, how, shown):
    if not shown.strip():
        assert re.match(r"\*(Not met|Does not apply)\*: \w", how), "a reason"
        return
    for named in re.findall("`(.*?)`", shown):
        path, _, name = named.partition("::")
        tree = ast.parse((ROOT / "tests" / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, named
