"""The `antiphon` command, also as `python -m antiphon`."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit."""
    from antiphon.cli.main import run

    run()


if __name__ == "__main__":
    main()
