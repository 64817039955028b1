"""Architecture as values: subnets, search spaces, detector configs and the layer plan; standard library only."""
