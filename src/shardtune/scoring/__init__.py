"""Exact evaluation: counts first, one division at the end."""
