"""Names made of content: the digest under every trial key and artifact key (ours)."""

from __future__ import annotations

__all__ = ["Json", "code_version", "digest"]

import ast
import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

KEY_LENGTH = 16
"""Hex digits of a key: 64 bits, so a million artifacts collide with probability below 1e-7."""


def digest(content: Json) -> str:
    """Hash of a JSON value: independent of the order of mapping keys, sensitive to everything else.

    Returns 16 hex digits. Floats are written by `repr`, so two settings are the same only when they are equal.
    Raises ValueError for NaN or infinity, which have no JSON form.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


@cache
def code_version(modules: tuple[str, ...]) -> str:
    """Hash of what the named modules (`core.features`, …) do: their syntax trees without docstrings and comments."""
    trees = [ast.dump(_without_docstrings(_source(module))) for module in sorted(modules)]
    return digest(trees)


def _source(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"code_version: module {module!r} cannot be found")
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_bare_string(part)] or [ast.Pass()]
    return tree


def _is_bare_string(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
