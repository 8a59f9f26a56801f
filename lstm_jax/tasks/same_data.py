"""Whether a run is used with the data that it was trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lstm_jax.training.run_errors import RunError


def check_same_sha256(
    metadata: Mapping[str, Any], sha256: str, directory: Path
) -> None:
    """Checks the digest of data against that in the metadata of a run.

    Raises:
        RunError: the run was trained on other data.
    """
    if metadata["sha256"] != sha256:
        raise RunError(
            f"the data are not those {directory} was trained on; bring these back, "
            f"or start a new run with run.directory=FOLDER."
        )
