"""Horovod-wrapped fine-tuning: from a data directory to a run directory."""
