"""The files of a data directory: the contract between `build`, which writes them, and `input`, which reads them."""
