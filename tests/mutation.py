"""Changes the code that guards keys in small ways, one at a time, and asks whether a test notices.

    python -m tests.mutation [--list] [--survivors | --fresh] [file or part of a mutant's name ...]

Each change is a mutant. One inside a function, or in a table that only functions of its module look into, is made in a
fork of a process that has collected the tests. Any other, and what runs on import, is made in the file, and a process
imports our code anew. Only tests that run the changed lines are run, up to the first failure.
All this is in a copy of the project, with a database of its own. What survives is looked up in
`docs/mutation-testing.md`; ends with 1 if something is not explained there.
"""

import argparse
import ast
import gc
import hashlib
import importlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import psycopg
import pytest
from _pytest.runner import runtestprotocol

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "mutation"
TREE = WORK / "tree"
RESULTS = WORK / "results.jsonl"
OURS = ("config", "accounts", "workspaces", "apikeys", "training")
OUTPUT = os.dup(1)  # that of the children goes into a file
DOCUMENT = ROOT / "docs" / "mutation-testing.md"
LIVE = {"server", "new_server", "mailing"}  # fixtures that start servers, which are too slow for this
BUDGET_SECONDS = 40  # of CPU for the tests of one mutant; `--survivors` has no limit

NOT_STARTED = 100  # and the exit status of pytest
BROKEN = 70  # the exit status of a child in which this program failed, not a test
PRIOR_KILLS = 0.05  # what a test that has found nothing yet is taken to have found

# What is mutated, and the files of tests that are meant to notice.
KEYS = ("apikeys/test_keys", "apikeys/test_lookup", "apikeys/test_reauthentication", "apikeys/test_encryption_keys")
OPERATOR = ("apikeys/test_commands", "apikeys/test_admin")
DOORS = ("workspaces/test_access", "security/test_roles", "apikeys/test_endpoints", "workspaces/test_second_factor")
TEAMS = ("workspaces/test_members", "workspaces/test_invitations", "workspaces/test_races", "accounts/test_suspension")
LOG = ("workspaces/test_activity", "workspaces/test_people")
HEADERS = ("security/test_headers", "apikeys/test_leaks", "training/test_checkpoints")
LIMITS = ("config/test_limits", "apikeys/test_lookup", "security/test_headers", "apikeys/test_leaks")
TARGETS = {
    "apikeys/tokens.py": (*KEYS, "apikeys/test_leaks", "security/test_forgery"),
    "apikeys/keyring.py": (*KEYS, "apikeys/test_commands", "security/test_forgery"),
    "apikeys/lookup.py": (*KEYS, *DOORS, "security/test_forgery"),
    "apikeys/authentication.py": (*KEYS, *DOORS, "security/test_forgery", "apikeys/test_usage", *HEADERS),
    "apikeys/services.py": (*KEYS, *OPERATOR, "apikeys/test_leaks", *TEAMS, *DOORS, *LOG),
    "apikeys/models.py": (*KEYS, *OPERATOR, *TEAMS, *DOORS),
    "workspaces/access.py": (*DOORS, *TEAMS, *KEYS),
    "workspaces/members.py": (*TEAMS, *DOORS, "workspaces/test_tabs", "workspaces/test_admin"),
    "workspaces/invitations.py": (*TEAMS, *DOORS, "workspaces/test_tabs", "workspaces/test_admin"),
    "config/api.py": ("config/test_api", *DOORS, *LIMITS, *KEYS, "apikeys/test_usage", "config/test_openapi"),
    "config/ratelimit.py": (*LIMITS, *DOORS, *KEYS, "apikeys/test_usage", "config/test_openapi"),
    "config/rates.py": LIMITS,
    "config/ratelimit_cache.py": LIMITS,
}

AROUND = 7  # words of code, to recognize a place by
SWAPS = {ast.Eq: ast.NotEq, ast.Lt: ast.LtE, ast.Gt: ast.GtE, ast.Is: ast.IsNot, ast.In: ast.NotIn}
SWAPS |= {ast.Add: ast.Sub, ast.Mult: ast.FloorDiv, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Pow: ast.Mult}
SWAPS |= {new: old for old, new in SWAPS.items() if old is not ast.Pow} | {ast.Div: ast.Mult}
CHAINED = {"active", "due", "exclude", "filter", "lower", "of", "open", "order_by", "select_for_update", "strip"}
LOCK_OPTIONS = {"of", "no_key", "skip_locked"}  # who else waits, not what comes of it
# The order of each is that of its declaration; a name is swapped with its neighbours.
NAMES = {"Role": ["VIEWER", "EDITOR", "ADMIN", "OWNER"]}
NAMES["Right"] = "VIEW OWN_ACCOUNT LEAVE USE_TEAMS LIST_KEYS EDIT MANAGE_KEYS ROTATE_ITSELF MANAGE_MEMBERS".split()
NAMES["Right"].append("MANAGE_TEAM")


