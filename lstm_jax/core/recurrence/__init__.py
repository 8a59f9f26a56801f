"""Runs a cell over a sequence.

unroll.py           checks a call, cuts chunks, and passes the steps to a backend
backends.py         the backends, and the choice of one for a call
sequence.py         the checked sequence: inputs, masks, resets
scan.py             the reference backend: `jax.lax.scan`
newton/             the backend that runs all steps in parallel, by Newton's method
loop.py             the loop of every scan, with its one derivative rule
chunks.py           the loop over the chunks of a long sequence
truncated_bptt.py   gradients window by window, for your own training loop
"""
