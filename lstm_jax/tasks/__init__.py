"""Tasks: data, model, loss and metrics, joined. A new one is a file and a line here."""

from lstm_jax.tasks.language_model import LanguageModelling, LanguageModellingConfig
from lstm_jax.tasks.memory import Memory, MemoryConfig

TASKS = {
    "language_model": (LanguageModellingConfig, LanguageModelling),
    "memory": (MemoryConfig, Memory),
}
"""Name to config and task."""
