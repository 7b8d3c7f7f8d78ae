"""For scripts that import more than the program needs: what to install is said in one line, not in a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of what an extra of pyproject.toml installs: without it the script ends, with exit code 2."""
    try:
        yield
    except ModuleNotFoundError as error:
        script = Path(sys.argv[0]).name
        print(f'{script}: {error.name} is not installed; pip install -e ".[{name}]"', file=sys.stderr)
        raise SystemExit(2) from None
