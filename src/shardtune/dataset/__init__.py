"""What a data directory holds on disk: the contract between `build`, which writes it, and `input`, which reads it."""
