"""After a trial ran out of memory: when a smaller micro-batch is tried, and what is advised otherwise."""

from __future__ import annotations

import pytest

from core.config import TrialConfig
from sweeps.memory import advice, smaller_helps

HUBERT = {"upstream": "hubert", "system": "frame_alignment", "masking": {"policy": "random", "temperature": None}}


def config(**settings: object) -> TrialConfig:
    return TrialConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "pretraining", "wanted"),
    [
        ({"pretrain": {"batch": 8}}, True, ("mockingjay", 8)),
        ({"pretrain": {"batch": 8, "micro_batch": 3}}, True, ("mockingjay", 3)),
        ({"pretrain": {"batch": 8, "micro_batch": 30}}, True, ("mockingjay", 8)),
        ({"pretrain": {"batch": 8, "micro_batch": 1}}, True, None),
        ({"pretrain": {"batch": 8}}, False, None),
        (HUBERT | {"pretrain": {"batch": 8}}, True, None),
    ],
)
def test_a_smaller_micro_batch_is_tried_only_where_it_is_read(settings, pretraining, wanted):
    assert smaller_helps(config(**settings), pretraining=pretraining) == wanted


def test_checkpointing_is_advised_where_it_exists_and_is_off():
    batch = "alignment.tuning.batch"
    on = HUBERT | {"transformer": {"gradient_checkpointing": True}}
    both = f"less memory with transformer.gradient_checkpointing=true or a smaller {batch}"
    assert advice(batch, config(**HUBERT)) == both
    assert advice(batch, config(**on)) == f"less memory with a smaller {batch}"
    assert advice(batch, config(system="frame_alignment")) == f"less memory with a smaller {batch}"
    assert advice("probe.batch", config()) == "less memory with a smaller probe.batch"
