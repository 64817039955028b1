"""Shows what is in a data set; see --help."""

from ofa_det.cli.inspect_data import main

if __name__ == "__main__":
    raise SystemExit(main())
