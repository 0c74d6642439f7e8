"""Content-addressed artifacts: written whole or not at all, computed once even when several want them (ours)."""

from __future__ import annotations

__all__ = ["Artifact", "Claim", "Recipe", "Store", "Workspace", "write_atomically"]

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from core.errors import BadInputError
from core.identity import Json, code_version, digest

WORKSPACE_VARIABLE = "EMSWEEP_WORKSPACE"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old or the new content, never a part, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _part(path: Path) -> Path:
    """A name beside `path` that no other process takes (unlike `tempfile`, with the user's own permissions)."""
    return path.with_name(f".{path.name}.part.{uuid.uuid4().hex}")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One finished result of a stage: a folder that never changes again."""

    stage: str
    key: str
    path: Path

    def description(self) -> dict[str, Json]:
        """What the artifact was made from: stage, settings, inputs, code version."""
        content: dict[str, Json] = json.loads((self.path / "artifact.json").read_text())
        return content


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to make one artifact, or the finished artifact itself when somebody already has.

    `out` is where the result goes; `scratch` survives interruptions (checkpoints) and vanishes on completion.
    """

    artifact: Artifact
    done: bool
    out: Path
    scratch: Path


@dataclass(frozen=True, kw_only=True)
class Store:
    """The artifact store below `root`: `<stage>/<key>/` finished, `<stage>/.<key>.*` under way."""

    root: Path

    def key(self, stage: str, *, settings: Mapping[str, Json], inputs: Sequence[str], modules: tuple[str, ...]) -> str:
        """Artifact key: own settings, the inputs' keys, and the version of the code that makes it."""
        return digest(_description(stage, settings, inputs, modules))

    @contextmanager
    def claim(
        self, stage: str, *, settings: Mapping[str, Json], inputs: Sequence[str], modules: tuple[str, ...]
    ) -> Iterator[Claim]:
        """Find the artifact or claim the right to make it; waits while another process makes the same one.

        When the block ends without an exception the content of `claim.out` becomes the artifact. With `claim.done`
        there is nothing to do in the block.
        """
        description = _description(stage, settings, inputs, modules)
        key = digest(description)
        final = self.root / stage / key
        artifact = Artifact(stage=stage, key=key, path=final)
        scratch = self.root / stage / f".{key}.scratch"
        if final.exists():
            yield Claim(artifact=artifact, done=True, out=final, scratch=scratch)
            return
        final.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(final.parent / f".{key}.lock"):
            if final.exists():
                yield Claim(artifact=artifact, done=True, out=final, scratch=scratch)
                return
            # With the lock held, parts of this key are what a killed process left.
            for left in final.parent.glob(f".{key}.part.*"):
                shutil.rmtree(left)
            out = _part(final)
            out.mkdir()
            try:
                scratch.mkdir(exist_ok=True)
                yield Claim(artifact=artifact, done=False, out=out, scratch=scratch)
                write_atomically(out / "artifact.json", json.dumps(description, indent=2, sort_keys=True).encode())
                out.replace(final)
            except BaseException:
                shutil.rmtree(out, ignore_errors=True)
                raise
            shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an artifact is made from, known before it is claimed."""

    stage: str
    settings: Mapping[str, Json]
    inputs: Sequence[str]
    modules: tuple[str, ...]

    def key(self, store: Store) -> str:
        return store.key(self.stage, settings=self.settings, inputs=self.inputs, modules=self.modules)

    def claim(self, store: Store) -> AbstractContextManager[Claim]:
        return store.claim(self.stage, settings=self.settings, inputs=self.inputs, modules=self.modules)


def _description(
    stage: str, settings: Mapping[str, Json], inputs: Sequence[str], modules: tuple[str, ...]
) -> dict[str, Json]:
    return {"stage": stage, "settings": dict(settings), "inputs": list(inputs), "code": code_version(modules)}


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where everything lives: `store/`, `trials/<trial_key>/`, `sweeps/<name>/`, `mlflow.db`."""

    root: Path

    @classmethod
    def at(cls, directory: Path | None) -> Workspace:
        """The workspace at `directory`, else `$EMSWEEP_WORKSPACE`, else `./emsweep-workspace`; made when absent.

        Raises BadInputError if that path cannot be a folder.
        """
        root = (directory or Path(os.environ.get(WORKSPACE_VARIABLE) or "emsweep-workspace")).absolute()
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInputError(f"workspace {root}: cannot be made ({error.strerror})") from error
        return cls(root=root)

    @property
    def store(self) -> Store:
        return Store(root=self.root / "store")

    def trial(self, trial_key: str) -> Path:
        return self.root / "trials" / trial_key

    def sweep(self, name: str) -> Path:
        return self.root / "sweeps" / name
