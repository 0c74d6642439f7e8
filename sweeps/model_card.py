"""The card of an exported model: what it is, what it was trained on, how good it is, and what it is not for."""

from __future__ import annotations

__all__ = ["CARD", "ReportedScores", "card_text"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.corpora.terms import terms_of
from core.exported import PublishedUpstream
from core.packaging import Checked, Choice
from core.predicting import LONGEST_S
from core.records import CorpusEntry, Record
from core.teacher_config import TeacherConfig

CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class ReportedScores:
    """The arm's results as `sweep report` wrote them."""

    sweep: str
    arm: str
    lines: Sequence[tuple[str, str]]
    """What was measured, and how it came out."""
    n_trials: int
    n_expected: int
    opening: Mapping[str, Any] | None
    """Which look at the test part the scores are from."""


def card_text(choice: Choice, checked: Checked, scores: ReportedScores, *, weights: str) -> str:
    """Markdown. The same model and report give the same text."""
    sections = (
        _heading(choice.record, checked, scores, weights),
        _training(choice, checked),
        _corpora(choice.record, checked.package.config.published),
        _results(choice.record, scores),
        _use(checked),
        _limits(choice.record, checked),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _table(rows: Sequence[tuple[str, object]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows if value not in (None, ""))]


def _heading(record: Record, checked: Checked, scores: ReportedScores, weights: str) -> list[str]:
    config = checked.package.config
    every = f", every {1000 * config.hop_s:g} ms too" if config.hop_s else ""
    provenance = record.provenance
    rows = [
        ("gives", f"{config.kind}: {', '.join(config.outputs)}; per recording{every}"),
        ("system, upstream", f"{config.system}, {record.upstream}"),
        ("arm", f"`{scores.arm}` of sweep `{scores.sweep}`"),
        ("trial", f"`{record.trial_key}`, seed {config.seed}, fold `{config.fold}`"),
        ("code", f"commit {provenance.commit}{' with changes' if provenance.dirty else ''}"),
        ("trained", provenance.ended),
        ("weights (SHA-256)", f"`{weights}`"),
    ]
    head = ["---", "library_name: emsweep", "pipeline_tag: audio-classification", "license: other", "---"]
    return [*head, "", f"# Speech emotion: {scores.arm}", "", *_table(rows)]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _training(choice: Choice, checked: Checked) -> list[str]:
    record = choice.record
    protocol, mask = record.protocol, record.mask
    rows: list[tuple[str, object]] = [
        ("folds", f"{protocol.n_folds}, {protocol.folds}; validation: {protocol.validation}"),
        (
            "upstream and head fine-tuned on" if record.system == "frame_alignment" else "head fitted on",
            f"{_count(checked.train, 'utterance')} of {_count(checked.speakers, 'speaker')}: the fold's train part",
        ),
        *_of_system(record),
        ("upstream pre-trained on", _heard(record) if record.pretraining else None),
        ("masking", f"{mask.policy}, {100 * mask.realised_ratio:.1f} % of the frames hidden" if mask else None),
        ("transductive", "yes" if protocol.transductive else "no"),
        ("known leaks", "; ".join(protocol.leaks) or "none"),
        (
            "picked by",
            f"{choice.rule}: {_score(choice.metric, choice.mean)} and {_score(choice.metric, choice.reached)}",
        ),
        (
            "checked",
            f"scores of {checked.tried} utterances (the fold's validation and test part) made again from their audio "
            f"are the trial's own, largest difference {checked.difference:.1g}",
        ),
    ]
    return ["## What it was trained on, and how it was chosen", "", *_table(rows)]


def _heard(record: Record) -> str:
    """What the upstream was trained on: as `core.heard.heard_parts` and `core.batches` take it."""
    protocol, audio = record.protocol, record.config["pretraining_audio"]
    own = protocol.pretraining_audio == "fold"
    places = {
        "fold": "the fold's train part",
        "transductive": "the evaluated corpus, test part included",
        "external": f"another corpus, {protocol.pretraining_corpus}",
    }
    less = []
    # Of upstreams per fold the validation speakers are held out, and those are in no train part but under `superb`.
    if not own or record.config["folds"]["validation"] == "superb":
        less.append(f"{_count(audio['held_out_speakers'], 'speaker')} held out")
    if record.cost and record.cost.left_out:
        of_all = f" (of the {protocol.n_folds} upstreams together)" if own else ""
        shorter = f"shorter than {_count(record.config['pretrain']['min_frames'], 'frame')}{of_all}"
        less.append(f"{_count(record.cost.left_out, 'utterance')} {shorter}")
    without = f", without {' and '.join(less)}" if less else ""
    return f"{places[protocol.pretraining_audio]}{without}; no labels"


def _of_system(record: Record) -> list[tuple[str, object]]:
    """What is done in this system's training alone."""
    if record.system == "frame_alignment":
        whole = record.config["alignment"]["audio"] == "transductive"
        part = "all audio of the corpus, the test part's included" if whole else "the fold's train part"
        return [("upstream adapted on", f"{part}, without labels")]
    if record.system == "teacher_student":
        teacher = TeacherConfig.model_validate(record.config["teacher"])
        return [("teacher", _TEACHER if teacher.reads else "none" if teacher.weighting == "none" else _HEARING_TEACHER)]
    return []


_TEACHER = (
    "one that also read the transcripts. It predicts nothing without them and is not exported: this is its student, "
    "which only hears"
)
_HEARING_TEACHER = "one that only heard, as this student does; it is not exported"


def _score(metric: str, value: float) -> str:
    return f"{value:.3f}" if metric.startswith("ccc") else f"{100 * value:.1f} %"


def _corpora(record: Record, published: PublishedUpstream | None) -> list[str]:
    roles = (
        ("evaluated", record.corpus),
        ("heard in pre-training", record.heard),
        ("intensity learnt from", record.fit),
    )
    lines = ["## Corpora and their terms", ""]
    for role, corpus in roles:
        if corpus is not None:
            lines.append(f"- **{corpus.name}** ({role}): {_size(corpus)}. Terms: {terms_of(corpus.name)}")
    if published is not None:
        how = "fine-tuned" if record.system == "frame_alignment" else "as published"
        lines.append(
            f"- **{published.model}** (upstream that came trained; its weights are in this folder, {how}). Terms: see "
            "the model's own licence."
        )
    lines += [
        "",
        "The weights hold no recording. Terms above are a reminder, no legal advice: read the licence you signed.",
    ]
    return lines


def _size(corpus: CorpusEntry) -> str:
    aside = sum(corpus.quarantined.values())
    notes = [
        f"{_count(corpus.utterances, 'utterance')}",
        f"{_count(aside, 'recording')} set aside" if aside else "",
        corpus.incomplete or "",
    ]
    return f"{'; '.join(filter(None, notes))}; fingerprint `{corpus.fingerprint}`"


def _results(record: Record, scores: ReportedScores) -> list[str]:
    opening = scores.opening
    read = f" (test part read {_count(opening['number'], 'time')} by then)" if opening else ""
    trials = f"{scores.n_trials} of {scores.n_expected} trials"
    return [
        "## Scores",
        "",
        f"Of the arm on the test parts of {record.corpus.name}, from the sweep's report{read}: mean ± standard "
        f"deviation over seeds and folds, {trials}, with an interval for other speakers; differences are paired "
        "over seeds and folds, with intervals likewise.",
        "",
        "| test part | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in scores.lines),
        "",
        "Each test part was scored by the model of its own fold. This is one of these "
        f"{record.protocol.n_folds} models of one seed, not their mean, and no score here is of new microphones or "
        "languages.",
    ]


def _use(checked: Checked) -> list[str]:
    frames = " --frames" if checked.package.config.hop_s else ""
    return [
        "## Use",
        "",
        "```",
        f"sweep predict FOLDER-OF-THIS-CARD recording.wav{frames}",
        "```",
        "",
        "Any rate and number of channels; they are mixed down and resampled to 16 kHz. `config.json` says what the "
        "tensors in `model.safetensors` are.",
    ]


def _limits(record: Record, checked: Checked) -> list[str]:
    config = checked.package.config
    lines = [
        "## Intended use, and limits",
        "",
        "- For research on speech emotion: comparing systems, replaying this result, a first look at recordings like "
        f"those of {record.corpus.name}. Not for decisions about people: hiring, policing, health, credit, education.",
        f"- It knows {', '.join(config.outputs)} and nothing else: whatever it hears is called one of these."
        if config.kind == "classes"
        else f"- It gives {', '.join(config.outputs)} on the scale of its corpus.",
        f"- Fitted on {_count(checked.speakers, 'speaker')} of one corpus; voices, languages, rooms and acting unlike "
        "theirs are outside what was measured.",
        f"- Recordings of one utterance, of at most {LONGEST_S:g} s; silence, music and noise get a score too.",
    ]
    if config.hop_s:
        lines.append(
            "- Scores of single frames were never trained against labels of frames: they show what adds up to the "
            "utterance's score, not when an emotion was felt."
        )
    if record.corpus.name == "demo":
        lines.append("- Its corpus is synthetic: it shows that the program works and says nothing about human speech.")
    return lines
