"""The whole way on generated images, in minutes; see --help."""

from ofa_det.cli.quickstart import main

if __name__ == "__main__":
    raise SystemExit(main())
