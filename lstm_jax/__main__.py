"""``python -m lstm_jax`` is the command ``lstm-jax``."""

import sys

from lstm_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