def without(items: list, at: int) -> list:
    return items[:at] + items[at + 1 :]


def variants(node: Any) -> Iterator[ast.AST]:
    """The small changes of one node: what may stand in its place."""
    match node:
        case ast.Compare():
            for at, op in enumerate(node.ops):
                ops = [*node.ops[:at], SWAPS[type(op)](), *node.ops[at + 1 :]]
                yield ast.Compare(node.left, ops, node.comparators)
        case ast.BoolOp():
            yield ast.BoolOp(SWAPS[type(node.op)](), node.values)
            for at in range(len(node.values)):
                rest = without(node.values, at)
                yield ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0]
        case ast.BinOp() if type(node.op) in SWAPS:
            yield ast.BinOp(node.left, SWAPS[type(node.op)](), node.right)
            if isinstance(node.op, ast.BitOr | ast.BitAnd):
                yield from (node.left, node.right)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.IfExp():
            yield from (node.body, node.orelse)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=bytes() as value):
            yield ast.Constant(b"XX" + value)
        case ast.Attribute(value=ast.Name(id=owner), attr=attr) if attr in NAMES.get(owner, ()):
            order = NAMES[owner]
            at = order.index(attr)
            for name in {order[max(0, at - 1)], order[min(at + 1, len(order) - 1)]} - {attr}:
                yield ast.Attribute(node.value, name, node.ctx)
        case ast.Call():
            for at, keyword in enumerate(node.keywords):
                if keyword.arg not in LOCK_OPTIONS:
                    yield ast.Call(node.func, node.args, without(node.keywords, at))
            if isinstance(node.func, ast.Attribute) and node.func.attr in CHAINED:
                yield node.func.value
                for at in range(len(node.args)):
                    yield ast.Call(node.func, without(node.args, at), node.keywords)
            if isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
                yield ast.Call(ast.Name({"min": "max", "max": "min"}[node.func.id]), node.args, node.keywords)
        case ast.Tuple() | ast.List() | ast.Set() if len(node.elts) > 1 and are_alike(node):
            for at in range(len(node.elts)):
                yield type(node)(without(node.elts, at))
        case ast.Dict():
            for at in range(len(node.keys)):
                yield ast.Dict(without(node.keys, at), without(node.values, at))
        case ast.If() | ast.While() if not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            yield type(node)(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.For():
            yield ast.For(node.target, ast.Tuple([]), node.body, node.orelse)
        case ast.With():
            yield ast.If(ast.Constant(True), node.body, [])
        case ast.Match():
            for at in range(len(node.cases)):
                yield ast.Match(node.subject, without(node.cases, at))
        case ast.comprehension():
            for at in range(len(node.ifs)):
                yield ast.comprehension(node.target, node.iter, without(node.ifs, at), node.is_async)
        case ast.FunctionDef():
            for at, decorator in enumerate(node.decorator_list):
                if ast.unparse(decorator) not in ("property", "classmethod"):
                    yield ast.FunctionDef(
                        **{n: getattr(node, n) for n in node._fields}
                        | {"decorator_list": without(node.decorator_list, at)}
                    )
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()


def are_alike(node: Any) -> bool:
    """Is it a collection of names or texts, and not some values of which each has its meaning?"""
    kinds = {type(getattr(one, "value", None) if isinstance(one, ast.Constant) else one) for one in node.elts}
    return not isinstance(getattr(node, "ctx", None), ast.Store) and kinds in ({ast.Name}, {ast.Attribute}, {str})


class Mutant(NamedTuple):
    file: str
    place: str  # the function, or the name that a module gives to a value
    change: str
    source: str
    lines: range | None  # whose tests may notice; None: all that run anything of the file
    is_in_place: bool  # can it be made in a process that runs?
    is_in_table: bool  # is it a value of the module's that only functions look into?

    @property
    def name(self) -> str:
        return f"{self.file} {self.place}: {self.change}"


def mutants_of(file: str) -> list[Mutant]:
    """Every mutant of a file; two that read the same are one."""
    tree = ast.parse((ROOT / file).read_text())
    tables = {name for name in assigned(tree) if is_looked_into_later(name, file, tree)}
    found: dict[str, Mutant] = {}

    def visit(node: Any, path: str, lines: range | None, is_inside: bool, is_in_table: bool = False) -> None:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "type_params", "decorator_list") and isinstance(
                node, ast.arg | ast.AnnAssign | ast.FunctionDef | ast.ClassDef
            ):
                if field != "decorator_list":
                    continue
            for at, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST) or is_left_alone(child):
                    continue
                inner, where = path, lines
                inside = is_inside or (field == "body" and isinstance(node, ast.FunctionDef))
                table = is_in_table
                if isinstance(node, ast.Module) and (names := assigned(ast.Module([child]))):
                    inner, table = min(names), bool(tables & names)
                if isinstance(node, ast.Dict) and field == "values" and node.keys[at] and not is_inside:
                    inner += f"[{ast.unparse(node.keys[at])}]"
                if isinstance(child, ast.stmt) and lines is not None:
                    where = header(child)
                if isinstance(child, ast.FunctionDef):
                    where = range(child.body[0].lineno, (child.end_lineno or 0) + 1)
                if isinstance(child, ast.FunctionDef | ast.ClassDef):
                    inner = f"{path}.{child.name}".removeprefix(".")
                for variant in variants(child):
                    put(node, field, at, variant)
                    source = ast.unparse(ast.fix_missing_locations(tree))
                    put(node, field, at, child)
                    change = difference(brief(child), brief(variant))
                    found.setdefault(source, Mutant(file, inner, change, source, where, inside or table, table))
                visit(child, inner, where, inside, table)

    visit(tree, "", None, False)
    original = ast.unparse(tree)
    found.pop(original, None)
    closures = free_names(original)  # a function in memory keeps the ones that it has
    return numbered(m._replace(is_in_place=m.is_in_place and free_names(m.source) == closures) for m in found.values())


