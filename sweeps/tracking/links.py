"""Pages of MLflow's runs: which address shows them, and which runs the journal knows. No server is asked."""

from __future__ import annotations

__all__ = ["run_links", "run_pages", "shown_by"]

from collections.abc import Mapping
from urllib.parse import urlsplit

from core.store import Workspace
from sweeps.tracking.experiment import destination_name, is_server, run_page, tracking_uri
from sweeps.tracking.journal import Journal
from sweeps.tracking.outbox import SWEEP, Outbox

LOCAL = "http://127.0.0.1:5000"
"""Where `sweep ui` shows a database that has no server."""


def run_links(name: str, workspace: Workspace) -> dict[str, str]:
    """Trial key → page of its run, of the trials of a sweep that MLflow has been sent; empty without a journal.

    Where MLflow is a database, the pages are those of `sweep ui` at its usual port. Raises JournalError.
    """
    path = workspace.sweep(name) / "journal.db"
    if not path.exists():
        return {}
    uri = tracking_uri(workspace.root)
    journal = Journal(path)
    try:
        runs = Outbox(journal=journal, destination=destination_name(uri)).runs()
    finally:
        journal.close()
    return run_pages({key: run_id for key, (run_id, _) in runs.items() if key != SWEEP}, uri=uri)


def run_pages(runs: Mapping[str, str], *, uri: str) -> dict[str, str]:
    """Trial key → page, of trial key → run; empty where the tracking URI says no address (`databricks`)."""
    address = destination_name(uri).rstrip("/") if is_server(uri) else LOCAL
    known = runs if urlsplit(address).scheme in ("http", "https") else {}
    return {key: run_page(address, run_id) for key, run_id in known.items()}


def shown_by(uri: str) -> str:
    """The command that must be running for the pages to answer; empty where a server answers."""
    return "" if is_server(uri) else "sweep ui"
