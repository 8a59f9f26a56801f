"""How fast is Silero VAD here, beside its own ONNX files in onnxruntime?

    pip install --no-deps silero-vad==6.2.3
    python scripts/fsdd.py recordings.tar.gz --out fsdd
    python -m benchmarks.silero_vad --recordings fsdd/recordings

Our side is ``examples/silero_vad.py``. The sound is 60 s at 16 kHz: spoken digits with
gaps and noise.

offline   all chunks of the sound
batch     all chunks of 8 such sounds, each beginning at another place
stream    200 chunks of 512 samples, one at a time, from numpy to a Python number

onnxruntime runs ``silero_vad.onnx`` chunk by chunk and carries state and context, as
the package's own wrapper does, but without torch. ``sequence`` is the package's file
for whole sounds, in its blocks of 512 chunks; it takes neither a batch nor a stream.

Every side has a process of its own and one thread, all on one core, and they take
turns. Before that, all probabilities of a case must be those of onnxruntime to 1e-5.
Compilation is timed apart.
"""

import argparse
import functools
import os
from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from benchmarks import RESULTS
from lstm_jax.bench import race, report, timing
from lstm_jax.bench.workers import crew
from lstm_jax.data.sounds import read_sound

RATE, SECONDS, CHUNK, CONTEXT, UNITS = 16_000, 60, 512, 64, 128
ROWS, STREAMED, BLOCK = 8, 200, 512
CASES = ("offline", "batch", "stream")
TOLERANCE = 1e-5


@functools.cache
def sound(folder: Path) -> np.ndarray:
    """60 s of digits, with gaps of 0.1 to 1.5 s and noise of changing strength."""
    rng, pieces, total = np.random.default_rng(0), [], 0
    paths = sorted(folder.glob("*.wav"))
    if not paths:
        raise SystemExit(f"{folder} has no WAV files")
    while total < RATE * SECONDS:
        digit = read_sound(paths[rng.integers(len(paths))], RATE)
        gap = np.zeros(rng.integers(RATE // 10, 3 * RATE // 2), np.float32)
        noise = rng.normal(size=len(digit) + len(gap)) * rng.uniform(0.0005, 0.01)
        pieces.append(np.concatenate([digit, gap]) + noise.astype(np.float32))
        total += len(pieces[-1])
    return np.concatenate(pieces)[: RATE * SECONDS]


def chunks(folder: Path, case: str) -> np.ndarray:
    """The sounds of a case, ``[T, B, 512]``."""
    rows = [sound(folder)]
    if case == "batch":
        rows = [np.roll(rows[0], n * len(rows[0]) // ROWS) for n in range(ROWS)]
    return np.stack(rows, axis=1).reshape(-1, CHUNK, len(rows)).swapaxes(1, 2)


def package(name: str) -> str:
    return str(distribution("silero-vad").locate_file(f"silero_vad/data/{name}"))


def ours(folder, case):
    import jax

    from examples import silero_vad as vad

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    x, params = chunks(folder, case), vad.load(package("silero_vad.onnx"))
    if case == "stream":
        zeros, step = vad.stream(params)
        compiled = lambda: step(zeros, x[0, 0])

        def call(count=STREAMED):
            state, p = zeros, []
            for chunk in x[:count, 0]:
                state, one = step(state, chunk)
                p.append(float(one))
            return np.array(p)[:, None]

    else:
        sounds = np.ascontiguousarray(x.swapaxes(1, 2).reshape(-1, x.shape[1]))
        sounds = sounds if case == "batch" else sounds[:, 0]
        call = lambda: np.asarray(vad.probabilities(params, sounds))
        compiled = call
    first, second = timing.seconds(compiled), timing.seconds(compiled)
    p = call(len(x)) if case == "stream" else call().reshape(len(x), -1)
    return {case: call}, ({"p": p}, {case: first - second}, "cpu")


def onnxruntime(folder, case):
    x, session = chunks(folder, case), _session("silero_vad.onnx")
    rate, rows = np.array(RATE), x.shape[1]
    usual = STREAMED if case == "stream" else len(x)

    def call(count=usual):
        state = np.zeros((2, rows, UNITS), np.float32)
        context, p = np.zeros((rows, CONTEXT), np.float32), []
        for chunk in x[:count]:
            heard = np.concatenate([context, chunk], axis=1)
            one, state = session.run(None, dict(input=heard, state=state, sr=rate))
            context = heard[:, -CONTEXT:]
            p.append(float(one[0, 0]) if case == "stream" else one[:, 0])
        return np.array(p).reshape(count, rows)

    return {case: call}, ({"p": call(len(x))}, {case: None}, "cpu")


def sequence(folder, case):
    if case != "offline":
        raise NotImplementedError(f"the file for whole sounds has no {case}")
    x, session = chunks(folder, case)[:, 0], _session("silero_vad_16k_sequence.onnx")

    def call():
        before = np.concatenate([np.zeros((1, CONTEXT), np.float32), x[:-1, -CONTEXT:]])
        heard, found = np.concatenate([before, x], axis=1), []
        h = c = np.zeros((1, 1, UNITS), np.float32)
        for at in range(0, len(x), BLOCK):
            given = dict(input=heard[at : at + BLOCK], h=h, c=c)
            p, h, c = session.run(["speech_probs", "hn", "cn"], given)
            found.append(p.reshape(-1, 1))
        return np.concatenate(found)

    return {case: call}, ({"p": call()}, {case: None}, "cpu")


def _session(name):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        package(name), options, providers=["CPUExecutionProvider"]
    )


SIDES = {"onnxruntime": onnxruntime, "sequence": sequence, "ours": ours}


def build(side: str, folder: Path, case: str):
    """In the process of a side: its calls, and what `race.Contender` keeps."""
    return SIDES[side](folder, case)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.silero_vad")
    parser.add_argument("--recordings", type=Path, required=True, help="WAV files")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    # Processes inherit the core. XLA has as many threads as NPROC says.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ |= dict.fromkeys(("NPROC", "OMP_NUM_THREADS"), "1")
    pace, results = race.Pace(args.rounds, at_least=args.rounds), {}
    builds = {side: functools.partial(build, side, args.recordings) for side in SIDES}
    with crew(builds) as workers:
        for case in args.cases:
            contenders, _ = race.contend(workers, case, tolerance=TOLERANCE)
            p = {name: contender.values["p"] for name, contender in contenders.items()}
            count = STREAMED if case == "stream" else p["ours"].size
            seconds = race.times(case, contenders, pace)
            results[case] = {
                side: {
                    "microseconds_per_chunk": 1e6 * float(np.median(took)) / count,
                    "to_ours": timing.paired_ratio(took, seconds["ours"]),
                    "difference": float(np.abs(p[side] - p["ours"]).max()),
                    "compile_seconds": contenders[side].compile_seconds[case],
                }
                for side, took in seconds.items()
            }
            for side, row in results[case].items():
                print(
                    f"{case}: {side} {row['microseconds_per_chunk']:.1f} microseconds "
                    f"a chunk, {row['to_ours']} times ours, largest difference "
                    f"{row['difference']:.1e}",
                    flush=True,
                )
    results = {"threads": 1, "rounds": args.rounds, "cases": results}
    print("written:", report.save("silero_vad", results, args.out))


if __name__ == "__main__":
    main()
