"""Tasks: data, model, loss and metrics, joined. A new one is a file and a line here."""

from lstm_jax.tasks.char_lm import CharLM, CharLMConfig

TASKS = {"char_lm": (CharLMConfig, CharLM)}
"""Name to config and task."""
