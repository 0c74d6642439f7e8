"""`sweep status`, `sweep watch` and `sweep stop`: what one does with a sweep that runs in another terminal."""

from __future__ import annotations

__all__ = ["status", "stop", "watch"]

import json
import shlex
import sys
from pathlib import Path

import click

from sweeps.cli_options import json_option, workspace_option


@click.command()
@click.argument("name")
@workspace_option
@json_option
def status(name: str, workspace: Path | None, as_json: bool) -> None:
    """Show where the sweep NAME is: pairs with their differences on validation, lanes, failures, ETA, disk.

    Example: sweep status ems_grid
    """
    from core.store import Workspace
    from sweeps.observer import snapshot
    from sweeps.status_text import status_text

    found = snapshot(name, Workspace.at(workspace))
    click.echo(json.dumps(found.as_json()) if as_json else status_text(found, options=_elsewhere(workspace)))


@click.command()
@click.argument("name")
@click.option(
    "--interval", type=click.FloatRange(min=0.2),
    help="Seconds between two pictures (default 2), or in a pipe between two lines of counts (default 10).",
)  # fmt: skip
@workspace_option
def watch(name: str, interval: float | None, workspace: Path | None) -> None:
    """Watch the sweep NAME until nobody runs it any more; ends with the exit code of the sweep.

    In a pipe: a line per change. Ctrl-C ends the watching, not the sweep.

    Example: sweep watch ems_grid
    """
    from rich.console import Console

    from core.store import Workspace
    from sweeps.observer import Observer
    from sweeps.status_text import status_text
    from sweeps.watch import ctrl_c_between_looks, watch_live, watch_plain

    observer, console = Observer(name, Workspace.at(workspace)), Console()
    try:
        with ctrl_c_between_looks() as pause:
            if console.is_terminal:
                found = watch_live(observer, console, interval=interval or 2.0, pause=pause)
            else:
                found = watch_plain(observer, interval=interval or 10.0, say=click.echo, pause=pause)
    except KeyboardInterrupt:
        click.echo(f"the sweep goes on; look again: sweep watch {name}{_elsewhere(workspace)}", err=True)
        return
    click.echo(status_text(found, options=_elsewhere(workspace)))
    sys.exit(found.exit_code)


@click.command()
@click.argument("name")
@click.option("--now", is_flag=True, help="Do not wait for checkpoints: running trials go back to their last one.")
@click.option("--no-wait", is_flag=True, help="Ask, and do not wait until it has stopped.")
@workspace_option
def stop(name: str, now: bool, no_wait: bool, workspace: Path | None) -> None:
    """Stop the sweep NAME, which runs in another terminal: checkpoints first, then the end. It can be resumed.

    Example: sweep stop ems_grid
    """
    from core.errors import BadInputError
    from core.store import Workspace
    from sweeps.driver import is_driven
    from sweeps.observer import Observer
    from sweeps.status_text import counts_line
    from sweeps.stop_request import request_stop
    from sweeps.watch import watch_plain

    place = Workspace.at(workspace)
    observer = Observer(name, place)
    observer.look()
    folder = place.sweep(name)
    if not is_driven(folder):
        raise BadInputError(f"sweep {name!r}: nobody runs it in {place.root}")
    request_stop(folder, "now" if now else "drain")
    if no_wait:
        click.echo(f"asked to stop; look: sweep watch {name}{_elsewhere(workspace)}")
        return
    try:
        found = watch_plain(observer, interval=5.0, say=lambda line: click.echo(line, err=True))
    except KeyboardInterrupt:
        click.echo(f"the request stands; look: sweep watch {name}{_elsewhere(workspace)}", err=True)
        sys.exit(4)
    click.echo(f"stopped: {counts_line(found)}")
    if found.unfinished:
        click.echo(f"to continue: sweep resume {name}{_elsewhere(workspace)}")


def _elsewhere(workspace: Path | None) -> str:
    return f" --workspace {shlex.quote(str(workspace))}" if workspace else ""
