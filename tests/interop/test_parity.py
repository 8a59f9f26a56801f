"""Every converter against the numbers of the framework it reads from."""

import jax
import numpy as np
import pytest

from tests.interop.parity import errors
from tests.interop.peers import config
from tests.interop.table import PEERS
from tests.shapes import B, D, H, T

SIZES = dict(D=D, H=H, P=2, T=T, B=B)
SEEDS = (0, 5)
"""One layer in one direction; two layers in two."""


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", PEERS)
def test_same_numbers_and_the_way_back(name, seed):
    peer = PEERS[name]
    found, built = errors(peer, config(seed, SIZES))
    assert found.theirs < 1e-5, "the conversion is wrong"
    assert found.share <= 1
    check_way_back(peer, built)


def check_way_back(peer, built):
    """Bit by bit, but for biases where two became one or one was added."""
    native, back = map(by_path, (built.native, built.back))
    for path, array in native.items():
        if "b" not in path.lower().rpartition("[")[2]:
            assert np.array_equal(array, back[path]), path
        elif peer.rounds:
            np.testing.assert_allclose(array, back[path], rtol=0, atol=2e-7)
        elif not peer.two_biases:
            assert np.array_equal(array, back[path]), path


def by_path(tree):
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def test_the_seeds_cover_layers_and_directions():
    seen = {(config(seed).layers, config(seed).two_ways) for seed in SEEDS}
    assert seen == {(1, False), (2, True)}
