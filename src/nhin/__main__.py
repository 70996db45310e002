"""``python -m nhin`` is the command ``nhin``."""

from nhin.cli.app import main

if __name__ == "__main__":
    raise SystemExit(main())
