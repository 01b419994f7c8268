"""The real client end to end, where one is installed; `install` makes both generations."""

import importlib.util
import os
import sys

import pytest

from tests.client import train

CLIENTS = [name for name in os.environ.get("KEYHOUSE_CLIENTS", "").split(os.pathsep) if name]
if not CLIENTS and importlib.util.find_spec("ultralytics"):
    CLIENTS = [sys.executable]


@pytest.mark.skipif(not CLIENTS, reason="no ultralytics: set KEYHOUSE_CLIENTS to what tests/client/install prints")
@pytest.mark.parametrize("python", CLIENTS or ["none"])
def test_the_real_client_trains_end_to_end(tmp_path, python):
    train.check(python, tmp_path)
