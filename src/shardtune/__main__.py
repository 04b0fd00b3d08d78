"""`python -m shardtune` is the `shardtune` command."""

from shardtune.cli import main

main()
