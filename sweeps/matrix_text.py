"""The pair matrix as text: each twin over its arms, one column per seed, in blocks that fit the width."""

from __future__ import annotations

__all__ = ["matrix_lines", "points_text", "shortened"]

from collections.abc import Sequence

from sweeps.pair_matrix import Cell, PairMatrix, Row, TrialStatus

NAME_WIDTH = 46
"""Most that a name takes; longer ones are cut in the middle."""
GAP = 2
LEGEND = {
    "▶": "under way",
    "‖": "interrupted, goes on from there",
    "·": "waiting",
    "✓": "complete, its twin is not",
    "✗": "failed",
}


def shortened(name: str, width: int) -> str:
    """Cut in the middle: names of arms differ at both ends.

    >>> shortened("npc ems_topk r0.15 s7", 13)
    'npc em….15 s7'
    >>> shortened("ems r0.15", 13)
    'ems r0.15'
    """
    if len(name) <= width:
        return name
    end = (width - 1) // 2
    return f"{name[: width - 1 - end].rstrip()}…{name[len(name) - end :]}"


def matrix_lines(matrix: PairMatrix, *, width: int, rows: int | None = None) -> list[str]:
    """Lines of at most `width` characters.

    Args:
        rows: arms that are shown, those with a trial under way first; None: all.
    """
    shown = _in_groups(_chosen(matrix.rows, rows))
    if not shown:
        return []
    cells = {(row.arm_key, cell.seed): _cell_text(cell) for row in shown for cell in row.cells}
    names = [_name(row) for row in shown]
    means = [_mean(row) for row in shown]
    mean_width = max(map(len, [*means, "mean (pairs)"]))
    cell_width = max(map(len, [*cells.values(), *(f"seed {seed}" for seed in matrix.seeds)]))
    name_width = min(max(map(len, names)), NAME_WIDTH, width - mean_width - cell_width - 2 * GAP)
    fitting = max(1, (width - name_width - GAP - mean_width) // (cell_width + GAP))
    lines = ["validation UA: of arms the difference to the twin in points, of twins in percent"]
    for start in range(0, len(matrix.seeds), fitting):
        seeds = matrix.seeds[start : start + fitting]
        head = "mean (pairs)" if start == 0 else ""
        titles = [f"seed {seed}" for seed in seeds]
        lines.append(_line("", head, titles, (name_width, mean_width, cell_width)))
        for row, name, mean in zip(shown, names, means, strict=True):
            texts = [cells.get((row.arm_key, seed), "") for seed in seeds]
            widths = (name_width, mean_width, cell_width)
            lines.append(_line(name, mean if start == 0 else "", texts, widths))
    hidden = len(matrix.rows) - len(shown)
    if hidden:
        lines.append(f"… {hidden} more arms: sweep status")
    used = "".join(cells.values())
    return [*lines, *_legend(used, width)]


def _chosen(rows: Sequence[Row], most: int | None) -> Sequence[Row]:
    if most is None or len(rows) <= most:
        return rows
    busy = [row for row in rows if any(cell.trial.state == "running" for cell in row.cells)]
    kept = {row.arm_key for row in [*busy, *(row for row in rows if row not in busy)][:most]}
    return [row for row in rows if row.arm_key in kept]


def _in_groups(rows: Sequence[Row]) -> list[Row]:
    """Each twin before its arms, at the place of the first of them; arms without a twin stay where they are."""
    by_key = {row.arm_key: row for row in rows}
    groups: dict[str, list[Row]] = {}
    for row in rows:
        leader = row.twin_key if row.twin_key in by_key else row.arm_key
        groups.setdefault(leader or row.arm_key, []).append(row)
    return [row for leader, group in groups.items() for row in sorted(group, key=lambda row: row.arm_key != leader)]


def _name(row: Row) -> str:
    mark = "(control) " if row.role == "control" else ""
    return f"{'  ' if row.twin_key else ''}{mark}{row.arm}"


def _mean(row: Row) -> str:
    if row.twin_key is None:
        return "" if row.mean_ua is None else f"{100 * row.mean_ua:.1f}"
    if row.mean_difference is None:
        return f"– ({row.pairs}/{len(row.cells)})"
    return f"{points_text(row.mean_difference)} ({row.pairs}/{len(row.cells)})"


def points_text(difference: float) -> str:
    """
    >>> points_text(0.0213), points_text(-0.0213), points_text(-0.0001)
    ('+2.1', '−2.1', '+0.0')
    """
    rounded = round(100 * difference, 1)
    return f"{'−' if rounded < 0 else '+'}{abs(rounded):.1f}"


def _cell_text(cell: Cell) -> str:
    if cell.difference is not None:
        return points_text(cell.difference)
    if cell.unpaired and cell.trial.state not in ("failed", "pruned"):
        return "unpaired"
    if cell.trial.state == "complete":
        return "✓" if cell.twin else f"{100 * (cell.trial.ua or 0):.1f}"
    return state_text(cell.trial)


def state_text(trial: TrialStatus) -> str:
    """State of a trial that is not complete, in a few characters."""
    if trial.state == "failed":
        return f"✗ {trial.failure}"
    if trial.state in ("running", "interrupted"):
        return f"{'▶' if trial.state == 'running' else '‖'} {100 * (trial.share or 0):.0f} %"
    return "·" if trial.state == "waiting" else trial.state


def _line(name: str, mean: str, texts: Sequence[str], widths: tuple[int, int, int]) -> str:
    name_width, mean_width, cell_width = widths
    cells = "".join(f"{'':{GAP}}{text:>{cell_width}}" for text in texts)
    return f"{shortened(name, name_width):{name_width}}{'':{GAP}}{mean:>{mean_width}}{cells}".rstrip()


def _legend(used: str, width: int) -> list[str]:
    line = "   ".join(f"{mark} {meaning}" for mark, meaning in LEGEND.items() if mark in used)
    return [line[:width]] if line else []
