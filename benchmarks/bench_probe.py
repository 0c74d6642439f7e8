"""What the probe's exactness saves: all folds from utterance means, against SUPERB's frame-level head fold by fold.

Same folds, steps, batch size and machine, one thread. Prints one JSON line; the ratio is what to compare between
machines. Run: python -m benchmarks.bench_probe
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from core.config import ProbeConfig
from core.probe import FoldIndex, fit_probe
from core.progress import discard

UTTERANCES, LAYERS, HIDDEN, CLASSES, FOLDS, STEPS = 600, 4, 128, ("ang", "hap", "neu", "sad"), 5, 200
FRAMES = 150


def folds() -> list[FoldIndex]:
    parts = np.array_split(np.arange(UTTERANCES), FOLDS)
    return [
        FoldIndex(
            name=f"fold{k}",
            train=np.concatenate([parts[i] for i in range(FOLDS) if i not in (k, (k + 1) % FOLDS)]),
            validation=parts[(k + 1) % FOLDS],
            test=parts[k],
        )
        for k in range(FOLDS)
    ]


def seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def frame_level(states: torch.Tensor, targets: torch.Tensor, fold: FoldIndex, config: ProbeConfig) -> None:
    weights = nn.Parameter(torch.zeros(LAYERS))
    projector, classifier = nn.Linear(HIDDEN, config.projection), nn.Linear(config.projection, len(CLASSES))
    optimizer = torch.optim.Adam([weights, *projector.parameters(), *classifier.parameters()], lr=config.lr)
    rng = np.random.default_rng(0)
    for _ in range(config.steps):
        rows = torch.from_numpy(rng.choice(fold.train, config.batch, replace=False))
        mixed = torch.einsum("l,btlh->bth", weights.softmax(0), states[rows])
        loss = nn.functional.cross_entropy(classifier(projector(mixed).mean(1)), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.normal(size=(UTTERANCES, FRAMES, LAYERS, HIDDEN)).astype(np.float32))
    labels = [CLASSES[i % len(CLASSES)] for i in range(UTTERANCES)]
    targets = torch.tensor([CLASSES.index(label) for label in labels])
    config = ProbeConfig(steps=STEPS, evaluate_every=STEPS)
    means = states.mean(1).numpy()

    def batched() -> None:
        fit_probe(
            means,
            labels,
            folds(),
            CLASSES,
            config=config,
            seed=0,
            device=torch.device("cpu"),
            log=discard,
        )

    def one_by_one() -> None:
        for fold in folds():
            frame_level(states, targets, fold, config)

    batched()
    times = [(seconds(batched), seconds(one_by_one)) for _ in range(3)]
    ratios = sorted(slow / fast for fast, slow in times)
    result = {"benchmark": "probe", "batched_s": min(t[0] for t in times), "frame_level_s": min(t[1] for t in times)}
    sys.stdout.write(json.dumps(result | {"ratio_median": ratios[1]}) + "\n")


if __name__ == "__main__":
    main()
