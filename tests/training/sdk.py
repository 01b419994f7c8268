"""The official SDK for tests: each answer is held against the type that the SDK itself declares for it."""

import asyncio
import inspect
import re
import threading
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from ultralytics_platform import AsyncPlatform, Platform
from ultralytics_platform import types as declared


def assert_conforms(value: Any, expected: Any, where: str = "answer") -> None:
    """`value`, read from JSON, is what the type `expected` says. Fields that a TypedDict does not know do no harm."""
    problem = find_problem(value, expected, where)
    assert problem is None, problem


def find_problem(value: Any, expected: Any, where: str) -> str | None:
    """A sentence that says where `value` is not of the type `expected`, or None."""
    if expected is Any:
        return None
    if is_typeddict(expected):
        return _problem_of_map(value, expected, where)
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, types.UnionType):
        problems = [find_problem(value, one, where) for one in arguments]
        return None if None in problems else " | ".join(str(problem) for problem in problems)
    if origin is Literal:
        fits = any(value == one and type(value) is type(one) for one in arguments)
        return None if fits else f"{where} is {value!r}, none of {arguments}"
    if origin in (list, dict):
        if not isinstance(value, origin):
            return f"{where} is {value!r}, no {origin.__name__}"
        inner = value.items() if origin is dict else enumerate(value)
        found = (find_problem(item, arguments[-1], f"{where}[{name!r}]") for name, item in inner)
        return next((problem for problem in found if problem), None)
    if expected in (None, types.NoneType):
        return None if value is None else f"{where} is {value!r}, not null"
    plain = (int, float) if expected is float else expected
    fits = isinstance(value, plain) and (expected is bool or not isinstance(value, bool))
    return None if fits else f"{where} is {value!r}, no {expected.__name__}"


def _problem_of_map(value: Any, expected: Any, where: str) -> str | None:
    if not isinstance(value, dict):
        return f"{where} is {value!r}, no object"
    if missing := expected.__required_keys__ - set(value):
        return f"{where} lacks {sorted(missing)}"
    for name, kind in get_type_hints(expected).items():
        if name in value and (problem := find_problem(value[name], kind, f"{where}.{name}")):
            return problem
    return None


class Loop:
    """An event loop in a thread of its own, for Playwright's stays in the main thread as long as its browser runs."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def wait(self, answer: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(answer, self.loop).result(60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Checked:
    """A client of the SDK, the synchronous or the asynchronous one, whose answers are checked as they come."""

    def __init__(self, kind: str, token: str, url: str):
        self.loop = Loop() if kind == "async" else None
        self.platform = (AsyncPlatform if self.loop else Platform)(api_key=token, base_url=url)
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> "CheckedResource":
        return CheckedResource(self, name)

    def wait(self, answer: Any) -> Any:
        return self.loop.wait(answer) if self.loop else answer

    def close(self) -> None:
        self.wait(self.platform.close())
        if self.loop:
            self.loop.close()


class CheckedResource:
    def __init__(self, client: Checked, name: str):
        self.client, self.name, self.resource = client, name, getattr(client.platform, name)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.resource, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = self.client.wait(method(*args, **kwargs))
            expected = getattr(declared, inspect.signature(method).return_annotation)
            assert_conforms(answer, expected, f"{self.name}.{name}()")
            assert not re.search(r"ul_[0-9a-f]{40}", str(answer)), "a key's value in an answer"
            self.client.asked.add(f"{self.name}.{name}")
            return answer

        return call
