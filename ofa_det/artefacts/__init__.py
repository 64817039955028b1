"""Files between the steps: whole or not there, typed, each with one reader, one writer and an identity."""