def free_names(source: str) -> set[tuple[str, tuple[str, ...]]]:
    return {(code.co_qualname, code.co_freevars) for code in codes_in(compile(source, "", "exec"))}


def codes_in(code: CodeType) -> Iterator[CodeType]:
    """The code of everything that is defined in `code`."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from codes_in(constant)


def assigned(module: ast.Module) -> set[str]:
    """The names that statements of a module assign a value to."""
    names = set()
    for statement in module.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def is_looked_into_later(name: str, file: str, tree: ast.Module) -> bool:
    """Is a module's name used by nothing but the bodies of its functions?"""
    inside = {
        id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for s in f.body for node in ast.walk(s)
    }
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    if any(isinstance(use.ctx, ast.Load) and id(use) not in inside for use in uses):
        return False
    others = (path for folder in (*OURS, "tests") for path in (ROOT / folder).rglob("*.py") if path != ROOT / file)
    return not any(re.search(rf"\b{name}\b", path.read_text()) for path in others if path.name != "mutation.py")


def numbered(mutants: Any) -> list[Mutant]:
    """The same, with a number behind a change that a function has more than once."""
    seen: Counter[str] = Counter()
    result = []
    for mutant in mutants:
        seen[mutant.name] += 1
        count = seen[mutant.name]
        result.append(mutant._replace(change=f"{mutant.change} ({count})") if count > 1 else mutant)
    return result


def put(node: ast.AST, field: str, at: int, child: ast.AST) -> None:
    value = getattr(node, field)
    if isinstance(value, list):
        value[at] = child
    else:
        setattr(node, field, child)


def header(statement: Any) -> range:
    body = getattr(statement, "body", None) or getattr(statement, "cases", None)
    first = body[0].pattern if isinstance(statement, ast.Match) else body[0] if body else None
    end = first.lineno if first is not None else statement.end_lineno + 1
    return range(statement.lineno, max(end, statement.lineno + 1))


def is_left_alone(node: ast.AST) -> bool:
    """Imports, docstrings, f-strings, assertions, details of locks, and columns of tables, which migrations make."""
    match node:
        case ast.keyword(arg=name) if name in LOCK_OPTIONS:
            return True
        case ast.Import() | ast.ImportFrom() | ast.JoinedStr() | ast.Assert() | ast.Expr(value=ast.Constant()):
            return True
        case ast.ClassDef(name="Meta"):
            return True
        case ast.Assign(value=ast.Call(func=ast.Attribute(value=ast.Name(id="models")))):
            return True
    return False


