"""Keras, if it is imported, computes with JAX."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
