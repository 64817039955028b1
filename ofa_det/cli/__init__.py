"""Commands: a typed config and a function each."""
