"""SUPERB's emotion head on frozen features, all folds in one batched solve.

With a frozen upstream everything between the layers and the logits is linear (weighted sum of layers → Linear → mean
over frames → Linear), so the mean over frames may be taken first: one vector per (utterance, layer) gives exactly the
same classifier (papers: SUPERB, Yang et al. 2021; the exchange is ours).

K folds, B utterances of a batch, U utterances in all, L layers, H hidden width, P projection, C classes.
"""

from __future__ import annotations

__all__ = ["ChosenHead", "FoldIndex", "Heads", "ProbeResult", "fit_probe", "fold_index"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.config import ProbeConfig
from core.corpora.folds import Fold
from core.errors import NonFiniteLossError
from core.metrics import confusion, ua, wa
from core.progress import LogMetrics
from core.seeding import stream, torch_stream

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FoldIndex:
    """One fold as positions in the utterance order of the features."""

    name: str
    train: Index
    validation: Index
    test: Index


def fold_index(fold: Fold, order: Mapping[str, int]) -> FoldIndex:
    """The fold in positions; `order`: utterance → its position."""

    def positions(part: Sequence[str]) -> Index:
        return np.array([order[name] for name in part], dtype=np.int64)

    return FoldIndex(
        name=fold.name,
        train=positions(fold.train),
        validation=positions(fold.validation),
        test=positions(fold.test),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenHead:
    """One fold's head as it was at its best step; logits = ((weights · layers) @ project + bias) @ classify + bias."""

    layer_weights_L: NDArray[np.float32]
    """After the softmax: they sum to 1."""
    project_HP: NDArray[np.float32]
    project_bias_P: NDArray[np.float32]
    classify_PC: NDArray[np.float32]
    classify_bias_C: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeResult:
    """Class probabilities of every utterance under each fold's chosen head, (K, U, C), the chosen steps and heads."""

    scores_KUC: NDArray[np.float32]
    best_steps: tuple[int, ...]
    heads: tuple[ChosenHead, ...]


class Heads(nn.Module):
    """K independent heads: softmax-weighted layers → Linear(H, P) → Linear(P, C); initialised as K single ones."""

    def __init__(
        self, *, layers: int, hidden: int, projection: int, classes: int, names: Sequence[str], seed: int
    ) -> None:
        super().__init__()
        first, second = [], []
        for name in names:
            with torch_stream(seed, "probe-init", name):
                first.append(nn.Linear(hidden, projection))
                second.append(nn.Linear(projection, classes))
        self.layer_logits_KL = nn.Parameter(torch.zeros(len(names), layers))
        self.project_KHP = nn.Parameter(torch.stack([linear.weight.detach().T for linear in first]))
        self.project_bias_KP = nn.Parameter(torch.stack([linear.bias.detach() for linear in first]))
        self.classify_KPC = nn.Parameter(torch.stack([linear.weight.detach().T for linear in second]))
        self.classify_bias_KC = nn.Parameter(torch.stack([linear.bias.detach() for linear in second]))

    def forward(self, means_KBLH: Tensor) -> Tensor:
        """Logits (K, B, C) of utterance means (K, B, L, H)."""
        weights_KL = self.layer_logits_KL.softmax(-1)
        mixed_KBH = torch.einsum("kl,kblh->kbh", weights_KL, means_KBLH)
        projected_KBP = torch.baddbmm(self.project_bias_KP[:, None], mixed_KBH, self.project_KHP)
        return torch.baddbmm(self.classify_bias_KC[:, None], projected_KBP, self.classify_KPC)

    @torch.no_grad()
    def one(self, k: int) -> ChosenHead:
        """A copy of head `k` as it is now, on the CPU."""

        def copied(values: Tensor) -> NDArray[np.float32]:
            return np.array(values.cpu().numpy())

        return ChosenHead(
            layer_weights_L=copied(self.layer_logits_KL[k].softmax(-1)),
            project_HP=copied(self.project_KHP[k]),
            project_bias_P=copied(self.project_bias_KP[k]),
            classify_PC=copied(self.classify_KPC[k]),
            classify_bias_C=copied(self.classify_bias_KC[k]),
        )


def fit_probe(
    means: NDArray[np.float32], labels: Sequence[str], folds: Sequence[FoldIndex], classes: Sequence[str], *,
    config: ProbeConfig, seed: int, device: torch.device, log: LogMetrics,
) -> ProbeResult:  # fmt: skip
    """Train one head per fold and keep, per fold, the one that is best on validation (first on ties).

    Args:
        means: utterance means, (U, L, H) when one upstream serves all folds, else (K, U, L, H).
        labels: class of each utterance, U.
        folds: the train, validation and test positions of each fold; nothing of test is looked at here.
        classes: class order of the scores.

    Raises NonFiniteLossError.
    """
    means_KULH = torch.from_numpy(means if means.ndim == 4 else means[None]).to(device)
    targets_U = torch.tensor([list(classes).index(label) for label in labels], device=device)
    names = [fold.name for fold in folds]
    heads = Heads(
        layers=means_KULH.shape[2], hidden=means_KULH.shape[3], projection=config.projection,
        classes=len(classes), names=names, seed=seed,
    ).to(device)  # fmt: skip
    optimizer = torch.optim.Adam(heads.parameters(), lr=config.lr)
    upstream_K1 = torch.arange(len(folds), device=device)[:, None] % len(means_KULH)
    choice = _Choice(folds, labels, classes, config.select_by)
    batches = zip(*(_train_batches(fold, config.batch, seed) for fold in folds), strict=True)
    for step in range(1, config.steps + 1):
        rows_KB = torch.from_numpy(np.stack(next(batches))).to(device)
        logits_KBC = heads(means_KULH[upstream_K1, rows_KB])
        # Summed over folds: each head's gradient is that of its own mean loss.
        loss = (
            nn.functional.cross_entropy(logits_KBC.transpose(1, 2), targets_U[rows_KB], reduction="none").mean(1).sum()
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % config.evaluate_every == 0 or step == config.steps:
            value = loss.item() / len(folds)
            if not np.isfinite(value):
                raise NonFiniteLossError(stage="probe", step=step, value=value)
            reached = choice.look(heads, _scores(heads, means_KULH, upstream_K1), step)
            log({"probe/loss": value, f"probe/validation_{config.select_by}": reached}, step)
    return ProbeResult(
        scores_KUC=choice.scores_KUC,
        best_steps=tuple(choice.steps),
        heads=tuple(choice.heads[k] for k in range(len(folds))),
    )


@torch.no_grad()
def _scores(heads: Heads, means_KULH: Tensor, upstream_K1: Tensor) -> NDArray[np.float32]:
    chosen_KULH = means_KULH.expand(len(upstream_K1), -1, -1, -1)
    return np.asarray(heads(chosen_KULH).softmax(-1).cpu().numpy())


def _train_batches(fold: FoldIndex, size: int, seed: int) -> Iterator[Index]:
    """Endless batches of exactly `size` training positions; an epoch's remainder is completed from the next one."""
    epoch, pool = 0, np.empty(0, dtype=np.int64)
    while True:
        while len(pool) < size:
            pool = np.concatenate([pool, stream(seed, "probe-order", fold.name, epoch).permutation(fold.train)])
            epoch += 1
        yield pool[:size]
        pool = pool[size:]


class _Choice:
    """Keeps each fold's head, and its scores, at its best step on validation."""

    def __init__(self, folds: Sequence[FoldIndex], labels: Sequence[str], classes: Sequence[str], metric: str) -> None:
        self._folds, self._labels, self._classes = folds, np.asarray(labels), classes
        self._metric = ua if metric == "ua" else wa
        self._best = [-1.0] * len(folds)
        self.steps = [0] * len(folds)
        self.heads: dict[int, ChosenHead] = {}
        self.scores_KUC = np.zeros((len(folds), len(labels), len(classes)), dtype=np.float32)

    def look(self, heads: Heads, scores_KUC: NDArray[np.float32], step: int) -> float:
        """Compare this step with the best so far; returns the mean validation metric over folds."""
        reached = []
        for k, fold in enumerate(self._folds):
            predicted = [self._classes[i] for i in scores_KUC[k, fold.validation].argmax(-1)]
            value = self._metric(confusion(self._labels[fold.validation].tolist(), predicted, self._classes))
            reached.append(value)
            if value > self._best[k]:
                self._best[k], self.steps[k], self.scores_KUC[k] = value, step, scores_KUC[k]
                self.heads[k] = heads.one(k)
        return float(np.mean(reached))
