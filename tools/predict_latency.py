"""Phone latency of a network, predicted; see --help."""

from ofa_det.cli.predict_latency import main

if __name__ == "__main__":
    raise SystemExit(main())
