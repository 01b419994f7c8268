"""Loaded before Django's settings (`-p tests.environment`): the suite has data of its own and nobody's variables.

`KEYHOUSE_TEST_DATA_DIR` names another folder for them than `build/test`, for a second suite at the same time. Each
process of pytest-xdist has a folder of its own in it, and so a PostgreSQL of its own.
"""

import os
import signal
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("KEYHOUSE_TEST_DATA_DIR") or ROOT / "build" / "test").expanduser().resolve()
DATA_DIR /= os.environ.get("PYTEST_XDIST_WORKER", "")
for name in ("DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "API_KEY_ENCRYPTION_KEYS", "PUBLIC_URL", "EMAIL_URL", "REDIS_URL"):
    os.environ.pop(name, None)
os.environ["DATA_DIR"] = str(DATA_DIR)
os.environ["USAGE_FLUSH_SECONDS"] = "0"  # tests write statistics when they want to
(DATA_DIR / "static").mkdir(parents=True, exist_ok=True)
if "PYTEST_XDIST_WORKER" in os.environ:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else all that tests start would ignore Ctrl-C as it does
