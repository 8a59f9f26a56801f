"""Speech end to end: batches, losses, transcripts, streams."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from lstm_jax.config import read
from lstm_jax.data.text import DataError
from lstm_jax.inference import ctc_greedy
from lstm_jax.runs.configs import read_config
from lstm_jax.tasks.transcribing import Transcribing
from lstm_jax.tasks.transcription import Transcription
from lstm_jax.tasks.transcription_batches import TranscriptionBatches
from lstm_jax.tasks.transcription_config import SoundsConfig
from lstm_jax.tasks.transcription_search import BestPath, Heard, TranscriptionOptions
from lstm_jax.tasks.transcription_stream import Listener
from lstm_jax.training.run_errors import RunError
from tests.tasks.spoken import RATE, tone, write, write_split

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The config of the tones, and their files."""
    (path,) = write(tmp_path_factory.mktemp("files"))
    return read(path)


def task_of(values, *overrides):
    return Transcription(read_config(values, overrides))


def batches_of(task, seed=0, **sounds):
    config = task.config
    return TranscriptionBatches(
        task.data.split("train"),
        5,
        2,
        rate=config.features.rate,
        sounds=SoundsConfig(**sounds),
        seed=seed,
    )


# Batches


def test_an_epoch_has_every_recording_once(files):
    task = task_of(files)
    source, train = batches_of(task), task.data.split("train")
    orders = []
    for epoch in range(3):
        plan = source.plan(epoch)
        members = [u.members for batch in plan for u in batch.utterances]
        assert sorted(members) == [(n,) for n in range(len(train))]
        orders.append(members)
        loaded = [source.load(batch) for batch in plan]
        assert sum(int(batch.weights.sum()) for batch in loaded) == len(train)
    assert orders[0] != orders[1]
    assert source.plan(1)[0] == batches_of(task).plan(1)[0]
    assert [*map(str, source.plan(1))] != [*map(str, batches_of(task, 1).plan(1))]


def test_rows_hold_the_sound_and_the_tokens(files):
    task = task_of(files)
    source, train = batches_of(task), task.data.split("train")
    for batch in source.plan(2):
        loaded = source.load(batch)
        for row, utterance in enumerate(batch.utterances):
            (n,) = utterance.members
            sound, tokens = train.sound(n), train.tokens((n,))
            assert loaded.lengths[row] == len(sound)
            np.testing.assert_array_equal(loaded.signal[: len(sound), row], sound)
            assert (loaded.signal[len(sound) :, row] == 0).all()
            assert loaded.label_lengths[row] == len(tokens)
            np.testing.assert_array_equal(loaded.labels[: len(tokens), row], tokens)
        empty = loaded.weights == 0
        assert (loaded.lengths[empty] == 0).all()


def test_changed_sounds_are_as_long_as_planned(files):
    """Joined, faster or slower, in noise; the same for the same seed and epoch."""
    task = task_of(files)
    how = dict(join=4, gap_low_ms=10, gap_high_ms=90, speed_percent=20)
    how |= dict(gain_db=6, noise_fraction=0.5)
    one, two = batches_of(task, **how), batches_of(task, **how)
    counts, shapes, sizes = set(), set(), []
    for epoch in range(6):
        plan = one.plan(epoch)
        counts.add(len(plan))
        for batch, other in zip(plan, two.plan(epoch), strict=True):
            loaded = one.load(batch)
            for a, b in zip(loaded, two.load(other), strict=True):
                np.testing.assert_array_equal(a, b)
            shapes.add(loaded.signal.shape)
            sizes += [len(u.members) for u in batch.utterances]
            train = task.data.split("train")
            for row, utterance in enumerate(batch.utterances):
                text = " ".join(train.texts[n] for n in utterance.members)
                tokens = loaded.labels[: loaded.label_lengths[row], row]
                np.testing.assert_array_equal(tokens, task.tokenizer.encode(text))
    assert len(counts) == 1, "epochs have different numbers of batches"
    assert len(shapes) <= 4
    assert {1, 2, 3, 4} == {*sizes}


