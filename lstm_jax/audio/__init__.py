"""Sound to features: what a network for speech reads.

mel.py       which frequencies a mel band hears
frames.py    overlapping frames of a signal, and their windows
features.py  log-mel energies, cepstra and their deltas, of a whole signal
stream.py    the same numbers, while the signal is still coming
"""

from lstm_jax.audio.features import (
    FeatureConfig,
    deltas,
    features,
    frame_count,
    frame_lengths,
)
from lstm_jax.audio.stream import FeatureStream, FrameStream

__all__ = [
    "FeatureConfig",
    "FeatureStream",
    "FrameStream",
    "deltas",
    "features",
    "frame_count",
    "frame_lengths",
]
