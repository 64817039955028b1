"""The training loop: schedule, sandwich of subnets, averaging, validation, resume."""
