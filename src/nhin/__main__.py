"""Run the command ``nhin`` as ``python -m nhin``."""

from nhin.cli.app import main

if __name__ == "__main__":
    raise SystemExit(main())