def brief(node: ast.AST) -> str:
    """One line that says what stands there."""
    if isinstance(node, ast.FunctionDef):
        return " ".join("@" + ast.unparse(decorator) for decorator in node.decorator_list) or "no decorator"
    if isinstance(node, ast.Match):
        return "case " + " / ".join(ast.unparse(case.pattern) for case in node.cases)
    return ast.unparse(node).split("\n")[0]


def difference(old: str, new: str) -> str:
    """What was and what is, with no more around it than it takes to recognize the place."""
    words, others = (re.findall(r"\w+|\s+|[^\w\s]", text) for text in (old, new))
    room = min(len(words), len(others))
    head = next((at for at in range(room) if words[at] != others[at]), room)
    tail = next((at for at in range(room - head) if words[-1 - at] != others[-1 - at]), room - head)

    def cut(all_words: list[str]) -> str:
        begin, end = max(0, head - AROUND), len(all_words) - max(0, tail - AROUND)
        text = "".join(all_words[begin:end]).strip()
        text = f"{text[:50]} … {text[-40:]}" if len(text) > 100 else text
        return f"{'…' if begin else ''}{text}{'…' if end < len(all_words) else ''}"

    return f"`{cut(words)}` → `{cut(others)}`"


class Recorder:
    """A plugin for pytest that records which lines of the targets each test runs, and its seconds of CPU."""

    def __init__(self) -> None:
        self.tests: dict[str, dict] = {}
        self.unfit: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        from tests import conftest

        conftest._operations()  # imports all views, whose decorators no test runs

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        lines: dict[str, set[int]] = {str(TREE / file): set() for file in TARGETS}

        def trace(frame: Any, event: str, _: Any) -> Any:
            seen = lines.get(frame.f_code.co_filename)
            if seen is None:
                return None
            seen.add(frame.f_lineno)
            return trace

        before = sum(os.times()[:4])
        threading.settrace(trace)
        sys.settrace(trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            ran = {file: sorted(lines[str(TREE / file)]) for file in TARGETS if lines[str(TREE / file)]}
            self.tests[item.nodeid] = {"seconds": max(0.01, sum(os.times()[:4]) - before), "lines": ran}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if not LIVE & set(item.fixturenames)]

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.outcome != "passed":
            self.unfit.add(report.nodeid)


class Trial:
    """A plugin for pytest that runs what `choose` wants for each mutant, each in a fork of itself."""

    def __init__(self, mutants: list[Mutant], choose: Callable[[Mutant], tuple[list[str], float]], tell: Callable):
        self.mutants, self.choose, self.tell = mutants, choose, tell

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> bool:
        from django.db import connections

        from tests import conftest

        renew_database()
        conftest._operations()
        is_as_it_was = any(mutant.is_in_place for mutant in self.mutants)
        if self.mutants and run(session.items[:2]) and is_as_it_was:  # so that what happens at first use has happened
            raise RuntimeError(f"{killer()} fails with the code as it is")
        connections.close_all()
        items = {item.nodeid: item for item in session.items}
        functions, caches = in_memory()
        gc.freeze()
        is_dirty, killers = False, set()
        for mutant in self.mutants:
            if is_dirty:
                renew_database()
            names, seconds = self.choose(mutant)
            wanted = [items[name] for name in names if name in items]  # a mutant may be in the name of a test

            def attempt(mutant: Mutant = mutant, wanted: list[Any] = wanted) -> int:
                if mutant.is_in_place:
                    put_code(mutant, functions)
                    for cached in caches:
                        cached.cache_clear()
                return run(wanted)

            code = in_child(attempt, 10 + 2 * seconds)
            ran = wanted if code == 0 else [items[killer()]] if code == 1 else None
            is_dirty = ran is None or any("transactional_db" in item.fixturenames for item in ran)
            self.tell(mutant, code, len(wanted))
            killers |= {items[killer()]} if code == 1 and mutant.is_in_place else set()
        renew_database()
        if in_child(lambda: run(list(killers)), 600) != 0:
            raise RuntimeError(f"{killer()} fails with the code as it is, too")
        return True


