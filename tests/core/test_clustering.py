"""Clusters of frame states: right where they can be seen, the same every time, whatever the threads."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from core.clustering import cluster_frames
from core.errors import BadInputError


def blobs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    centres_KH = np.array([[0, 0, 9], [9, 0, 0], [0, 9, 0], [-9, 0, 0]], dtype=np.float32)
    truth_F = rng.integers(0, 4, size=400)
    noise_FH = rng.normal(size=(400, 3))
    return (centres_KH[truth_F] + 0.5 * noise_FH).astype(np.float32), truth_F


def test_blobs_are_told_apart_whatever_their_numbers():
    states_FH, truth_F = blobs()
    clustering = cluster_frames(states_FH, k=4, seed=0, name="test")
    pairs = set(zip(truth_F.tolist(), clustering.labels_F.tolist(), strict=True))
    assert len(pairs) == 4
    assert clustering.used == 4
    for cluster in range(4):
        np.testing.assert_allclose(
            clustering.centres_KH[cluster], states_FH[clustering.labels_F == cluster].mean(0), atol=0.4
        )


def test_every_frame_has_its_nearest_centre():
    states_FH, _ = blobs()
    clustering = cluster_frames(states_FH, k=7, seed=0, name="test")
    distances_FK = np.linalg.norm(states_FH[:, None] - clustering.centres_KH[None], axis=-1)
    np.testing.assert_array_equal(clustering.labels_F, distances_FK.argmin(1))


def test_the_same_seed_gives_the_same_labels_and_another_seed_or_name_others():
    states_FH = np.random.default_rng(0).normal(size=(1500, 6)).astype(np.float32)
    first = cluster_frames(states_FH, k=12, seed=1, name="tapt")
    again = cluster_frames(states_FH, k=12, seed=1, name="tapt")
    np.testing.assert_array_equal(first.labels_F, again.labels_F)
    np.testing.assert_array_equal(first.centres_KH, again.centres_KH)
    for other in (
        cluster_frames(states_FH, k=12, seed=2, name="tapt"),
        cluster_frames(states_FH, k=12, seed=1, name="alignment"),
    ):
        assert not np.array_equal(first.centres_KH, other.centres_KH)


def test_threads_around_it_change_nothing(tmp_path):
    states_FH = np.random.default_rng(0).normal(size=(4000, 8)).astype(np.float32)
    np.save(tmp_path / "states.npy", states_FH)
    alone = cluster_frames(states_FH, k=16, seed=0, name="test")
    with threadpool_limits(limits=4):
        # From the file as the stage reads it, too: read-only and memory-mapped.
        among = cluster_frames(np.load(tmp_path / "states.npy", mmap_mode="r"), k=16, seed=0, name="test")
    np.testing.assert_array_equal(alone.labels_F, among.labels_F)
    np.testing.assert_array_equal(alone.centres_KH, among.centres_KH)


def test_it_goes_on_as_long_as_the_released_code(monkeypatch):
    """Scikit-learn's defaults would stop sooner, and move clusters that hold few frames."""
    import sklearn.cluster

    made = []

    class Kept(sklearn.cluster.MiniBatchKMeans):
        def fit(self, *args, **settings):
            made.append(self.get_params())
            return super().fit(*args, **settings)

    monkeypatch.setattr(sklearn.cluster, "MiniBatchKMeans", Kept)
    cluster_frames(blobs()[0], k=4, seed=0, name="test")
    published = {"batch_size": 10_000, "max_iter": 100, "n_init": 20, "init": "k-means++"}
    released = {"tol": 0.0, "max_no_improvement": 100, "reassignment_ratio": 0.0}
    (found,) = made
    assert (published | released).items() <= found.items()


def test_fewer_frames_than_clusters_are_refused():
    with pytest.raises(BadInputError, match="5 frames cannot be clustered into 6"):
        cluster_frames(np.zeros((5, 2), dtype=np.float32), k=6, seed=0, name="test")
