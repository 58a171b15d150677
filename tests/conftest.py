"""What all tests share."""

from __future__ import annotations

import signal

from enxuto import cli

# Shells start background jobs with interrupts ignored, and children inherit that; here they are heard, as at
# a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What verbs write on stderr does not depend on whether loops were compiled before.
cli._is_announcing = True
