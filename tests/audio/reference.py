"""Writes reference.npz, the features of Kaldi and librosa that the tests compare with.

pip install kaldi-native-fbank==1.23.0 librosa==0.11.0
python -m tests.audio.reference
"""

from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("reference.npz")
RATE, MELS, CEPSTRA = 8000, 40, 13


def signal() -> np.ndarray:
    """A third of a second of a rising tone in noise, then silence."""
    t = np.arange(RATE // 3) / RATE
    noise = np.random.default_rng(0).normal(size=len(t))
    sound = 0.3 * np.sin(2 * np.pi * (200 + 900 * t) * t) + 0.05 * noise
    return np.concatenate([sound, np.zeros(400)]).astype(np.float32)


def kaldi(kind: str) -> np.ndarray:
    """Log-mel energies or cepstra of kaldi-native-fbank, without dither."""
    import kaldi_native_fbank as knf

    options = knf.FbankOptions() if kind == "mels" else knf.MfccOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = RATE
    options.mel_opts.num_bins = MELS
    if kind == "cepstra":
        options.num_ceps = CEPSTRA
        options.use_energy = False
    made = (knf.OnlineFbank if kind == "mels" else knf.OnlineMfcc)(options)
    made.accept_waveform(RATE, signal().tolist())
    made.input_finished()
    return np.stack([made.get_frame(n) for n in range(made.num_frames_ready)])


def librosa(htk: bool) -> dict[str, np.ndarray]:
    """Mel energies, their cepstra, and the slopes of Kaldi's log-mel energies."""
    import librosa as library

    size, hop = RATE // 40, RATE // 100
    fft = 1 << (size - 1).bit_length()
    energies = library.feature.melspectrogram(
        y=signal(),
        sr=RATE,
        n_fft=fft,
        hop_length=hop,
        window=np.pad(np.hanning(size), (0, fft - size)),
        center=False,
        n_mels=MELS,
        fmin=20,
        htk=htk,
        norm=None if htk else "slaney",
    )
    logs = np.log(np.maximum(energies, np.finfo(np.float32).eps))
    cepstra = library.feature.mfcc(S=logs, n_mfcc=CEPSTRA)
    slopes = library.feature.delta(kaldi("mels").T, width=5, mode="nearest")
    return {"energies": energies.T, "cepstra": cepstra.T, "slopes": slopes.T}


def main():
    found = {f"kaldi_{kind}": kaldi(kind) for kind in ("mels", "cepstra")}
    for name, htk in (("htk", True), ("slaney", False)):
        found |= {f"{name}_{what}": a for what, a in librosa(htk).items()}
    np.savez_compressed(PATH, **{name: np.float32(a) for name, a in found.items()})


if __name__ == "__main__":
    main()
