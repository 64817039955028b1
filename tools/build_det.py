"""From a data set and latencies to the files, in one command; see --help."""

from ofa_det.cli.build_det import main

if __name__ == "__main__":
    raise SystemExit(main())
