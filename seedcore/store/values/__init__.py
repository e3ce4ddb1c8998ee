"""How a value becomes bytes, and a value again: as data, never as code."""
