"""The conditional space: branches multiply in where they apply, and nothing is ignored where it means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from core.errors import BadInputError
from core.resolve import twin_of
from sweeps.definition import SweepDefinition, load_definition
from sweeps.settings import merge
from sweeps.space import contrast_pairs, family, points

BOTH = {"upstream": ["mockingjay", "npc"]}


FIT = {"intensity": {"fit": {"name": "demo", "part": "intensity"}}}


def definition(*, settings: dict | None = None, **parts) -> SweepDefinition:
    return SweepDefinition.model_validate({"name": "mine", "settings": merge(FIT, settings or {}), **parts})


def masking(**settings) -> dict:
    return {"masking": {"policy": "ems", "temperature": 0.5} | settings}


def values(sweep: SweepDefinition) -> list[tuple]:
    return [tuple(point.coordinates.values()) for point in points(sweep)]


def test_a_branch_multiplies_its_axes_and_arms_into_the_points_it_matches():
    sweep = definition(
        settings=masking(),
        axes=BOTH | {"masking.span": [3, 5, 7]},
        when=[
            {"if": {"upstream": "npc"}, "axes": {"npc.mask_size": [3, 5]}},
            {"if": {"upstream": "mockingjay"}, "axes": {"mockingjay.layers": [1]},
             "arms": {"bare": {"score.head": False}, "head": {"score.head": True}}},
        ],
    )  # fmt: skip
    expected = [("mockingjay", span, 1, name) for span in (3, 5, 7) for name in ("bare", "head")]
    expected += [("npc", span, size) for span in (3, 5, 7) for size in (3, 5)]
    assert values(sweep) == expected
    by_place = {tuple(point.coordinates.values()): point for point in points(sweep)}
    assert by_place["npc", 5, 3].config.npc.mask_size == 3
    assert by_place["mockingjay", 7, 1, "head"].config.score.head
    assert by_place["mockingjay", 7, 1, "head"].varied == (
        "upstream", "masking.span", "mockingjay.layers", "score.head",
    )  # fmt: skip


def test_top_level_arms_are_one_more_axis_and_conditions_may_ask_for_what_they_set():
    sweep = definition(
        axes={"masking.ratio": [0.1, 0.2]},
        arms={"a": {"masking.policy": "random"}, "b": {"masking.policy": "ems_topk"}},
        when=[{"if": {"masking.policy": ["ems_topk", "ems"]}, "axes": {"score.head": [False, True]}}],
    )
    assert values(sweep) == [
        (0.1, "a"), (0.1, "b", False), (0.1, "b", True), (0.2, "a"), (0.2, "b", False), (0.2, "b", True),
    ]  # fmt: skip


def test_two_branches_that_both_match_multiply():
    sweep = definition(
        settings=masking(),
        axes={"masking.ratio": [0.1, 0.2]},
        when=[
            {"if": {"masking.ratio": 0.1}, "axes": {"mockingjay.layers": [1, 2]}},
            {"if": {"upstream": "mockingjay"}, "axes": {"score.head": [False, True]}},
        ],
    )
    assert len(points(sweep)) == 2 * 2 + 2


def test_settings_of_a_branch_lie_over_the_preset_and_hold_nowhere_else():
    when = [{"if": {"upstream": "npc"}, "settings": {"pretrain": {"steps": 9}}}]
    first, second = points(definition(settings=masking(), axes=BOTH, when=when))
    assert (first.config.pretrain.steps, second.config.pretrain.steps) == (60, 9)
    assert second.config.pretrain.lr == 2e-3
    assert second.varied == ("upstream",)


def test_each_upstream_has_its_own_preset():
    mockingjay, npc = points(definition(preset="paper", settings=masking(), axes=BOTH))
    assert (mockingjay.config.features.deltas, npc.config.features.deltas) == (2, 0)
    assert (mockingjay.config.pretrain.decay, npc.config.pretrain.decay) == ("linear", "none")


def test_a_default_fulfils_a_condition_like_a_written_setting():
    when = [{"if": {"upstream": "mockingjay", "masking.span": 7}, "axes": {"mockingjay.layers": [1, 2]}}]
    assert len(points(definition(settings=masking(), when=when))) == 2
    assert len(points(definition(settings=masking(span=5), axes={"masking.ratio": [0.1]}))) == 1


def test_infinity_fulfils_a_condition_however_it_is_written():
    for written in ("inf", float("inf"), ["inf"], [float("inf")]):
        sweep = definition(
            settings={"masking": {"policy": "ems"}},
            axes={"masking.temperature": [0.5, float("inf")]},
            when=[{"if": {"masking.temperature": written}, "axes": {"mockingjay.layers": [1, 2]}}],
        )
        assert len(points(sweep)) == 3


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"settings": masking(), "axes": BOTH | {"npc.mask_size": [3, 5]}},
            r"sweep mine, at upstream 'mockingjay', npc.mask_size 3: npc.mask_size \(an axis\) means nothing there: "
            r"upstream 'mockingjay' has no masked convolutions; put it under `when`",
        ),
        (
            {"settings": masking() | {"npc": {"mask_size": 5}}, "axes": BOTH},
            r"at upstream 'mockingjay': npc.mask_size \(a fixed setting\) means nothing there",
        ),
        (
            {"settings": masking() | {"mockingjay": {"layers": 1}}, "axes": BOTH},
            r"at upstream 'npc': mockingjay.layers \(a fixed setting\) means nothing there: upstream 'npc' is no Trans",
        ),
        (
            {"settings": masking() | {"npc": {"mask_size": 3}}},
            r"sweep mine: npc.mask_size \(a fixed setting\) means nothing there: upstream 'mockingjay'",
        ),
        (
            {"settings": {"upstream": "npc", "masking": {"policy": "all"}}, "axes": {"masking.ratio": [0.1, 0.2]}},
            r"at masking.ratio 0.1: masking.ratio \(an axis\) means nothing there: policy 'all' chooses no frames",
        ),
        (
            {"settings": masking(), "axes": BOTH, "arms": {"a": {"masking.zero": 0.5}}},
            r"at upstream 'npc', arm 'a': masking.zero \(in arm 'a'\) means nothing there",
        ),
        (
            {"settings": masking(), "when": [{"if": {"upstream": "mockingjay"}, "settings": {"npc": {"hidden": 8}}}]},
            r"npc.hidden \(a fixed setting under when upstream=mockingjay\) means nothing there",
        ),
        (
            {"settings": {"masking": {"policy": "random"}}, "axes": {"intensity.control": ["none", "loudness"]}},
            r"intensity.control \(an axis\) means nothing there: policy 'random' and no score",
        ),
        ({"settings": masking() | {"folds": {"k": 4}}}, r"folds.k \(a fixed setting\) means nothing there: scheme"),
        (
            {"settings": masking() | {"pretraining_audio": {"held_out_speakers": 2}}},
            r"held_out_speakers \(a fixed setting\) means nothing there: with source 'fold'",
        ),
        (
            {"settings": masking(), "axes": {"masking.temperature": [1.0]}},
            r"sweep mine: masking.temperature: is a fixed setting and an axis at once; change an axis with -o axes",
        ),
        (
            {"settings": masking(), "arms": {"a": {"masking.policy": "ems_topk"}}},
            r"masking.policy: is a fixed setting and in arm 'a' at once",
        ),
        (
            {"axes": {"masking.policy": ["random"]}, "arms": {"a": {"masking.policy": "ems_topk"}}},
            r"masking.policy: is an axis and in arm 'a' at once",
        ),
        (
            {"settings": masking(), "axes": {"mockingjay.layers": [1]},
             "when": [{"if": {"upstream": "mockingjay"}, "settings": {"mockingjay": {"layers": 2}}}]},
            r"mockingjay.layers: is a fixed setting under when upstream=mockingjay and an axis at once",
        ),
        (
            {"settings": masking(),
             "when": [{"if": {"upstream": "mockingjay"}, "axes": {"mockingjay.layers": [2]}},
                      {"if": {"masking.span": 7}, "arms": {"deep": {"mockingjay.layers": 4}}}]},
            r"mockingjay.layers: is an axis under when upstream=mockingjay and in arm 'deep' under when masking.span=7",
        ),
        (
            {"settings": masking(), "axes": BOTH, "when": [{"if": {"upstream": "npcc"}, "axes": {"npc.hidden": [8]}}]},
            r"sweep mine: when upstream=npcc: no point has that \(upstream: mockingjay, npc\)",
        ),
        (
            {"settings": masking(), "when": [{"if": {"upstream": "mockingjay"}, "axes": BOTH}]},
            r"when upstream=mockingjay: sets upstream, which a condition of `when` asks for",
        ),
        ({"settings": masking(), "axes": {"upstream": ["npcc"]}}, r"upstream: Input should be 'mockingjay', 'npc'"),
        (
            {"settings": {"masking": {"policy": "random"}}, "controls": ["loudness"]},
            r"controls: no arm looks at intensity",
        ),
        (
            {"settings": masking() | {"intensity": {"control": "shuffled"}}, "controls": ["loudness"]},
            r"intensity.control: is a fixed setting and in controls at once",
        ),
        (
            {"axes": BOTH, "arms": {"a": {"score.added_to_input": True}}},
            r"sweep mine, at upstream 'npc', arm 'a': score.added_to_input: how the score enters NPC",
        ),
    ],
)  # fmt: skip
def test_what_means_nothing_contradicts_or_matches_nothing_is_one_clear_line(parts, message):
    with pytest.raises(BadInputError, match=message) as caught:
        points(definition(**parts))
    assert "\n" not in str(caught.value)


def test_what_the_preset_says_of_the_other_upstream_is_no_offence():
    assert (
        points(definition(preset="smoke", settings=masking() | {"upstream": "npc"}))[0].config.mockingjay.hidden == 768
    )


def test_nothing_given_as_none_is_refused():
    sweep = definition(settings={"masking": {"policy": "random", "temperature": None}})
    assert len(points(sweep)) == 1


def family_of(sweep: SweepDefinition, place: int = 0) -> dict:
    return dict(family(points(sweep)[place].config, sweep))


def test_an_arm_its_twin_and_its_controls_are_one_family():
    sweep = definition(settings=masking(), controls=["loudness", "shuffled", "inverse"])
    members = family_of(sweep)
    assert list(members) == ["arm", "twin", "loudness", "shuffled", "inverse"]
    for control in sweep.controls:
        assert members[control].intensity.control == control
        assert twin_of(members[control]) == members["twin"]
        assert members[control].masking == members["arm"].masking


def test_only_arms_that_look_at_intensity_have_controls():
    sweep = definition(
        controls=["inverse"],
        arms={
            "topk": {"masking.policy": "ems_topk"}, "as_topk": {"masking.policy": "random_as_topk"},
            "plain": {"masking.policy": "random_nominal"},
            "head": {"masking.policy": "random_nominal", "score.head": True},
        },
    )  # fmt: skip
    assert [list(family_of(sweep, place)) for place in range(4)] == [
        ["arm", "twin", "inverse"], ["arm"], ["arm"], ["arm", "twin", "inverse"],
    ]  # fmt: skip


def test_without_twins_controls_stay():
    assert list(family_of(definition(settings=masking(), controls=["loudness"], twins=False))) == ["arm", "loudness"]


def contrasts(sweep: SweepDefinition) -> list[tuple]:
    pairs = contrast_pairs(sweep, points(sweep))
    return [(name, *(tuple(point.coordinates.values()) for point in pair)) for name, *pair in pairs]


def test_a_contrast_pairs_arms_within_a_branch_at_equal_values_of_all_other_axes():
    arms = {"new": {"masking.policy": "ems_topk"}, "old": {"masking.policy": "random_nominal"}}
    sweep = definition(
        axes=BOTH | {"masking.ratio": [0.1, 0.2]},
        when=[
            {"if": {"upstream": "npc"}, "arms": arms | {"plain": {"masking.policy": "random"}}},
            {"if": {"upstream": "mockingjay"}, "arms": arms},
        ],
        contrasts={"rule": {"arm": "new", "against": "old"}, "count": {"arm": "old", "against": "plain"}},
    )
    assert contrasts(sweep) == [
        *[("rule", (up, r, "new"), (up, r, "old")) for up in ("mockingjay", "npc") for r in (0.1, 0.2)],
        *[("count", ("npc", r, "old"), ("npc", r, "plain")) for r in (0.1, 0.2)],
    ]


@pytest.mark.parametrize("against", ["c", "nobody"])
def test_a_contrast_of_arms_that_never_meet_is_refused(against):
    sweep = definition(
        arms={"a": {"masking.policy": "random"}, "b": {"masking.policy": "ems_topk"}},
        when=[{"if": {"upstream": "mockingjay"}, "arms": {"c": {"score.head": True}}}],
        contrasts={"x": {"arm": "a", "against": against}},
    )
    with pytest.raises(BadInputError, match=f"contrast 'x': no mapping of arms holds both 'a' and '{against}'"):
        contrast_pairs(sweep, points(sweep))


def written(tmp_path: Path, **parts) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", **parts}))
    return str(path)


def test_overrides_reach_a_branch(tmp_path):
    path = written(
        tmp_path,
        settings=FIT | masking(),
        axes=BOTH,
        when=[
            {"if": {"upstream": "npc"}, "axes": {"npc.mask_size": [3]}, "settings": {"npc": {"kernel": 17}}},
            {"if": {"upstream": "mockingjay"}, "settings": {"mockingjay": {"layers": 2}}},
        ],
    )
    changed = load_definition(
        path, ["axes.npc.mask_size=[5,7]", "npc.kernel=19", "npc.hidden=64", "mockingjay.heads=3"]
    )
    first, *npc = points(changed)
    assert (first.config.mockingjay.layers, first.config.mockingjay.heads) == (2, 3)
    assert [(point.config.npc.mask_size, point.config.npc.kernel, point.config.npc.hidden) for point in npc] == [
        (5, 19, 64), (7, 19, 64),
    ]  # fmt: skip
    assert changed.axes == {"upstream": ("mockingjay", "npc")}


def test_an_override_that_takes_a_value_away_takes_its_branch_and_contrasts_along():
    narrowed = load_definition("ems_ablation", ["axes.upstream=[mockingjay]"])
    assert [str(branch) for branch in narrowed.when] == ["upstream=mockingjay"]
    assert list(narrowed.contrasts) == ["which frames", "how many frames"]
    assert {point.config.upstream for point in points(narrowed)} == {"mockingjay"}


def test_an_override_of_a_setting_in_a_branch_that_another_takes_away_is_refused():
    with pytest.raises(BadInputError, match=r"-o npc.kernel: stands under when upstream=npc, and another override"):
        load_definition("ems_ablation", ["axes.upstream=[mockingjay]", "npc.kernel=19"])


def test_an_override_of_what_an_arm_sets_is_refused():
    with pytest.raises(
        BadInputError, match=r"npc.mask_size: is a fixed setting under when upstream=npc and in arm 'ma"
    ):
        points(load_definition("ems_ablation", ["npc.mask_size=3"]))


def test_parts_of_a_definition_are_replaced_as_a_whole():
    changed = load_definition(
        "ems_controls",
        ["controls=[inverse]", "masking.policy=null", "masking.temperature=null",
         "arms={a: {masking.policy: ems_topk}, b: {masking.policy: random_nominal}}",
         "contrasts={x: {arm: a, against: b}}"],
    )  # fmt: skip
    assert changed.controls == ("inverse",)
    assert [list(family_of(changed, place)) for place in (0, 1)] == [["arm", "twin", "inverse"], ["arm"]]
    assert [pair[1:] for pair in contrasts(changed)] == [(("a",), ("b",))]


def test_a_contrast_whose_arms_have_different_axes_is_refused():
    """A branch on one of the two gives it an axis of its own: nothing would be left to hold it against."""
    sweep = definition(
        arms={"new": {"masking.policy": "ems_topk"}, "old": {"masking.policy": "random_nominal"}},
        when=[{"if": {"masking.policy": "ems_topk"}, "axes": {"score.head": [False, True]}}],
        contrasts={"rule": {"arm": "new", "against": "old"}},
    )
    with pytest.raises(BadInputError, match=r"contrast 'rule': there is no arm 'old' at score\.head=False"):
        contrast_pairs(sweep, points(sweep))


def test_random_as_topk_has_a_twin_but_no_controls():
    """Its runs are those of the track: a control would hide other ones than the arm and its twin."""
    sweep = definition(
        settings={"masking": {"policy": "random_as_topk"}, "score": {"head": True}}, controls=["shuffled", "rolled"]
    )
    assert list(family_of(sweep)) == ["arm", "twin"]
