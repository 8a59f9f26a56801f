"""The commands of ``lstm-jax``, a file for those that belong together.

setup.py       configs, tasks and trained runs, found and checked
train.py       train, resume
evaluate.py    evaluate, generate
describe.py    config
runs.py        runs, compare
interop.py     import, export
memory.py      memory: cells compete, and the plots of it
tables.py      figures as a table
"""
