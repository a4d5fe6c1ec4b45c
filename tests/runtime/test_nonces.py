"""Nonces are remembered for as long as they could be used again."""

import pytest

from ppio_agent_models import UnavailableError
from ppio_agent_runtime.security.api_keys import RefusedError
from ppio_agent_runtime.security.signatures import NonceMemory, Signature


def a_signature(nonce: str, key_id: str = "ak-1") -> Signature:
    return Signature(key_id, nonce, covers_digest=False)


def test_a_nonce_is_remembered_as_long_as_its_signature_could_live() -> None:
    memory = NonceMemory(300)
    memory.add(a_signature("a"), now=1000)

    with pytest.raises(RefusedError):
        memory.add(a_signature("a"), now=1359)
    memory.add(a_signature("a"), now=1360)


def test_two_callers_may_use_the_same_nonce() -> None:
    memory = NonceMemory(300)
    memory.add(a_signature("a", "ak-1"), now=0)
    memory.add(a_signature("a", "ak-2"), now=0)


def test_a_full_memory_refuses_rather_than_forgets() -> None:
    memory = NonceMemory(300, max_nonces=2)
    memory.add(a_signature("a"), now=0)
    memory.add(a_signature("b"), now=1)

    with pytest.raises(UnavailableError) as full:
        memory.add(a_signature("c"), now=2)
    assert full.value.retry_after == 1
    memory.add(a_signature("c"), now=360)
