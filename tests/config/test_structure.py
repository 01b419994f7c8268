"""Rules about the code that a reader could break without noticing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ORDER = ("config", "accounts", "workspaces", "apikeys", "training")
# Places where the parts are put together: they name every app.
COMPOSITION = {"config/urls.py", "config/settings.py", "config/gunicorn.py"}


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def sources(app):
    return [p for p in (ROOT / app).rglob("*.py") if "migrations" not in p.parts]


@pytest.mark.parametrize("app", [a for a in ORDER if (ROOT / a).exists()])
def test_imports_go_one_way(app):
    higher = ORDER[ORDER.index(app) + 1 :]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(app)
        if str(path.relative_to(ROOT)) not in COMPOSITION
        for name in imports(path)
        if name.split(".")[0] in higher
    ]
    assert wrong == []


def test_services_and_models_know_nothing_of_http():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for app in ORDER
        if (ROOT / app).exists()
        for path in sources(app)
        if path.name in ("models.py", "services.py", "access.py")
        for name in imports(path)
        if name.startswith(("django.http", "rest_framework"))
    ]
    assert wrong == []


def test_a_view_that_does_not_say_who_may_use_it_fails_the_check():
    from config import checks
    from config.api import ApiView

    class Forgetful(ApiView):
        def get(self, request):
            return None

    Forgetful.__module__ = "apikeys.api"
    found = [Forgetful.get] if not hasattr(Forgetful.get, "allowed_right") else []
    assert found
    assert checks.every_view_says_who_may_use_it(None) == []
    assert len(list(checks.handlers())) > 15


def test_templates_and_scripts_load_nothing_from_another_host():
    import re

    outside = re.compile(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""")
    for folder in ("templates", "static"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in (".html", ".css", ".js"):
                assert not outside.search(path.read_text()), path


def test_lock_files_pin_hashes_and_name_no_address():
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert text.count("--hash=sha256:") > 30


def test_no_migration_is_missing():
    done = subprocess.run(
        [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
