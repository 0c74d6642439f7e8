"""The four systems side by side on one corpus, as definition `seed_systems` puts them."""

from __future__ import annotations

__all__ = ["four_systems", "student_arms"]

from pathlib import Path

from synthetic_sweep import LOSSES, SyntheticArm, SyntheticSweep, grid


def student_arms() -> list[SyntheticArm]:
    """No teacher (the twin), an unconditional and a conditional one."""
    return [
        SyntheticArm(key="alone", name="no teacher", system="teacher_student", recall=0.5, masked=False),
        SyntheticArm(
            key="soft", name="soft s0.5", system="teacher_student", recall=0.65, masked=False, twin_key="alone",
            axes={"teacher.weighting": "soft", "teacher.sigma": 0.5},
        ),
        SyntheticArm(
            key="every", name="soft sinf", system="teacher_student", recall=0.55, masked=False, twin_key="alone",
            axes={"teacher.weighting": "soft", "teacher.sigma": float("inf")},
        ),
    ]  # fmt: skip


def four_systems(root: Path, *, seeds: tuple[int, ...] = (0, 1)) -> SyntheticSweep:
    """EMS, SAP on the random upstreams of one key, frame alignment without a mask, teacher and student."""
    speechless = {"utterances without speech": 3}
    sap = [
        SyntheticArm(key="gap", name="gap", system="sap", recall=0.5, losses=LOSSES, heard_by="plain"),
        *(
            SyntheticArm(
                key=f"sap{threshold}", name=f"gap+sap v{threshold}", system="sap", recall=0.55, twin_key="gap",
                losses=LOSSES, heard_by="plain", counts=speechless,
                axes={"sap.pooling": "gap+sap", "sap.threshold": threshold},
            )
            for threshold in (0.3, 0.5)
        ),
    ]  # fmt: skip
    aligned = [
        SyntheticArm(key="tapt", name="adapted", system="frame_alignment", recall=0.5, masked=False, upstream="hubert"),
        SyntheticArm(
            key="k6", name="attention k6", system="frame_alignment", recall=0.6, masked=False, upstream="hubert",
            twin_key="tapt", axes={"alignment.k": 6}, counts={"clusters without a frame": 1},
        ),
    ]  # fmt: skip
    # In an order of its own: the report puts systems together.
    arms = (*student_arms()[:1], *grid((0.15,), (1.0,), (7,)), *sap, *aligned, *student_arms()[1:])
    contrasts = (("contrast", "condition", "soft", "every"), ("contrast", "sap against ems", "sap0.5", "ems0.15t1.0s7"))
    return SyntheticSweep(root=root, arms=arms, seeds=seeds, contrasts=contrasts).write()