def run(items: list[Any]) -> int:
    """Run tests up to the first that fails, whose name is left behind: 1, or 0 if none did."""
    for at, item in enumerate(items):
        for report in runtestprotocol(item, nextitem=items[at + 1] if at + 1 < len(items) else None, log=False):
            if report.failed:
                (WORK / "killer").write_text(item.nodeid)
                (WORK / "failure").write_text(str(report.longrepr))
                return 1
    return 0


def killer() -> str:
    return (WORK / "killer").read_text()


def in_memory() -> tuple[dict[tuple[str, str], list[FunctionType]], list[Any]]:
    """The functions of the targets by file and name, wherever they are held, and what our code has cached."""
    functions: dict[tuple[str, str], list[FunctionType]] = {}
    caches = []
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename.startswith(f"{TREE}/"):
            functions.setdefault((thing.__code__.co_filename, thing.__code__.co_qualname), []).append(thing)
        elif type(thing) is type(cache(print)) and str(thing.__module__).partition(".")[0] in OURS:
            caches.append(thing)
    return functions, caches


def put_code(mutant: Mutant, functions: dict[tuple[str, str], list[FunctionType]]) -> None:
    path = str(TREE / mutant.file)
    if mutant.is_in_table:
        module = sys.modules[mutant.file.removesuffix(".py").replace("/", ".")]
        tree = ast.parse(mutant.source)
        changed = [statement for statement in tree.body if ast.dump(statement) not in dumped(module)]
        exec(compile(ast.Module(changed, []), path, "exec"), vars(module))
        return
    for code in codes_in(compile(mutant.source, path, "exec")):
        if "<lambda>" not in code.co_qualname:
            for function in functions.get((path, code.co_qualname), ()):
                function.__code__ = code


@cache
def dumped(module: Any) -> set[str]:
    """The statements of a module, to compare others with."""
    return {ast.dump(statement) for statement in ast.parse(Path(module.__file__).read_text()).body}


def start_database(folder: Path) -> None:
    from config import embedded

    address = embedded.ensure_running(folder)
    os.environ |= {f"PG{name}": value for name, value in address.items()} | {"DATABASE_URL": "postgres:///keyhouse"}
    with psycopg.connect(dbname="postgres", autocommit=True) as link:
        for name in ("fsync", "full_page_writes", "autovacuum"):
            link.execute(f"ALTER SYSTEM SET {name} = off")
        link.execute("SELECT pg_reload_conf()")
    if in_child(migrate, 600) != 0:
        sys.exit(f"The database of the tests cannot be made: see {WORK / 'log'}")


def renew_database() -> None:
    with psycopg.connect(dbname="postgres", autocommit=True) as link:
        link.execute("DROP DATABASE IF EXISTS test_mutant WITH (FORCE)")
        link.execute("CREATE DATABASE test_mutant TEMPLATE test_keyhouse")


def migrate() -> int:
    import django
    from django.test.utils import setup_databases

    from tests import environment  # noqa: F401 (before the settings)

    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    setup_databases(verbosity=0, interactive=False)
    return 0


def in_child(work: Callable[[], int], cpu_seconds: float) -> int:
    """Run `work` in a fork of this process and return what it returns, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = BROKEN
        try:
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds), int(cpu_seconds) + 5))
            signal.alarm(int(60 + 10 * cpu_seconds))  # whoever waits for a lock that nobody frees
            log = os.open(WORK / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            code = work()
        except BaseException:
            (WORK / "error").write_text(traceback.format_exc())
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == BROKEN:
        raise RuntimeError((WORK / "error").read_text())
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what it has started
    return code


def run_pytest(files: list[str], plugin: Any, *options: str) -> int:
    import django.test.utils
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    def use_copy(**_: Any) -> list:
        from django.db import connection

        connection.settings_dict["NAME"] = "test_mutant"
        return []

    django.test.utils.setup_databases = use_copy
    PBKDF2PasswordHasher.iterations = 1  # passwords are not what is tried, and a million rounds take long
    try:
        return int(pytest.main([*options, "--reuse-db", "-p", "no:cacheprovider", "-p", "no:xdist", *files], [plugin]))
    except Exception:  # settings that cannot be loaded, say
        traceback.print_exc()
        return int(pytest.ExitCode.USAGE_ERROR)


def copy_project() -> None:
    shutil.rmtree(TREE, ignore_errors=True)
    shutil.copytree(ROOT, TREE, ignore=shutil.ignore_patterns("build", "var", ".*", "__pycache__"))


def preload() -> None:
    """Import the packages of others, once for all children; those that need Django's settings cannot be."""

    def collect() -> int:
        run_pytest(all_test_files(TARGETS), Trial([], lambda _: ([], 0), print))
        (WORK / "modules.json").write_text(json.dumps([n for n, module in sys.modules.items() if not is_ours(module)]))
        return 0

    in_child(collect, 600)
    for name in json.loads((WORK / "modules.json").read_text()):
        with suppress(Exception):
            importlib.import_module(name)


