"""Train, valid and test recordings; speakers that are left out of training."""

from collections import Counter
from collections.abc import Sequence

from lstm_jax.data.labelled.examples import Examples
from lstm_jax.data.labelled.splits import split_by_fractions
from lstm_jax.data.labelled.table import listed
from lstm_jax.data.sounds.recordings import Recordings
from lstm_jax.data.text import DataError


def split_recordings(
    recordings: Recordings,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> dict[str, Recordings]:
    """``train``, ``valid`` and ``test`` at random.

    If every text occurs at least twice, texts are labels: each split then has its
    fraction of every label. Otherwise texts play no role. Recordings keep their order;
    none is dropped. To keep a speaker out of training, use `by_group`.

    Args:
        recordings: all of them.
        fractions: of ``train``, ``valid`` and ``test``, 1 in all; a split with a
            fraction of 0 is left out.
        seed: of the random numbers.

    Raises:
        DataError: ``fractions`` cannot be used, or leave a split without a recording.

    >>> names = ("a", "b", "c", "d")
    >>> recordings = Recordings(names, ("yes", "no", "yes", "no"), (), names)
    >>> splits = split_recordings(recordings, (0.5, 0.5, 0.0))
    >>> [(name, split.texts) for name, split in splits.items()]
    [('train', ('yes', 'no')), ('valid', ('yes', 'no'))]
    """
    texts = recordings.texts
    if texts is not None and min(Counter(texts).values(), default=0) < 2:
        texts = None
    examples = Examples(range(len(recordings)), texts, recordings.sources)
    splits = split_by_fractions(examples, fractions, seed=seed)
    return {name: recordings.take(split.sequences) for name, split in splits.items()}


def by_group(
    recordings: Recordings, names: Sequence[str]
) -> tuple[Recordings, Recordings]:
    """The recordings of some groups, and all others, both in their order.

    Args:
        recordings: with groups, such as speakers.
        names: of the groups inside.

    Raises:
        DataError: the recordings have no groups, or no recording is of one of them.

    >>> recordings = Recordings(("a", "b"), None, ("ann", "bob"), ("a", "b"))
    >>> inside, outside = by_group(recordings, ["bob"])
    >>> inside.paths, outside.paths
    (('b',), ('a',))
    """
    names = [names] if isinstance(names, str) else list(names)
    if not recordings.groups:
        raise DataError(
            f"the recordings have no groups, expected {listed(names)} among them; read "
            f"them from a manifest, with the key or column of the groups as group."
        )
    groups = recordings.groups
    for name in names:
        if name not in groups:
            raise DataError(
                f"there is no recording of the group {name!r}; the groups are "
                f"{listed(sorted(set(groups)))}; choose among them."
            )
    inside = [i for i, group in enumerate(groups) if group in names]
    outside = [i for i, group in enumerate(groups) if group not in names]
    return recordings.take(inside), recordings.take(outside)
