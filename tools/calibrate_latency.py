"""A latency table of a device, measured; see --help."""

from ofa_det.cli.calibrate_latency import main

if __name__ == "__main__":
    raise SystemExit(main())
