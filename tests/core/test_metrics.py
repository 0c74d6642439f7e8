"""UA, WA, macro-F1 and CCC against scikit-learn, audmetric and values worked by hand."""

from __future__ import annotations

import audmetric
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from core.errors import BadInputError
from core.metrics import ccc, confusion, macro_f1, ua, wa

CLASSES = ["neu", "hap", "ang", "sad"]


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Labels that hold every class at least once, with any predictions."""
    labels = CLASSES + draw(st.lists(st.sampled_from(CLASSES), max_size=40))
    predicted = draw(st.lists(st.sampled_from(CLASSES), min_size=len(labels), max_size=len(labels)))
    return labels, predicted


@settings(max_examples=150, deadline=None)
@given(answers())
def test_ua_wa_and_f1_equal_scikit_learn_and_audmetric(pair: tuple[list[str], list[str]]) -> None:
    labels, predicted = pair
    counts = confusion(labels, predicted, CLASSES)
    assert counts.tolist() == confusion_matrix(labels, predicted, labels=CLASSES).tolist()
    assert ua(counts) == pytest.approx(balanced_accuracy_score(labels, predicted), abs=1e-12)
    assert ua(counts) == pytest.approx(audmetric.unweighted_average_recall(labels, predicted), abs=1e-12)
    assert wa(counts) == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)
    assert wa(counts) == pytest.approx(audmetric.accuracy(labels, predicted), abs=1e-12)
    assert macro_f1(counts) == pytest.approx(f1_score(labels, predicted, average="macro", labels=CLASSES), abs=1e-12)


def test_hand_sized_case_tells_ua_from_wa() -> None:
    # 8 of 10 neutral right, 1 of 2 angry right: WA 9/12, UA (.8 + .5) / 2.
    counts = np.array([[8, 2], [1, 1]])
    assert wa(counts) == 0.75
    assert ua(counts) == pytest.approx(0.65)
    assert macro_f1(counts) == pytest.approx((16 / 19 + 2 / 5) / 2)


def test_ua_without_a_class_is_an_error_and_f1_counts_it_as_zero() -> None:
    counts = np.array([[2, 0], [0, 0]])
    with pytest.raises(BadInputError, match="class number 1 has no utterance"):
        ua(counts)
    assert macro_f1(counts) == 0.5
    assert wa(counts) == 1.0


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([], [], "0 labels and 0 predictions"),
        (["neu"], ["neu", "hap"], "1 labels and 2 predictions"),
        (["neu"], ["fru"], "class 'fru' is not one of neu, hap, ang, sad"),
        (["xxx"], ["neu"], "class 'xxx'"),
    ],
)
def test_confusion_refuses_what_it_cannot_count(labels: list[str], predicted: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        confusion(labels, predicted, CLASSES)


values = st.lists(st.floats(-10, 10, allow_nan=False).map(lambda x: round(x, 3)), min_size=2, max_size=30).filter(
    lambda x: len(set(x)) > 1
)


@settings(max_examples=150, deadline=None)
@given(values, st.randoms(use_true_random=False))
def test_ccc_equals_audmetric_and_is_symmetric(x: list[float], random: object) -> None:
    y = [value + random.uniform(-3, 3) for value in x]  # type: ignore[attr-defined]
    assert ccc(x, y) == pytest.approx(audmetric.concordance_cc(x, y), abs=1e-9)
    assert ccc(x, y) == pytest.approx(ccc(y, x), abs=1e-12)
    assert -1 - 1e-12 <= ccc(x, y) <= 1 + 1e-12


def test_ccc_by_hand() -> None:
    x = np.array([1.0, 2.0, 3.0])
    assert ccc(x, -x + 4) == pytest.approx(-1.0)  # same mean and variance, opposite order
    assert ccc(x, x + 1) == pytest.approx(
        2 * (2 / 3) / (2 / 3 + 2 / 3 + 1)
    )  # a shift costs, correlation would not see it
    assert ccc(x, [2.0, 2.0, 2.0]) == 0.0


@pytest.mark.parametrize(("x", "y"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([[1.0, 2.0]], [[1.0, 2.0]])])
def test_ccc_refuses_shapes(x: list[float], y: list[float]) -> None:
    with pytest.raises(BadInputError, match="CCC needs"):
        ccc(x, y)


def test_ccc_of_one_constant_twice_is_undefined() -> None:
    with pytest.raises(BadInputError, match="undefined"):
        ccc([2.0, 2.0], [2.0, 2.0])
