"""Watching: what happens on hosts is known as it happens, so that a pass need not wait for its turn."""