def is_ours(module: Any) -> bool:
    return str(getattr(module, "__file__", None) or "").startswith(f"{TREE}/") or module.__name__.startswith("tests")


def all_test_files(targets: Collection[str]) -> list[str]:
    return sorted({f"tests/{name}.py" for target in targets for name in TARGETS[target]})


def what_tests_run(files: list[str]) -> dict[str, dict]:
    """For each test of `files` its seconds of CPU and the lines of the targets that it runs. Kept from run to run."""
    store = WORK / "tests.json"
    known = json.loads(store.read_text()) if store.exists() else {}
    common = "".join((TREE / file).read_text() for file in (*TARGETS, "tests/conftest.py"))
    for file in files:
        state = hashlib.sha256((common + (TREE / file).read_text()).encode()).hexdigest()
        if known.get(file, {}).get("state") == state:
            continue

        def record(file: str = file) -> int:
            recorder = Recorder()
            run_pytest([file], recorder)
            fit = {name: test for name, test in recorder.tests.items() if name not in recorder.unfit}
            (WORK / "recorded.json").write_text(json.dumps(fit))
            return 0

        renew_database()
        if in_child(record, 1200) != 0:
            sys.exit(f"{file} does not run: see {WORK / 'log'}")
        known[file] = {"state": state, "tests": json.loads((WORK / "recorded.json").read_text())}
        print(f"{file}: {len(known[file]['tests'])} tests", flush=True)
        store.write_text(json.dumps(known))
    return {name: test for file in files for name, test in known[file]["tests"].items()}


class Choice:
    """Which tests may notice a mutant of a file: first those that find most in it a second."""

    def __init__(self, file: str, tests: dict[str, dict], budget: float):
        self.file, self.tests, self.budget = file, tests, budget
        self.kills: Counter[str] = Counter()
        self.ran = {line for test in tests.values() for line in test["lines"].get(file, ())}

    def is_seen(self, mutant: Mutant) -> bool:
        """Does a test run it, or does it run on import only?"""
        return mutant.lines is not None and not self.ran.isdisjoint(mutant.lines)

    def __call__(self, mutant: Mutant) -> tuple[list[str], float]:
        """The tests in order, and their seconds of CPU, which are as many as the budget allows."""
        lines = mutant.lines if self.is_seen(mutant) and mutant.lines is not None else self.ran
        fit = [name for name, test in self.tests.items() if not set(lines).isdisjoint(test["lines"].get(self.file, ()))]
        fit.sort(key=lambda name: -(self.kills[name] + PRIOR_KILLS) / self.tests[name]["seconds"])
        names, seconds = [], 0.0
        for name in fit:
            if seconds + self.tests[name]["seconds"] <= self.budget:
                names.append(name)
                seconds += self.tests[name]["seconds"]
        return names, seconds


def try_all(file: str, mutants: list[Mutant], files: list[str], budget: float) -> None:
    choice = Choice(file, what_tests_run(files), budget)

    def tell(mutant: Mutant, code: int, count: int) -> None:
        verdict = f"survived {count} tests"
        if code == 1:
            choice.kills[killer()] += 1
            verdict = f"killed by {killer()}"
        elif code != 0:
            verdict = (
                "killed: time is up" if code in (-signal.SIGALRM, -signal.SIGXCPU) else f"killed: ends with {code}"
            )
        os.write(OUTPUT, f"{mutant.name}: {verdict}\n".encode())
        with RESULTS.open("a") as results:
            results.write(json.dumps([mutant.name, state_of(mutant), verdict]) + "\n")

    in_place = [m for m in mutants if m.is_in_place and (m.is_in_table or choice.is_seen(m))]
    if in_place and in_child(lambda: run_pytest(files, Trial(in_place, choice, tell), "-q"), 24 * 3600) != 0:
        sys.exit(f"The tests of {file} cannot be collected: see {WORK / 'log'}")
    for number, mutant in enumerate((m for m in mutants if m not in in_place), start=1_000_000_000):
        path = TREE / file
        original = path.read_text()
        path.write_text(mutant.source)
        os.utime(path, (number, number))  # of its own, so that nothing compiled of another mutant passes for it
        chosen = choice(mutant)
        of_chosen = sorted({name.partition("::")[0] for name in chosen[0]})
        trial = Trial([mutant._replace(is_in_place=False)], lambda _, chosen=chosen: chosen, tell)
        if (code := in_child(lambda trial=trial, of=of_chosen: run_pytest(of, trial, "-q"), 600)) != 0:
            tell(mutant, NOT_STARTED + code, 0)
        path.write_text(original)


