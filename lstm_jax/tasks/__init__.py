"""Tasks: data, model, loss and metrics, joined. A new one is a file and a line here."""

from lstm_jax.tasks.char_lm import CharLM, CharLMConfig
from lstm_jax.tasks.memory import Memory, MemoryConfig

TASKS = {
    "char_lm": (CharLMConfig, CharLM),
    "memory": (MemoryConfig, Memory),
}
"""Name to config and task."""
