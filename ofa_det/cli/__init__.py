"""Commands: a typed config and a function each."""

import os
import sys

# Threads of OpenMP that wait for each other by spinning stand still where other work wants the cores too: a training of
# two threads beside two busy processes is ten times slower. It is read when torch is loaded, so it stands here.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if not sys.stderr.isatty():
    os.environ.setdefault("TQDM_MININTERVAL", "10")  # A log wants a line now and then, not ten a second.
