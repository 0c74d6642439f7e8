"""What controls allow one to say, case by case, and on a sweep whose truth is planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic_sweep import SyntheticArm, SyntheticSweep

from analysis.comparisons import comparisons_table
from analysis.load import load_sweep, open_test
from analysis.specificity import Finding, findings, specificity_sentences, specificity_table
from analysis.standing import standing
from analysis.tables import results_table

PROVEN = {"n_seeds": 2, "difference": 0.03, "ci_low": 0.01, "ci_high": 0.05, "p_corrected": 0.01}
LEANING = PROVEN | {"p_corrected": 0.125}
OPEN = {"n_seeds": 2, "difference": 0.01, "ci_low": -0.01, "ci_high": 0.03, "p_corrected": 0.5}
BELOW = {"n_seeds": 2, "difference": -0.03, "ci_low": -0.05, "ci_high": -0.01, "p_corrected": 0.01}
ABSENT = {"n_seeds": 0, "difference": None, "ci_low": None, "ci_high": None, "p_corrected": None}

UP = "(+3.0 points, 95 % interval +1.0 to +5.0)"
RUNS = "shuffled intensity makes shorter runs than the arm's, which may be all that it shows (rolled keeps the runs)"
FLAT = "(+1.0 points, 95 % interval −1.0 to +3.0)"


def finding(
    twin: Any, control: Any, itself: Any = OPEN, *, name: str = "shuffled", npc: bool = False, shares: Any = (0.15,) * 3
) -> Finding:
    """Hand-made: the arm against its twin, against the control, and the control against the twin.

    `shares`: realised ratio of arm, control and twin.
    """
    same = {"upstream": "npc" if npc else "mockingjay", "nominal_ratio": 0.15}
    arm, uninformed, random = (
        {"arm": named, "arm_key": named, "realised_ratio": share, **same}
        for named, share in zip(("ems", "control", "random"), shares, strict=True)
    )
    return Finding(
        arm=arm,
        control=uninformed,
        twin=None if twin is None else random,
        against_twin=twin,
        against_control=control | {"name": name, "p": 0.01},
        control_against_twin=itself,
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (PROVEN, "better"),
        (LEANING, "leans better"),
        (OPEN, "open"),
        (BELOW, "worse"),
        (BELOW | {"p_corrected": 0.05}, "leans worse"),
        (PROVEN | {"ci_low": 0.0}, "open"),
        (PROVEN | {"ci_low": None, "ci_high": None}, "open"),
        (ABSENT, "absent"),
        (None, "absent"),
    ],
)
def test_standing_is_interval_first_then_test(row: Any, expected: str) -> None:
    assert standing(row) == expected


@pytest.mark.parametrize(
    ("twin", "control", "lead", "said", "reading"),
    [
        (
            PROVEN,
            PROVEN,
            f"ems beats its twin {UP}.",
            f"It beats the same rule on intensity shuffled in time {UP}: the gain is more than the same scores in "
            f"another order give; {RUNS}.",
            "gain, specific",
        ),
        (
            PROVEN,
            OPEN,
            f"ems beats its twin {UP}.",
            f"It is not shown to beat the same rule on intensity shuffled in time {FLAT}: the gain cannot be put down "
            "to where the emotion is.",
            "gain, not shown to be specific",
        ),
        (
            OPEN,
            PROVEN,
            f"ems is not shown to beat its twin {FLAT}.",
            f"It beats the same rule on intensity shuffled in time {UP}: no gain over its twin is shown, and what sets "
            "it apart from the control is not shown to be one.",
            "no gain shown; above its control",
        ),
        (
            OPEN,
            OPEN,
            f"ems is not shown to beat its twin {FLAT}.",
            f"It is not shown to beat the same rule on intensity shuffled in time {FLAT}: no gain over its twin is "
            "shown.",
            "no gain shown",
        ),
    ],
)
def test_the_four_cases(twin: Any, control: Any, lead: str, said: str, reading: str) -> None:
    one = finding(twin, control)
    control_itself = f" That control itself is not shown to beat its twin {FLAT}."
    assert specificity_sentences([one]) == [lead, said + control_itself]
    assert one.reading == reading


@pytest.mark.parametrize(
    ("name", "specific", "unspecific"),
    [
        ("loudness", "the gain is more than loudness gives", "the gain cannot be told from what loudness gives"),
        ("rolled", "more than the same track begun elsewhere gives", "cannot be put down to where the emotion is"),
        ("inverse", "more than hiding the least intense frames gives", "the gain cannot be put down to the intense"),
    ],
)
def test_each_control_answers_its_own_question(name: str, specific: str, unspecific: str) -> None:
    said = specificity_sentences([finding(PROVEN, PROVEN, name=name)])[1]
    assert specific in said
    assert RUNS not in said
    said = specificity_sentences([finding(PROVEN, OPEN, name=name)])[1]
    assert unspecific in said
    assert specific not in said


def test_npc_hides_nothing_to_be_more_than() -> None:
    said = specificity_sentences([finding(PROVEN, PROVEN, name="inverse", npc=True)])[1]
    assert ": the gain is more than letting the least intense frames enter the loss gives." in said
    assert "hiding" not in said


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("loudness", "part of the gain is there with loudness alone"),
        ("shuffled", "part of the gain is there without the order of the scores"),
        ("rolled", "part of the gain is there without the place of the track in time"),
        ("inverse", "part of the gain is there without choosing the intense frames"),
    ],
)
def test_a_control_above_its_twin_has_part_of_the_gain(name: str, part: str) -> None:
    """That the arm is above both does not show that its gain needs what the control lacks."""
    one = finding(PROVEN, PROVEN, PROVEN, name=name)
    said = specificity_sentences([one])[1]
    assert said.endswith(f" That control itself beats its twin {UP}: {part}.")
    assert "needs" not in said
    assert one.reading == "gain, partly specific"
    row = specificity_table([finding(*[PROVEN | {"p": 0.01}] * 3, name=name)])[0]
    assert row["reading"] == "gain, partly specific"


@pytest.mark.parametrize(
    ("twin", "control", "itself", "said", "reading"),
    [
        (PROVEN, PROVEN, LEANING, ": a sign, not proof, that part of", "gain, partly specific (a sign, not proof)"),
        (LEANING, PROVEN, PROVEN, ": a sign, not proof, that part of", "gain, partly specific (a sign, not proof)"),
        (PROVEN, LEANING, PROVEN, f"{UP}: part of", "gain, partly specific (a sign, not proof)"),
        (PROVEN, OPEN, PROVEN, f"beats its twin {UP}.", "gain, not shown to be specific"),
        (OPEN, PROVEN, PROVEN, f"beats its twin {UP}.", "no gain shown; above its control"),
        (PROVEN, PROVEN, BELOW, "is worse than its twin (−3.0 points, ", "gain, specific"),
        (PROVEN, PROVEN, ABSENT, RUNS, "gain, specific"),
    ],
)
def test_a_part_is_claimed_no_stronger_than_shown(
    twin: Any, control: Any, itself: Any, said: str, reading: str
) -> None:
    one = finding(twin, control, itself)
    assert said in specificity_sentences([one])[1]
    assert one.reading == reading


def test_a_part_at_unequal_shares_says_so() -> None:
    """Arm, control and twin at 15, 14.2 and 15.8 %: only control and twin are too far apart."""
    shares = (0.15, 0.142, 0.158)
    assert finding(PROVEN, PROVEN, PROVEN, shares=shares).reading == "gain, partly specific (at unequal shares)"
    assert finding(PROVEN, PROVEN, OPEN, shares=shares).reading == "gain, specific"


@pytest.mark.parametrize(
    ("twin", "control", "said", "reading"),
    [
        (LEANING, PROVEN, ": a sign, not proof, that the gain is more", "gain, specific (a sign, not proof)"),
        (PROVEN, LEANING, ": a sign, not proof, that the gain is more", "gain, specific (a sign, not proof)"),
        (
            LEANING,
            OPEN,
            ": the gain, itself a sign and not proof, cannot be put down to where the emotion is.",
            "gain, not shown to be specific (a sign, not proof)",
        ),
        (BELOW, OPEN, ": no gain over its twin is shown.", "no gain shown"),
        (PROVEN, BELOW, ": the gain cannot be put down to where", "gain, not shown to be specific"),
    ],
)
def test_an_interval_alone_is_a_sign(twin: Any, control: Any, said: str, reading: str) -> None:
    one = finding(twin, control)
    assert said in specificity_sentences([one])[1]
    assert one.reading == reading


def test_the_verbs_do_not_say_more_than_the_standing() -> None:
    lead, said = specificity_sentences([finding(LEANING, BELOW, PROVEN)])
    assert lead.startswith("ems lies above its twin ")
    assert said.startswith("It is worse than the same rule on intensity shuffled in time (−3.0 points, ")
    assert f"That control itself beats its twin {UP}." in said


def test_all_controls_together_need_every_one() -> None:
    three = [finding(PROVEN, PROVEN, name=name) for name in ("loudness", "shuffled", "inverse")]
    assert specificity_sentences(three)[-1] == (
        "It stands above its twin and all 3 controls, each by interval and corrected test."
    )
    leaning = [three[0], finding(PROVEN, LEANING)]
    assert specificity_sentences(leaning)[-1] == (
        "It stands above its twin and both controls, by the intervals; not all of the corrected tests confirm it: a "
        "sign, not proof."
    )
    assert len(specificity_sentences([*three[:2], finding(PROVEN, OPEN, name="inverse")])) == 1 + 3
    assert len(specificity_sentences(three[:1])) == 1 + 1
    assert specificity_sentences([]) == []


def test_what_is_not_there_is_not_judged() -> None:
    lead, said = specificity_sentences([finding(ABSENT, PROVEN, ABSENT)])
    assert lead == "ems cannot be compared yet with its twin."
    assert said == f"It beats the same rule on intensity shuffled in time {UP}."
    assert finding(ABSENT, PROVEN).reading == finding(PROVEN, ABSENT).reading == "not known yet"
    lead, said = specificity_sentences([finding(None, PROVEN, None)])
    assert lead == "ems has no twin in this sweep: whether there is a gain is not known."
    assert said.endswith(f"shuffled in time {UP}.")
    assert finding(None, PROVEN, None).reading == "no twin to compare with"


def test_unequal_shares_are_said_beside_the_claim() -> None:
    one = finding(PROVEN, PROVEN, shares=(0.071, 0.139, 0.14))
    lead, said = specificity_sentences([one])
    assert lead.endswith(
        "It hides 7.1 % of the frames where its twin hides 14.0 %, both nominally 15 %: their comparison mixes which "
        "frames with how many."
    )
    assert said.endswith(
        "The arm hides 7.1 % of the frames where the control hides 13.9 %, both nominally 15 %: their comparison mixes "
        "which frames with how many."
    )
    assert one.reading == "gain, specific (at unequal shares)"
    npc = finding(LEANING, PROVEN, npc=True, shares=(0.071, 0.139, 0.075))
    lead, said = specificity_sentences([npc])
    assert "mixes" not in lead
    assert "lets 7.1 % of the frames enter the loss where the control lets 13.9 % enter it" in said
    assert "hides" not in said
    assert npc.reading == "gain, specific (a sign, not proof, at unequal shares)"


def test_planted_gains_are_read_as_planted(tmp_path: Path) -> None:
    """Twelve folds, so that tests can speak: loudness gives nothing, shuffling keeps all of the gain, rolling half."""
    arms = (
        SyntheticArm(key="plain", name="random", recall=0.5),
        SyntheticArm(key="ems", name="ems", twin_key="plain", recall=0.75, temperature=1.0),
        SyntheticArm(key="loud", name="ems loudness", twin_key="plain", recall=0.5, control="loudness"),
        SyntheticArm(key="mixed", name="ems shuffled", twin_key="plain", recall=0.75, control="shuffled"),
        SyntheticArm(key="begun", name="ems rolled", twin_key="plain", recall=0.625, control="rolled"),
    )
    written = SyntheticSweep(
        root=tmp_path,
        arms=arms,
        seeds=(0, 1),
        sessions=12,
        contrasts=(
            ("control", "loudness", "ems", "loud"),
            ("control", "shuffled", "ems", "mixed"),
            ("control", "rolled", "ems", "begun"),
        ),
    ).write()
    sweep = load_sweep(plan_path=written.plan_path, trials_root=written.trials_root)
    tests = open_test(sweep)
    results, comparisons = results_table(sweep, tests), comparisons_table(sweep, tests, resamples=1000)
    found = findings(results, comparisons)
    assert [(one.name, one.reading) for one in found] == [
        ("loudness", "gain, specific"),
        ("shuffled", "gain, not shown to be specific"),
        ("rolled", "gain, partly specific"),
    ]
    loudness, shuffled, _ = specificity_table(found)
    ua = comparisons[comparisons["metric"] == "ua"].set_index(["kind", "arm_key", "twin_key"])["difference"]
    assert loudness["arm_against_twin"]["difference"] == ua["twin", "ems", "plain"]
    assert loudness["control_against_twin"]["difference"] == ua["control-twin", "loud", "plain"]
    assert shuffled["arm_against_control"]["difference"] == ua["control", "ems", "mixed"]
    assert shuffled["control_against_twin"]["difference"] == pytest.approx(
        ua["twin", "ems", "plain"] - ua["control", "ems", "mixed"], abs=1e-12
    )
