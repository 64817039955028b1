"""The one place where TensorFlow is imported, and where its native log lines are caught.

TensorFlow takes seconds to import and writes device and optimiser notes to the process's standard error from C++, past
Python's `logging`. Modules that need it import it from here; nothing outside `export` does.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# torchvision loads Triton, which brings an LLVM of its own. Loaded after TensorFlow's, the two register the same
# options and abort the process; in this order they live together.
import torchvision.ops  # noqa: F401

logger = logging.getLogger(__name__)

STANDARD_ERROR = 2


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Makes debug records of warnings and of what native code writes to standard error; shows them on an exception."""
    sys.stderr.flush()
    original = os.dup(STANDARD_ERROR)
    level = logging.WARNING
    with tempfile.TemporaryFile() as caught, warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        os.dup2(caught.fileno(), STANDARD_ERROR)
        try:
            yield
            level = logging.DEBUG
        finally:
            sys.stderr.flush()
            os.dup2(original, STANDARD_ERROR)
            os.close(original)
            caught.seek(0)
            lines = caught.read().decode(errors="replace").splitlines()
            for line in (*lines, *(str(warning.message) for warning in noted)):
                logger.log(level, "%s", line)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# oneDNN's reordered sums differ from run to run between machines; conversion needs no speed from it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

try:
    with quiet_tensorflow():
        import keras
        import tensorflow as tf

        # Conversion runs on the CPU, so that calibration gives the same ranges on every machine.
        tf.config.set_visible_devices([], "GPU")
except ModuleNotFoundError as error:
    raise ValueError(
        f"expected TensorFlow for export to .tflite, found no module {error.name!r}; "
        "install the extra: pip install 'ofa-det[export]'"
    ) from error

__all__ = ["keras", "quiet_tensorflow", "tf"]