@pytest.mark.parametrize("tokens", ["characters", "bpe", "words"])
def test_transcripts_are_joined_with_a_space(files, tokens):
    task = task_of(files, f'data.tokens="{tokens}"', "train.block=1")
    batches = task.batches()
    batch = jax.tree.map(lambda a: np.asarray(a[0]), batches.take(0, 1)[0].batches)
    batches.close()
    rows = [
        task.tokenizer.decode(batch.labels[:n, row])
        for row, n in enumerate(batch.label_lengths)
        if n
    ]
    assert {word for row in rows for word in row.split(" ")} == {"do", "re", "mi"}
    assert max(len(row.split()) for row in rows) > 1


def test_empty_transcripts_add_no_space(files, tmp_path):
    manifest = write_split(tmp_path, "train", ["do", "re"], 0)
    rows = manifest.read_text().replace('"re"', '""')
    manifest.write_text(rows)
    values = {"task": "transcription", "features": {"rate": RATE, "mels": 8}}
    given = [f"data.train={manifest}", f"data.valid={manifest}"]
    split = task_of(values, *given, "sounds.join=3").data.split("train")
    task = task_of(values, *given, "sounds.join=3")
    for members, text in (((0, 1, 0), "do do"), ((1, 0), "do"), ((1,), "")):
        assert task.tokenizer.decode(split.tokens(members)) == text


def test_faster_sounds_still_fit(files):
    """A recording that just fits its transcript is not sped up."""
    task = task_of(files, "model.stack_frames=12", "features.hop_ms=20")
    train = task.data.split("train")
    source = batches_of(task, speed_percent=30, tempo_percent=30)
    factors = []
    for epoch in range(4):
        for batch in source.plan(epoch):
            for utterance in batch.utterances:
                samples = source._samples(utterance)
                assert train.fits(train.tokens(utterance.members), samples)
                factors.append((utterance.speed, utterance.tempo))
    assert (1.0, 1.0) in factors
    assert len({*factors}) > 10


def test_noise_is_what_was_asked_for_at_any_speed(files):
    """Gaps stay silent, so that they do not count as signal."""
    task = task_of(files)
    how = dict(join=3, gap_low_ms=100, gap_high_ms=200, speed_percent=20)
    how |= dict(tempo_percent=20, tone_db=6)
    source = batches_of(task, **how)
    batch = source.load(source.plan(0)[0])
    for row in range(int(batch.weights.sum())):
        sound = batch.signal[: batch.lengths[row], row]
        assert (sound == 0).mean() > 0.1
        assert (sound[:200] == 0).all()


