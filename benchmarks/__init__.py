"""Short scripts that each answer one question about speed, memory or precision."""

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