def state_of(mutant: Mutant) -> str:
    return hashlib.sha256(f"{mutant.file}\n{mutant.source}".encode()).hexdigest()


def known_results() -> dict[str, str]:
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else ()
    return {state: verdict for _, state, verdict in map(json.loads, lines)}


def explained() -> set[str]:
    """The names of the mutants in the tables of the document."""
    names, file = set(), ""
    for line in DOCUMENT.read_text().splitlines() if DOCUMENT.exists() else ():
        if heading := re.fullmatch(r"### `(\S+)`", line):
            file = heading[1]
        elif row := re.fullmatch(r"\| `(.+?)` \| (.+?) \| .+ \|", line.replace(r"\|", "\0")):
            names.add(f"{file} {row[1]}: {row[2]}".replace("\0", "|"))
    return names


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutation")
    parser.add_argument("wanted", nargs="*", help="files, or parts of mutants' names; all without")
    parser.add_argument("--list", action="store_true", help="name the mutants and try none")
    parser.add_argument("--survivors", action="store_true", help="try what survived again, too, with all tests")
    parser.add_argument("--fresh", action="store_true", help="try everything again")
    options = parser.parse_args()
    mutants = [mutant for file in TARGETS for mutant in mutants_of(file)]
    mutants = [m for m in mutants if not options.wanted or any(part in m.name for part in options.wanted)]
    if options.list:
        print(*(mutant.name for mutant in mutants), sep="\n")
        return 0
    WORK.mkdir(parents=True, exist_ok=True)
    copy_project()
    os.chdir(TREE)
    sys.path[:] = [str(TREE), *(path for path in sys.path if Path(path or ".").resolve() not in (ROOT, TREE))]
    for name in ("tests", "tests.mutation"):
        sys.modules.pop(name, None)
    os.environ.setdefault("KEYHOUSE_TEST_DATA_DIR", str(WORK / "data"))
    start_database(Path(os.environ["KEYHOUSE_TEST_DATA_DIR"]))
    preload()
    known = {} if options.fresh else known_results()
    if options.survivors:
        known = {key: verdict for key, verdict in known.items() if not verdict.startswith("survived")}
    for file in TARGETS:
        if to_try := [m for m in mutants if m.file == file and state_of(m) not in known]:
            budget = float("inf") if options.survivors else BUDGET_SECONDS
            try_all(file, to_try, all_test_files([file]), budget)
    return report(mutants, known_results())


def report(mutants: list[Mutant], results: dict[str, str]) -> int:
    """Print the figures for each file and what survives without a reason; 1 if something does."""
    reasons = explained()
    survivors = {mutant for mutant in mutants if results[state_of(mutant)].startswith("survived")}
    open_questions = [mutant for mutant in mutants if mutant in survivors and mutant.name not in reasons]
    print("\n| file | mutants | killed | survived |\n| --- | --- | --- | --- |")
    for file in TARGETS:
        count = sum(mutant.file == file for mutant in mutants)
        alive = sum(mutant.file == file for mutant in survivors)
        if count:
            print(f"| `{file}` | {count} | {count - alive} | {alive} |")
    if open_questions:
        print(f"\nThese survive without a reason in {DOCUMENT.relative_to(ROOT)}:")
    for mutant in open_questions:
        change = mutant.change.replace("|", "\\|")
        print(f"{mutant.file}: | `{mutant.place}` | {change} |  |")
    return 1 if open_questions else 0


if __name__ == "__main__":
    sys.exit(main())
