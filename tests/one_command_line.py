"""The command line is built once a process, in place of once a run: of 25 verbs, that takes longer than many verbs run.

Imported for what it does. A user's process runs one command, for which nothing changes.
"""

from __future__ import annotations

from functools import cache

import typer.main
import typer.testing

from enxuto.cli import app

typer.main.get_command = cache(typer.main.get_command)
typer.testing._get_command = typer.main.get_command
typer.main.get_command(app)
