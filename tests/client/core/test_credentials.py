"""How long a fetched credential is good, and what may be one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client import AccessToken, ConfigurationError
from ppio_agent_client._core.credentials import kept_token, key_headers, session_token

NOW = 1_700_000_000.0


def test_a_credential_is_renewed_a_minute_before_its_end() -> None:
    kept = kept_token(AccessToken("t", NOW + 3600), unix_now=NOW)
    assert (kept.renew_at, kept.ends_at) == (NOW + 3540, NOW + 3600)


def test_one_that_lives_shortly_is_renewed_after_four_fifths_of_its_life() -> None:
    assert kept_token(("t", NOW + 10), unix_now=NOW).renew_at == NOW + 8


@pytest.mark.parametrize("end", [NOW + 600, datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=600)])
def test_an_end_is_a_date_of_either_kind(end: Any) -> None:
    assert kept_token(("t", end), unix_now=NOW).ends_at == NOW + 600


@pytest.mark.parametrize("fetched", ["t", ("t", None), AccessToken("t")])
def test_one_without_an_end_is_good_until_it_is_refused(fetched: Any) -> None:
    assert kept_token(fetched, unix_now=NOW).renew_at == float("inf")


@pytest.mark.parametrize(
    ("fetched", "what"),
    [
        (None, "NoneType"),
        (b"secret-token", "bytes"),
        (("secret-token", NOW, 1), "tuple"),
        ({"token": "secret-token"}, "dict"),
        (("secret-token", 3600), "duration"),
        (("secret-token", True), "True"),
        (("secret-token", float("nan")), "nan"),
        (("secret-token", datetime(2026, 1, 1)), "zone"),  # noqa: DTZ001  # that is what is refused
        ("secret\n-token", "character 7 of 13"),
        ("", "empty"),
    ],
)
def test_what_is_no_credential_is_refused_and_not_shown(fetched: Any, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what) as caught:
        kept_token(fetched, unix_now=NOW)
    assert "secret-token" not in str(caught.value)


def test_a_kept_token_is_not_shown() -> None:
    assert "secret" not in repr(kept_token("secret", unix_now=NOW)) + repr(AccessToken("secret"))


def test_the_newline_at_the_end_of_a_file_of_secrets_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    assert kept_token("secret-token\n", unix_now=NOW).token == "secret-token"
    assert "white space around it" in caplog.text
    assert "secret-token" not in caplog.text


def test_a_key_that_no_header_can_carry_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="character 7 of 17") as caught:
        key_headers("secret\r\nX-Evil: 1", bearer=False)
    assert "secret" not in str(caught.value)


@given(st.text(), st.text(min_size=1), st.text(min_size=1))
def test_each_session_has_a_token_of_its_own(secret: str, one: str, other: str) -> None:
    token = session_token(secret, one)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert (token == session_token(secret, other)) == (one == other)


def test_the_token_of_a_session_stays_what_it_is_over_versions() -> None:
    # Processes with different versions of the SDK share sessions. The value is what `openssl dgst -hmac` says.
    assert session_token("key", "s-1") == "zZylrxNhsMQLRW_rVEeG0VaE5ZyVKfWSRAtiUx0ioRM"
