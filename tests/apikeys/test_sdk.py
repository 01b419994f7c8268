"""The official SDK, unmodified, against the live server."""

import asyncio

import pytest
from ultralytics_platform import APIError, AsyncPlatform, Platform


@pytest.fixture
def key(server):
    return server.new_key("for the SDK")


def test_the_summary_is_what_the_sdk_expects(server, key):
    with Platform(api_key=key, base_url=server.url) as platform:
        summary = platform.account.summary()
    assert summary["username"] == "operator"
    assert summary["accountType"] == "personal"
    assert summary["teams"] == []
    assert set(summary["counts"]) == {"projects", "datasets", "models"}


def test_the_list_of_keys_has_no_values(server, key):
    with Platform(api_key=key, base_url=server.url) as platform:
        keys = platform.account.api_keys()["keys"]
    mine = next(k for k in keys if k["keyPrefix"] == key[:11])
    assert {"keyId", "name", "keyPrefix", "createdAt"} <= set(mine)
    assert key not in str(keys)


def test_the_asynchronous_client_works_as_well(server, key):
    async def ask():
        async with AsyncPlatform(api_key=key, base_url=server.url) as platform:
            return await platform.account.summary()

    assert asyncio.run(ask())["username"] == "operator"


@pytest.mark.parametrize("kind", ["wrong", "revoked", "malformed"])
def test_a_key_that_is_no_good_is_an_api_error_with_the_documented_sentence(server, key, kind):
    token = {"wrong": "ul_" + "0" * 40, "revoked": key, "malformed": "ul_nonsense"}[kind]
    if kind == "revoked":
        server.manage("revoke_api_key", "--value", text=key)
    with Platform(api_key=token, base_url=server.url) as platform, pytest.raises(APIError) as refused:
        platform.account.summary()
    assert refused.value.status_code == 401
    assert "Invalid API key" in str(refused.value)
    assert refused.value.json["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize("token", ["ul_" + "0" * 40, "ul_nonsense"], ids=["wrong", "malformed"])
def test_the_asynchronous_client_is_refused_in_the_same_words(server, token):
    async def ask():
        async with AsyncPlatform(api_key=token, base_url=server.url) as platform:
            await platform.account.api_keys()

    with pytest.raises(APIError, match="Invalid API key") as refused:
        asyncio.run(ask())
    assert refused.value.status_code == 401


def test_without_a_key_the_answer_asks_for_one(server):
    with Platform(api_key="", base_url=server.url) as platform, pytest.raises(APIError) as refused:
        platform.account.summary()
    assert refused.value.json["error"] == "Authentication required"
