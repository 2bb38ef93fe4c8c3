"""``python -m vitscope``."""

from vitscope.cli import main

main()
