"""Networks built from layer plans: the static detector, the supernet, and the way between them and to disk."""
