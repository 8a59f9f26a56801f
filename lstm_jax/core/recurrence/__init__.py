"""A cell over a sequence.

unroll.py     checks a call, cuts chunks, and hands the steps to a backend
backends.py   which backends there are, and which of them a call takes
sequence.py   the checked sequence: inputs, masks, resets
scan.py       the backend that defines the result: `jax.lax.scan`
loop.py       the loop of every scan, with its one derivative rule
chunks.py     a long sequence in chunks
truncated_bptt.py   gradients window by window, for a training loop of your own
"""
