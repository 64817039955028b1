"""Searches the subnet that fits a latency cap; see --help."""

from ofa_det.cli.search_det import main

if __name__ == "__main__":
    raise SystemExit(main())
