"""What others rely on is as it was reviewed: public names with their signatures, and the OpenAPI document."""

import pytest

pytest.importorskip("griffe", reason="griffelib is not installed; it reads signatures")


@pytest.mark.timeout(900)  # reads every module of the three packages: ten seconds alone
def test_public_names_signatures_and_the_openapi_document_are_as_reviewed() -> None:
    from scripts.guards import differences

    changed = "\n".join(differences())

    assert not changed, f"\n{changed}\nIf that is meant: python scripts/guards.py"
