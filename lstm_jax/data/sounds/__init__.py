"""Sound: recordings with transcripts, and their samples.

    read_recordings     a manifest (JSONL, CSV, Parquet) or folders by label; gives
                        `Recordings`
    split_recordings    train, valid and test at random; `by_group` leaves speakers out
    read_sound          the samples of a file, one channel at the rate that is asked
                        for; `sound_info` reads its header alone, `fraction_clipped`
                        and `is_silent` find bad recordings
    read_pcm            raw samples from a pipe, as they arrive
    StreamResampler     another rate for a stream; `resample` for a whole sound
    augment             variations to train with: gain, speed, noise, joined recordings

Samples are float32 ``[N]`` with full scale 1, rates are in Hz.

Reading files and resampling need ``pip install 'lstm-jax[speech]'``.
"""

from lstm_jax.data.sounds import augment
from lstm_jax.data.sounds.pcm import read_pcm
from lstm_jax.data.sounds.recordings import Recordings, read_recordings
from lstm_jax.data.sounds.sound import (
    SoundInfo,
    check_sound,
    fraction_clipped,
    is_silent,
    read_sound,
    sound_info,
)
from lstm_jax.data.sounds.splits import by_group, split_recordings
from lstm_jax.data.sounds.stream import StreamResampler, resample

__all__ = [
    "Recordings",
    "SoundInfo",
    "StreamResampler",
    "augment",
    "by_group",
    "check_sound",
    "fraction_clipped",
    "is_silent",
    "read_pcm",
    "read_recordings",
    "read_sound",
    "resample",
    "sound_info",
    "split_recordings",
]
