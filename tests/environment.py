"""Loaded before Django's settings (`-p tests.environment`): the suite has data of its own and nobody's variables."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for name in ("DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "API_KEY_ENCRYPTION_KEYS", "PUBLIC_URL", "EMAIL_URL", "REDIS_URL"):
    os.environ.pop(name, None)
os.environ["DATA_DIR"] = str(ROOT / "build" / "test")
os.environ["USAGE_FLUSH_SECONDS"] = "0"  # tests write statistics when they want to
(ROOT / "build" / "test" / "static").mkdir(parents=True, exist_ok=True)
