"""`shardtune doctor`: what is installed, whether it works together, and what to do where it does not."""
