"""No corpus that this program can read is without a line on its terms."""

from __future__ import annotations

from typing import get_args

import pytest

from core.corpora.terms import UNKNOWN, terms_of
from core.data_config import CorpusName


@pytest.mark.parametrize("name", get_args(CorpusName))
def test_every_corpus_has_its_terms(name: str) -> None:
    assert terms_of(name) != UNKNOWN
    assert terms_of(name).endswith(".")


def test_another_corpus_says_that_nothing_is_known() -> None:
    assert terms_of("crema") == UNKNOWN
