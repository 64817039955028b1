"""Exports a published once-for-all classifier; see --help."""

from ofa_det.cli.export_classifier import main

if __name__ == "__main__":
    raise SystemExit(main())