def test_pink_noise_is_low(files):
    """What differs from the same batch without noise, of either color."""
    task, low = task_of(files), {}
    how = dict(noise_fraction=1.0, noise_low_db=0, noise_high_db=0)
    for noise in ("white", "pink"):
        source = batches_of(task, noise=noise, **how)
        plan = source.plan(0)[0]
        loud, plain = source.load(plan), batches_of(task).load(plan)
        added = np.square(np.abs(np.fft.rfft(loud.signal - plain.signal, axis=0)))
        low[noise] = added[: len(added) // 8].sum() / added.sum()
    assert low["white"] < 0.2
    assert low["pink"] > 0.5


# The loss


def nats_alone(z, labels, blank):
    """The loss of one row without padding, step by step in numpy."""
    log_p = z - np.logaddexp.reduce(z, axis=-1, keepdims=True)
    between = np.full(2 * len(labels) + 1, blank)
    between[1::2] = labels
    skips = np.zeros(len(between), bool)  # a blank between equal labels stays
    skips[2:] = (between[2:] != blank) & (between[2:] != between[:-2])
    ways = np.where(np.arange(len(between)) < 2, log_p[0, between], -np.inf)
    for step in log_p[1:]:
        next_to = np.append(-np.inf, ways[:-1])
        two_on = np.where(skips, np.append([-np.inf] * 2, ways[:-2]), -np.inf)
        ways = np.logaddexp.reduce([ways, next_to, two_on]) + step[between]
    return -np.logaddexp.reduce(ways[-2:])


def test_loss_counts_what_fits(files):
    task = task_of(files)
    batch = task.batches()
    data = batch.take(0, 1)[0].batches
    batch.close()
    one = jax.tree.map(lambda a: a[0], data)
    params = task.init(jax.random.key(0))
    short = one._replace(lengths=one.lengths.at[0].set(60))  # one frame
    model = jax.jit(lambda signal, lengths: task.model(params)(signal, lengths))
    for some in (one, short):
        logits, steps = model(some.signal, some.lengths)
        nats, tokens = 0.0, 0
        for row in range(len(some.weights)):
            count, each = int(steps[row]), int(some.label_lengths[row])
            labels = some.labels[:each, row]
            repeats = int((labels[1:] == labels[:-1]).sum())
            if some.weights[row] and count >= each + repeats:
                z = np.asarray(logits[:count, row], np.float64)
                nats += nats_alone(z, np.asarray(labels), task.data.blank)
                tokens += each
        found = task._nats(logits, steps, some)
        assert found.weight == tokens
        np.testing.assert_allclose(found.total, nats, rtol=1e-4)
    key = jax.random.key(1)
    mean = lambda p: task.loss(p, (), short, key)[0]
    loss, grads = jax.jit(jax.value_and_grad(mean))(params)
    assert np.isfinite(loss)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


# A trained model


def test_hears_every_word(recogniser):
    run = recogniser.loaded
    metrics = run.evaluate("test")
    assert metrics["wer"] == 0
    assert metrics["accuracy"] == 1
    assert {"wer_a", "wer_b"} <= {*metrics}
    details = run.task.details(run.params, "test")
    assert details.confusion.sum() == 8
    assert [row[0] for row in details.rows] == ["do", "mi", "re"]


def said(recogniser, text, seed=5):
    return tone(text, np.random.default_rng(seed))


@pytest.mark.parametrize("beams", [1, 4])
def test_words_have_their_times(recogniser, beams):
    sound = said(recogniser, "do mi re")
    (found,) = recogniser.loaded.transcribe([sound], beams=beams)
    assert found.text == "do mi re"
    assert [word.text for word in found.words] == ["do", "mi", "re"]
    starts = [word.start for word in found.words]
    assert starts == sorted(starts)
    assert 0 <= starts[0] < found.words[-1].end
    assert found.words[-1].end <= len(sound) / RATE
    assert all(0 < word.confidence <= 1 for word in found.words)
    # Each word begins while its tone sounds: gaps are 0.06 s, tones 0.12 to 0.2 s.
    loud = np.convolve(np.abs(sound), np.ones(40) / 40, "same") > 0.02
    edges = np.flatnonzero(np.diff(loud.astype(int)) == 1) / RATE
    edges = edges[np.diff(edges, prepend=-1) > 0.1]
    for word, edge in zip(found.words, edges, strict=True):
        assert edge - 0.03 < word.start < edge + 0.25


def test_batches_and_order_change_nothing(recogniser):
    texts = ["do", "mi mi mi re do", "re re", "do mi", "mi do re"]
    sounds = [said(recogniser, text, n) for n, text in enumerate(texts)]
    sounds.append(np.zeros(20, np.float32))  # shorter than a frame
    run = recogniser.loaded
    together = run.transcribe(sounds)
    assert [found.text for found in together] == [*texts, ""]
    backwards = run.transcribe(sounds[::-1])[::-1]
    for one, two, sound in zip(together, backwards, sounds, strict=True):
        (alone,) = run.transcribe([sound])
        for other in (two, alone):
            assert one.text == other.text
            assert [w[:3] for w in one.words] == [w[:3] for w in other.words]
            np.testing.assert_allclose(one.score, other.score, atol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_any_pieces_give_the_transcript_of_the_whole(recogniser, beams):
    run, rng = recogniser.loaded, np.random.default_rng(0)
    sound = said(recogniser, "mi do do re mi")
    (whole,) = run.transcribe([sound], beams=beams)
    for _ in range(100 if beams == 1 else 10):
        cuts = np.sort(rng.integers(0, len(sound), rng.integers(1, 30)))
        stream = run.stream(beams=beams)
        for piece in np.split(sound, cuts):
            stream.feed(piece)
            assert beams > 1 or whole.text.startswith(stream.text)
        found = stream.finish()
        assert found.text == whole.text
        assert [w[:3] for w in found.words] == [w[:3] for w in whole.words]
        assert [t[:2] for t in found.tokens] == [t[:2] for t in whole.tokens]
        np.testing.assert_allclose(found.score, whole.score, atol=1e-4)


@pytest.mark.parametrize("deltas", [0, 2])
def test_posteriors_of_pieces(recogniser, files, deltas):
    task, params = recogniser.loaded.task, recogniser.loaded.params
    if deltas:
        task = task_of(files, f"features.deltas={deltas}")
        params = task.init(jax.random.key(0))
    sound = said(recogniser, "do re mi")
    signal, length = jnp.asarray(sound)[:, None], np.array([len(sound)], np.int32)
    whole, steps = task.transcribing.log_p(params, signal, length)
    config = task.config
    listener = Listener(
        task.model, params, config.features, config.model.stack_frames, RATE
    )
    pieces = [listener.feed(piece) for piece in np.split(sound, [3, 10, 500, 501])]
    found = np.concatenate([p for p in [*pieces, listener.finish()] if len(p)])
    assert len(found) == steps[0]
    difference = np.exp(found) - np.exp(np.asarray(whole)[: len(found), 0])
    assert np.abs(difference).max() <= 1e-5


def test_a_stream_of_another_rate(recogniser):
    """Resampled as a file would be; pieces change nothing."""
    from lstm_jax.data.sounds import resample

    run, sound = recogniser.loaded, said(recogniser, "re mi do")
    fine = resample(sound, RATE, 5000)
    one, two = run.stream(rate=5000), run.stream(rate=5000)
    assert one.feed(fine).finish() == two.feed(fine[:700]).feed(fine[700:]).finish()
    assert one.text == "re mi do"
    with pytest.raises(RuntimeError, match="finished"):
        one.feed(fine)


def test_a_stream_may_say_more_than_there_is_room_for(recogniser, monkeypatch):
    monkeypatch.setattr("lstm_jax.tasks.transcription_search.CAPACITY", 2)
    run, text = recogniser.loaded, "do mi re do mi re"
    stream = run.stream(beams=2)
    for piece in np.array_split(said(recogniser, text), 7):
        stream.feed(piece)
    assert stream.finish().text == text


def test_long_sounds_are_heard_in_pieces(recogniser, monkeypatch):
    run = recogniser.loaded
    sounds = [said(recogniser, text) for text in ("do mi", "re do re mi", "mi")]
    for beams in (1, 3):
        whole = run.transcribe(sounds, beams=beams)
        with monkeypatch.context() as patch:
            patch.setattr("lstm_jax.tasks.transcription.LONG_SECONDS", 0.6)
            patch.setattr("lstm_jax.tasks.transcription.PIECE_SECONDS", 1)
            pieces = run.transcribe(sounds, beams=beams)
        assert [a.text for a in whole] == [b.text for b in pieces]
        for a, b in zip(whole, pieces, strict=True):
            assert [w[:3] for w in a.words] == [w[:3] for w in b.words]


def test_long_sounds_for_a_model_of_the_whole(files, monkeypatch):
    monkeypatch.setattr("lstm_jax.tasks.transcription.LONG_SECONDS", 0)
    task = task_of(files, "model.bidirectional=true")
    with pytest.raises(DataError, match=r"sound 1 has .* minutes.*cut it"):
        task.transcribe(task.init(jax.random.key(0)), [np.zeros(900, np.float32)])


def test_the_best_path_is_that_of_ctc_greedy():
    """Also of several rows that end at different steps, in pieces."""
    rng = np.random.default_rng(0)
    log_p = np.asarray(jax.nn.log_softmax(2 * rng.normal(size=(50, 3, 4))))
    log_p, lengths = log_p.astype(np.float32), np.array([50, 0, 31])
    emitted, _ = ctc_greedy(log_p, lengths.astype(np.int32), blank=1)
    search = BestPath(3, 1)
    for start, end in ((0, 7), (7, 8), (8, 40), (40, 50)):
        search.advance(log_p[start:end], np.clip(lengths - start, 0, end - start))
    for row, (found,) in enumerate(search.best()):
        at = np.flatnonzero(np.asarray(emitted.labels)[:, row] >= 0)
        np.testing.assert_array_equal(found.steps, at)
        np.testing.assert_array_equal(found.tokens, emitted.labels[at, row])
        np.testing.assert_allclose(found.log_p, emitted.log_p[at, row])
        np.testing.assert_allclose(found.score, emitted.log_p[:, row].sum(), rtol=1e-5)


def test_a_model_of_the_whole_sound_does_not_stream(files):
    task = task_of(files, "model.bidirectional=true")
    with pytest.raises(DataError, match="need the whole sound"):
        task.stream(None)


@pytest.mark.parametrize("texts", ["naïve café", "日本 語"])
@pytest.mark.parametrize("name", ["characters", "words", "bpe"])
def test_words_of_any_tokens(name, texts):
    """The token with the first character of a word gives its start, that with the last
    one its end."""
    from lstm_jax.data.tokens import learn

    tokenizer = learn(name, f"{texts} {texts}")
    transcribing = Transcribing(None, tokenizer, 100, 0.5)
    tokens = tokenizer.encode(texts)
    steps, log_p = np.arange(len(tokens)) * 2, np.zeros(len(tokens), np.float32)
    found = transcribing.as_transcript(Heard(tokens, steps, log_p, 0.0))
    assert found.text == texts
    assert [word.text for word in found.words] == texts.split()
    assert found.words[0].start == 0
    assert found.words[-1].end == (2 * (len(tokens) - 1) + 1) * 0.5
    if name == "characters":
        assert found.words[1].start == 2 * (texts.index(" ") + 1) * 0.5
        assert "".join(token.text for token in found.tokens) == texts
    assert [token.start for token in found.tokens] == (steps * 0.5).tolist()
    assert {token.confidence for token in found.tokens} == {1.0}


# What is refused, and how


def hostile(tmp_path, name, samples=None, text="do"):
    folder = tmp_path / text
    folder.mkdir(exist_ok=True)
    path = folder / name
    if samples is None:
        path.write_text("no sound")
    else:
        soundfile.write(path, samples, RATE)
    return path


@pytest.fixture
def folder(tmp_path):
    """Folders by label, which train."""
    rng = np.random.default_rng(0)
    for text in ("do", "re"):
        for n in range(10):
            hostile(tmp_path, f"{n}.wav", tone(text, rng), text)
    return tmp_path


PLAIN = {"task": "transcription", "features": {"rate": RATE, "mels": 8}}


def of_folder(folder, *more):
    return task_of(PLAIN, f"data.path={folder}", *more)


def test_folders_by_label(folder):
    task = of_folder(folder, "model.hidden_size=4")
    told = task.describe()
    assert told["recordings"] == {"train": 16, "valid": 2, "test": 2}
    assert {*task.data.split("train").texts} == {"do", "re"}
    assert task.final_split == "test"
    assert "16 train" in task.summary(told)


@pytest.mark.parametrize(
    ("samples", "said"),
    [(None, "no sound"), (np.zeros(0), "0 samples|no samples|empty")],
)
def test_what_is_no_sound_is_named(folder, samples, said):
    path = hostile(folder, "bad.wav", samples)
    with pytest.raises(DataError) as error:
        of_folder(folder).describe()
    assert str(path) in str(error.value)


def test_notes_of_recordings(folder):
    hostile(folder, "silent.wav", np.zeros(400))
    hostile(folder, "clipped.wav", np.sign(np.sin(np.arange(400))))
    hostile(folder, "short.wav", np.full(30, 0.5))
    hostile(folder, "long.wav", np.full(3000, 0.5))
    task = task_of(
        PLAIN, f"data.train={folder}", f"data.valid={folder}", "data.max_seconds=1"
    )
    notes = "\n".join(task.describe()["notes"])
    for what in ("silent", "clipped", "too short", "longer than"):
        assert what in notes
    assert "short.wav" in notes
    assert "long.wav" in notes
    assert task.describe()["recordings"]["train"] == 22


def test_a_word_that_was_never_heard(folder, tmp_path_factory):
    """Counts as an error; with characters it is named."""
    other = write_split(tmp_path_factory.mktemp("other"), "test", ["mi"], 0)
    given = [f"data.train={folder}", f"data.test={other}", "data.tokens=words"]
    task = task_of(PLAIN, *given, "model.hidden_size=4")
    params = task.init(jax.random.key(0))
    assert task.evaluate(params, "test")["wer"] > 0
    given[2] = "data.tokens=characters"
    task = task_of(PLAIN, *given, "model.hidden_size=4")
    assert "characters that training has not" in "".join(task.describe()["notes"])
    assert "line 1" in "".join(task.describe()["notes"])
    with pytest.raises(DataError, match="none of the 1 recordings of the test split"):
        task.evaluate(params, "test")


def test_speakers_are_left_out(files):
    train = files["data"]["train"]
    values = {"task": "transcription", "features": files["features"]}
    given = [f"data.path={train}", "data.group=speaker", 'data.test_groups=["a"]']
    task = task_of(values, *given)
    assert {*task.data.split("test").groups} == {"a"}
    assert {*task.data.split("train").groups} == {"b"}
    with pytest.raises(DataError, match="'c'"):
        task_of(values, *given[:2], 'data.test_groups=["c"]').describe()
    with pytest.raises(DataError, match="leaves none to train on"):
        task_of(values, *given, 'data.valid_groups=["b"]').describe()
    renamed = task_of(values, given[0], "data.group=text", 'data.test_groups=["do"]')
    assert renamed.data.sha256 != task.data.sha256


def test_nothing_to_train_on(folder):
    with pytest.raises(DataError, match="none of the"):
        of_folder(folder, "data.max_seconds=0.01").describe()
    with pytest.raises(DataError, match=r"data\.path is empty"):
        task_of(PLAIN).describe()
    with pytest.raises(DataError, match="nothing to train on"):
        of_folder(
            folder, "data.valid_fraction=0.6", "data.test_fraction=0.6"
        ).describe()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ('data.test_groups=["a"]', "group is not;"),
        ("sounds.noise_low_db=50", "noise_low_db"),
        ("sounds.gap_low_ms=500", "gap_low_ms"),
    ],
)
def test_configs_that_do_not_fit(override, said):
    with pytest.raises(Exception, match=said):
        read_config(PLAIN, [override])


