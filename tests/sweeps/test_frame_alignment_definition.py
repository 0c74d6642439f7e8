"""The definition that ships: the command in it, as published; and what would choose by a difference that is none."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from core.errors import BadInputError
from core.resolve import twin_of
from sweeps.definition import DEFINITIONS, load_definition
from sweeps.space import points
from tests.core.tiny_transformer import save_transformer

STOP = ["stop.rule=asha", "stop.first=10", "contrasts={}"]


def as_published() -> list[str]:
    """The overrides of the command that the definition's opening comment gives."""
    comment = re.findall("^#(.*)$", (DEFINITIONS / "frame_alignment.yaml").read_text(), flags=re.MULTILINE)
    words = shlex.split(" ".join(comment).partition("sweep launch frame_alignment ")[2])
    assert words[::2] == ["-o"] * (len(words) // 2)
    return words[1::2]


def test_the_command_in_the_definition_is_what_was_published(tmp_path: Path):
    model = save_transformer(tmp_path / "tiny-hubert")
    spread = points(load_definition("frame_alignment", [*as_published(), f"transformer.model={model}"]))
    assert {point.coordinates["alignment.audio"] for point in spread} == {"fold", "transductive"}
    assert len(spread) == 4
    for point in spread:
        own, masking = point.config.alignment, point.config.masking
        assert (own.k, own.layer, own.tapt_k, own.tapt_layer) == (50, 9, 500, 9)
        assert (own.units.updates, own.units.lr, own.tuning.epochs, own.tuning.batch) == (20_000, 5e-4, 40, 64)
        assert (masking.policy, masking.ratio, masking.span) == ("random_nominal", 0.8, 10)
        twin = twin_of(point.config)
        assert twin is not None
        assert twin.alignment.units == own.units


@pytest.mark.parametrize("rule", ["asha", "median"])
@pytest.mark.parametrize("name", ["frame_alignment", "sap"])
def test_arms_that_share_their_upstreams_with_the_twin_are_not_stopped(name, rule):
    with pytest.raises(BadInputError, match=f"stop: .* of system '{name}' shares .* would be 0") as refused:
        points(load_definition(name, [f"stop.rule={rule}", *STOP[1:]]))
    assert "\n" not in str(refused.value)


def test_stopping_stays_open_to_ems():
    assert points(load_definition("ems_grid", STOP[:2]))
