"""Columns of `predictions.parquet` as distinct values and codes: what Parquet stores, without a string per row.

Letters in names: N rows, V distinct values.
"""

from __future__ import annotations

__all__ = ["PredictionsFile", "TextColumn"]

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class TextColumn:
    """A column of text."""

    values: tuple[str, ...]
    """Distinct; some may occur in no row."""
    codes_N: NDArray[np.int32]
    """Row → place in `values`."""

    def rows(self, rows_M: NDArray[np.intp]) -> TextColumn:
        """Some of the rows, in the order given."""
        return TextColumn(values=self.values, codes_N=self.codes_N[rows_M])

    def sorted(self) -> TextColumn:
        """The same text with values in order, and only those that occur."""
        used_V = np.bincount(self.codes_N, minlength=len(self.values)) > 0
        order = sorted(np.flatnonzero(used_V).tolist(), key=self.values.__getitem__)
        place_V = np.zeros(len(self.values), np.int32)
        place_V[order] = np.arange(len(order), dtype=np.int32)
        return TextColumn(values=tuple(self.values[place] for place in order), codes_N=place_V[self.codes_N])

    def digest(self) -> bytes:
        """SHA-256 of values and codes: equal only for the same text in every row, given as the same codes."""
        digest = hashlib.sha256(f"{len(self.values)} {len(self.codes_N)}\n".encode())
        # Lengths first: values may hold any character.
        digest.update(np.fromiter(map(len, self.values), np.int64, len(self.values)).tobytes())
        digest.update("".join(self.values).encode())
        digest.update(self.codes_N.tobytes())
        return digest.digest()


class PredictionsFile:
    """The predictions in a trial's folder. `where` begins every message.

    Raises BadInputError, here and in each method, for a file that is not there or cannot be read, a column that is
    absent, and an empty cell.
    """

    def __init__(self, folder: Path, *, where: str) -> None:
        self._path, self._where = folder / "predictions.parquet", where
        try:
            # Not the whole of it: the scores, five sixths of the file, are needed for two arms only.
            self._file = pa.OSFile(str(self._path))
            self._meta = pq.read_metadata(self._file)
        except FileNotFoundError as error:
            raise BadInputError(f"{self._path}: no predictions; the trial is not complete") from error
        except (pa.ArrowException, OSError) as error:
            raise BadInputError(f"{self._path}: cannot be read ({str(error).splitlines()[0]})") from error
        self._places = {self._meta.schema.column(place).path: place for place in range(self._meta.num_columns)}

    def fingerprint(self, names: Sequence[str]) -> bytes:
        """SHA-256 of these columns as they are stored: where it is equal, so is every row of them.

        The same text stored otherwise (compressed by another program) has another one.
        """
        digest = hashlib.sha256(f"{self._meta.created_by} {self._meta.num_rows}\n".encode())
        for group in map(self._meta.row_group, range(self._meta.num_row_groups)):
            for name in names:
                chunk = group.column(self._place(name))
                start = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
                about = f"{name} {chunk.physical_type} {chunk.compression} {chunk.encodings} {chunk.num_values}"
                digest.update(f"{about} {chunk.total_compressed_size}\n".encode())
                digest.update(self._bytes(start, chunk.total_compressed_size))
        return digest.digest()

    def columns(self, names: Sequence[str]) -> list[TextColumn]:
        """All rows of these columns, numbers as text; no other column is decoded."""
        for name in names:
            self._place(name)
        try:
            file = pq.ParquetFile(self._file, metadata=self._meta, read_dictionary=list(names))
            table = file.read(columns=list(names), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise BadInputError(f"{self._path}: cannot be read ({str(error).splitlines()[0]})") from error
        return [self._text(table.column(name), name) for name in names]

    def numbers(self, names: Sequence[str]) -> NDArray[np.float64]:
        """All rows of columns of numbers, shape (N, columns). Raises BadInputError for one that is not finite."""
        for name in names:
            self._place(name)
        try:
            table = pq.ParquetFile(self._file, metadata=self._meta).read(columns=list(names), use_threads=False)
            values = [table.column(name).cast(pa.float64()).to_numpy() for name in names]
        except (pa.ArrowException, OSError) as error:
            raise BadInputError(f"{self._path}: cannot be read ({str(error).splitlines()[0]})") from error
        for name, value_N in zip(names, values, strict=True):
            if not np.isfinite(value_N).all():
                wrong = int((~np.isfinite(value_N)).sum())
                raise BadInputError(f"{self._where}: column {name!r} is empty or not finite in {wrong} rows")
        return np.stack(values, axis=1)

    def _bytes(self, start: int, size: int) -> bytes:
        try:
            found: bytes = self._file.read_at(size, start)
        except OSError as error:
            raise BadInputError(f"{self._path}: cannot be read ({str(error).splitlines()[0]})") from error
        return found

    def _place(self, name: str) -> int:
        if name not in self._places:
            raise BadInputError(f"{self._where}: predictions have no column {name!r}")
        return self._places[name]

    def _text(self, column: pa.ChunkedArray, name: str) -> TextColumn:
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        if column.null_count:
            raise BadInputError(f"{self._where}: column {name!r} is empty in {column.null_count} rows")
        chunks = column.unify_dictionaries().chunks
        whole = pa.concat_arrays(chunks) if chunks else pa.array([], column.type)
        return TextColumn(
            values=tuple(whole.dictionary.cast(pa.string()).to_pylist()),
            codes_N=whole.indices.to_numpy().astype(np.int32, copy=False),
        )
