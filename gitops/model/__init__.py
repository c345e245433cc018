"""The words of the project as frozen dataclasses. No behaviour beyond what the data itself says."""
