"""The same as ``lstm-jax generate``, for those who start scripts."""

import sys

from lstm_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["generate", *sys.argv[1:]]))
