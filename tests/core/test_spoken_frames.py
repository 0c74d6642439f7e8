"""Which positions a pooling over speech takes, and the exact shortcut over utterance means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from core.config import ProbeConfig
from core.errors import BadInputError
from core.frames import Frames, StatesFile
from core.metrics import confusion, ua
from core.models.pooled_head import PooledHead
from core.probe import Heads, _train_batches, fit_probe
from core.progress import discard
from core.sap_config import PoolingName, SapConfig
from core.spoken_frames import everywhere, spoken
from core.vad import Speech
from tests.core.frame_states import CLASSES, HIDDEN, LAYERS, folds_of, labels_of, with_speech, write_states

CPU = torch.device("cpu")


def test_flags_lie_where_the_states_do_and_an_utterance_without_speech_falls_back_to_all_of_it(tmp_path):
    """Two utterances of 4 and 3 positions of 32 ms: speech in the middle of the first, nowhere in the second."""
    with StatesFile(tmp_path, layers=[0], hidden=1, hop_s=0.032) as file:
        file.append("a", np.arange(4.0).reshape(4, 1, 1))
        file.append("b", np.arange(10.0, 13.0).reshape(3, 1, 1))
    speech = Speech(
        utterances=("b", "a"), offsets=np.array([0, 3]), lengths=np.array([3, 4]),
        packed=np.array([0.1, 0.2, 0.3, 0.1, 0.9, 0.6, 0.2], dtype=np.float32),
    )  # fmt: skip
    frames = spoken(Frames.open(tmp_path), speech, threshold=0.5)
    assert frames.speech_F.tolist() == [False, True, True, False, True, True, True]
    assert (frames.speechless, frames.left_out) == (1, 2)
    assert frames.pooled("sap")[:, 0, 0].tolist() == [1.5, 11.0]
    assert frames.pooled("gap+sap")[:, 0].tolist() == [[1.5, 1.5], [11.0, 11.0]]
    strict = spoken(Frames.open(tmp_path), speech, threshold=0.7)
    assert strict.pooled("sap")[:, 0, 0].tolist() == [1.0, 11.0]


def test_silence_is_really_left_out(tmp_path):
    """Whatever stands in the pauses, SAP is the same and GAP is not."""
    frames = write_states(tmp_path)
    loud = np.array(frames.packed_FLH)
    loud[~with_speech(frames).speech_F] = 100.0
    changed = Frames(
        utterances=frames.utterances, offsets=frames.offsets, lengths=frames.lengths, layers=frames.layers,
        hop_s=frames.hop_s, packed_FLH=loud,
    )  # fmt: skip
    assert np.array_equal(with_speech(frames).pooled("sap"), with_speech(changed).pooled("sap"))
    assert np.abs(with_speech(frames).pooled("gap") - with_speech(changed).pooled("gap")).min() > 1


def test_where_pauses_mislead_speech_alone_tells_the_class(tmp_path):
    """UA of the test parts under the probe: the pauses hold another class's sign, three times as large."""
    frames = with_speech(write_states(tmp_path, utterances=90))
    labels, folds = labels_of(frames.frames), folds_of(frames.frames)
    config = ProbeConfig(projection=6, steps=200, batch=8, lr=2e-2, evaluate_every=20)

    def reached(pooling: PoolingName) -> float:
        scores_KUC = fit_probe(
            frames.pooled(pooling), labels, folds, CLASSES, config=config, seed=0, device=CPU, log=discard
        ).scores_KUC
        tested = [(labels[place], CLASSES[scores_KUC[k, place].argmax()]) for k in range(3) for place in folds[k].test]
        return ua(confusion(*zip(*tested, strict=True), CLASSES))

    assert reached("sap") > 0.9
    assert reached("gap+sap") > 0.9
    assert reached("gap") < 0.75


def test_without_speech_flags_all_positions_are_taken(tmp_path):
    frames = everywhere(write_states(tmp_path))
    assert frames.speech_F.all()
    assert (frames.speechless, frames.left_out) == (0, 0)
    assert np.array_equal(frames.pooled("gap"), frames.pooled("sap"))


def test_there_is_no_shortcut_for_a_pooling_that_is_not_linear(tmp_path):
    with pytest.raises(BadInputError, match=r"sap\.pooling: 'attention' is not linear"):
        everywhere(write_states(tmp_path)).pooled("attention")


@pytest.mark.parametrize("pooling", ["gap", "sap", "gap+sap"])
def test_the_probe_on_pooled_vectors_equals_a_head_over_frames_trained_on_the_same_batches(tmp_path, pooling):
    frames = with_speech(write_states(tmp_path))
    labels, folds = labels_of(frames.frames), folds_of(frames.frames)
    config = ProbeConfig(projection=6, steps=100, batch=8, lr=5e-3, evaluate_every=100)
    result = fit_probe(
        frames.pooled(pooling), labels, folds, CLASSES, config=config, seed=7, device=CPU, log=discard
    )  # fmt: skip
    targets = torch.tensor([CLASSES.index(label) for label in labels])
    for k, fold in enumerate(folds):
        head = PooledHead(layers=LAYERS, hidden=HIDDEN, projection=6, classes=3, config=SapConfig(pooling=pooling))
        start = Heads(
            layers=LAYERS, hidden=head.pooling.width, projection=6, classes=3, names=[fold.name], seed=7
        )  # fmt: skip
        with torch.no_grad():
            head.project.weight.copy_(start.project_KHP[0].T)
            head.project.bias.copy_(start.project_bias_KP[0])
            head.classify.weight.copy_(start.classify_KPC[0].T)
            head.classify.bias.copy_(start.classify_bias_KC[0])
        optimizer = torch.optim.Adam(head.parameters(), lr=config.lr)
        batches = _train_batches(fold, config.batch, 7)
        for _ in range(config.steps):
            rows = next(batches)
            batch = frames.batch(rows, CPU)
            logits = head(batch.states_BPLH, batch.valid_BP, batch.speech_BP)
            loss = nn.functional.cross_entropy(logits, targets[torch.from_numpy(rows)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            whole = frames.batch(range(len(labels)), CPU)
            expected = head(whole.states_BPLH, whole.valid_BP, whole.speech_BP).softmax(-1).numpy()
        assert np.abs(result.scores_KUC[k] - expected).max() < 1e-4