def test_options():
    with pytest.raises(ValueError, match="results"):
        TranscriptionOptions(beams=2, results=3)
    assert dataclasses.replace(TranscriptionOptions(), beams=3).results == 1


def test_samples_that_are_none(recogniser):
    run, sound = recogniser.loaded, said(recogniser, "do mi")
    wrong = sound.copy()
    wrong[700] = np.nan
    for bad, what in ((wrong, "0.350 s is nan"), (sound * 32768, "divide")):
        with pytest.raises(DataError, match=what) as error:
            run.transcribe([sound, bad])
        assert "sounds[1]" in str(error.value)
        with pytest.raises(DataError, match=what):
            run.stream().feed(bad)
    with pytest.raises(ValueError, match="rate"):
        run.stream(rate=0)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_diverged_model_is_no_crash(recogniser, beams):
    task = recogniser.loaded.task
    params = jax.tree.map(lambda a: a * jnp.nan, recogniser.loaded.params)
    task.evaluate(params, "test")
    options = TranscriptionOptions(beams)
    ((found,),) = task.transcribe(params, [said(recogniser, "do")], options)
    assert not np.isfinite(found.score)


def test_arrays_of_another_rate(recogniser):
    from lstm_jax.data.sounds import resample

    run, sound = recogniser.loaded, said(recogniser, "re mi do")
    (found,) = run.transcribe([resample(sound, RATE, 5000)], rate=5000)
    assert found.text == "re mi do"


