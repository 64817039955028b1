"""Evolution of subnets under a latency cap, and its record and report."""
