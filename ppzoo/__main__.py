"""``python -m ppzoo``: the program ``ppzoo`` of the interpreter that is named, installed or on ``PYTHONPATH``."""

from __future__ import annotations

from ppzoo.cli import main

if __name__ == "__main__":
    main()
