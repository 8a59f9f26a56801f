"""Sweeps: a config trained with many values, by several processes at once.

space.py      which values a key takes, from the command line
plan.py       what a sweep is made of, kept in its folder
study.py      the trials and their values, in a study of optuna
claims.py     which process trains a trial
trial.py      one trial: an ordinary run
workers.py    the processes
report.py     the table of trials, and plots
"""
