"""`shardtune doctor`: check what is installed and whether it works together, and say how to repair it."""
