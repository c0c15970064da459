"""How every script of training/ ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from m3l_core.errors import M3LError


def run(main: Callable[[], None]) -> None:
    """Run a script; an error meant for the user becomes one line on stderr, and the exit status that it carries."""
    try:
        main()
    except M3LError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
