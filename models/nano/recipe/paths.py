"""Where things lie: the shipped model around this folder, and what a new training makes inside it."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
SHIPPED_MODEL = HERE.parent
WORK = HERE / "work"
NEW_MODEL = WORK / "model"
