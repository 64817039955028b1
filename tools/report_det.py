"""Writes the page of a build anew, from its artefacts; see --help."""

from ofa_det.cli.report_det import main

if __name__ == "__main__":
    raise SystemExit(main())
