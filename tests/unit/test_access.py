"""Who may ask, and how often."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import SettingsError
from penstock.serving.access import (
    ADMIN,
    FEEDBACK,
    MOST_CLIENTS,
    PIN,
    PREDICT,
    SCOPES,
    Access,
    RateLimit,
    require_keys,
)
from penstock.serving.config import GatewayConfig, settings_digest
from penstock.serving.http_server.messages import Request, RequestError
from penstock.settings import ServingSettings

SHOP = "shop:predict+feedback:s3cret"
TESTER = "tester:predict+pin:t0ken:with:colons"
ROOT = "root:admin:r00t"


def asked(**headers: str) -> Request:
    names = {n.replace("_", "-").encode(): v.encode("latin-1") for n, v in headers.items()}
    return Request(b"POST", b"/predict", b"", names, b"", "", 0.0, lambda _: None)


def bearer(token: str, word: str = "Bearer") -> Request:
    return asked(authorization=f"{word} {token}")


@pytest.fixture
def access() -> Access:
    return Access([SHOP, TESTER, ROOT])


def refusal(access: Access, request: Request, scope: str = PREDICT) -> RequestError:
    with pytest.raises(RequestError) as caught:
        access.caller(request, scope)
    return caught.value


# Keys


@pytest.mark.parametrize("word", ["Bearer", "bearer", "BEARER"])
def test_a_key_is_known_by_its_token(access: Access, word: str) -> None:
    assert access.caller(bearer("s3cret", word), PREDICT).name == "shop"
    assert access.caller(asked(x_api_key="s3cret"), PREDICT).name == "shop"


def test_a_token_may_hold_colons(access: Access) -> None:
    assert access.caller(bearer("t0ken:with:colons"), PREDICT).name == "tester"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(asked(), id="none"),
        pytest.param(bearer(""), id="empty"),
        pytest.param(asked(x_api_key=""), id="an empty header"),
        pytest.param(bearer("s3cre"), id="the beginning"),
        pytest.param(bearer("s3crets"), id="more"),
        pytest.param(bearer("S3CRET"), id="capitals"),
        pytest.param(bearer("shop:predict+feedback:s3cret"), id="the whole setting"),
        pytest.param(asked(authorization="s3cret"), id="no scheme"),
        pytest.param(asked(authorization="Basic s3cret"), id="another scheme"),
        pytest.param(bearer("\xe9\xff"), id="not ASCII"),
        pytest.param(bearer("x" * 30_000), id="long"),
    ],
)
def test_without_a_known_key_nobody_is_let_in(access: Access, request_: Request) -> None:
    error = refusal(access, request_)
    assert error.status == 401
    assert "a key is needed" in error.message
    assert "s3cret" not in error.message


@pytest.mark.parametrize(
    ("token", "allowed"),
    [
        ("s3cret", {PREDICT, FEEDBACK}),
        ("t0ken:with:colons", {PREDICT, PIN}),
        ("r00t", SCOPES),
    ],
)
def test_a_key_opens_its_scopes_and_no_others(
    access: Access, token: str, allowed: frozenset[str]
) -> None:
    for scope in SCOPES:
        if scope in allowed:
            access.caller(bearer(token), scope)
        else:
            error = refusal(access, bearer(token), scope)
            assert error.status == 403
            assert scope in error.message
            assert token not in error.message


def test_without_keys_everybody_may_do_everything() -> None:
    access = Access([])
    assert access.open
    for scope in SCOPES:
        assert scope in access.caller(asked(), scope).scopes
    assert access.caller(bearer("anything"), ADMIN).name == ""


@pytest.mark.parametrize(
    "key",
    ["", "shop", "shop:predict", "shop:predict:", ":predict:t", "shop::t", "shop:write:t",
     "shop:predict+:t"],
)  # fmt: skip
def test_a_key_that_is_none_is_named_without_its_token(key: str) -> None:
    with pytest.raises(SettingsError, match="is not NAME:SCOPES:TOKEN") as caught:
        Access([SHOP, key])
    assert "predict, feedback" not in caught.value.message
    assert "admin, alerts, feedback, pin, predict" in (caught.value.hint or "")


@pytest.mark.parametrize("key", ["s3cret", "shop:s3cret", "s3cret:"])
def test_a_token_in_the_wrong_place_is_not_told(key: str) -> None:
    """Who forgets the name or the scopes has written a secret where they belong."""
    with pytest.raises(SettingsError, match=r"key 2 of \[serving\] keys") as caught:
        Access([SHOP, key])
    assert "s3cret" not in str(caught.value)


def test_two_keys_of_one_token_are_refused() -> None:
    """Otherwise whose scopes hold would depend on their order."""
    with pytest.raises(SettingsError, match="shop and other"):
        Access([SHOP, "other:admin:s3cret"])


@pytest.mark.slow
def test_the_time_of_an_answer_does_not_depend_on_how_much_of_a_token_is_right() -> None:
    """Every token is hashed, and compared with every key: the medians are alike."""
    access = Access(["shop:predict:" + "a" * 64])
    near, far = bearer("a" * 63 + "b"), bearer("b" * 64)

    def span(request: Request) -> float:
        begun = time.perf_counter()
        for _ in range(50):
            with pytest.raises(RequestError):
                access.caller(request, PREDICT)
        return time.perf_counter() - begun

    pairs = [(span(near), span(far)) for _ in range(60)]
    nearer, farther = (sorted(spans)[len(spans) // 2] for spans in zip(*pairs, strict=True))
    assert 0.5 < nearer / farther < 2.0


# Settings


def test_secrets_do_not_show() -> None:
    settings_ = ServingSettings(keys=(SHOP, TESTER))  # type: ignore[arg-type]
    assert "s3cret" not in repr(settings_)
    assert "s3cret" not in str(settings_.model_dump())
    assert "s3cret" not in settings_digest(settings_)
    assert settings_digest(settings_) != settings_digest(ServingSettings())


def test_the_gateways_process_gets_the_keys(tmp_path: object) -> None:
    settings_ = ServingSettings(keys=(SHOP, TESTER))  # type: ignore[arg-type]
    config = GatewayConfig(endpoint="e", folder=tmp_path, settings=settings_)  # type: ignore[arg-type]
    again = GatewayConfig.model_validate(config.plain())
    assert [key.get_secret_value() for key in again.settings.keys] == [SHOP, TESTER]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gateway.example"])
def test_an_endpoint_that_is_open_to_the_network_needs_keys(host: str) -> None:
    with pytest.raises(SettingsError, match="anybody could ask") as caught:
        require_keys(ServingSettings(host=host))
    assert "PENSTOCK_SERVING_KEYS" in (caught.value.hint or "")
    require_keys(ServingSettings(host=host, keys=(SHOP,)))  # type: ignore[arg-type]
    require_keys(ServingSettings(host=host, anonymous=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_alone_needs_none(host: str) -> None:
    require_keys(ServingSettings(host=host))


# Rates


def test_a_burst_is_let_through_and_then_the_rate() -> None:
    limit = RateLimit(rate=2.0, burst=3)
    assert [limit.take("shop", 10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limit.take("shop", 10.25) == pytest.approx(0.25)
    assert limit.take("shop", 10.5) == 0.0
    assert limit.take("shop", 10.5) == pytest.approx(0.5)
    # However long nothing is asked, a burst is all that is saved up.
    assert [limit.take("shop", 1e6) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_callers_do_not_use_up_each_others_rate() -> None:
    limit = RateLimit(rate=1.0, burst=1)
    assert limit.take("shop", 0.0) == 0.0
    assert limit.take("tester", 0.0) == 0.0
    assert limit.take("shop", 0.0) > 0.0


def test_a_rate_of_none_is_no_limit() -> None:
    limit = RateLimit(rate=0.0, burst=1)
    assert {limit.take("shop", 0.0) for _ in range(1_000)} == {0.0}


def test_what_is_remembered_of_callers_is_bounded() -> None:
    limit = RateLimit(rate=1e-6, burst=1)
    assert limit.take("heavy", 0.0) == 0.0
    for number in range(MOST_CLIENTS - 1):
        limit.take(f"c{number}", 0.0)
        if number % 1_000 == 0:
            assert limit.take("heavy", 0.0) > 0.0  # it is heard of, and not forgotten
    assert limit.take("heavy", 0.0) > 0.0
    limit.take("one more", 0.0)
    assert limit.take("c0", 0.0) == 0.0  # forgotten, the one not heard of for longest
    assert limit.take("heavy", 0.0) > 0.0


@settings(max_examples=100, deadline=None)
@given(
    st.floats(0.1, 1_000.0),
    st.integers(1, 50),
    st.lists(st.floats(0.0, 2.0), min_size=1, max_size=200),
)
def test_never_more_than_a_burst_and_the_rate(rate: float, burst: int, waits: list[float]) -> None:
    limit, now, allowed, told = RateLimit(rate, burst), 0.0, 0, 0.0
    for wait in waits:
        # Who waits as long as was said is let in.
        now += (told + 1e-6) if told else wait
        waited, told = told, limit.take("shop", now)
        allowed += told == 0.0
        assert not (waited and told)
        assert 0.0 <= told <= 1.0 / rate + 1e-9
        assert allowed <= burst + rate * now + 1e-6


@pytest.fixture(autouse=True)
def _no_keys_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_SERVING_KEYS", raising=False)
