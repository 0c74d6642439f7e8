"""Keys name content and nothing else; streams depend on their name and nothing that ran before."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from core.identity import code_version, digest
from core.seeding import stream, torch_stream


def test_digest_ignores_key_order_and_sees_every_value():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
    assert digest([1, 2]) != digest([2, 1])


def test_digest_refuses_what_json_cannot_say():
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": float("nan")})


def test_digest_is_the_same_in_another_process():
    code = "from core.identity import digest; print(digest({'ratio': 0.15, 'span': 7}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == digest({"ratio": 0.15, "span": 7})


def test_code_version_ignores_comments_and_docstrings(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    versions = []
    texts = ['"""One."""\nx = 1  # a comment\n', '"""Two."""\n\nx = 1\n', "x = 2\n"]
    for number, text in enumerate(texts):
        (tmp_path / f"sample_module_{number}.py").write_text(text)
        versions.append(code_version((f"sample_module_{number}",)))
    assert versions[0] == versions[1] != versions[2]


def test_streams_are_independent_of_order_and_of_each_other():
    first = stream(3, "mask-place", 10).random(4)
    stream(3, "data-order", 0).random(1000)
    assert np.array_equal(first, stream(3, "mask-place", 10).random(4))
    assert not np.array_equal(first, stream(3, "mask-place", 11).random(4))
    assert not np.array_equal(first, stream(4, "mask-place", 10).random(4))
    assert not np.array_equal(stream(1, "a", 23).random(4), stream(1, "a", 2, 3).random(4))


def test_torch_stream_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with torch_stream(5, "dropout", 1):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with torch_stream(5, "dropout", 1):
        assert torch.equal(torch.rand(3), inside)


def test_importing_core_imports_no_torch():
    light = "core, core.config, core.records, core.store, core.metrics, core.masking, core.resolve"
    code = f"import sys, {light}; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False"