@pytest.mark.parametrize("name", ["characters", "bpe"])
def test_a_word_is_final_when_the_next_begins(name, monkeypatch):
    from lstm_jax.data.tokens import learn
    from lstm_jax.tasks.transcription_stream import TranscriptStream

    text = "日本 é ab"
    tokenizer = learn(name, text)
    transcribing = Transcribing(None, tokenizer, 100, 0.5)
    monkeypatch.setattr(f"{TranscriptStream.__module__}.Listener", lambda *_: None)
    options = TranscriptionOptions()
    stream = TranscriptStream(transcribing, None, None, None, 1, 100, options)
    seen, blank = [], transcribing.blank
    for token in tokenizer.encode(text):
        log_p = np.log(np.eye(blank + 1, dtype=np.float32)[[token, blank]] + 1e-6)
        stream._advance(log_p)
        seen.append([word.text for word in stream.final_words])
        assert "\ufffd" not in "".join(seen[-1])
    assert [*map(len, seen)] == sorted(map(len, seen))
    assert seen[-1] == ["日本", "é"]
    assert stream.text == text
    assert [word.text for word in stream.transcript.words] == text.split()


def test_python_refuses_a_single_sound(recogniser):
    run = recogniser.loaded
    with pytest.raises(TypeError, match="list of paths"):
        run.transcribe("a.wav")
    with pytest.raises(TypeError, match="floats"):
        run.transcribe([np.zeros(100, np.int16)])
    with pytest.raises(RunError, match="cannot translate"):
        run.translate(["one"])
