"""Frame states → k clusters, the pseudo-labels of masked prediction (Li et al., ICASSP 2024, step 2).

F frames of all utterances together, H hidden width, K clusters.
"""

from __future__ import annotations

__all__ = ["Clustering", "cluster_frames"]

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError, MissingDependencyError
from core.seeding import stream_seed

BATCH = 10_000
ITERATIONS = 100
STARTS = 20
"""Published, with k-means++ to start from."""
TOLERANCE = 0.0
PATIENCE = 100
REASSIGNED = 0.0
"""As in the authors' released code, where scikit-learn's own are 0, 10 and 0.01: it stops after so many batches without
a lower inertia, and clusters that hold few frames are not begun anew elsewhere."""
ASSIGNED_AT_ONCE = 50_000
"""Frames whose distances are in memory at a time (ours)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clustering:
    """Centres (K, H) and the nearest one of each frame, (F,) int32."""

    centres_KH: NDArray[np.float32]
    labels_F: NDArray[np.int32]

    @property
    def used(self) -> int:
        """How many clusters have a frame."""
        return len(np.unique(self.labels_F))


def cluster_frames(states_FH: NDArray[np.float32], *, k: int, seed: int, name: str) -> Clustering:
    """Mini-batch k-means (Sculley 2010; scikit-learn's) over frames, which may be memory-mapped.

    Everything is drawn from the stream (seed, "clusters", name) and runs in one thread: sums that are split among
    threads round differently, and a frame between two centres would change its label with them.
    Raises BadInputError for fewer frames than clusters, MissingDependencyError without scikit-learn.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError("clustering needs scikit-learn: install emsweep[systems]") from error
    if len(states_FH) < k:
        raise BadInputError(f"alignment: {len(states_FH)} frames cannot be clustered into {k}")
    means = MiniBatchKMeans(
        n_clusters=k, init="k-means++", n_init=STARTS, max_iter=ITERATIONS, batch_size=BATCH, tol=TOLERANCE,
        max_no_improvement=PATIENCE, reassignment_ratio=REASSIGNED, compute_labels=False,
        random_state=np.random.RandomState(stream_seed(seed, "clusters", name) % 2**32),
    )  # fmt: skip
    with threadpool_limits(limits=1):
        means.fit(states_FH)
        parts = range(0, len(states_FH), ASSIGNED_AT_ONCE)
        labels = [means.predict(states_FH[start : start + ASSIGNED_AT_ONCE]) for start in parts]
    return Clustering(
        centres_KH=np.asarray(means.cluster_centers_, dtype=np.float32),
        labels_F=np.concatenate(labels).astype(np.int32),
    )
