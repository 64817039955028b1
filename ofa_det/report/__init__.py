"""The page of a build: what came out, what it rests on, and how to repeat it."""
